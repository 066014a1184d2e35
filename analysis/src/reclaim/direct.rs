//! The same load at the server itself, beside that through what stands in front of it: the
//! difference is that one's.

use serde::Serialize;

use super::{Finding, Minority, ReclaimReport, Verdict};

/// What the same test has found at the server itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Direct {
    /// Where it is.
    pub url: String,
    /// What lies between, in one sentence.
    pub difference: String,
    /// The test.
    pub report: Box<ReclaimReport>,
}

impl Finding {
    /// What became of those that were not let go.
    const fn happened(self) -> &'static str {
        match self {
            Self::Late => "were held on to",
            Self::Leaked => "leaked",
            _ => "ran on",
        }
    }
}

impl ReclaimReport {
    /// With what the same test has found at the server itself, without what stands in front. A
    /// server that is worse alone makes the verdict worse.
    #[must_use]
    pub fn beside(mut self, url: String, direct: Self) -> Self {
        let between = Between::of(&self, &direct);
        let difference = between.words(&self, &direct);
        if direct.verdict.exit_code() == 4 && direct.worst() > self.worst() {
            self.verdict = direct.verdict;
            self.exit_code = direct.exit_code;
            self.summary = format!("directly at {url}: {}", direct.summary);
            self.advice.clone_from(&direct.advice);
        } else {
            self.summary = format!("{}; {difference}", self.summary);
        }
        if let Some(advice) = between.advice() {
            advice.clone_into(&mut self.advice);
        }
        self.direct = Some(Direct {
            url,
            difference,
            report: Box::new(direct),
        });
        self
    }

    /// How many of the cancels were not let go at once, if that can be said.
    fn not_let_go(&self) -> Option<Minority> {
        let worst = self.worst();
        match (self.verdict, worst) {
            (Verdict::CannotTell | Verdict::Wedged | Verdict::Died, _) => None,
            (_, Finding::AtOnce) => Some(Minority::of(0, self.cancels)),
            _ => {
                let telling = self.witnesses.iter().filter(|of| of.verdict == worst);
                let shares = telling.filter_map(|of| of.share);
                shares.max_by_key(|share| share.requests)
            }
        }
    }
}

/// What stands between two tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    /// One of them cannot be told.
    Unknown,
    /// What the server lets go of is let go of through it.
    Nothing,
    /// It keeps all that its clients leave, or some of it.
    Keeps { all: bool },
    /// It passes disconnects on, and late.
    Late,
    /// The server does not let go by itself; through it as many are held, or fewer.
    Server,
    /// Neither lets go of all.
    Both,
}

impl Between {
    fn of(through: &ReclaimReport, direct: &ReclaimReport) -> Self {
        let (Some(front), Some(own)) = (through.not_let_go(), direct.not_let_go()) else {
            return match direct.verdict.exit_code() == 4 {
                true => Self::Server,
                false => Self::Unknown,
            };
        };
        match (front.requests, own.requests) {
            (0, 0) => Self::Nothing,
            (_, 0) if through.worst() == Finding::Late => Self::Late,
            (some, 0) => Self::Keeps {
                all: some == front.cancels,
            },
            // More than those of the server alone may be by chance.
            _ if front.interval_pct[0] > own.interval_pct[1] => Self::Both,
            _ => Self::Server,
        }
    }

    fn words(self, through: &ReclaimReport, direct: &ReclaimReport) -> String {
        let count = |report: &ReclaimReport| match report.not_let_go() {
            Some(share) => format!("{} of {}", share.requests, share.cancels),
            None => format!("an unknown number of {}", report.cancels),
        };
        let (front, own) = (count(through), count(direct));
        let worst = through.worst().max(direct.worst()).happened();
        let counted = format!("directly {own} {worst}, through the proxy {front}");
        match self {
            Self::Unknown => format!("directly: {}", direct.summary),
            Self::Nothing => format!(
                "directly {own} and through the proxy {front} were held on to: the proxy passes \
                 disconnects on"
            ),
            Self::Keeps { all: true } => {
                format!("{counted}: the proxy does not pass the disconnect on")
            }
            Self::Keeps { all: false } => {
                format!("{counted}: the proxy does not pass every disconnect on")
            }
            Self::Late => format!("{counted}: the proxy passes disconnects on late"),
            Self::Server => format!("{counted}: the server itself does not let go"),
            Self::Both => {
                format!("{counted}: the server itself does not let go, and the proxy adds to it")
            }
        }
    }

    /// What to do next, where that is another thing now.
    const fn advice(self) -> Option<&'static str> {
        match self {
            Self::Keeps { .. } | Self::Late => Some(
                "the server is not to blame: look at what stands in front of it, for a cache or a buffer \
                 that reads answers to their end, or a setting that tells it of clients that leave",
            ),
            _ => None,
        }
    }
}
