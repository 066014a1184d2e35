//! Who tells of a release, and what each says.

use serde::Serialize;

use super::share::Minority;

/// Who tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What the server holds against what the client wants.
    Held,
    /// Requests that the server counts as finished against those that were answered.
    Finished,
    /// Tokens that the server counts against those that reached the client.
    Tokens,
    /// Its counter of aborted requests: evidence of how it counts, not of what it lets go.
    AbortCounter,
    /// Requests alone, behind each wave.
    Canaries,
}

impl Source {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "requests held",
            Self::Finished => "finished counter",
            Self::Tokens => "tokens for nobody",
            Self::AbortCounter => "abort counter",
            Self::Canaries => "canaries",
        }
    }
}

/// What a witness says of the release, from the best to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It cannot tell.
    Silent,
    /// Everything was let go at once.
    AtOnce,
    /// Something was held for longer than that.
    Late,
    /// Something ran to its end as if its client were still there.
    RanOn,
    /// Something never came back.
    Leaked,
    /// The server answers no more.
    Wedged,
    /// The server is gone.
    Died,
}

impl Finding {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "cannot tell",
            Self::AtOnce => "at once",
            Self::Late => "late",
            Self::RanOn => "ran on",
            Self::Leaked => "leaked",
            Self::Wedged => "wedged",
            Self::Died => "died",
        }
    }
}

/// One witness.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Witness {
    /// Who.
    pub witness: Source,
    /// What it says of the release.
    pub verdict: Finding,
    /// In words.
    pub says: String,
    /// How many of the cancels its verdict is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Minority>,
    /// The largest share of the cancels, in percent, of which it may be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ruled_out_pct: Option<f64>,
}

impl Witness {
    pub(super) fn new(witness: Source, verdict: Finding, says: impl Into<String>) -> Self {
        Self {
            witness,
            verdict,
            says: says.into(),
            share: None,
            not_ruled_out_pct: None,
        }
    }

    /// One that was not heard.
    pub(super) const fn absent(witness: Source) -> Self {
        Self {
            witness,
            verdict: Finding::Silent,
            says: String::new(),
            share: None,
            not_ruled_out_pct: None,
        }
    }

    pub(super) fn silent(witness: Source, why: impl Into<String>) -> Self {
        Self::new(witness, Finding::Silent, why)
    }

    pub(super) const fn but_for(mut self, percent: f64) -> Self {
        self.not_ruled_out_pct = Some(percent);
        self
    }

    pub(super) fn about(mut self, requests: u64, cancels: u64) -> Self {
        self.share = Some(Minority::of(requests, cancels));
        self
    }
}

/// Tokens that the server generated for clients that had left.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TokensForNobody {
    /// In all.
    pub tokens: f64,
    /// Per cancel.
    pub per_cancel: f64,
    /// Of all that it generated, in percent.
    pub share_pct: f64,
}
