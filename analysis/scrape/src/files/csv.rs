//! `server_metrics_export.csv`: six lines of comment, then one section per type.

use ::csv::{Terminator, WriterBuilder};
use pinfire_artifacts::csv_bytes;

use super::{MAX_LABEL_COLUMNS, PERCENTILES, Row, ServerMetrics, short_url};
use crate::Run;
use crate::reduce::{Reduced, Stats};
use crate::text::Kind;

const KINDS: [Kind; 4] = [Kind::Gauge, Kind::Counter, Kind::Histogram, Kind::Unknown];

pub(super) fn of(metrics: &ServerMetrics, run: &Run) -> Vec<u8> {
    let mut text = format!(
        "# Server Metrics Export (CSV)\n# aiperf_version: {}\n# schema_version: 1.0\n\
         # benchmark_id: {}\n# Note: same id as in the JSON and Parquet files\n#\n",
        run.version, run.benchmark_id
    )
    .into_bytes();
    let rows = metrics.rows(metrics.window);
    let (infos, plain): (Vec<_>, Vec<_>) = rows
        .iter()
        .partition(|(name, row)| row.kind == Kind::Gauge && name.ends_with("_info"));
    let mut sections: Vec<Vec<Vec<String>>> = KINDS
        .iter()
        .filter_map(|kind| {
            let rows: Vec<_> = plain
                .iter()
                .filter(|(_, row)| row.kind == *kind)
                .map(|(name, row)| (name.as_str(), *row))
                .collect();
            (!rows.is_empty()).then(|| section(*kind, &rows, metrics.slice.is_some()))
        })
        .collect();
    if !infos.is_empty() {
        sections.push(info_section(&infos));
    }
    for (place, section) in sections.into_iter().enumerate() {
        if place > 0 {
            text.push(b'\n');
        }
        let mut builder = WriterBuilder::new();
        builder.terminator(Terminator::Any(b'\n'));
        text.extend(csv_bytes(&mut builder, section));
    }
    text
}

fn section(kind: Kind, rows: &[(&str, &Row<'_>)], sliced: bool) -> Vec<Vec<String>> {
    let labels = label_columns(rows);
    let mut header: Vec<String> = ["Endpoint", "Type", "Metric", "Unit"]
        .map(str::to_owned)
        .into();
    header.extend(stat_columns(kind, sliced));
    header.extend(labels.iter().map(|label| (*label).to_owned()));
    header.push("Description".to_owned());
    if kind == Kind::Histogram {
        header.push("buckets".to_owned());
    }
    let mut lines = vec![header];
    for (name, row) in rows {
        for (endpoint, own, reduced) in &row.series {
            let mut line = vec![
                short_url(&endpoint.url).to_owned(),
                kind.name().to_owned(),
                (*name).to_owned(),
                row.unit.unwrap_or_default().to_owned(),
            ];
            line.extend(stats(reduced, sliced));
            line.extend(labels.iter().map(|label| {
                let found = own.iter().find(|(name, _)| name == label);
                found.map_or_else(String::new, |(_, value)| value.clone())
            }));
            line.push(row.help.to_owned());
            if let Stats::Histogram(histogram) = &reduced.stats {
                let buckets = histogram.buckets.iter();
                let buckets = buckets.map(|(le, count)| format!("{le}={}", *count as u64));
                line.push(buckets.collect::<Vec<_>>().join(";"));
            }
            lines.push(line);
        }
    }
    lines
}

/// The labels of a section, those that occur together side by side.
fn label_columns<'a>(rows: &[(&str, &Row<'a>)]) -> Vec<&'a str> {
    let mut columns: Vec<&'a str> = Vec::new();
    for (_, row) in rows {
        for (_, labels, _) in &row.series {
            let labels: &'a crate::text::Labels = labels;
            for (name, _) in labels {
                if columns.len() < MAX_LABEL_COLUMNS && !columns.contains(&name.as_str()) {
                    columns.push(name);
                }
            }
        }
    }
    columns
}

fn stat_columns(kind: Kind, sliced: bool) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let mut add = |names: &[&str]| columns.extend(names.iter().map(|name| (*name).to_owned()));
    match kind {
        Kind::Gauge | Kind::Unknown => {
            add(&["avg", "min", "max", "std"]);
            add(&PERCENTILES);
        }
        Kind::Counter => {
            add(&["total", "rate"]);
            if sliced {
                add(&["rate_avg", "rate_min", "rate_max", "rate_std"]);
            }
        }
        Kind::Histogram => {
            add(&["count", "count_rate", "sum", "sum_rate", "avg"]);
            columns.extend(PERCENTILES.map(|name| format!("{name}_estimate")));
        }
    }
    columns
}

fn stats(reduced: &Reduced, sliced: bool) -> Vec<String> {
    let cell = |value: Option<f64>| {
        let value = value.filter(|value| value.is_finite());
        value.map_or_else(String::new, |value| format!("{value:.4}"))
    };
    match &reduced.stats {
        Stats::Gauge(gauge) => [gauge.avg, gauge.min, gauge.max, gauge.std]
            .into_iter()
            .chain(gauge.percentiles)
            .map(|value| cell(Some(value)))
            .collect(),
        Stats::Counter(counter) => {
            let mut cells = vec![cell(Some(counter.total)), cell(Some(counter.rate))];
            if sliced {
                cells.extend(
                    (0..4).map(|at| {
                        cell(counter.slice_rates.and_then(|rates| rates.get(at).copied()))
                    }),
                );
            }
            cells
        }
        Stats::Histogram(histogram) => {
            let some = |value: f64| Some(value).filter(|_| histogram.count > 0.0);
            let mut cells = vec![
                (histogram.count as u64).to_string(),
                cell(some(histogram.count_rate)),
                cell(some(histogram.sum)),
                cell(some(histogram.sum_rate)),
                cell(histogram.avg()),
            ];
            cells.extend(
                (0..9).map(|at| cell(histogram.percentiles.and_then(|all| all.get(at).copied()))),
            );
            cells
        }
    }
}

fn info_section(infos: &[(&String, &Row<'_>)]) -> Vec<Vec<String>> {
    let header = ["Endpoint", "Metric", "Key", "Value", "Description"];
    let mut lines: Vec<Vec<String>> = vec![header.map(str::to_owned).into()];
    for (name, row) in infos {
        for (endpoint, labels, _) in &row.series {
            for (key, value) in labels.iter() {
                lines.push(vec![
                    short_url(&endpoint.url).to_owned(),
                    (*name).clone(),
                    key.clone(),
                    value.clone(),
                    row.help.to_owned(),
                ]);
            }
        }
    }
    lines
}
