//! Feeds a recorded response through the protocol core, without sockets: what an event costs there.
//! Prints one JSON line; run under callgrind for instructions, once with --repeat 0 for the rest.
//! It keeps the system's allocator, because valgrind and mimalloc do not go together.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use pinfire_base::{
    clock::{Span, Stamp},
    random::Purpose,
    record::{Correlation, MarkKind, Phase, Quirks, Transcript, Trigger},
};
use pinfire_dialect::Answers;
use pinfire_engine::{
    request::{Ids, Request, Room, Ticket},
    schedule::CancelPlan,
};
use pinfire_proto::{Exchange, Head, Progress, Sink};
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
    /// Feed it to a request as a core does, and look after each read for the trigger of its cancel:
    /// none, first-token, tokens:N, ...
    #[arg(long, value_name = "TRIGGER")]
    request: Option<String>,
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
    fn body(&mut self, _: Stamp, wire: usize, _: &[u8]) {
        self.bytes += wire;
    }

    #[inline]
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.transcript.push(at, kind, bytes);
    }

    fn quirk(&mut self, _: Quirks) {}
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
    let (mut events, mut best, mut found) = (0, None, 0);
    let answers = Answers::default();
    for _ in 0..args.repeat {
        let room = Room {
            marks: pieces.len() + input.len() / 128,
            bytes: input.len() / 4,
        };
        let started = clock();
        exchange.reset();
        let (end, count) = match &args.request {
            None => {
                let mut keep = Keep {
                    transcript: Transcript::with_capacity(room.marks, room.bytes),
                    bytes: 0,
                };
                let end = feed(&mut exchange, started, &pieces, &mut keep, |_| ())?;
                (end, keep.transcript.marks().len())
            }
            Some(trigger) => {
                let mut request = request(trigger, room)?;
                let look = |request: &mut Request| {
                    if request.watches() && request.look_for_trigger(&answers) {
                        found += 1;
                    }
                };
                let end = feed(&mut exchange, started, &pieces, &mut request, look)?;
                (end, request.room().marks)
            }
        };
        let took = clock().since(started).nanos();
        if end == Progress::More {
            bail!("{} is not one whole response", args.file.display());
        }
        events = count;
        best = Some(best.map_or(took, |least: u64| least.min(took)));
    }
    let ns = best
        .filter(|_| !args.untimed)
        .map(|nanos| nanos as f64 / events.max(1) as f64);
    println!(
        "{}",
        json!({
            "events": events,
            "pieces": pieces.len(),
            "bytes": input.len(),
            "ns_per_event": ns,
            "triggers": found,
        })
    );
    Ok(())
}

/// All pieces through the protocol core, with something done after each.
fn feed<S: Sink>(
    exchange: &mut Exchange,
    at: Stamp,
    pieces: &[&[u8]],
    sink: &mut S,
    mut then: impl FnMut(&mut S),
) -> anyhow::Result<Progress> {
    let mut end = Progress::More;
    for piece in pieces {
        end = exchange
            .feed(at, piece, sink)
            .map_err(|error| anyhow::anyhow!("{} at {}", error.cause.text(), error.offset))?;
        then(sink);
    }
    Ok(end)
}

/// A request that is cancelled by this trigger; by none with `none`.
fn request(trigger: &str, room: Room) -> anyhow::Result<Request> {
    let cancel = match trigger {
        "none" => None,
        name => {
            let trigger = Trigger::from_name(name).context("no such trigger")?;
            let plan = CancelPlan::new(1, 100.0, Span::ZERO).from_trigger(trigger);
            plan.of(0, 0, Stamp::from_nanos(1))
        }
    };
    let ticket = Ticket {
        phase: Phase::Profiling,
        index: 0,
        entry: 0,
        core: 0,
        session: 0,
        seat: 0,
        ids: Ids::new(Purpose::new(1, "ids"), 0, Correlation::User(0)),
        scheduled: Stamp::from_nanos(1),
        cancel,
    };
    let hour = Span::from_secs_f64(3_600.0);
    Ok(Request::new(ticket, Stamp::from_nanos(1), hour, room))
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
