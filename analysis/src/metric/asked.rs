//! What was asked of a request, as far as its values are compared with it.

/// What the analysis needs to know of a dataset entry, by the record's entry index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFacts {
    /// Key into `inputs.json`.
    pub session_id: String,
    /// Which turn of its conversation it is, counted from 0.
    pub turn: u32,
    /// Tokens of the body as sent; absent with server counts.
    pub isl: Option<u32>,
    /// Output limit sent with it.
    pub requested_osl: Option<u32>,
}

/// Limits behind the discrepancy and mismatch counters; environment variables change them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Server and client counts may differ by so many percent.
    pub usage_diff_pct: f64,
    /// Output may miss the asked length by so many percent …
    pub osl_mismatch_pct: f64,
    /// … but never by more than so many tokens.
    pub osl_mismatch_tokens: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            usage_diff_pct: 10.0,
            osl_mismatch_pct: 5.0,
            osl_mismatch_tokens: 50.0,
        }
    }
}
