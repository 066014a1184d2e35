//! Feeds a recorded response through the protocol core, without sockets: what an event costs there.
//! Prints one JSON line; run under callgrind for instructions, once with --repeat 0 for the rest.
//! It keeps the system's allocator, because valgrind and mimalloc do not go together.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use pinfire_engine::{
    clock::Stamp,
    proto::{Exchange, Head, Progress, Sink},
    record::{MarkKind, Transcript},
};
use serde_json::json;

/// A recorded response through the protocol core.
#[derive(Parser)]
struct Args {
    /// The response, head and all, as it came from the socket.
    file: PathBuf,
    /// How often to feed it.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// What one read brings.
    #[arg(long, value_enum, default_value = "event")]
    cut: Cut,
    /// Read no clock: valgrind hides the page that rustix reads it from.
    #[arg(long)]
    untimed: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cut {
    /// one event with its chunk framing
    Event,
    /// 64 KiB
    Read,
}

/// Keeps events as the engine's requests do.
struct Keep {
    transcript: Transcript,
    bytes: usize,
}

impl Sink for Keep {
    fn head(&mut self, _: Stamp, _: &Head, _: &[u8]) {}

    #[inline]
    fn body(&mut self, _: Stamp, bytes: &[u8]) {
        self.bytes += bytes.len();
    }

    #[inline]
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.transcript.push(at, kind, bytes);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let input = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let pieces = pieces(&input, args.cut);
    let clock = || match args.untimed {
        true => Stamp::from_nanos(1),
        false => Stamp::now(),
    };
    let mut exchange = Exchange::default();
    let (mut events, mut best) = (0, None);
    for _ in 0..args.repeat {
        let mut keep = Keep {
            transcript: Transcript::with_capacity(
                pieces.len() + input.len() / 128,
                input.len() / 4,
            ),
            bytes: 0,
        };
        let started = clock();
        exchange.reset();
        let mut end = Progress::More;
        for piece in &pieces {
            end = exchange
                .feed(started, piece, &mut keep)
                .map_err(|error| anyhow::anyhow!("{} at {}", error.cause.text(), error.offset))?;
        }
        let took = clock().since(started).nanos();
        if end == Progress::More {
            bail!("{} is not one whole response", args.file.display());
        }
        events = keep.transcript.marks().len();
        best = Some(best.map_or(took, |least: u64| least.min(took)));
    }
    let ns = best
        .filter(|_| !args.untimed)
        .map(|nanos| nanos as f64 / events.max(1) as f64);
    println!(
        "{}",
        json!({"events": events, "pieces": pieces.len(), "bytes": input.len(), "ns_per_event": ns})
    );
    Ok(())
}

/// The input as reads would bring it.
fn pieces(input: &[u8], cut: Cut) -> Vec<&[u8]> {
    match cut {
        Cut::Read => input.chunks(64 * 1024).collect(),
        Cut::Event => {
            const END: &[u8] = b"\n\n\r\n";
            let mut pieces = Vec::new();
            let mut from = 0;
            for (at, window) in input.windows(END.len()).enumerate() {
                if window == END {
                    pieces.push(&input[from..at + END.len()]);
                    from = at + END.len();
                }
            }
            pieces.push(&input[from..]);
            pieces
        }
    }
}
