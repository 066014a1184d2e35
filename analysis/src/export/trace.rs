//! The report over a trace: console text and JSON, in AIPerf's layout.

use std::path::Path;

use pinfire_artifacts::{WriteError, json_bytes};

use super::table::{Align, Table};
use super::words::{number, thousands};
use crate::trace::{TraceFigures, TraceStats};

impl TraceFigures {
    /// What the console shows. `saved` is where the figures were written to.
    pub fn console(&self, saved: Option<&Path>, width: usize, colour: bool) -> String {
        let count = |count: u64| thousands(&count.to_string());
        let mut text = format!(
            "\nTrace Analysis Report\n\
             Total requests:   {}\n\
             Unique prefixes:  {}\n\
             Prefix groups:    {}\n\n",
            count(self.total_requests),
            count(self.unique_prefixes),
            count(self.num_prefix_groups),
        );
        let head = [
            "Metric", "Mean", "Std Dev", "Min", "P25", "Median", "P75", "Max",
        ];
        let head = head.map(|name| (name, Align::Right));
        let mut table = Table::new("Trace Statistics".to_owned(), &head, 0);
        for (name, stats) in [
            ("Input Length", self.isl_stats),
            ("Context Length", self.context_length_stats),
            ("Unique Prompt Length", self.unique_prompt_length_stats),
            ("Output Length", self.osl_stats),
            ("Theoretical Hit Rates", self.hit_rate_stats),
        ] {
            let figures: [fn(TraceStats) -> f64; 7] = [
                |stats| stats.mean,
                |stats| stats.std_dev,
                |stats| stats.min,
                |stats| stats.p25,
                |stats| stats.median,
                |stats| stats.p75,
                |stats| stats.max,
            ];
            let cells = figures.iter().map(|figure| number(stats.map(figure)));
            table.row(std::iter::once(name.to_owned()).chain(cells).collect());
        }
        text += &table.render(width, colour);
        if let Some(path) = saved {
            text += &format!("Analysis report saved to {}\n", path.display());
        }
        text
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        let mut json = json_bytes(self);
        json.push(b'\n');
        std::fs::write(path, json).map_err(|cause| WriteError::new("write", path, cause))
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::Trace;

    #[test]
    fn layout_of_console_and_json() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Trace::default();
        for line in [
            "{\"input_length\": 1500, \"hash_ids\": [1]}",
            "{\"input_length\": 20, \"hash_ids\": [2]}",
        ] {
            trace.read(line.as_bytes()).unwrap();
        }
        let figures = trace.figures(512);
        let saved = folder.path().join("report.json");
        let text = figures.console(Some(&saved), 140, false);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let expected = [
            "",
            "Trace Analysis Report",
            "Total requests:   2",
            "Unique prefixes:  2",
            "Prefix groups:    0",
            "",
            "Trace Statistics",
            "┏━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━┳━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┓",
            "┃                Metric ┃   Mean ┃ Std Dev ┃   Min ┃    P25 ┃ Median ┃      P75 ┃      Max ┃",
        ];
        assert_eq!(lines[..9], expected, "{text}");
        let row = "│          Input Length │ 760.00 │  740.00 │ 20.00 │ 390.00 │ 760.00 │ 1,130.00 │ 1,500.00 │";
        assert!(text.contains(row), "{text}");
        let end = format!("Analysis report saved to {}\n", saved.display());
        assert!(text.ends_with(&end), "{text}");
        figures.write(&saved).unwrap();
        let json = std::fs::read_to_string(&saved).unwrap();
        assert!(json.starts_with("{\n  \"total_requests\": 2,\n  \"unique_prefixes\": 2,\n"));
        assert!(
            json.contains("  \"avg_isl\": 760.0,\n  \"min_osl\": 0,\n"),
            "{json}"
        );
        assert!(json.contains(
            "  \"isl_stats\": {\n    \"mean\": 760.0,\n    \"std_dev\": 740.0,\n    \"min\": 20.0,"
        ));
        let nothing = Trace::default().figures(512);
        assert!(
            nothing
                .console(None, 140, false)
                .contains("│  N/A │     N/A │ N/A │")
        );
        nothing.write(&saved).unwrap();
        let json = std::fs::read_to_string(&saved).unwrap();
        assert!(json.contains("\"cache_hit_rate\": 0.0,") && json.contains("\"isl_stats\": null,"));
        let error = nothing.write(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot write"), "{error}");
    }
}
