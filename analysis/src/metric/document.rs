//! `docs/METRICS.md`, made from the table. `PINFIRE_UPDATE_GOLDEN=1 cargo test -p pinfire-analysis
//! metrics_md` writes it; without the variable the test holds the file against the table.

use pinfire_artifacts::tag;
use std::fmt::Write;
use std::path::Path;

use super::{Flags, Group, METRICS, Metric, Of, Over, Place};

const HEAD: &str = "# Metrics

Every metric of a run: what it is called in the files and on the console, how it is computed, and when it exists. This file is
made from the table in `analysis/src/metric/table.rs` by `PINFIRE_UPDATE_GOLDEN=1 cargo test -p pinfire-analysis metrics_md`; a test
holds the two equal.

## How to read it

*Kinds.* **record**: one number per request; over the run mean, minimum, maximum, sum, count, population standard deviation and
percentiles (linear between ranks, as numpy's default). **list**: several numbers per request, pooled over the run. **sum**,
**min**, **max**: one number over the run, in the files as `avg` alone. **derived**: one number from others. **curve**: a step
function of time; its statistics are weighted by how long each value was held, percentiles do not interpolate (beyond 262,144
different values they are within 0.02 %), and there are no sums and counts. **adjusted**: the sample of another metric with one infinite value per failed request.

*Records.* Where nothing else is said a metric is over answered requests: a complete response with content. Failed requests are
in those marked *failed requests*. A request that was hung up on by plan is neither: it is in `cancelled_request_count`, in the
block `cancellation` of the JSON, and in those marked *all requests*. Warmup is in none of them. A metric without a value does
not exist: it is neither 0 nor null.

*Conditions.* **streaming**: `--streaming` and an endpoint that streams. **output**: the endpoint produces tokens. **input**: it
counts input tokens. **client counts**: without `--use-server-token-count`. **cancellation**: with
`--request-cancellation-rate`. **goodput**: with `--goodput`.

*Place.* The console table and the place in it; **timing** is the table of `--show-trace-timing`; **files** are CSV, JSON and,
per request, JSONL only. **+** marks metrics of which more is better.

*D*, the duration behind all rates, is `benchmark_duration`: first start to last content of answered requests. With
`--rate-window phase` it is the length of the phase, as in AIPerf 0.13; in a time slice it is the slice's window. Curves are
over the time from the first start to the last end of any request, or over the same windows.

## Goodput

`--goodput \"time_to_first_token:370 inter_token_latency:20\"` (one argument) promises something to the user: `tag:number` pairs, the
number in the unit that the console shows. A request is good if it was answered and keeps every promise: not above the number, or
not below it where more is better (marked **+**). Equality keeps a promise; a metric that a request has no value for (the inter
token latency of an answer of one token) breaks it. `good_request_count` is in each line of the JSONL as 1 or 0; `goodput` and
`good_request_fraction` are in the summary and in each slice. What can be promised has one value per answered request: a tag that
has none in the run at hand is refused before anything is sent, and those that can be used are listed.

## Time slices

`--slice-duration 10` also writes all metrics per slice of 10 seconds to `profile_export_aiperf_timeslices.csv` (tidy: one row per
slice, metric and statistic) and `.json`. The grid begins at the start of the first request of the measurement. A request, whatever
came of it, belongs to the slice in which it *started*, however long it took; a cell in which none started is left out, so place
slices by `start_ns` and not by their number. The last slice is cut at the last end and marked `\"is_complete\": false`. Rates divide by
the slice's own length. Curves are those of the run, cut to the slice: a request that started before counts while it runs. The
latencies from the schedule (`effective_latency`, `credit_to_start_latency`) are of the run alone.

## What a cancellation does to the others

Under `cancellation.neighbours` of the JSON stand time to first token and inter token latency of answered requests, once of those
that were open when a planned disconnect went out (`overlapping`), once of the others (`apart`). A server that frees what it held
without disturbing anyone shows no difference. With many cancellations nearly every request overlaps one; compare few, with
`--request-cancellation-rate 1`.

## The example

Worked examples speak of this run. Times are milliseconds after the start of the phase; the run has
`--goodput request_latency:100` and a cancellation delay of 50 ms.

| request | due | start | connection ready | sent | first byte | content | end | ISL | OSL | outcome |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 0 | 0 | 1 | 1.25 | 1.5 | 101 | 101, 111, 131 | 131.5, with a usage of 12 + 5 = 17 tokens | 10 | 5 | answered |
| 1 | 0 | 2 | 2.25 | 2.5 | 52 | 52, 62, 72, 82 | 82 | 8 | 4 | answered |
| 2 | 90 | 91 | 91.25 | 91.5 | – | – | 141.5 | 12 | – | hung up on by plan |
";

type Section = (&'static str, fn(&Metric) -> bool);

fn document() -> String {
    let mut text = HEAD.to_owned();
    let sections: [Section; 7] = [
        ("On the console", |m| {
            matches!(m.place, Place::Table(Group::Default, _)) && !adjusted(m)
        }),
        ("Adjusted for errors", adjusted),
        ("What the server reports", |m| {
            matches!(m.place, Place::Table(Group::Usage, _)) || m.tag.starts_with("usage_")
        }),
        ("Over time", |m| {
            matches!(m.place, Place::Table(Group::Effective | Group::Active, _))
                || m.over == Over::All && m.place == Place::Files
        }),
        ("HTTP timing", |m| matches!(m.place, Place::Trace(_))),
        ("Failed requests", |m| {
            m.over == Over::Errors || m.tag == tag::TOTAL_ERROR_ISL
        }),
        ("In the files only", |_| true),
    ];
    let mut shown = vec![false; METRICS.len()];
    for (title, is_of) in sections {
        let _ = write!(text, "\n## {title}\n");
        let mut rows: Vec<(u16, &Metric)> = Vec::new();
        for (metric, shown) in METRICS.iter().zip(&mut shown) {
            if !*shown && is_of(metric) {
                *shown = true;
                let order = match metric.place {
                    Place::Table(_, order) => order.unwrap_or(u16::MAX),
                    Place::Trace(order) => order,
                    Place::Files => u16::MAX,
                };
                rows.push((order, metric));
            }
        }
        rows.sort_by_key(|(order, _)| *order);
        rows.iter().for_each(|(_, metric)| entry(&mut text, metric));
    }
    text
}

fn adjusted(metric: &Metric) -> bool {
    matches!(metric.of, Of::Adjusted(_))
}

fn entry(text: &mut String, metric: &Metric) {
    let kind = match metric.of {
        Of::Whole(_) | Of::Fraction(_) => "record",
        Of::List(_) => "list",
        Of::Sum(_) | Of::Good => "sum",
        Of::Smallest(_) => "min",
        Of::Largest(_) => "max",
        Of::Derived(_) => "derived",
        Of::Curve(_) | Of::Active(_) => "curve",
        Of::Adjusted(_) => "adjusted",
    };
    let mut said = vec![format!("{kind}, {}", metric.shown.name())];
    match metric.over {
        Over::Valid => {}
        Over::Errors => said.push("failed requests".into()),
        Over::All => said.push("all requests".into()),
    }
    let conditions = [
        (Flags::STREAMING, "streaming"),
        (Flags::OUTPUT_TOKENS, "output"),
        (Flags::INPUT_TOKENS, "input"),
        (Flags::CLIENT_COUNTS, "client counts"),
        (Flags::CANCELLATION, "cancellation"),
        (Flags::GOODPUT, "goodput"),
    ];
    let needs = conditions
        .iter()
        .filter(|(flag, _)| metric.needs.has(*flag));
    let needs: Vec<&str> = needs.map(|(_, name)| *name).collect();
    if !needs.is_empty() {
        said.push(format!("needs {}", needs.join(" + ")));
    }
    said.push(match metric.place {
        _ if !metric.is_shown() => "internal: shown nowhere".into(),
        Place::Table(Group::Default, Some(order)) => format!("console {order}"),
        Place::Table(Group::Default, None) => "console, last".into(),
        Place::Table(group, Some(order)) => format!("console{} {order}", group.suffix()),
        Place::Table(group, None) => format!("console{}", group.suffix()),
        Place::Trace(order) => format!("timing {order}"),
        Place::Files if metric.is_per_record() => "files".into(),
        Place::Files => "files, not per request".into(),
    });
    if metric.marks.has(Flags::LARGER_IS_BETTER) {
        said.push("+".into());
    }
    let _ = write!(
        text,
        "\n### `{}`\n\n**{}** ({}). {}\n\n- {}\n- Example: {}\n",
        metric.tag,
        metric.name,
        said.join("; "),
        metric.doc,
        metric.formula,
        metric.example,
    );
}

#[test]
fn metrics_md_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let document = document();
    if std::env::var_os("PINFIRE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(
        file == document,
        "docs/METRICS.md is not what the table says; PINFIRE_UPDATE_GOLDEN=1 writes it anew"
    );
}
