//! What a scripted server does, as plain data.

use std::sync::Arc;

use pinfire_base::clock::Span;
use rustls::ServerConfig;
use thiserror::Error;

use super::fault::FaultRule;

/// The behaviour of one server. `Default` streams 64 events 5 ms apart after 20 ms.
#[derive(Clone, Debug)]
pub struct Script {
    /// Speak TLS too, on the same port, with clients whose first byte is TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// From the instant at which a request is whole (or got its slot) to its first content event.
    pub ttft: Span,
    /// From one token to the next. Zero together with a zero `ttft` is instant mode: the whole
    /// answer leaves in one write.
    pub itl: Span,
    /// Output tokens of an answer, unless the request asks for fewer.
    pub tokens: u32,
    /// The first so many tokens of an answer are reasoning (chat, responses, messages).
    pub reasoning_tokens: u32,
    /// The last so many tokens of an answer are the arguments of a tool call (likewise).
    pub tool_tokens: u32,
    /// Answer with `tokens` whatever limit the request carries.
    pub ignore_max: bool,
    /// Every due time is moved by up to this fraction of its gap, either way: 0 to 1. The shift of
    /// token `i` of request `n` is a pure function of `seed`, `n` and `i`.
    pub jitter: f64,
    /// Seed of the jitter and of faults given as a share.
    pub seed: u64,
    /// Tokens in one content event. The event is due when its first token is.
    pub tokens_per_event: u32,
    /// Content events in one write. The write is due when its first event is.
    pub events_per_write: u32,
    /// Pieces into which every write of events is cut.
    pub pieces: u32,
    /// From one piece to the next.
    pub piece_gap: Span,
    /// Line ends inside the event stream.
    pub line_end: LineEnd,
    /// A comment (`: keep-alive`) before every n-th content event; 0 for none.
    pub comment_every: u32,
    /// How the event stream is framed.
    pub framing: Framing,
    /// When the response head leaves.
    pub head: HeadTime,
    /// When the event that only names the role leaves (chat only).
    pub role: RoleTime,
    /// From the whole request to a non-streaming answer; `None` means the time a stream would take
    /// to its last token.
    pub latency: Option<Span>,
    /// What goes wrong, first match wins.
    pub faults: Vec<FaultRule>,
    /// Close a connection that has been idle this long after an answer, unannounced.
    pub idle_close: Option<Span>,
    /// Close a connection after this many answers, unannounced.
    pub requests_per_connection: Option<u32>,
    /// Leave new connections in the backlog this long.
    pub accept_delay: Span,
    /// Requests served at a time; the others wait in order of arrival.
    pub slots: Option<u32>,
    /// Every other request at the server, waiting ones included, makes the gaps between an answer's
    /// tokens longer by this share of `itl`, as many as there are when the answer begins.
    pub crowding: f64,
    /// Tokens that the pretended cache holds: what `vllm:kv_cache_usage_perc` is a share of.
    pub cache_tokens: u64,
    /// The head of an answer that comes whole leaves after this share of the time to the answer, 0
    /// to 1; `None`: with the answer.
    pub whole_head: Option<f64>,
    /// What becomes of a slot whose client has left.
    pub release: Release,
    /// A slot whose client has left so is never free again, whatever `release` says.
    pub leak_on: Option<LeakOn>,
    /// How many of them the counter of aborted requests has for each that there was.
    pub abort_counter: u32,
    /// When the counters of ended requests and of tokens are shown.
    pub counters: CounterLife,
    /// Go on with an answer whose client has closed its sending half.
    pub half_open: bool,
    /// How exactly due times are met.
    pub precision: Precision,
    /// The model's name in answers.
    pub model: String,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tls: None,
            ttft: Span::from_millis(20),
            itl: Span::from_millis(5),
            tokens: 64,
            reasoning_tokens: 0,
            tool_tokens: 0,
            ignore_max: false,
            jitter: 0.0,
            seed: 0,
            tokens_per_event: 1,
            events_per_write: 1,
            pieces: 1,
            piece_gap: Span::ZERO,
            line_end: LineEnd::Lf,
            comment_every: 0,
            framing: Framing::ChunkPerEvent,
            head: HeadTime::AtOnce,
            role: RoleTime::WithFirst,
            latency: None,
            faults: Vec::new(),
            idle_close: None,
            requests_per_connection: None,
            accept_delay: Span::ZERO,
            slots: None,
            crowding: 0.0,
            cache_tokens: 1_000_000,
            whole_head: None,
            release: Release::AtOnce,
            leak_on: None,
            abort_counter: 1,
            counters: CounterLife::Steady,
            half_open: false,
            precision: Precision::Lead,
            model: String::from("mock"),
        }
    }
}

impl Script {
    /// A script whose answers leave at once and whole: the fastest this server can be.
    pub fn instant(tokens: u32) -> Self {
        Self {
            ttft: Span::ZERO,
            itl: Span::ZERO,
            tokens,
            ..Self::default()
        }
    }

    /// Whether answers leave in one write as soon as the request is whole.
    pub(super) fn is_instant(&self) -> bool {
        self.ttft == Span::ZERO && self.itl == Span::ZERO && self.pieces == 1
    }

    /// From the whole request to a non-streaming answer of `tokens`, `itl` apart.
    pub(super) fn latency_of(&self, tokens: u32, itl: Span) -> Span {
        self.latency.unwrap_or_else(|| {
            let gaps = u64::from(tokens.saturating_sub(1));
            Span::from_nanos(self.ttft.nanos() + gaps * itl.nanos())
        })
    }

    /// The gap between tokens of an answer that begins beside so many other requests.
    pub(super) fn itl_beside(&self, others: u64) -> Span {
        if self.crowding == 0.0 {
            return self.itl;
        }
        let longer = 1.0 + self.crowding * others as f64;
        Span::from_nanos((self.itl.nanos() as f64 * longer) as u64)
    }

    /// Refuses what cannot be served.
    pub(super) fn check(&self) -> Result<(), ScriptError> {
        if !(0.0..=1e6).contains(&self.crowding) {
            return Err(ScriptError::Crowding(self.crowding));
        }
        if let Some(share) = self.whole_head
            && !(0.0..=1.0).contains(&share)
        {
            return Err(ScriptError::WholeHead(share));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ScriptError::Jitter(self.jitter));
        }
        if self.tokens_per_event > 1 && self.reasoning_tokens + self.tool_tokens > 0 {
            return Err(ScriptError::Parts);
        }
        let counts = [
            ("tokens per event", self.tokens_per_event),
            ("events per write", self.events_per_write),
            ("pieces", self.pieces),
            ("slots", self.slots.unwrap_or(1)),
            (
                "requests per connection",
                self.requests_per_connection.unwrap_or(1),
            ),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(ScriptError::Zero(what)),
            None => Ok(()),
        }
    }
}

/// Why a script cannot be served.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ScriptError {
    /// The crowding is a share.
    #[error("crowding must be a number of at least 0, not {0}")]
    Crowding(f64),
    /// The head of a whole answer leaves after a share of its time.
    #[error("the time of a whole answer's head must be a share of 0 to 1, not {0}")]
    WholeHead(f64),
    /// The jitter is a fraction.
    #[error("jitter must be between 0 and 1, not {0}")]
    Jitter(f64),
    /// An event has one part of an answer only.
    #[error("reasoning and tool tokens need one token per event")]
    Parts,
    /// A count that must be at least 1.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

/// What becomes of a slot (and of its share of the cache) whose client has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// It is free at once.
    #[default]
    AtOnce,
    /// It is free so long after.
    After(Span),
    /// One in so many is never free again.
    LeakOneIn(u32),
    /// It is never free again if the client left before the first token, else at once.
    LeakBeforeToken,
    /// At once; but after so many the server answers nothing any more.
    WedgeAfter(u32),
    /// At once; but with that many the server ends.
    DieAfter(u32),
}

impl std::str::FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "it must be at-once, after:MS, leak:1/N, leak-before-token, wedge:N or die:N".to_owned()
        };
        let count = |text: &str| {
            let count = text.parse().ok().filter(|&count: &u32| count > 0);
            count.ok_or_else(wrong)
        };
        match text.split_once(':') {
            None if text == "at-once" => Ok(Self::AtOnce),
            None if text == "leak-before-token" => Ok(Self::LeakBeforeToken),
            Some(("after", millis)) => {
                count(millis).map(|millis| Self::After(Span::from_millis(u64::from(millis))))
            }
            Some(("leak", share)) => {
                let share = share.strip_prefix("1/").ok_or_else(wrong)?;
                count(share).map(Self::LeakOneIn)
            }
            Some(("wedge", cancels)) => count(cancels).map(Self::WedgeAfter),
            Some(("die", cancels)) => count(cancels).map(Self::DieAfter),
            _ => Err(wrong()),
        }
    }
}

/// When the counters of ended requests and of tokens are shown, and from where they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterLife {
    /// From the start of the server.
    #[default]
    Steady,
    /// Each series from its first event on, as Dynamo's counter of cancels.
    Late,
    /// From 0 again when so many clients have left, as after a restart.
    RestartAt(u32),
    /// From 0 again when so many requests have ended in any way.
    RestartAfter(u32),
    /// No request that has ended is counted.
    Zero,
    /// Each request that has ended counts twice.
    Doubled,
}

impl std::str::FromStr for CounterLife {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, count.parse().ok()),
            None => (text, None),
        };
        match (name, count) {
            ("steady", None) => Ok(Self::Steady),
            ("late", None) => Ok(Self::Late),
            ("zero", None) => Ok(Self::Zero),
            ("doubled", None) => Ok(Self::Doubled),
            ("restart", Some(cancels @ 1..)) => Ok(Self::RestartAt(cancels)),
            ("restart-after", Some(requests @ 1..)) => Ok(Self::RestartAfter(requests)),
            _ => Err(
                "it must be steady, late, zero, doubled, restart:N or restart-after:N".to_owned(),
            ),
        }
    }
}

impl CounterLife {
    /// What a counter of requests that have ended shows for each.
    pub(super) const fn times(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Doubled => 2,
            Self::Steady | Self::Late | Self::RestartAt(_) | Self::RestartAfter(_) => 1,
        }
    }

    /// Whether the counters begin anew now that so many clients have left, and so many requests
    /// have ended.
    pub(super) const fn restarts(self, left: u64, ended: u64) -> bool {
        match self {
            Self::RestartAt(cancels) => left == cancels as u64,
            Self::RestartAfter(requests) => ended == requests as u64,
            Self::Steady | Self::Late | Self::Zero | Self::Doubled => false,
        }
    }
}

/// A leak of some cancels only: what must be so of one, all of it. What is not said may be either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeakOn {
    /// The client left by a reset; `false`: by an orderly close.
    pub reset: Option<bool>,
    /// How far the answer had come.
    pub at: Option<LeftAt>,
    /// The answer was a stream; `false`: it was to come whole.
    pub stream: Option<bool>,
}

/// How far an answer had come when its client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftAt {
    /// Nothing of it was sent.
    Nothing,
    /// Its head, and no content.
    Head,
    /// Content.
    Content,
}

impl LeakOn {
    /// Whether it is about a cancel.
    pub(super) fn applies(self, reset: bool, at: LeftAt, stream: bool) -> bool {
        self.reset.is_none_or(|wanted| wanted == reset)
            && self.at.is_none_or(|wanted| wanted == at)
            && self.stream.is_none_or(|wanted| wanted == stream)
    }

    /// It can only be met by an answer whose head leaves before its body.
    pub fn needs_early_head(self) -> bool {
        self.at == Some(LeftAt::Head) && self.stream != Some(true)
    }
}

impl std::str::FromStr for LeakOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for word in text.split(',') {
            let twice = match word.trim() {
                "rst" => all.reset.replace(true).is_some(),
                "fin" => all.reset.replace(false).is_some(),
                "sent" => all.at.replace(LeftAt::Nothing).is_some(),
                "headers" => all.at.replace(LeftAt::Head).is_some(),
                "content" => all.at.replace(LeftAt::Content).is_some(),
                "stream" => all.stream.replace(true).is_some(),
                "whole" => all.stream.replace(false).is_some(),
                _ => {
                    return Err(
                        "it must be a list of: rst or fin; sent, headers or content; stream or \
                                whole"
                            .to_owned(),
                    );
                }
            };
            if twice {
                return Err(format!("{word} contradicts a word before it"));
            }
        }
        Ok(all)
    }
}

/// Line ends of the event stream. All three are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`, what every server known to us sends.
    #[default]
    Lf,
    /// `\r\n`
    CrLf,
    /// `\r`
    Cr,
}

impl LineEnd {
    /// The bytes of one line end.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
            Self::Cr => "\r",
        }
    }
}

/// Framing of the event stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Chunked, one chunk per event, as uvicorn does.
    #[default]
    ChunkPerEvent,
    /// Chunked, one chunk per write, however many events it has.
    ChunkPerWrite,
    /// No framing: the body ends where the connection does.
    UntilClose,
}

/// When a streaming answer's head leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadTime {
    /// As soon as the request has its slot, as vLLM does.
    #[default]
    AtOnce,
    /// In one write with the first event.
    WithFirst,
}

/// When the event that carries only the role leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleTime {
    /// In one write with the first content event, as vLLM does.
    #[default]
    WithFirst,
    /// In one write with the head: a client that takes it for the first token reports too short a
    /// time to first token.
    WithHead,
    /// Never.
    Never,
}

/// How exactly due times are met, and at what cost in processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Sleep until the deadline: 20–90 µs late, next to no processor time.
    Sleep,
    /// Wake 100 µs early and poll: below a few µs late while the processor is ours.
    #[default]
    Lead,
    /// Never sleep: a processor at 100 %.
    Spin,
}
