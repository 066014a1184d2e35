//! A run summed up: every figure in display units, ready to be written in any form.
//!
//! Nothing is computed in the exports; they only lay out what stands here.

mod accounting;
mod block;
mod cancellation;
mod collateral;
mod external;
pub mod health;
pub mod lateness;
pub mod reached;
mod slices;

use pinfire_artifacts::{calibration::Calibration, sharded::ShardedRun, tag};
use std::ops::Range;
use std::path::PathBuf;

pub use accounting::Accounting;
pub use block::Block;
pub use cancellation::Cancellation;
pub use collateral::{Collateral, Finished};
pub use external::External;
pub use health::Health;
pub use slices::Slice;

use block::blocks;
pub use reached::Reached;

use crate::collect::{Anomalies, Asked, ErrorGroup, Progress, Tally};
use crate::facts::{PhaseWindow, RateWindow, RunEnd, RunFacts};
use crate::metric::Metric;
use crate::reclaim::ReclaimReport;
use crate::stats::Figures;

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
    /// How the requests of the warmup ended.
    pub warmup_counts: Progress,
    /// Failures of the warmup, grouped.
    pub warmup_errors: Vec<ErrorGroup>,
    /// How the requests of the measured phase ended.
    pub counts: Progress,
    /// Failures of the measured phase, grouped.
    pub errors: Vec<ErrorGroup>,
    /// Answers of the measured phase that the user should look at.
    pub anomalies: Anomalies,
    /// What came of the plan to hang up, if there was one.
    pub cancellation: Option<Cancellation>,
    /// How far the client itself can be trusted.
    pub health: Health,
    /// What was asked of the load against what came of it.
    pub reached: Vec<Reached>,
    /// Whether every request is accounted for.
    pub accounting: Accounting,
    /// There were more requests than are kept exactly: percentiles have three digits, and curves
    /// are averages of bins.
    pub coarse: bool,
    /// Time slices of the measured phase; none where none were asked for.
    pub slices: Vec<Slice>,
    /// The per-request file, if one was written.
    pub jsonl: Option<PathBuf>,
    /// The file of everything sent and received, if one was written.
    pub raw: Option<PathBuf>,
    /// What servers and GPUs said of themselves.
    pub external: External,
    /// Whether the server let go of what was cancelled, where that was asked.
    pub release: Option<ReclaimReport>,
    /// The shards that sent it, where several did.
    pub shards: Option<ShardedRun>,
}

impl Report {
    pub(crate) fn new(
        facts: RunFacts,
        end: RunEnd,
        mut profiling: Tally,
        mut warmup: Tally,
        anomalies: Anomalies,
        jsonl: Option<PathBuf>,
    ) -> Self {
        let counts = profiling.progress();
        let coarse = profiling.long.is_some();
        let health = Health::new(&facts, &end, &profiling);
        let asked = facts.cancellation.clone();
        let cancellation = asked.map(|asked| (asked, Collateral::of(&profiling)));
        let start_rate = reached::rate_of(&profiling);
        let slices = slices::of(&facts, &mut profiling);
        let asked = |window: Option<PhaseWindow>| Asked {
            window: match facts.rate_window {
                RateWindow::Benchmark => None,
                RateWindow::Phase => window.and_then(bounds),
            },
            percentiles: &facts.percentiles,
        };
        let results = profiling.results(asked(end.profiling));
        let warmup_counts = warmup.progress();
        let warmup_errors = warmup.errors.groups().to_vec();
        let warmed = warmup_counts != Progress::default();
        let warmup = warmed.then(|| warmup.results(asked(end.warmup)));
        let cancellation = cancellation.map(|(asked, collateral)| {
            Cancellation::new(asked, profiling.cancel, collateral, counts)
        });
        let blocks_of_all = blocks(&results);
        let average = |tag: &str| {
            let block = blocks_of_all.iter().find(|block| block.metric.tag == tag)?;
            block.figures.avg
        };
        let reached = reached::Seen {
            facts: &facts,
            end: &end,
            counts,
            health: &health,
            cancellation: cancellation.as_ref(),
            start_rate,
            average: &average,
        }
        .all();
        Self {
            reached,
            blocks: blocks_of_all,
            warmup: warmup.map_or_else(Vec::new, |results| blocks(&results)),
            warmup_counts,
            warmup_errors,
            counts,
            errors: profiling.errors.groups().to_vec(),
            anomalies,
            cancellation,
            health,
            accounting: Accounting::new(&end, counts),
            coarse,
            slices,
            jsonl,
            raw: None,
            external: External::default(),
            release: None,
            shards: None,
            facts,
            end,
        }
    }

    /// What the client adds on the machine, where that was measured before.
    pub fn calibration(&self) -> Option<&Calibration> {
        let recorded = self.facts.recorded.as_ref();
        let told = recorded.and_then(|recorded| recorded.summary.calibration.as_ref());
        self.facts.calibration.as_ref().or(told)
    }

    /// The figures of a metric of the measured phase, in display units.
    pub fn figures(&self, tag: &str) -> Option<&Figures> {
        let block = self.blocks.iter().find(|block| block.metric.tag == tag)?;
        Some(&block.figures)
    }

    /// Throughputs of the measured phase divided by the number of GPUs, with the metrics they are
    /// of; none without `--num-gpus`.
    pub fn per_gpu(&self) -> Vec<(&'static Metric, f64)> {
        let Some(gpus) = self.facts.num_gpus else {
            return Vec::new();
        };
        [tag::OUTPUT_TOKEN_THROUGHPUT, tag::TOTAL_TOKEN_THROUGHPUT]
            .into_iter()
            .filter_map(|tag| self.blocks.iter().find(|block| block.metric.tag == tag))
            .filter_map(|block| Some((block.metric, block.figures.avg? / gpus as f64)))
            .collect()
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
}

/// The window of a phase that ended in order, in nanoseconds.
fn bounds(window: PhaseWindow) -> Option<Range<u64>> {
    Some(window.start.nanos()..window.end?.nanos())
}
