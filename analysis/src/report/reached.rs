//! What was asked of the load against what came of it, with the reason where the two differ.

use pinfire_artifacts::tag;

use super::{Cancellation, Health};
use crate::collect::{Progress, Tally};
use crate::facts::{RunEnd, RunFacts};
use crate::metric::curve::Track;

/// Less than this share of what was asked, or as much more, is worth a word.
const DIFFERS: f64 = 0.05;
/// Standard deviations of chance that are not.
const CHANCE: f64 = 3.0;
/// Fewer requests than this tell nothing of a rate or a share.
const FEW: u64 = 20;

/// One number that was asked, and what it came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Reached {
    /// Its name in the files.
    pub what: &'static str,
    /// What was asked.
    pub asked: f64,
    /// What came of it.
    pub reached: f64,
    /// Of both.
    pub unit: &'static str,
    /// Why, where they differ by more than a bound.
    pub reason: Option<String>,
}

impl Reached {
    /// `within`: how far off is nothing to speak of, as a share of what was asked.
    fn new(
        what: &'static str,
        asked: f64,
        reached: f64,
        unit: &'static str,
        within: f64,
        reason: impl FnOnce() -> String,
    ) -> Self {
        let differs = (reached - asked).abs() > within * asked;
        Self {
            what,
            asked,
            reached,
            unit,
            reason: differs.then(reason),
        }
    }

    /// The line for the console, where it is worth one.
    pub fn line(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(format!(
            "{}: {} {} asked, {} reached: {reason}.",
            self.what.replace('_', " "),
            plain(self.asked),
            self.unit,
            plain(self.reached),
        ))
    }
}

/// «11.4 of 50 requests/s».
pub fn in_short(reached: f64, asked: f64, unit: &str) -> String {
    format!("{} of {} {unit}", plain(reached), plain(asked))
}

/// At most one digit behind the point.
fn plain(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    format!("{rounded}")
}

/// Requests started per second, over the second half of the time in which any was: a ramp is over
/// by then.
fn start_rate(tracks: &[Track]) -> Option<f64> {
    let mut starts: Vec<u64> = tracks.iter().map(|track| track.start).collect();
    if (starts.len() as u64) < FEW {
        return None;
    }
    starts.sort_unstable();
    let (first, last) = (*starts.first()?, *starts.last()?);
    let middle = first + (last - first) / 2;
    let later = starts.partition_point(|start| *start < middle);
    let from = *starts.get(later)?;
    let seconds = last.saturating_sub(from) as f64 / 1e9;
    (seconds > 0.0).then(|| (starts.len() - later - 1) as f64 / seconds)
}

/// What is known of it before the figures are made: the rate of starts.
pub(super) fn rate_of(profiling: &Tally) -> Option<f64> {
    start_rate(&profiling.tracks)
}

/// What was asked of a run that is known, against what the run was.
pub(super) struct Seen<'a> {
    pub facts: &'a RunFacts,
    pub end: &'a RunEnd,
    pub counts: Progress,
    pub health: &'a Health,
    pub cancellation: Option<&'a Cancellation>,
    pub start_rate: Option<f64>,
    /// Averages of the measured phase by tag.
    pub average: &'a dyn Fn(&str) -> Option<f64>,
}

impl Seen<'_> {
    /// Everything that was asked and of which it is known what came of it.
    pub(super) fn all(&self) -> Vec<Reached> {
        // Of one shard's requests the whole is not known.
        if !self.facts.shard.is_whole() {
            return Vec::new();
        }
        let rows = [
            self.rate(),
            self.concurrency(),
            self.requests(),
            self.duration(),
            self.cancels(),
            self.output(),
        ];
        rows.into_iter().flatten().collect()
    }

    fn rate(&self) -> Option<Reached> {
        let asked = self.facts.profiling.rate.filter(|rate| rate.is_finite())?;
        if self.facts.profiling.kind.contains("user") {
            return None;
        }
        let reached = self.start_rate?;
        let started = self.counts.valid + self.counts.errors + self.counts.cancelled;
        // Arrivals by chance are as many as their number's root off.
        let chance = CHANCE / (started.max(1) as f64 / 2.0).sqrt();
        let reason = || match self.facts.profiling.concurrency {
            _ if reached > asked => "more became due at once than the rate says".to_owned(),
            Some(most) => format!(
                "no more than {most} requests may be in flight (--concurrency), and the server held them"
            ),
            None => "requests waited for the answer of the turn before, or the client was late"
                .to_owned(),
        };
        let within = chance.max(DIFFERS);
        Some(Reached::new(
            "request_rate",
            asked,
            reached,
            "requests/s",
            within,
            reason,
        ))
    }

    fn concurrency(&self) -> Option<Reached> {
        let held = self.health.held?;
        let reason = || {
            "slots were empty between requests, or waited for the turns of their conversations"
                .to_owned()
        };
        let (asked, reached) = (held.asked.into(), held.avg);
        Some(Reached::new(
            "concurrency",
            asked,
            reached,
            "streams",
            DIFFERS,
            reason,
        ))
    }

    fn requests(&self) -> Option<Reached> {
        let asked = self.facts.profiling.requests?;
        let Progress {
            valid,
            errors,
            cancelled,
            dropped,
            ..
        } = self.counts;
        let reached = valid + errors + cancelled;
        let reason = || match (&self.end.interrupted, dropped) {
            (Some(why), _) => format!("the run ended early: {why}"),
            (None, 0) => "the phase was over before".to_owned(),
            (None, dropped) => {
                format!("the phase was over before, {dropped} were cut off by its end")
            }
        };
        let told = Reached::new(
            "request_count",
            asked as f64,
            reached as f64,
            "requests",
            0.0,
            reason,
        );
        Some(Reached {
            // Conversations that were begun are finished: more than was asked is no lack.
            reason: told.reason.filter(|_| reached < asked),
            ..told
        })
    }

    fn duration(&self) -> Option<Reached> {
        let asked = self.facts.profiling.duration_s?;
        let window = self.end.profiling?;
        let reached = window.end?.since(window.start).as_secs_f64();
        let reason = || match &self.end.interrupted {
            Some(why) => format!("the run ended early: {why}"),
            None if reached < asked => "there was nothing more to send".to_owned(),
            None => "the last answers were awaited".to_owned(),
        };
        Some(Reached::new(
            "duration", asked, reached, "s", DIFFERS, reason,
        ))
    }

    fn cancels(&self) -> Option<Reached> {
        let found = self.cancellation?;
        let asked = found.asked.rate_pct;
        let reached = found.reached_pct?;
        let Progress {
            valid,
            errors,
            cancelled,
            ..
        } = self.counts;
        let ended = valid + errors + cancelled;
        if ended < FEW {
            return None;
        }
        let share = asked / 100.0;
        let chance = CHANCE * (share * (1.0 - share) / ended as f64).sqrt() / share;
        let reason = || {
            let first = found.finished_first;
            if first > 0 {
                format!(
                    "{first} of {} chosen requests were answered before their cancel was due; a shorter \
                     --request-cancellation-delay or a longer --osl lets them be cut off",
                    found.chosen
                )
            } else if found.failed_first > 0 {
                format!(
                    "{} of {} chosen requests failed first",
                    found.failed_first, found.chosen
                )
            } else {
                format!("{} of {ended} requests were chosen", found.chosen)
            }
        };
        let within = chance.max(DIFFERS);
        Some(Reached::new(
            "cancelled",
            asked,
            reached,
            "%",
            within,
            reason,
        ))
    }

    fn output(&self) -> Option<Reached> {
        let asked = self.facts.dataset.osl?.mean;
        let reached = (self.average)(tag::OUTPUT_SEQUENCE_LENGTH)?;
        let reason = || {
            match reached < asked {
            true => "the model ends its answers early (--extra-inputs ignore_eos:true, where the server \
                     knows it)"
                .to_owned(),
            false => "the server does not keep to the asked length".to_owned(),
        }
        };
        let spread =
            self.facts.dataset.osl?.stddev / asked / (self.counts.valid.max(1) as f64).sqrt();
        let within = (CHANCE * spread).max(2.0 * DIFFERS);
        Some(Reached::new(
            "osl", asked, reached, "tokens", within, reason,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{LengthFacts, PhaseWindow};
    use crate::report::health::Held;
    use pinfire_base::clock::{Stamp, WallAnchor};

    fn tracks(every_ms: u64, count: u64) -> Vec<Track> {
        let at = |n: u64| Track {
            start: n * every_ms * 1_000_000,
            end: (n + 1) * every_ms * 1_000_000,
        };
        (0..count).map(at).collect()
    }

    #[test]
    fn the_rate_is_that_of_the_second_half() {
        assert_eq!(start_rate(&tracks(20, 10)), None);
        let rate = start_rate(&tracks(20, 101)).unwrap();
        assert!((rate - 50.0).abs() < 1e-9, "{rate}");
        // A slow beginning does not count.
        let mut ramped = tracks(100, 10);
        let quick = tracks(20, 101).into_iter().map(|track| Track {
            start: track.start + 1_000_000_000,
            end: track.end + 1_000_000_000,
        });
        ramped.extend(quick);
        let rate = start_rate(&ramped).unwrap();
        assert!((rate - 50.0).abs() < 1.0, "{rate}");
    }

    #[test]
    fn what_was_not_reached_is_told_with_its_reason() {
        let mut facts = RunFacts::new("0", "0", WallAnchor::fixed(Stamp::from_nanos(0), 0));
        facts.profiling.rate = Some(50.0);
        facts.profiling.concurrency = Some(4);
        facts.profiling.requests = Some(200);
        facts.profiling.duration_s = Some(10.0);
        facts.dataset.osl = Some(LengthFacts {
            mean: 64.0,
            stddev: 0.0,
        });
        let start = Stamp::from_nanos(0);
        let end = |seconds: u64| RunEnd {
            profiling: Some(PhaseWindow {
                start,
                end: Some(Stamp::from_nanos(seconds * 1_000_000_000)),
            }),
            ..RunEnd::default()
        };
        let lines =
            |facts: &RunFacts, end: &RunEnd, valid: u64, rate, osl: f64, held: Option<f64>| {
                let health = Health {
                    held: held.map(|avg| Held {
                        asked: 4,
                        avg,
                        max: 4.0,
                        window_s: 5.0,
                    }),
                    ..Health::default()
                };
                let all = Seen {
                    facts,
                    end,
                    counts: Progress {
                        valid,
                        ..Progress::default()
                    },
                    health: &health,
                    cancellation: None,
                    start_rate: Some(rate),
                    average: &|_| Some(osl),
                }
                .all();
                all.iter().filter_map(Reached::line).collect::<Vec<_>>()
            };
        let good = lines(&facts, &end(10), 200, 51.0, 64.0, Some(3.95));
        assert_eq!(good, [""; 0]);
        let bad = lines(&facts, &end(12), 150, 11.42, 20.0, Some(2.0));
        let starts = [
            "request rate: 50 requests/s asked, 11.4 reached: no more than 4",
            "concurrency: 4 streams asked, 2 reached: slots were empty",
            "request count: 200 requests asked, 150 reached: the phase was over before",
            "duration: 10 s asked, 12 reached: the last answers",
            "osl: 64 tokens asked, 20 reached: the model ends",
        ];
        assert_eq!(bad.len(), starts.len(), "{bad:?}");
        for (line, start) in bad.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }
}
