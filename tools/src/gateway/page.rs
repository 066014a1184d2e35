//! The gateway's own metrics, under the names of Dynamo's front end: what a page in front of the
//! workers shows.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the gateway counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Requests that have come.
    pub(super) begun: AtomicU64,
    /// Requests that are open at the server.
    pub(super) active: AtomicU64,
    /// Those of them whose clients have left.
    pub(super) kept: AtomicU64,
    /// Answers that were read to their end, whoever was there for them.
    pub(super) completed: AtomicU64,
    /// Disconnects that were passed on to the server.
    pub(super) cancelled: AtomicU64,
    /// Clients that left before their answers had ended.
    pub(super) left: AtomicU64,
}

impl Counts {
    /// The Prometheus text. As with Dynamo, nothing tells of requests before the first one, and the
    /// counter of cancels appears with the first cancel.
    pub(super) fn page(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let mut out = String::new();
        let mut one = |kind: &str, name: &str, labels: &str, value: u64| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name}{labels} {value}");
        };
        one("gauge", "dynamo_frontend_disconnected_clients", "", 0);
        if of(&self.begun) == 0 {
            return out;
        }
        one(
            "gauge",
            "dynamo_frontend_active_requests",
            "",
            of(&self.active),
        );
        one("gauge", "dynamo_frontend_queued_requests", "", 0);
        let completed = of(&self.completed);
        let success = "{status=\"success\"}";
        one(
            "counter",
            "dynamo_frontend_requests_total",
            success,
            completed,
        );
        let cancelled = of(&self.cancelled);
        if cancelled > 0 {
            one(
                "counter",
                "dynamo_frontend_model_cancellation_total",
                "",
                cancelled,
            );
        }
        one("gauge", "gateway_requests_kept", "", of(&self.kept));
        one(
            "counter",
            "gateway_client_disconnects_total",
            "",
            of(&self.left),
        );
        out
    }
}
