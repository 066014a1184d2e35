//! The requests of a test as the files of a run have them: a line each, and their summary.

use std::sync::Arc;

use anyhow::Result;
use pinfire_analysis::{
    Collector,
    facts::{PhaseWindow, RunEnd, RunFacts},
    report::Report,
};
use pinfire_artifacts::WriteError;
use pinfire_base::{clock::Stamp, health::Counts, record::Record, tokens::TokenCounter};
use pinfire_engine::report::PhaseReport;

use crate::{run::PreparedRun, terminal::say};

/// What has been recorded so far.
pub struct Recording {
    collector: Collector,
    counts: Counts,
    /// From the begin of the first phase to the end of the last one.
    window: Option<(Stamp, Stamp)>,
    /// The first error of the lines.
    failed: Option<WriteError>,
}

impl Recording {
    /// Ready for the first record.
    ///
    /// # Errors
    /// The file of the lines cannot be made.
    pub fn start(facts: RunFacts, run: &mut PreparedRun<'_>) -> Result<Self> {
        let entries = Arc::clone(&run.workload.entries);
        let tokenizer = run.workload.tokenizer.take();
        let counter = tokenizer.map(|tokenizer| Arc::new(tokenizer) as Arc<dyn TokenCounter>);
        let lines = facts.artifact_dir.join(&facts.files.jsonl);
        Ok(Self {
            collector: Collector::new(facts, entries, counter, Some(lines))?,
            counts: Counts::default(),
            window: None,
            failed: None,
        })
    }

    /// Takes what came of a phase. Lines that cannot be written cost the lines, not the test.
    pub fn take(&mut self, phase: &PhaseReport, records: &[Record]) {
        for core in &phase.cores {
            self.counts.add(&core.counts);
        }
        let begun = self.window.map_or(phase.started, |(begun, _)| begun);
        self.window = Some((begun, phase.ended));
        let mut written = Ok(());
        for record in records {
            let line = self.collector.add(record);
            if written.is_ok() {
                written = line;
            }
        }
        if let Err(error) = written.and_then(|()| self.collector.flush()) {
            say::warning(format_args!("{error}; going on without a line per request"));
            self.collector.stop_writing();
            self.failed.get_or_insert(error);
        }
    }

    /// Sums up.
    ///
    /// # Errors
    /// Lines are lost.
    pub fn finish(mut self) -> Result<Report> {
        self.collector.check()?;
        if let Some(failed) = self.failed {
            return Err(failed.into());
        }
        let window = self.window.map(|(start, end)| PhaseWindow {
            start,
            end: Some(end),
        });
        Ok(self.collector.finish(RunEnd {
            profiling: window,
            counts: self.counts,
            ..RunEnd::default()
        })?)
    }
}
