//! The spread of a run's rates, from slices of its own time.
//!
//! Each request's work is spread evenly over its time, so that requests that end in step do not
//! look like a rate that jumps. The run is cut into equal slices, none shorter than the mean
//! request (two neighbours would say the same), and the slices are resampled.

use pinfire_artifacts::tag;
use pinfire_base::random::Purpose;

use super::bootstrap::{RESAMPLES, middle};
use super::files::{Run, Span};

/// The most slices of a run.
const MOST: usize = 50;
/// Fewer slices say nothing about a spread.
const LEAST: usize = 5;

/// What a rate counts.
fn work(tag: &str) -> Option<fn(&Span) -> f64> {
    Some(match tag {
        tag::REQUEST_THROUGHPUT => |_| 1.0,
        tag::OUTPUT_TOKEN_THROUGHPUT => |span| span.output,
        tag::INPUT_TOKEN_THROUGHPUT => |span| span.input,
        tag::TOTAL_TOKEN_THROUGHPUT => |span| span.output + span.input,
        _ => return None,
    })
}

/// Whether a metric is such a rate.
pub fn is_rate(tag: &str) -> bool {
    work(tag).is_some()
}

/// The rate in each slice, relative to their mean; `None` where the run is too short for an answer.
fn slices(run: &Run, tag: &str) -> Option<Vec<f64>> {
    let work = work(tag)?;
    let spans = &run.spans;
    let start = spans.iter().map(|span| span.start).min()?;
    let end = spans.iter().map(|span| span.end).max()?;
    let whole = (end - start) as f64;
    let mean = spans
        .iter()
        .map(|span| (span.end - span.start) as f64)
        .sum::<f64>()
        / spans.len() as f64;
    let count = ((whole / mean.max(1.0)) as usize).min(MOST);
    if count < LEAST {
        return None;
    }
    let width = whole / count as f64;
    let mut slices = vec![0.0; count];
    for span in spans {
        let from = (span.start - start) as f64;
        // A request of no length still has its work.
        let to = ((span.end - start) as f64).max(from + 1.0);
        let first = ((from / width) as usize).min(count - 1);
        let last = ((to / width) as usize).min(count - 1);
        for (place, slice) in slices.iter_mut().enumerate().take(last + 1).skip(first) {
            let low = place as f64 * width;
            let high = if place + 1 == count { to } else { low + width };
            let shared = to.min(high) - from.max(low);
            *slice += work(span) * (shared / (to - from)).clamp(0.0, 1.0);
        }
    }
    let mean = slices.iter().sum::<f64>() / count as f64;
    (mean > 0.0).then(|| slices.iter().map(|slice| slice / mean).collect())
}

/// The middle `level` of the difference of a rate, of which the summaries say `a` and `b`.
pub fn interval(
    runs: (&Run, &Run),
    tag: &str,
    (a, b): (f64, f64),
    level: f64,
    seed: u64,
) -> Option<(f64, f64)> {
    let (of_a, of_b) = (slices(runs.0, tag)?, slices(runs.1, tag)?);
    let purpose = Purpose::new(seed, &format!("compare:{tag}:slices"));
    let differences = (0..RESAMPLES).map(|index| {
        let mut draws = purpose.at(index);
        let mut mean = |slices: &[f64]| {
            let n = slices.len() as u64;
            let one = |at: u64| slices.get(usize::try_from(at).unwrap_or(0)).copied();
            let sum: f64 = slices.iter().filter_map(|_| one(draws.below(n))).sum();
            sum / slices.len() as f64
        };
        let from_a = a * mean(&of_a);
        b * mean(&of_b) - from_a
    });
    middle(differences.collect(), level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `streams` closed loops of `count` requests each, of `nanos` each.
    fn closed_loop(streams: u64, count: u64, nanos: u64) -> Run {
        let spans = (0..streams * count).map(|i| Span {
            start: i / streams * nanos,
            end: (i / streams + 1) * nanos,
            output: 10.0,
            input: 5.0,
        });
        Run {
            spans: spans.collect(),
            ..Run::default()
        }
    }

    #[test]
    fn requests_in_step_are_a_steady_rate() {
        let run = closed_loop(8, 37, 1_000_000);
        let slices = slices(&run, "output_token_throughput").unwrap();
        assert_eq!(slices.len(), 37);
        for slice in &slices {
            assert!((slice - 1.0).abs() < 1e-9, "{slices:?}");
        }
        let (low, high) = interval(
            (&run, &run),
            "output_token_throughput",
            (10.0, 12.0),
            0.95,
            1,
        )
        .unwrap();
        assert!((low - 2.0).abs() < 1e-9 && (high - 2.0).abs() < 1e-9);
    }

    #[test]
    fn no_work_is_lost_and_short_runs_have_no_answer() {
        let mut run = closed_loop(3, 20, 1_000_000);
        // One request that took half of the run makes the rate uneven.
        run.spans.push(Span {
            start: 0,
            end: 10_000_000,
            output: 1_000.0,
            input: 0.0,
        });
        let of_run = slices(&run, "output_token_throughput").unwrap();
        let sum: f64 = of_run.iter().sum();
        assert!((sum - of_run.len() as f64).abs() < 1e-9);
        assert!(of_run[0] > 1.5 && of_run[of_run.len() - 1] < 0.5);
        assert_eq!(
            slices(&closed_loop(3, 4, 1_000), "request_throughput"),
            None
        );
        assert_eq!(slices(&run, "request_latency"), None);
    }
}
