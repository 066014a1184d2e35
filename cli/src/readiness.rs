//! Whether the servers are asked until they are ready before a run, and what.

use anyhow::Result;
use pinfire_base::clock::Span;
use pinfire_config::{Get, demand, sections, words::ProbeQuestion};

/// Seconds between two attempts when no flag says so.
const INTERVAL: f64 = 5.0;

/// What to ask, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Per server, model and question.
    pub budget: Span,
    /// From the begin of one attempt to that of the next.
    pub interval: Span,
    /// What is asked.
    pub mode: ProbeQuestion,
}

impl Probe {
    /// Reads the settings.
    ///
    /// # Errors
    /// A mode or an interval without a time to wait.
    pub fn new(asked: &sections::Endpoint) -> Result<Option<Self>> {
        let (mode, every) = (&asked.wait_for_model_mode, &asked.wait_for_model_interval);
        let question = mode.get().unwrap_or(ProbeQuestion::Inference);
        let interval = every.get().unwrap_or(INTERVAL);
        let budget = asked.wait_for_model_timeout.get().unwrap_or(0.0);
        if budget <= 0.0 {
            demand!(
                question == ProbeQuestion::Inference,
                [mode],
                "--wait-for-model-mode has no effect without --wait-for-model-timeout; add it"
            );
            demand!(
                interval == INTERVAL,
                [every],
                "--wait-for-model-interval has no effect without --wait-for-model-timeout; add it"
            );
            return Ok(None);
        }
        Ok(Some(Self {
            budget: Span::from_secs_f64(budget),
            interval: Span::from_secs_f64(interval),
            mode: question,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn probe(more: &str) -> Result<Option<Probe>> {
        Probe::new(&typed(more.split_whitespace())?.endpoint)
    }

    #[test]
    fn a_mode_or_an_interval_needs_a_time_to_wait() {
        assert_eq!(probe("").unwrap(), None);
        assert_eq!(probe("--wait-for-model-timeout 0").unwrap(), None);
        // The defaults, typed, change nothing.
        let defaults = "--wait-for-model-mode inference --wait-for-model-interval 5";
        assert_eq!(probe(defaults).unwrap(), None);
        for (line, flag) in [
            ("--wait-for-model-mode models", "--wait-for-model-mode"),
            (
                "--wait-for-model-timeout 0 --wait-for-model-interval 1",
                "--wait-for-model-interval",
            ),
        ] {
            let error = probe(line).unwrap_err().to_string();
            assert!(error.starts_with(flag), "{error}");
            assert!(error.contains("--wait-for-model-timeout"), "{error}");
        }
        let both = probe("--wait-for-model-timeout 2 --wait-for-model-mode Both").unwrap();
        assert_eq!(both.map(|probe| probe.mode), Some(ProbeQuestion::Both));
    }
}
