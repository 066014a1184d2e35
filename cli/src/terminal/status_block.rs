//! The periodic statistics block: a few lines about the run as it goes on, for logs and pipes.

use std::fmt::Write;

use pinfire_analysis::live::{Quantity, Snapshot};
use pinfire_base::clock::{Span, Stamp};

use crate::terminal::progress::Stage;

/// Says when the next block is due, and what has happened since the last.
pub struct Blocks {
    every: Option<Span>,
    last: Stamp,
    before: Before,
}

/// What had been counted at the last block.
#[derive(Clone, Copy, Default)]
struct Before {
    answered: u64,
    tokens: [u64; 2],
}

impl Blocks {
    /// A block every so often, or none.
    pub fn new(every: Option<Span>, begun: Stamp) -> Self {
        Self {
            every,
            last: begun,
            before: Before::default(),
        }
    }

    /// Whether one is due.
    pub fn due(&self, now: Stamp) -> bool {
        self.every
            .is_some_and(|every| now.since(self.last) >= every)
    }

    /// The next block; nothing before the first request has ended.
    pub fn next(&mut self, stage: &Stage, figures: &Snapshot, now: Stamp) -> Option<String> {
        let seconds = now.since(self.last).as_secs_f64();
        let counts = [
            figures.ended.valid,
            figures.ended.errors,
            figures.ended.cancelled,
        ];
        let done: u64 = counts.iter().sum();
        self.last = now;
        let run = &figures.run;
        let new = Before {
            answered: run.answered,
            tokens: run.tokens,
        };
        let old = std::mem::replace(&mut self.before, new);
        if done == 0 || seconds <= 0.0 {
            return None;
        }
        // A count that is smaller than before is another phase's.
        let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
        let [valid, errors, cancelled] = counts;
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[realtime {} {}]",
            clock(now.since(stage.begun)),
            stage.name.to_lowercase()
        );
        let _ = write!(
            text,
            "  {:<7}{:>9.1}/s avg{:>9.1}/s  in{:>9.0} tok/s  out{:>9.0} tok/s  done {done}  ok \
             {valid}  err {errors}",
            "req",
            rate(new.answered, old.answered),
            run.per_second(run.answered),
            rate(new.tokens[0], old.tokens[0]),
            rate(new.tokens[1], old.tokens[1]),
        );
        if cancelled > 0 {
            let _ = write!(text, "  cancelled {cancelled}");
        }
        let _ = write!(text, "  in flight {}", stage.in_flight());
        for (name, quantity, unit, percentiles, word) in [
            ("ttft", Quantity::FirstToken, 1e6, LATENCY, "ms"),
            ("itl", Quantity::InterToken, 1e6, LATENCY, "ms"),
            ("e2e", Quantity::Latency, 1e6, LATENCY, "ms"),
            ("intvty", Quantity::PerUser, 1.0, LATENCY, "tok/s"),
            ("isl", Quantity::Input, 1.0, LENGTH, "tok"),
            ("osl", Quantity::Output, 1.0, LENGTH, "tok"),
        ] {
            let values = run.of(quantity);
            if values.count == 0 {
                continue;
            }
            let _ = write!(text, "\n  {name:<7}");
            for percentile in percentiles {
                let value = values.get(percentile) / unit;
                let shown = match word {
                    "ms" if value < 1.0 => "<1".to_owned(),
                    "tok" => format!("{value:.0}"),
                    _ => format!("{value:.1}"),
                };
                let _ = write!(text, "p{percentile:.0}{shown:>9}  ");
            }
            text.push_str(word);
        }
        let _ = write!(
            text,
            "\n  {:<7}in {} tok  out {} tok",
            "tot", run.tokens[0], run.tokens[1]
        );
        Some(text)
    }
}

const LATENCY: [f64; 4] = [50.0, 75.0, 95.0, 99.0];
const LENGTH: [f64; 4] = [50.0, 75.0, 90.0, 99.0];

/// `MM:SS`, from one hour on `H:MM:SS`.
fn clock(span: Span) -> String {
    let seconds = span.nanos() / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}
