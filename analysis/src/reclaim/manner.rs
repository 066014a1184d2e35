//! How the requests of a test were left: what may be said of the server depends on it.

use pinfire_base::clock::Span;
use pinfire_base::delay::Delay;
use pinfire_base::record::{CancelTrigger, Leave, PlannedCancellation, Trigger};
use serde::Serialize;

/// How the requests of a test were left.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Manner {
    /// How the client left.
    #[serde(serialize_with = "as_name")]
    pub mode: Leave,
    /// What the cancels counted from, if it was the same for all waves.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub trigger: Option<CancelTrigger>,
    /// The answers came whole, not as streams.
    pub whole_answers: bool,
    /// No server has got the whole of a request that was left.
    #[serde(skip)]
    pub unsent: bool,
}

/// The name of a mode, as on the command line.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn as_name<S: serde::Serializer>(mode: &Leave, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.name())
}

/// The name of a trigger, as on the command line.
#[expect(clippy::ref_option, reason = "serde hands out references")]
fn as_text<S: serde::Serializer>(
    trigger: &Option<CancelTrigger>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(&trigger.map_or_else(String::new, |trigger| trigger.to_string()))
}

impl Manner {
    /// That of a planned cancellation.
    pub fn of(planned: &PlannedCancellation, streaming: bool) -> Self {
        let unsent = match planned.trigger {
            CancelTrigger::At(Trigger::MidBody) => true,
            // After a delay the request is sent meanwhile.
            CancelTrigger::At(Trigger::Connect) => planned.delay == Delay::Fixed(Span::ZERO),
            _ => false,
        };
        Self {
            mode: planned.leave,
            trigger: Some(planned.trigger),
            whole_answers: !streaming,
            unsent,
        }
    }

    /// The name of what was left, in the plural.
    pub(super) const fn requests(&self) -> &'static str {
        match (self.mode, self.unsent, self.trigger) {
            (_, true, Some(CancelTrigger::At(Trigger::Connect))) => {
                "connections left before a request"
            }
            (_, true, _) => "requests left half sent",
            (Leave::Stall, ..) => "requests whose clients stopped reading",
            (Leave::HalfClose, ..) => "requests whose clients closed their sending half",
            (Leave::Fin | Leave::Rst, ..) => "cancelled requests",
        }
    }

    /// Why a server's counter of aborts need not count what was left, if it need not.
    pub(super) const fn not_counted(&self) -> Option<&'static str> {
        match (self.mode, self.unsent) {
            (_, true) => Some("no request had reached the server whole"),
            (Leave::Stall, _) => Some("no client leaves while the load runs (mode stall)"),
            (Leave::HalfClose, _) => Some(
                "a client that has closed its sending half may still be answered (mode half-close)",
            ),
            (Leave::Fin | Leave::Rst, _) => None,
        }
    }

    /// Why a server may go on with what was left, if it may.
    pub(super) const fn still_there(&self) -> Option<&'static str> {
        match (self.mode, self.unsent) {
            (Leave::Stall, false) => Some("nobody left: a stalled client is still there"),
            (Leave::HalfClose, false) => {
                Some("a client that has closed its sending half may still be answered")
            }
            _ => None,
        }
    }

    /// Whether it is no fault of a server that what was left comes to its natural end: there is
    /// none where it never had the whole of a request, and a client that is still there may be
    /// answered.
    pub(super) const fn may_end_by_itself(&self) -> bool {
        self.unsent || self.still_there().is_some()
    }

    /// What to make of a server that held on to what was left, where the mode makes it no fault.
    pub(super) const fn held_on(&self) -> Option<&'static str> {
        match (self.mode, self.unsent) {
            (Leave::Stall, false) => Some(
                "nobody left: a server goes on with an answer as long as the network takes it, and may; \
                 capacity is lost only if it waits for a client that reads no more. How it lets go of \
                 clients that leave, --request-cancellation-mode fin or rst tells",
            ),
            (Leave::HalfClose, false) => Some(
                "a server may answer a client that has closed its sending half only, to the end; how it lets \
                 go of clients that leave, --request-cancellation-mode fin or rst tells",
            ),
            _ => None,
        }
    }

    /// How to cancel in time, where every answer came before it.
    pub(super) const fn earlier(&self) -> &'static str {
        match (self.whole_answers, self.trigger) {
            (true, Some(CancelTrigger::At(Trigger::Headers))) => {
                "the head comes together with the whole answer here: take \
                 --request-cancellation-trigger sent"
            }
            (true, _) => "ask for more work: longer answers (--osl), or longer prompts (--isl)",
            (false, _) => "ask for longer answers (--osl) or longer prompts (--isl)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_has_its_name() {
        let manner = |trigger, leave, delay| {
            let planned = PlannedCancellation {
                trigger: CancelTrigger::At(trigger),
                leave,
                ..PlannedCancellation::after(50.0, delay)
            };
            Manner::of(&planned, true)
        };
        for (trigger, leave, delay, requests, counted) in [
            (Trigger::Sent, Leave::Fin, 0, "cancelled requests", true),
            (Trigger::Sent, Leave::Stall, 0, "stopped reading", false),
            (
                Trigger::FirstToken,
                Leave::HalfClose,
                0,
                "sending half",
                false,
            ),
            (Trigger::MidBody, Leave::Stall, 5, "half sent", false),
            (Trigger::Connect, Leave::Rst, 0, "before a request", false),
            (Trigger::Connect, Leave::Rst, 5, "cancelled requests", true),
        ] {
            let manner = manner(trigger, leave, Span::from_millis(delay));
            assert!(manner.requests().contains(requests), "{manner:?}");
            assert_eq!(manner.not_counted().is_none(), counted, "{manner:?}");
        }
    }
}
