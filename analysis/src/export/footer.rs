//! The lines after the tables on stdout: command, duration, success rate, files.

use pinfire_artifacts::tag;
use std::path::Path;

use super::Written;
use super::words::plural;
use crate::report::Report;

impl Report {
    /// The footer, one line each; `written` names the summary files if they were written.
    pub fn footer(&self, written: Option<&Written>) -> String {
        let facts = &self.facts;
        let mut lines = vec![format!("CLI Command: {}", facts.cli_command)];
        if let Some(seconds) = self.value(tag::BENCHMARK_DURATION) {
            let early = self
                .end
                .interrupted
                .as_ref()
                .map_or("", |_| " (cancelled early)");
            lines.push(format!("Benchmark Duration: {seconds:.2} sec{early}"));
        }
        lines.push(format!("Success Rate: {}", self.success_rate()));
        for (name, path) in self.files(written) {
            lines.push(format!("{name}: {}", path.display()));
        }
        lines.join("\n") + "\n"
    }

    /// The files of the run with the names that the footer gives them; `written` are those of the
    /// summary.
    pub fn files<'a>(&'a self, written: Option<&'a Written>) -> Vec<(&'static str, &'a Path)> {
        let slices = written.and_then(|files| files.slices.as_ref());
        let summary = [
            ("CSV Export", written.map(|files| &files.csv)),
            ("JSON Export", written.map(|files| &files.json)),
            ("Raw Records", self.jsonl.as_ref()),
            ("Requests and Answers", self.raw.as_ref()),
            ("Timeslice CSV Export", slices.map(|[csv, _]| csv)),
            ("Timeslice JSON Export", slices.map(|[_, json]| json)),
        ];
        let summary = summary.into_iter();
        let summary = summary.filter_map(|(name, path)| Some((name, path?.as_path())));
        let external = self.external.files.iter();
        let external = external.map(|(name, path)| (*name, path.as_path()));
        let log = self.facts.log_file.as_deref();
        let log = log.map(|path| ("Log File", path));
        summary.chain(external).chain(log).collect()
    }

    /// Planned cancellations are no failures, so they are not in the rate.
    fn success_rate(&self) -> String {
        let counts = self.counts;
        let ended = counts.valid + counts.errors;
        if ended + counts.cancelled == 0 {
            return "N/A (no request ended)".to_owned();
        }
        let rate = match ended {
            0 => 100.0,
            _ => 100.0 * counts.valid as f64 / ended as f64,
        };
        let overflows = self.value(tag::CONTEXT_OVERFLOW_COUNT);
        let errors = if counts.errors > 0 && overflows == Some(counts.errors as f64) {
            format!(
                "{} exceeded the context window",
                plural(counts.errors, "request")
            )
        } else {
            plural(counts.errors, "error").to_string()
        };
        match counts.cancelled {
            0 => format!("{rate:.0}% ({errors})"),
            n => format!("{rate:.0}% ({errors}, {n} cancelled by plan)"),
        }
    }
}
