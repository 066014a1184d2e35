//! What servers and GPUs say of themselves: their `/metrics` read, kept and reduced over a run.
//!
//! Pure: bodies and stamps in, figures and files out. The scraping itself is `cli/src/scrape`.

mod estimate;
pub mod files;
pub mod gpu;
pub mod history;
pub mod reduce;
pub mod server_kinds;
pub mod text;
mod units;

use pinfire_base::clock::{Span, Stamp};

pub use files::{ServerMetrics, Watched};
pub use server_kinds::{Levels, ServerKind, ServerKinds};
pub use text::{Exposition, Unreadable};

/// One look at an endpoint.
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
