//! Tables of a sweep: on the console, and `pareto_table.csv`.

use super::{Cell, Marks, Spread, Sweep, bare, csv};
use crate::compare::Stat;
use crate::export::table::{Align, Table};
use crate::export::words::number;
use pinfire_artifacts::tag;

/// The columns behind the parameters: heading, key of the CSV, value.
type Column = (&'static str, &'static str, fn(&Sweep, &Cell) -> Option<f64>);

const COLUMNS: [Column; 9] = [
    ("Total TPS", "total_tps", |_, cell| cell.total_tps()),
    ("TPS/GPU", "tps_per_gpu", |sweep, cell| {
        Some(cell.total_tps()? / sweep.num_gpus? as f64)
    }),
    ("TPS/User", "tps_per_user", |_, cell| cell.tps_per_user()),
    ("TTFT avg (ms)", "ttft_avg_ms", |_, cell| {
        cell.figure(tag::TIME_TO_FIRST_TOKEN, Stat::Avg)
    }),
    ("TTFT p99", "ttft_p99_ms", |_, cell| {
        cell.figure(tag::TIME_TO_FIRST_TOKEN, Stat::Percentile(99.0))
    }),
    ("ITL p99", "itl_p99_ms", |_, cell| {
        cell.figure(tag::INTER_TOKEN_LATENCY, Stat::Percentile(99.0))
    }),
    ("Latency p95", "latency_p95_ms", |_, cell| {
        cell.figure(tag::REQUEST_LATENCY, Stat::Percentile(95.0))
    }),
    ("Requests/s", tag::REQUEST_THROUGHPUT, |_, cell| {
        cell.figure(tag::REQUEST_THROUGHPUT, Stat::Avg)
    }),
    ("Errors %", "error_rate_pct", |_, cell| {
        cell.figure(tag::REQUEST_ERROR_RATE, Stat::Avg)
            .filter(|rate| *rate > 0.0)
    }),
];

impl Sweep {
    /// The table for a person, with what its marks mean.
    pub fn console(&self, width: usize, colour: bool) -> String {
        let marks = self.marks();
        let columns: Vec<&Column> = COLUMNS
            .iter()
            .filter(|(_, _, value)| self.cells.iter().any(|cell| value(self, cell).is_some()))
            .collect();
        let mut head: Vec<(&str, Align)> = Vec::new();
        head.extend(
            self.parameters
                .iter()
                .map(|p| (p.name.as_str(), Align::Right)),
        );
        head.extend(columns.iter().map(|(title, ..)| (*title, Align::Right)));
        if self.trials > 1 {
            head.push(("Runs", Align::Right));
        }
        head.push(("", Align::Left));
        let last = head.len() - 1;
        let mut table = Table::new("pinfire | Sweep".to_owned(), &head, last);
        for (cell, marks) in self.cells.iter().zip(&marks) {
            let mut row: Vec<String> = cell.values.iter().map(bare).collect();
            row.extend(columns.iter().map(|(_, _, value)| {
                value(self, cell).map_or_else(|| "-".to_owned(), |value| number(Some(value)))
            }));
            if self.trials > 1 {
                row.push(format!("{}/{}", cell.good().count(), cell.trials.len()));
            }
            row.push(self.remarks(cell, *marks));
            table.row(row);
        }
        let mut text = table.render(width, colour);
        text += "* on the front of total TPS against TPS/User; ★ sweet spot: the largest product of both \
                 below saturation; saturated: more load brought less than a tenth of its share in \
                 throughput\n";
        let spoiled: usize = self.cells.iter().map(Cell::bottlenecks).sum();
        if spoiled > 0 {
            let runs: usize = self.cells.iter().map(|cell| cell.good().count()).sum();
            text += &format!(
                "client-bound: the client was the bottleneck (in {spoiled} of {runs} runs), so those figures are not \
                 the server's alone; client_health in the runs' summaries says why\n"
            );
        }
        if self.num_gpus.is_none() {
            text += "TPS/GPU needs --num-gpus\n";
        }
        text
    }

    fn remarks(&self, cell: &Cell, marks: Marks) -> String {
        let mut words = Vec::new();
        if marks.sweet_spot {
            words.push("* ★");
        } else if marks.front {
            words.push("*");
        }
        if marks.saturated {
            words.push("saturated");
        }
        if cell.good().next().is_none() {
            words.push(if cell.trials.is_empty() {
                "not run"
            } else {
                "failed"
            });
        } else if !self.objectives.is_empty() {
            words.push(if marks.feasible {
                "meets SLOs"
            } else {
                "misses SLOs"
            });
        }
        if cell.bottlenecks() > 0 {
            words.push("client-bound");
        }
        // Of several runs the first that missed something stands for them.
        let missed = cell.good().find(|trial| !trial.unreached.is_empty());
        let missed = missed.map(|trial| format!("reached {}", trial.unreached.join(", ")));
        words.extend(missed.as_deref());
        words.join(" ")
    }

    /// The table for programs.
    pub fn table_csv(&self) -> Vec<u8> {
        let marks = self.marks();
        let mut head: Vec<String> = self.parameters.iter().map(|p| p.name.clone()).collect();
        head.extend(COLUMNS.iter().map(|(_, key, _)| (*key).to_owned()));
        head.extend(
            [
                "trials",
                "pareto_optimal_tps",
                "sweet_spot",
                "saturated",
                "client_was_bottleneck",
            ]
            .map(str::to_owned),
        );
        let mut rows = vec![head];
        for (cell, marks) in self.cells.iter().zip(&marks) {
            let mut row: Vec<String> = cell.values.iter().map(bare).collect();
            row.extend(COLUMNS.iter().map(|(_, _, value)| {
                value(self, cell).map_or_else(String::new, |value| value.to_string())
            }));
            row.push(cell.good().count().to_string());
            let flags = [
                marks.front,
                marks.sweet_spot,
                marks.saturated,
                cell.bottlenecks() > 0,
            ];
            row.extend(flags.map(|flag| flag.to_string()));
            rows.push(row);
        }
        csv(rows)
    }
}

/// The figures of repeated runs that are shown.
const SHOWN: [(&str, &str); 8] = [
    (tag::TIME_TO_FIRST_TOKEN, "avg"),
    (tag::TIME_TO_FIRST_TOKEN, "p99"),
    (tag::INTER_TOKEN_LATENCY, "avg"),
    (tag::INTER_TOKEN_LATENCY, "p99"),
    (tag::REQUEST_LATENCY, "avg"),
    (tag::REQUEST_LATENCY, "p99"),
    (tag::OUTPUT_TOKEN_THROUGHPUT, "avg"),
    (tag::REQUEST_THROUGHPUT, "avg"),
];

/// What repeated runs of one point say.
pub(super) fn confidence(sweep: &Sweep, cell: &Cell, width: usize, colour: bool) -> String {
    let interval = format!("{} % interval", (sweep.level * 1e6).round() / 1e4);
    let head = [
        ("Metric", Align::Right),
        ("Mean", Align::Right),
        ("Std", Align::Right),
        ("cv", Align::Right),
        (interval.as_str(), Align::Right),
        ("", Align::Left),
    ];
    let runs = cell.good().count();
    let title = format!(
        "pinfire | {runs} runs{}{}",
        if cell.label.is_empty() { "" } else { ": " },
        cell.label
    );
    let mut table = Table::new(title, &head, 0);
    for (tag, stat) in SHOWN {
        let values: Vec<f64> = cell
            .good()
            .filter_map(|trial| trial.figure(tag, Stat::parse(stat)?))
            .collect();
        let Some(spread) = Spread::of(&values, sweep.level) else {
            continue;
        };
        let unit = cell.good().find_map(|trial| {
            let (_, block) = trial.blocks.iter().find(|(known, _)| known == tag)?;
            Some(block.unit.clone())
        });
        table.row(vec![
            format!("{tag} {stat} ({})", unit.unwrap_or_default()),
            number(Some(spread.mean)),
            number(Some(spread.std)),
            format!("{:.1} %", 100.0 * spread.cv),
            format!(
                "{} .. {}",
                number(Some(spread.ci_low)),
                number(Some(spread.ci_high))
            ),
            verdict(spread.cv, runs).to_owned(),
        ]);
    }
    let mut text = table.render(width, colour);
    text += "cv: below 5 % excellent, to 10 % good, to 20 % fair, above high variance\n";
    if runs < 3 {
        text += "fewer than 3 runs: the interval is very wide; take --num-profile-runs 3 or more\n";
    }
    text
}

fn verdict(cv: f64, runs: usize) -> &'static str {
    match cv.abs() {
        _ if runs < 2 => "",
        cv if cv < 0.05 => "excellent",
        cv if cv < 0.10 => "good",
        cv if cv < 0.20 => "fair",
        _ => "high variance",
    }
}
