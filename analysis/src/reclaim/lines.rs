//! A line for each request of a test.

use pinfire_base::clock::WallAnchor;
use serde::Serialize;

use super::{End, Evidence, RequestSpan};

/// A request of the control (wave 0) or of a wave.
#[derive(Serialize)]
struct Line {
    wave: usize,
    quiet: bool,
    end: &'static str,
    start_ns: u64,
    end_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_ns: Option<u64>,
    events: u64,
    new_connection: bool,
}

impl Evidence {
    /// All requests of control and waves, as lines of JSON with times of the wall clock.
    pub fn lines(&self, anchor: &WallAnchor) -> Vec<u8> {
        let control = self.control.iter().map(|seen| (0, false, seen));
        let waves = self.waves.iter().zip(1..).flat_map(|(wave, nth)| {
            let requests = wave.requests.iter();
            requests.map(move |seen| (nth, wave.quiet, seen))
        });
        let mut lines = Vec::new();
        for (wave, quiet, seen) in control.chain(waves) {
            pinfire_artifacts::append(&mut lines, &line(wave, quiet, seen, anchor));
            lines.push(b'\n');
        }
        lines
    }
}

fn line(wave: usize, quiet: bool, seen: &RequestSpan, anchor: &WallAnchor) -> Line {
    Line {
        wave,
        quiet,
        end: match seen.end {
            End::Answered => "answered",
            End::Disconnected => "cancelled",
            End::Failed => "failed",
        },
        start_ns: anchor.unix_nanos(seen.begun),
        end_ns: anchor.unix_nanos(seen.ended),
        first_token_ns: seen.tokens.first().map(|at| anchor.unix_nanos(*at)),
        events: seen.events,
        new_connection: seen.new_connection,
    }
}
