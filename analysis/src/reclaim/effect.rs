//! What cancels do to the requests beside them, against the same load without cancels.

use pinfire_base::clock::{Span, Stamp};
use pinfire_scrape::server_kinds::Refresh;
use serde::Serialize;

use super::{End, Evidence, RequestSpan};

/// A cancel is felt for so long.
const NEAR: Span = Span::from_millis(1_000);

/// Median and p99 of some times, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl Spread {
    fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let at = |share: f64| {
            let place = (share * (nanos.len() - 1) as f64).round() as usize;
            nanos[place] as f64 / 1e6
        };
        (!nanos.is_empty()).then(|| Self {
            count: nanos.len() as u64,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        })
    }
}

/// Survivors near a cancel and away from any.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Effect {
    /// Gaps between tokens within a second after a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl_near: Option<Spread>,
    /// Those of the load without cancels, and before each cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl_control: Option<Spread>,
    /// Times to first token of requests begun within a second after a cancel, on new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_near: Option<Spread>,
    /// Those of the load without cancels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_control: Option<Spread>,
    /// Requests begun after a cancel on new connections.
    pub new_connections: u64,
    /// Those of them that were answered.
    pub new_connections_answered: u64,
    /// Requests that nobody cancelled and that failed after a cancel.
    pub survivors_failed: u64,
}

impl Effect {
    /// How old what the server shows may be, in seconds and in words: a step of its engine gives a
    /// token to each stream.
    pub(super) fn refresh(&self, refresh: Option<Refresh>) -> (Option<f64>, String) {
        let step = self.itl_control.or(self.itl_near);
        match refresh {
            None => (None, "not known".to_owned()),
            Some(Refresh::Live) => (Some(0.0), "none: its gauges are live".to_owned()),
            Some(Refresh::AtEnd) => (None, "as a request ends".to_owned()),
            Some(Refresh::Seconds(seconds)) => (Some(seconds), format!("every {seconds} s")),
            Some(Refresh::Steps(steps)) => {
                let often = match steps {
                    1 => "each step".to_owned(),
                    steps => format!("every {steps} steps"),
                };
                let seconds = step.map(|gap| f64::from(steps) * gap.p50_ms / 1e3);
                let about = seconds.map_or_else(String::new, |s| format!(", about {s:.3} s"));
                (seconds, often + &about)
            }
        }
    }

    pub(super) fn of(evidence: &Evidence) -> Self {
        let ttft = |seen: &RequestSpan| Some(seen.tokens.first()?.since(seen.begun).nanos());
        let mut control: Vec<u64> = Vec::new();
        for seen in &evidence.control {
            control.extend(gaps(seen).map(|(_, gap)| gap));
        }
        let mut effect = Self {
            ttft_control: Spread::of(evidence.control.iter().filter_map(ttft).collect()),
            ..Self::default()
        };
        let (mut near, mut first_tokens) = (Vec::new(), Vec::new());
        for wave in &evidence.waves {
            let Some(instant) = wave.instant() else {
                continue;
            };
            let is_near = |at: Stamp| at >= instant && at <= instant + NEAR;
            for seen in wave
                .requests
                .iter()
                .filter(|seen| seen.end != End::Disconnected)
            {
                for (at, gap) in gaps(seen) {
                    if is_near(at) {
                        near.push(gap);
                    } else if at < instant {
                        control.push(gap);
                    }
                }
                effect.survivors_failed +=
                    u64::from(seen.end == End::Failed && seen.ended >= instant);
                if seen.begun < instant || !seen.new_connection {
                    continue;
                }
                effect.new_connections += 1;
                effect.new_connections_answered += u64::from(seen.end == End::Answered);
                if is_near(seen.begun) {
                    first_tokens.extend(ttft(seen));
                }
            }
        }
        effect.itl_near = Spread::of(near);
        effect.itl_control = Spread::of(control);
        effect.ttft_near = Spread::of(first_tokens);
        effect
    }
}

/// Each gap between tokens, with its end.
fn gaps(seen: &RequestSpan) -> impl Iterator<Item = (Stamp, u64)> {
    seen.tokens
        .windows(2)
        .map(|pair| (pair[1], pair[1].since(pair[0]).nanos()))
}
