//! The lines after the tables on stdout: command, duration, success rate, files.

use super::{Written, plural};
use crate::report::Report;

impl Report {
    /// The footer, one line each; `written` names the summary files if they were written.
    pub fn footer(&self, written: Option<&Written>) -> String {
        let facts = &self.facts;
        let mut lines = vec![format!("CLI Command: {}", facts.cli_command)];
        if let Some(seconds) = self.value("benchmark_duration") {
            let early = self
                .end
                .interrupted
                .as_ref()
                .map_or("", |_| " (cancelled early)");
            lines.push(format!("Benchmark Duration: {seconds:.2} sec{early}"));
        }
        lines.push(format!("Success Rate: {}", self.success_rate()));
        if let Some(files) = written {
            lines.push(format!("CSV Export: {}", files.csv.display()));
            lines.push(format!("JSON Export: {}", files.json.display()));
        }
        let [slices_csv, slices_json] = match written.and_then(|files| files.slices.as_ref()) {
            Some([csv, json]) => [Some(csv), Some(json)],
            None => [None, None],
        };
        let raw = facts.raw.then(|| facts.artifact_dir.join(&facts.files.raw));
        let others = [
            ("Raw Records", self.jsonl.as_ref()),
            ("Requests and Answers", raw.as_ref()),
            ("Timeslice CSV Export", slices_csv),
            ("Timeslice JSON Export", slices_json),
        ];
        let others = others
            .into_iter()
            .filter_map(|(name, path)| Some((name, path?)));
        let outside = self.outside.files.iter();
        let outside = outside.map(|(name, path)| (*name, path));
        let log = facts.log_file.as_ref().map(|path| ("Log File", path));
        for (name, path) in others.chain(outside).chain(log) {
            lines.push(format!("{name}: {}", path.display()));
        }
        lines.join("\n") + "\n"
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
        let overflows = self.value("context_overflow_count");
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
