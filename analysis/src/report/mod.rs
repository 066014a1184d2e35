//! A run summed up: every figure in display units, ready to be written in any form.
//!
//! Nothing is computed in the exports; they only lay out what stands here.

mod accounting;
mod cancellation;
pub mod health;

use std::path::PathBuf;
use std::process::ExitCode;

pub use accounting::Accounting;
pub use cancellation::Cancellation;
pub use health::Health;

use crate::collect::{ErrorGroup, Progress, Tally};
use crate::export::Outside;
use crate::facts::{PhaseWindow, RunEnd, RunFacts};
use crate::metric::{METRICS, Metric, Results};
use crate::stats::Figures;

/// One metric with its figures in display units.
#[derive(Clone)]
pub struct Block {
    /// The row of the table.
    pub metric: &'static Metric,
    /// Its figures.
    pub figures: Figures,
}

/// A run summed up.
pub struct Report {
    /// What was asked.
    pub facts: RunFacts,
    /// How it ended.
    pub end: RunEnd,
    /// Metrics of the measured phase that exist and are shown, in order of computation.
    pub blocks: Vec<Block>,
    /// The same of the warmup; empty without one.
    pub warmup: Vec<Block>,
    /// How the requests of the measured phase ended.
    pub counts: Progress,
    /// Failures of the measured phase, grouped.
    pub errors: Vec<ErrorGroup>,
    /// What came of the plan to hang up, if there was one.
    pub cancellation: Option<Cancellation>,
    /// How far the client itself can be trusted.
    pub health: Health,
    /// Whether every request is accounted for.
    pub accounting: Accounting,
    /// The per-request file, if one was written.
    pub jsonl: Option<PathBuf>,
    /// What servers and GPUs said of themselves.
    pub outside: Outside,
}

impl Report {
    pub(crate) fn new(
        facts: RunFacts,
        end: RunEnd,
        rows: &[usize],
        mut profiling: Tally,
        mut warmup: Tally,
        jsonl: Option<PathBuf>,
    ) -> Self {
        let counts = profiling.progress();
        let window = facts.rate_window;
        let health = Health::new(&facts, &end.cores, &profiling);
        let results = profiling.results(
            rows,
            window,
            end.profiling.and_then(length),
            &facts.percentiles,
        );
        let warmed = warmup.progress() != Progress::default();
        let warmup = warmed.then(|| {
            warmup.results(
                rows,
                window,
                end.warmup.and_then(length),
                &facts.percentiles,
            )
        });
        Self {
            blocks: blocks(&results, rows),
            warmup: warmup.map_or_else(Vec::new, |results| blocks(&results, rows)),
            counts,
            errors: profiling.errors.groups().to_vec(),
            cancellation: facts
                .cancellation
                .clone()
                .map(|asked| Cancellation::new(asked, profiling.cancel, counts)),
            health,
            accounting: Accounting::new(&end, counts),
            jsonl,
            outside: Outside::default(),
            facts,
            end,
        }
    }

    /// The figures of a metric of the measured phase, in display units.
    pub fn figures(&self, tag: &str) -> Option<&Figures> {
        let block = self.blocks.iter().find(|block| block.metric.tag == tag)?;
        Some(&block.figures)
    }

    /// The value of a scalar metric of the measured phase.
    pub fn value(&self, tag: &str) -> Option<f64> {
        self.figures(tag)?.avg
    }

    /// Whether the run succeeded: something was answered, or hung up on as planned, and every
    /// request is accounted for. An interruption is no failure.
    pub fn is_success(&self) -> bool {
        self.accounting.agrees() && self.counts.valid + self.counts.cancelled > 0
    }

    /// 0 for success, 1 otherwise.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn length(window: PhaseWindow) -> Option<u64> {
    Some(window.end?.since(window.start).nanos())
}

fn blocks(results: &Results, rows: &[usize]) -> Vec<Block> {
    let shown = rows.iter().filter_map(|&row| {
        let metric = METRICS.get(row).filter(|metric| metric.is_shown())?;
        let figures = results.get(row)?.clone().divided_by(metric.divisor());
        Some(Block { metric, figures })
    });
    shown.collect()
}
