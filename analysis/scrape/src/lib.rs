//! What servers and GPUs say of themselves: their `/metrics` read, kept and reduced over a run.
//!
//! Pure: bodies and stamps in, figures and files out. The scraping itself is `cli/src/scrape`.

mod dropped;
mod estimate;
pub mod files;
pub mod gpu;
pub mod history;
mod meter;
pub mod reduce;
pub mod server_kinds;
pub mod text;
mod units;

use std::path::PathBuf;

use pinfire_artifacts::{FileNames, config::InputConfig};
use pinfire_base::clock::{Span, Stamp, WallAnchor};

pub use dropped::Dropped;
pub use files::{MetricsFormat, ServerMetrics, Watched};
pub use meter::Meter;
pub use server_kinds::{Levels, ServerKind, ServerKinds};
pub use text::{Exposition, Unreadable};

/// One scrape at an endpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Scrape {
    /// When it was asked.
    pub sent: Stamp,
    /// When its answer began: the instant that the values stand for.
    pub at: Stamp,
    /// When its answer was whole.
    pub done: Stamp,
    /// What it said.
    pub exposition: Exposition,
}

impl Scrape {
    /// A body with the stamps of its answer.
    ///
    /// # Errors
    /// The body is not the text format.
    pub fn read(
        [sent, at, done]: [Stamp; 3],
        body: &[u8],
        content_type: Option<&str>,
    ) -> Result<Self, Unreadable> {
        let exposition = Exposition::read(body, content_type)?;
        Ok(Self {
            sent,
            at,
            done,
            exposition,
        })
    }

    /// From the question to the whole answer.
    pub fn latency(&self) -> Span {
        self.done.since(self.sent)
    }
}

/// The run that the metrics belong to, as their files name it, and which files there shall be.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The tool's own version.
    pub version: String,
    /// The run's id.
    pub benchmark_id: String,
    /// Wall time of its stamps.
    pub anchor: WallAnchor,
    /// Its models.
    pub models: Vec<String>,
    /// Concurrency of the measured phase, if it was asked for.
    pub concurrency: Option<u32>,
    /// Request rate of the measured phase, if it was asked for.
    pub rate: Option<f64>,
    /// What was asked of it.
    pub input_config: InputConfig,
    /// Its artifact folder.
    pub folder: PathBuf,
    /// The names of its files.
    pub files: FileNames,
    /// The forms that are wanted.
    pub formats: Vec<MetricsFormat>,
}
