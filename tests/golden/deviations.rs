//! Where the figures differ from AIPerf's on purpose, why, and what both sides must be.

use serde_json::Value;

use crate::compare::{Difference, close};
use crate::fixture::Golden;

/// A deviation from AIPerf, and what it does to the figures.
pub struct Deviation {
    /// What is different.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Whether it is about this difference.
    pub applies: fn(&Golden, &Difference) -> bool,
    /// Whether both figures are what the deviation makes of them.
    pub holds: fn(&Golden, &Difference) -> bool,
}

/// AIPerf keeps wall times as floats: multiples of 256 ns.
const CLOCK_NS: f64 = 256.0;

const RATES: [(&str, &str); 5] = [
    ("request_throughput", "request_count"),
    ("output_token_throughput", "total_osl"),
    ("input_token_throughput", "total_isl"),
    ("total_token_throughput", ""),
    ("goodput", "good_request_count"),
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn is_curve(tag: &str) -> bool {
    tag == "tokens_in_flight"
        || (tag.starts_with("effective_") && tag != "effective_latency")
        || tag.starts_with("active_")
}

/// The figures of the place that a difference is in, on both sides.
fn around<'a>(golden: &'a Golden, difference: &Difference) -> (&'a Value, &'a Value) {
    match difference.place.as_str() {
        "warmup " => (
            &golden.theirs["warmup_metrics"],
            &golden.ours["warmup_metrics"],
        ),
        _ => (&golden.theirs, &golden.ours),
    }
}

/// Seconds behind AIPerf's rates: the window of the phase.
fn their_window(theirs: &Value) -> f64 {
    number(&theirs["request_count"]["avg"]) / number(&theirs["request_throughput"]["avg"])
}

fn over_the_run(difference: &Difference) -> bool {
    matches!(difference.place.as_str(), "" | "warmup ")
}

fn in_a_slice(difference: &Difference) -> bool {
    difference.place.starts_with("slice ")
}

pub static DEVIATIONS: &[Deviation] = &[
    Deviation {
        name: "rates are over the first start to the last content",
        reason: "anyone can compute them again from the lines, and idle time at the ends is not the \
                 server's; --rate-window phase gives AIPerf's",
        applies: |_, d| {
            over_the_run(d) && d.ours.is_object() && RATES.iter().any(|(tag, _)| *tag == d.tag)
        },
        holds: |golden, d| {
            let (theirs, ours) = around(golden, d);
            let count = RATES.iter().find(|(tag, _)| *tag == d.tag).unwrap().1;
            let amount = |side: &Value| match count {
                "" => number(&side["total_isl"]["avg"]) + number(&side["total_osl"]["avg"]),
                tag => number(&side[tag]["avg"]),
            };
            let duration = number(&ours["benchmark_duration"]["avg"]);
            let (their_rate, our_rate) = (number(&d.theirs["avg"]), number(&d.ours["avg"]));
            close(amount(theirs), their_rate * their_window(theirs), 1e-9)
                && close(amount(ours), our_rate * duration, 1e-9)
                && amount(theirs) == amount(ours)
                && their_window(theirs) > duration
        },
    },
    Deviation {
        name: "without streaming there are no rows of zeros",
        reason: "what was not measured is absent: a zero would be read as a figure",
        applies: |golden, d| golden.name == "chat-nostream" && is_curve(&d.tag) && d.ours.is_null(),
        holds: |_, d| {
            let figures = d.theirs.as_object().unwrap().iter();
            d.tag != "effective_concurrency"
                && figures
                    .filter(|(key, _)| *key != "unit")
                    .all(|(_, value)| number(value) == 0.0)
        },
    },
    Deviation {
        name: "curves are over the first start to the last end",
        reason: "they use the same window as the rates, with the tail in which requests still ended",
        applies: |_, d| over_the_run(d) && is_curve(&d.tag) && d.ours.is_object(),
        holds: |golden, d| {
            let (theirs, _) = around(golden, d);
            let (theirs, ours) = (their_window(theirs), our_curve_window(golden, d));
            let (their_avg, our_avg) = (number(&d.theirs["avg"]), number(&d.ours["avg"]));
            match d.tag.starts_with("active_") {
                // Divided by the time in which the phase was active: the window does not matter.
                true => close(their_avg, our_avg, 1e-4),
                // What is idle at the ends is not in ours; the area is the same.
                false => close(their_avg * theirs, our_avg * ours, 1e-4),
            }
        },
    },
    Deviation {
        name: "times are whole nanoseconds, not multiples of 256",
        reason: "a float cannot hold a wall time of today to the nanosecond; a count of nanoseconds can",
        applies: |_, d| {
            [
                "benchmark_duration",
                "effective_latency",
                "credit_to_start_latency",
            ]
            .contains(&d.tag.as_str())
                && d.ours.is_object()
        },
        holds: |_, d| {
            let unit = if d.tag == "benchmark_duration" {
                1e9
            } else {
                1e6
            };
            let apart = (number(&d.theirs[&d.figure]) - number(&d.ours[&d.figure])).abs();
            let values = match d.figure.as_str() {
                "sum" => number(&d.ours["count"]),
                _ => 1.0,
            };
            apart * unit <= 2.0 * CLOCK_NS * values
        },
    },
    Deviation {
        name: "the window of a slice is whole nanoseconds",
        reason: "as above; slices then meet without holes",
        applies: |_, d| in_a_slice(d) && RATES.iter().any(|(tag, _)| *tag == d.tag),
        holds: |_, d| close(number(&d.theirs["avg"]), number(&d.ours["avg"]), 1e-6),
    },
    Deviation {
        name: "curves in slices, whose stamps AIPerf rounds apart and together",
        reason: "as above: rounded stamps make overlaps that never were",
        applies: |_, d| in_a_slice(d) && is_curve(&d.tag) && d.ours.is_object(),
        holds: |_, d| {
            let (theirs, ours) = (number(&d.theirs[&d.figure]), number(&d.ours[&d.figure]));
            match d.figure.as_str() {
                // Where one gap ends and the next begins, rounding makes holes and overlaps of up
                // to 256 ns: lower minima and higher maxima than there ever were.
                "min" if d.tag.contains("decode_throughput") => ours >= theirs * (1.0 - 2e-4),
                "max" if d.tag.contains("decode_throughput") => ours <= theirs * (1.0 + 2e-4),
                _ => close(theirs, ours, 2e-4),
            }
        },
    },
    Deviation {
        name: "the time to connect is in http_req_connecting alone",
        reason: "AIPerf counts it in again while sending, and so twice in the total",
        applies: |_, d| {
            ["http_req_sending", "http_req_duration", "http_req_total"].contains(&d.tag.as_str())
                && d.ours.is_object()
        },
        holds: |golden, d| {
            // The average shows it for a whole run or slice; the lines show each.
            let (around, figure) = match d.place.split_once(' ') {
                Some(("line", number)) => {
                    let line: usize = number.trim().parse().unwrap();
                    (&golden.their_lines[line - 1]["metrics"], "value")
                }
                Some(("slice", number)) => {
                    let at: usize = number.trim().parse().unwrap();
                    (
                        &golden.their_slices.as_ref().unwrap()["timeslices"][at],
                        "avg",
                    )
                }
                _ => (around(golden, d).0, "avg"),
            };
            let overhead = number(&around["http_req_connection_overhead"][figure]);
            // AIPerf's time to connect has the resolver's in it.
            let connecting = match d.tag.as_str() {
                "http_req_total" => overhead,
                _ => overhead - number(&around["http_req_dns_lookup"][figure]),
            };
            let apart = number(&d.theirs[figure]) - number(&d.ours[figure]);
            connecting > 0.0 && (apart - connecting).abs() < 1e-6
        },
    },
    Deviation {
        name: "a planned cancellation is no error",
        reason: "the client hung up as it was asked to; the server did nothing wrong",
        applies: |golden, d| {
            golden.name == "chat-cancel"
                && (d.tag.starts_with("adj_")
                    || [
                        "error_request_count",
                        "context_overflow_count",
                        "error_isl",
                        "total_error_isl",
                        "completed_request_count",
                        "request_error_rate",
                    ]
                    .contains(&d.tag.as_str()))
        },
        holds: |golden, d| {
            // All errors of this run, and of its slices, are planned cancellations.
            match d.tag.as_str() {
                "completed_request_count" => {
                    number(&d.ours["avg"]) < number(&d.theirs["avg"])
                        && (!d.place.is_empty()
                            || d.ours["avg"] == golden.theirs["request_count"]["avg"])
                }
                "request_error_rate" => {
                    number(&d.theirs["avg"]) > 0.0 && number(&d.ours["avg"]) == 0.0
                }
                _ => d.ours.is_null(),
            }
        },
    },
    Deviation {
        name: "cancelled requests have a count of their own",
        reason: "an outcome that is no error and no success would else be missing in the sums",
        applies: |_, d| d.tag == "cancelled_request_count" && d.theirs.is_null(),
        holds: |golden, d| {
            !d.place.is_empty() || d.ours["avg"] == golden.theirs["error_request_count"]["avg"]
        },
    },
];

/// From the first start to the last end, of AIPerf's own lines.
fn our_curve_window(golden: &Golden, difference: &Difference) -> f64 {
    let phase = match difference.place.as_str() {
        "warmup " => "warmup",
        _ => "profiling",
    };
    let of_phase = golden
        .their_lines
        .iter()
        .map(|line| &line["metadata"])
        .filter(|metadata| metadata["benchmark_phase"] == phase);
    let time = |metadata: &Value, key: &str| metadata[key].as_i64().unwrap();
    let first = of_phase
        .clone()
        .map(|m| time(m, "request_start_ns"))
        .min()
        .unwrap();
    let last = of_phase.map(|m| time(m, "request_end_ns")).max().unwrap();
    (last - first) as f64 / 1e9
}
