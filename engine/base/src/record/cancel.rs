//! Leaving a request by plan: when its delay begins, how the client leaves, what came of it.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Span, Stamp},
    delay::Delay,
};

/// From which instant the delay of a cancellation counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// A new connection is established, before TLS. The request goes to a connection of its own,
    /// and with a delay of 0 no byte of it is sent.
    Connect,
    /// Half of the body has been taken by the socket. The other half is never sent.
    MidBody,
    /// The last byte of the request has been taken by the socket.
    #[default]
    Sent,
    /// The head of the response is whole.
    Headers,
    /// The first content has come.
    FirstToken,
    /// So many content events have come.
    Tokens(u32),
    /// The request's start; the first content ends it for good.
    Patience,
}

impl Trigger {
    /// The name on the command line and in exports.
    pub fn name(self) -> std::borrow::Cow<'static, str> {
        match self {
            Self::Connect => "connect".into(),
            Self::MidBody => "mid-body".into(),
            Self::Sent => "sent".into(),
            Self::Headers => "headers".into(),
            Self::FirstToken => "first-token".into(),
            Self::Tokens(count) => format!("tokens:{count}").into(),
            Self::Patience => "patience".into(),
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = [
            Self::Connect,
            Self::MidBody,
            Self::Sent,
            Self::Headers,
            Self::FirstToken,
            Self::Patience,
        ];
        match name.split_once(':') {
            Some(("tokens", count)) => count
                .parse()
                .ok()
                .filter(|&count: &u32| count > 0)
                .map(Self::Tokens),
            _ => plain.into_iter().find(|trigger| trigger.name() == name),
        }
    }

    /// It is found in what the server sends.
    pub const fn is_of_the_answer(self) -> bool {
        matches!(
            self,
            Self::Headers | Self::FirstToken | Self::Tokens(_) | Self::Patience
        )
    }
}

/// How the client leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub enum Leave {
    /// An orderly close of both directions.
    #[default]
    Fin,
    /// A reset.
    Rst,
    /// A close of the sending direction only; what the server sends is read to its end.
    HalfClose,
    /// Nothing is read any more; the socket stays open until the phase ends.
    Stall,
}

impl Leave {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fin, Self::Rst, Self::HalfClose, Self::Stall];

    /// The name on the command line and in exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::HalfClose => "half-close",
            Self::Stall => "stall",
        }
    }
}

/// What the delay of a run's cancellations counts from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CancelTrigger {
    /// The same event for all requests.
    At(Trigger),
    /// This share of the output length that a request asks for, above 0 and at most 1.
    Fraction(f64),
}

impl std::fmt::Display for CancelTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(trigger) => f.write_str(&trigger.name()),
            Self::Fraction(share) => write!(f, "fraction:{share}"),
        }
    }
}

impl CancelTrigger {
    /// Parses the name on the command line and in exports; `None` if there is no such trigger.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.strip_prefix("fraction:") {
            Some(share) => share
                .parse()
                .ok()
                .filter(|&share: &f64| share > 0.0 && share <= 1.0)
                .map(Self::Fraction),
            None => Trigger::from_name(name).map(Self::At),
        }
    }
}

/// The planned cancellation of a run, checked: which share of the requests, when and how. One value
/// from the settings to the plan of the cores and to the report.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedCancellation {
    /// Share of the requests that are cancelled, in percent.
    pub rate_pct: f64,
    /// Delay from the trigger to the disconnect.
    pub delay: Delay,
    /// What the delay counts from.
    pub trigger: CancelTrigger,
    /// How the client disconnects.
    pub leave: Leave,
    /// Everything whose delay is over disconnects at multiples of this, from the phase's start.
    pub wave: Option<Span>,
}

impl PlannedCancellation {
    /// An orderly close, `delay` after the last byte of the request.
    pub const fn after(rate_pct: f64, delay: Span) -> Self {
        Self {
            rate_pct,
            delay: Delay::Fixed(delay),
            trigger: CancelTrigger::At(Trigger::Sent),
            leave: Leave::Fin,
            wave: None,
        }
    }
}

/// The plan to leave a request, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cancel {
    /// The delay asked for, counted from the trigger.
    pub delay: Span,
    /// From when it counts.
    pub trigger: Trigger,
    /// How the client was to leave.
    pub leave: Leave,
    /// The leaving, if it took place.
    pub done: Option<Disconnect>,
}

impl Cancel {
    /// A plain hang-up so long after the last byte of the request.
    pub const fn after(delay: Span) -> Self {
        Self {
            delay,
            trigger: Trigger::Sent,
            leave: Leave::Fin,
            done: None,
        }
    }
}

/// A leaving by plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disconnect {
    /// When the delay began.
    pub triggered: Stamp,
    /// The trigger's instant and the delay; with waves, the first wave from then on.
    pub due: Stamp,
    /// Immediately before the client left.
    pub asked: Stamp,
    /// Immediately after it: the FIN or RST has been handed to the network layer within the call.
    pub closed: Stamp,
    /// How far the request had come.
    pub stage: super::Stage,
    /// Whether the peer's kernel had acknowledged the whole request before the client left. Absent
    /// if not all of it had been sent, and where there is nothing to be acknowledged (sockets in
    /// the file system).
    pub acknowledged: Option<bool>,
    /// What the server made of a half-closed connection.
    pub after: Option<AfterHalfClose>,
}

/// How an answer that was read on after a half-close ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AfterHalfClose {
    /// It came whole: the server took no notice.
    Answered,
    /// The server broke it off.
    BrokenOff,
    /// Neither, until the request's time limit.
    TimedOut,
    /// Neither, until the run ended.
    RunEnded,
}

impl AfterHalfClose {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Answered,
        Self::BrokenOff,
        Self::TimedOut,
        Self::RunEnded,
    ];

    /// The name in exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::BrokenOff => "broken-off",
            Self::TimedOut => "timed-out",
            Self::RunEnded => "run-ended",
        }
    }
}
