//! What the lines of the two per-request files have in common: metadata, error, the plan to cancel.

use std::borrow::Cow;

use pinfire_artifacts::{
    ErrorDetails, LineAnswer, LineCancellation, Metadata, Verbatim, json_line,
};
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::record::{
    AfterHalfClose, Cancel, Correlation, Disconnect, Failure, Leave, Outcome, Phase, Quirks,
    Record, Stage, Times, Transcript, Trigger, Wire,
};
use pinfire_base::uuid::Uuid;

use super::shards::Clock;
use crate::facts::EntryFacts;
use crate::reading::{Choice, Problem, Reading, Unreadable, Verdict};

/// One request out of a file, before its answer is read.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) entry: EntryFacts,
    /// The `metadata` object as it stands.
    pub(super) metadata: String,
    /// The `error` object as it stands.
    pub(super) error: Option<String>,
    /// What the file says it amounts to, if that is not an answer.
    pub(super) verdict: Option<Verdict>,
    /// What the plan to cancel it came to, as the file tells it.
    pub(super) cancellation: Option<LineCancellation<'static>>,
    /// `x_request_id`, by which the two files are joined.
    pub(super) id: u128,
    /// pinfire wrote it.
    pub(super) is_ours: bool,
    /// What was unusual about the answer.
    pub(super) answer: LineAnswer<'static>,
}

/// What a line says of the answer besides its figures; the rest is nothing.
pub(super) fn reading(recorded: &LineAnswer<'_>, at: Stamp) -> Reading {
    let one = |index: u64| Choice {
        index,
        output: None,
        reasoning: None,
        first: at,
        last: at,
    };
    let finish = recorded.finish_reasons.iter();
    Reading {
        choices: (0..recorded.choices.unwrap_or(0).min(1 << 16))
            .map(one)
            .collect(),
        finish: (0..)
            .zip(finish.map(|reason| Cow::Owned(reason.to_string())))
            .collect(),
        refused: recorded.refused,
        unreadable: Unreadable {
            events: recorded.unreadable_events.unwrap_or(0),
            begins: recorded.unreadable_begins.as_deref().map(str::to_owned),
        },
        quirks: quirks(recorded),
        ..Reading::default()
    }
}

/// How the body was read otherwise than its head says.
fn quirks(recorded: &LineAnswer<'_>) -> Quirks {
    let mut quirks = Quirks::default();
    for (quirk, name) in Quirks::ALL {
        if recorded.read_as.iter().any(|recorded| recorded == name) {
            quirks.add(quirk);
        }
    }
    quirks
}

/// Stamps of a rebuilt record are Unix nanoseconds: files have no other clock in common.
pub(super) fn at(unix_nanos: u64) -> Stamp {
    Stamp::from_nanos(unix_nanos)
}

impl Found {
    /// From the two objects that every line has, with its times on the clock of the run.
    pub(super) fn new(
        metadata: &Verbatim<'_, Metadata<'_>>,
        error: Option<&Verbatim<'_, ErrorDetails<'_>>>,
        clock: &Clock,
    ) -> Self {
        // One step for all instants of a request: what lies between them is by the clock of the
        // machine that sent it.
        let moved = match clock.shift(metadata.value.request_start_ns) {
            0 => None,
            nanos => Some(metadata.value.clone().moved(nanos)),
        };
        let json = moved.as_ref().map(json_line);
        let recorded = moved.as_ref().unwrap_or(&metadata.value);
        let problem = error.map(|error| Problem::of(&error.value));
        let start = at(recorded.request_start_ns);
        let end = at(recorded.request_end_ns.max(recorded.request_start_ns));
        let admitted = recorded.credit_issued_ns.map_or(start, at);
        let by_plan = recorded.was_cancelled
            && problem
                .as_ref()
                .is_some_and(|problem| problem.code == Some(499));
        let cancel = cancel(recorded, problem.as_ref(), by_plan);
        let outcome = match (&problem, by_plan) {
            (None, _) => Outcome::Complete,
            (Some(_), true) => Outcome::Cancelled,
            // What failed is in the verdict; here it only counts that it did.
            (Some(_), false) => Outcome::Failed(Failure::NoResponse),
        };
        let verdict = problem.map(|problem| match by_plan {
            true => Verdict::Cancelled(problem),
            false => Verdict::Error(problem),
        });
        let request_id = uuid(&recorded.x_request_id);
        let plan = recorded.cancellation.as_ref();
        let written = plan.and_then(|plan| plan.written_ns);
        let record = Record {
            phase: if recorded.is_warmup() {
                Phase::Warmup
            } else {
                Phase::Profiling
            },
            index: recorded.session_num,
            entry: 0,
            core: 0,
            request_id,
            session: recorded.session_num,
            correlation: Correlation::Id(Uuid::default()),
            times: Times {
                scheduled: recorded.scheduled_ns.map_or(admitted, at),
                admitted,
                start,
                connected: None,
                secured: None,
                send_start: None,
                written: written.map(at),
                head: recorded.request_ack_ns.map(at),
                body_first: None,
                body_last: None,
                end,
            },
            outcome,
            cancel,
            wire: Wire {
                quirks: recorded.answer.as_ref().map(quirks).unwrap_or_default(),
                ..Wire::default()
            },
            label: None,
            unreached: None,
            transcript: Transcript::default(),
            body: None,
            capture: None,
        };
        Self {
            record,
            entry: EntryFacts {
                session_id: recorded
                    .conversation_id
                    .as_deref()
                    .unwrap_or_default()
                    .to_owned(),
                turn: recorded.turn_index.unwrap_or(0),
                ..EntryFacts::default()
            },
            metadata: json.unwrap_or_else(|| metadata.json.to_owned()),
            error: error.map(|error| error.json.to_owned()),
            verdict,
            is_ours: recorded.is_ours(),
            cancellation: plan.cloned().map(LineCancellation::owned),
            answer: recorded.answer.clone().unwrap_or_default().owned(),
            id: u128::from_be_bytes(request_id.0),
        }
    }
}

/// The id of a request as 16 bytes; one that is no UUID is folded into them.
pub(super) fn uuid(text: &str) -> Uuid {
    let digits = text.bytes().filter(|&byte| byte != b'-');
    let value = digits.clone().try_fold(0_u128, |value, digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some((value << 4) | u128::from(digit))
    });
    let whole = digits.clone().count() == 32;
    let value = value.filter(|_| whole).unwrap_or_else(|| {
        // FNV-1a over 128 bits.
        text.bytes()
            .fold(0x6c62272e07bb014262b821756295c58d, |hash: u128, byte| {
                (hash ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013b)
            })
    });
    Uuid(value.to_be_bytes())
}

/// The plan to hang up: ours says all of it, AIPerf's message names the delay.
fn cancel(recorded: &Metadata<'_>, problem: Option<&Problem>, by_plan: bool) -> Option<Cancel> {
    let Some(plan) = &recorded.cancellation else {
        let delay = problem.filter(|_| by_plan).map(|problem| {
            let words = problem.message.split_whitespace();
            let mut seconds =
                words.filter_map(|word| word.trim_end_matches('s').parse::<f64>().ok());
            Span::from_secs_f64(seconds.next().unwrap_or(0.0))
        })?;
        return Some(Cancel::after(delay));
    };
    let stages = [
        Stage::Connecting,
        Stage::Sending,
        Stage::Waiting,
        Stage::Streaming,
    ];
    // A file of an older version knows the plain hang-up only.
    let trigger = plan.trigger.as_deref().and_then(Trigger::from_name);
    let trigger = trigger.unwrap_or_default();
    let mode = plan.mode.as_deref();
    let leave = Leave::ALL
        .into_iter()
        .find(|leave| mode == Some(leave.name()));
    let after = plan.after_half_close.as_deref();
    let after = AfterHalfClose::ALL
        .into_iter()
        .find(|known| after == Some(known.name()));
    let delay = Span::from_secs_f64(plan.asked_delay_ms.unwrap_or(0.0) / 1e3);
    let done = plan.done().and_then(|done| {
        let due = at(done.due_ns);
        Some(Disconnect {
            due,
            asked: at(done.asked_ns),
            closed: at(done.closed_ns),
            stage: stages
                .into_iter()
                .find(|known| done.phase == known.name())?,
            triggered: plan.triggered_ns.map_or(due - delay, at),
            acknowledged: plan.request_acknowledged,
            after,
        })
    });
    Some(Cancel {
        delay,
        trigger,
        leave: leave.unwrap_or_default(),
        done,
    })
}

#[cfg(test)]
mod tests {
    use pinfire_artifacts::RequestLine;

    use super::*;

    #[test]
    fn ids_come_back_and_others_are_told_apart() {
        let text = "d12fc7df-971f-49ca-8365-77073aaa757d";
        assert_eq!(uuid(text).to_string(), text);
        assert_ne!(uuid("request 1"), uuid("request 2"));
        assert_ne!(uuid("d12fc7df-971f"), uuid("0d12fc7df-971f"));
    }

    fn found(metadata: &str, error: Option<&str>) -> Found {
        let error = error.map_or_else(String::new, |error| format!(",\"error\":{error}"));
        let line = format!("{{\"metadata\":{metadata}{error}}}");
        let line = RequestLine::read(line.as_bytes()).unwrap();
        Found::new(&line.metadata, line.error.as_ref(), &Clock::default())
    }

    #[test]
    fn a_cancelled_request_of_aiperf_is_one_by_plan() {
        let cancelled = found(
            r#"{"session_num":2,"request_start_ns":10,"request_end_ns":30,"was_cancelled":true}"#,
            Some(
                r#"{"code":499,"type":"RequestCancellationError","message":"Request cancelled 0.090s after being sent"}"#,
            ),
        );
        assert_eq!(cancelled.record.outcome, Outcome::Cancelled);
        assert_eq!(
            cancelled.record.cancel.map(|cancel| cancel.delay),
            Some(Span::from_millis(90))
        );
        assert!(matches!(cancelled.verdict, Some(Verdict::Cancelled(_))));
        // Cut off from outside is no plan.
        let other = found(
            r#"{"request_start_ns":10,"request_end_ns":30,"was_cancelled":true}"#,
            Some(r#"{"type":"CancelledError","message":"the run ended"}"#),
        );
        assert!(matches!(other.verdict, Some(Verdict::Error(_))));
    }

    #[test]
    fn our_own_plan_comes_back_whole() {
        let plan = r#"{"asked_delay_ms":50.0,"written_ns":100,"due_ns":200,"asked_ns":201,"closed_ns":203,"phase":"streaming"}"#;
        let line = format!(
            r#"{{"request_start_ns":10,"request_end_ns":203,"was_cancelled":true,"cancellation":{plan}}}"#
        );
        let recorded = found(&line, Some(r#"{"code":499,"message":"x"}"#));
        let done = recorded
            .record
            .cancel
            .and_then(|cancel| cancel.done)
            .unwrap();
        assert_eq!(done.closed.since(done.due).nanos(), 3);
        assert_eq!(done.stage, Stage::Streaming);
        assert_eq!(recorded.record.times.written, Some(at(100)));
    }
}
