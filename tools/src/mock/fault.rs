//! What goes wrong on purpose, and for which requests.

use std::str::FromStr;

use pinfire_base::random::Purpose;
use thiserror::Error;

/// One thing that goes wrong. Counts are of content events; a non-streaming answer is cut in half
/// where a stream would be cut after some events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with an OpenAI-style JSON error.
    Status(u16),
    /// Reset (RST) instead of a head.
    ResetHead,
    /// Reset (RST) after this many events.
    ResetAfter(u32),
    /// Orderly close (FIN) in mid-body after this many events.
    CutAfter(u32),
    /// Nothing at all, for ever.
    StallHead,
    /// Nothing more after this many events.
    StallAfter(u32),
    /// Bytes that are not HTTP, then a close.
    Garbage,
    /// The event of this index has broken JSON; the stream goes on.
    BadJson(u32),
    /// `data: {"error":…}` after this many events, then the end mark.
    ErrorData(u32),
    /// `event: error` after this many events, then the end of the body.
    ErrorEvent(u32),
    /// Status 200 with a body of no bytes.
    Empty,
    /// A well-formed answer without a token.
    NoTokens,
}

/// Which requests a fault meets. Requests are numbered in the order in which they became whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Every n-th: the n-th, the 2n-th, …
    Every(u64),
    /// This share, chosen by seed and request number.
    Share(f64),
}

/// A fault and its requests. Text form: `KIND[:COUNT]@WHEN`, as in `500@1/10` (every tenth) or
/// `reset-after:3@0.05` (a share of 5 %).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// For which requests.
    pub when: When,
}

/// Why a text is not a [`FaultRule`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultError {
    /// There is no `@`.
    #[error("a fault reads KIND[:COUNT]@WHEN, for example 500@1/10 or reset-after:3@0.05")]
    Form,
    /// The part before the `@`.
    #[error(
        "unknown fault `{0}`: a status (400-599), reset-head, reset-after:K, cut-after:K, \
         stall-head, stall-after:K, garbage, bad-json:K, error-data:K, error-event:K, empty or \
         no-tokens"
    )]
    Kind(String),
    /// The part after the `@`.
    #[error("`{0}` is neither 1/N (every N-th) nor a share between 0 and 1")]
    When(String),
}

impl FromStr for FaultRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, when) = text.split_once('@').ok_or(FaultError::Form)?;
        Ok(Self {
            fault: parse_fault(kind).ok_or_else(|| FaultError::Kind(kind.into()))?,
            when: parse_when(when).ok_or_else(|| FaultError::When(when.into()))?,
        })
    }
}

fn parse_fault(text: &str) -> Option<Fault> {
    if let Ok(status) = text.parse() {
        return (400..600)
            .contains(&status)
            .then_some(Fault::Status(status));
    }
    match text.split_once(':') {
        None => match text {
            "reset-head" => Some(Fault::ResetHead),
            "stall-head" => Some(Fault::StallHead),
            "garbage" => Some(Fault::Garbage),
            "empty" => Some(Fault::Empty),
            "no-tokens" => Some(Fault::NoTokens),
            _ => None,
        },
        Some((kind, count)) => {
            let count = count.parse().ok()?;
            match kind {
                "reset-after" => Some(Fault::ResetAfter(count)),
                "cut-after" => Some(Fault::CutAfter(count)),
                "stall-after" => Some(Fault::StallAfter(count)),
                "bad-json" => Some(Fault::BadJson(count)),
                "error-data" => Some(Fault::ErrorData(count)),
                "error-event" => Some(Fault::ErrorEvent(count)),
                _ => None,
            }
        }
    }
}

fn parse_when(text: &str) -> Option<When> {
    if let Some(every) = text.strip_prefix("1/") {
        return every.parse().ok().filter(|n| *n > 0).map(When::Every);
    }
    let share: f64 = text.parse().ok()?;
    (0.0..=1.0).contains(&share).then_some(When::Share(share))
}

/// The rules of a script with their random streams.
pub(super) struct Faults {
    rules: Vec<(FaultRule, Purpose)>,
}

impl Faults {
    pub(super) fn new(rules: &[FaultRule], seed: u64) -> Self {
        let purpose = |index| Purpose::new(seed, &format!("mock.fault.{index}"));
        let rules = rules.iter().copied().enumerate();
        Self {
            rules: rules.map(|(i, rule)| (rule, purpose(i))).collect(),
        }
    }

    /// What goes wrong with the request of this number (from 0).
    #[inline]
    pub(super) fn of(&self, number: u64) -> Option<Fault> {
        let met = |rule: &FaultRule, purpose: &Purpose| match rule.when {
            When::Every(n) => (number + 1).is_multiple_of(n),
            When::Share(share) => purpose.uniform(number) < share,
        };
        let rule = self.rules.iter().find(|(rule, purpose)| met(rule, purpose));
        rule.map(|(rule, _)| rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let check = |text: &str, fault, when| {
            assert_eq!(text.parse(), Ok(FaultRule { fault, when }), "{text}");
        };
        check("500@1/10", Fault::Status(500), When::Every(10));
        check(
            "reset-after:3@0.05",
            Fault::ResetAfter(3),
            When::Share(0.05),
        );
        check("garbage@1", Fault::Garbage, When::Share(1.0));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| text.parse::<FaultRule>().unwrap_err().to_string();
        assert!(wrong("500").contains("KIND[:COUNT]@WHEN"));
        assert!(wrong("200@1").contains("unknown fault `200`"));
        assert!(wrong("reset-after@1").contains("unknown fault"));
        assert!(wrong("500@1/0").contains("`1/0`"));
        assert!(wrong("500@2").contains("`2`"));
    }

    #[test]
    fn every_counts_from_the_nth() {
        let rules = ["500@1/3".parse().unwrap(), "429@1/2".parse().unwrap()];
        let faults = Faults::new(&rules, 1);
        let met: Vec<_> = (0..6).map(|n| faults.of(n)).collect();
        let (a, b) = (Some(Fault::Status(500)), Some(Fault::Status(429)));
        assert_eq!(met, [None, b, a, b, None, a]);
    }
}
