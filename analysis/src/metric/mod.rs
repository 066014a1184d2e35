//! Every metric, once: what it is called, what it is measured in, when it exists, how it is
//! computed.
//!
//! The table is the only place with formulas. Collector, exports and console follow its rows;
//! adding a metric is adding a row. The order of the rows is the order of computation: a derived
//! row stands after the rows it reads.

mod asked;
pub mod curve;
#[cfg(test)]
mod document;
mod recorded;
mod request;
mod run;
mod table;
mod value;

use std::ops::{BitOr, BitOrAssign};

pub use asked::{EntryFacts, Thresholds};
pub use recorded::Recorded;
pub use request::{Class, Request};
pub use run::Results;
pub use table::METRICS;
pub use value::RowValue;

use curve::Curve;
use pinfire_dialect::Endpoint;

/// A unit as the exports spell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the units")]
pub enum Unit {
    Nanoseconds,
    Milliseconds,
    Seconds,
    Tokens,
    Requests,
    Count,
    Ratio,
    Percent,
    TokensPerSecond,
    TokensPerSecondPerUser,
    RequestsPerSecond,
    Bytes,
    Kilobytes,
}

impl Unit {
    /// The spelling in every export.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::Seconds => "sec",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Percent => "%",
            Self::TokensPerSecond => "tokens/sec",
            Self::TokensPerSecondPerUser => "tokens/sec/user",
            Self::RequestsPerSecond => "requests/sec",
            Self::Bytes => "B",
            Self::Kilobytes => "KB",
        }
    }

    /// What a value in this unit is divided by to be shown in `shown`.
    pub const fn divisor(self, shown: Self) -> f64 {
        match (self, shown) {
            (Self::Nanoseconds, Self::Milliseconds) => 1e6,
            (Self::Nanoseconds, Self::Seconds) => 1e9,
            (Self::Bytes, Self::Kilobytes) => 1024.0,
            _ => 1.0,
        }
    }
}

/// A set of flags; used for conditions and for marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Condition: streaming.
    pub const STREAMING: Self = Self(1);
    /// Condition: the endpoint produces tokens.
    pub const OUTPUT_TOKENS: Self = Self(1 << 1);
    /// Condition: the endpoint counts input tokens.
    pub const INPUT_TOKENS: Self = Self(1 << 2);
    /// Condition: tokens are counted by the client.
    pub const CLIENT_COUNTS: Self = Self(1 << 3);
    /// Condition: a cancellation rate was asked for.
    pub const CANCELLATION: Self = Self(1 << 4);
    /// Condition: `--goodput` was given.
    pub const GOODPUT: Self = Self(1 << 5);
    /// Mark: larger is better.
    pub const LARGER_IS_BETTER: Self = Self(1 << 8);
    /// Mark: not written to the JSONL.
    pub const NOT_PER_RECORD: Self = Self(1 << 9);
    /// Mark: computed, never shown.
    pub const INTERNAL: Self = Self(1 << 10);

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The conditions of the table that hold in a run.
pub fn conditions(
    endpoint: &Endpoint,
    streaming: bool,
    client_counts: bool,
    cancellation: bool,
    goodput: bool,
) -> Flags {
    let all = [
        (endpoint.output_tokens, Flags::OUTPUT_TOKENS),
        (endpoint.counts_input, Flags::INPUT_TOKENS),
        (streaming, Flags::STREAMING),
        (client_counts, Flags::CLIENT_COUNTS),
        (cancellation, Flags::CANCELLATION),
        (goodput, Flags::GOODPUT),
    ];
    let holding = all.into_iter().filter(|(holds, _)| *holds);
    holding.fold(Flags::NONE, |flags, (_, flag)| flags | flag)
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

/// Which records a row is computed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Valid ones.
    Valid,
    /// Failed ones. Cancelled ones show the value in the JSONL, as in AIPerf, and do not count.
    Errors,
    /// Valid, failed and cancelled ones.
    All,
}

/// How a row is computed.
#[derive(Clone, Copy)]
pub enum Of {
    /// One whole number per request; full statistics.
    Whole(fn(&Request) -> Option<u64>),
    /// One fraction per request; full statistics.
    Fraction(fn(&Request) -> Option<f64>),
    /// A list of whole numbers per request, appended to the given one; pooled over the run. Appends
    /// nothing where the metric is absent.
    List(fn(&Request, &mut Vec<u64>)),
    /// One whole number per request, summed up over the run.
    Sum(fn(&Request) -> Option<u64>),
    /// One whole number per request; the smallest of the run.
    Smallest(fn(&Request) -> Option<u64>),
    /// One whole number per request; the largest of the run.
    Largest(fn(&Request) -> Option<u64>),
    /// One value over the run, from other results.
    Derived(fn(&Results) -> Option<f64>),
    /// 1 if the request keeps every promise of `--goodput`, else 0; summed up over the run.
    Good,
    /// Statistics of a step function of time, weighted by duration.
    Curve(Curve),
    /// The same over the time in which the curve's phase was active.
    Active(Curve),
    /// Percentiles of another row's sample if every failed request had taken for ever.
    Adjusted(&'static str),
}

/// A console table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// `…: Effective`.
    Effective,
    /// `…: Active`.
    Active,
    /// `…: Usage`.
    Usage,
    /// The main table, printed last.
    Default,
}

impl Group {
    /// In the order of the console.
    pub const ALL: [Self; 4] = [Self::Effective, Self::Active, Self::Usage, Self::Default];

    /// What is appended to the table's title.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Effective => ": Effective",
            Self::Active => ": Active",
            Self::Usage => ": Usage",
            Self::Default => "",
        }
    }
}

/// Where a row appears on the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a metric table, at this place; without one, after those that have one.
    Table(Group, Option<u16>),
    /// In the table of HTTP timings (`--show-trace-timing`), at this place.
    Trace(u16),
    /// In files only.
    Files,
}

/// One row of [`METRICS`].
pub struct Metric {
    /// Key in the exports.
    pub tag: &'static str,
    /// Display name.
    pub name: &'static str,
    /// Unit of the formula.
    pub unit: Unit,
    /// Unit of every export.
    pub shown: Unit,
    /// Formula.
    pub of: Of,
    /// Records it is computed over.
    pub over: Over,
    /// Conditions under which it exists.
    pub needs: Flags,
    /// Marks.
    pub marks: Flags,
    /// Place on the console.
    pub place: Place,
    /// What it says, in one line.
    pub doc: &'static str,
    /// The formula in words.
    pub formula: &'static str,
    /// The formula at work on the example run of `docs/METRICS.md`.
    pub example: &'static str,
}

impl Metric {
    /// What its values are divided by to be shown.
    pub const fn divisor(&self) -> f64 {
        self.unit.divisor(self.shown)
    }

    /// Whether the summary files and the console show it.
    pub const fn is_shown(&self) -> bool {
        !self.marks.has(Flags::INTERNAL)
    }

    /// Whether it belongs into a line of the JSONL.
    pub const fn is_per_record(&self) -> bool {
        let of_record = matches!(
            self.of,
            Of::Whole(_) | Of::Fraction(_) | Of::List(_) | Of::Sum(_) | Of::Good
        );
        of_record && self.is_shown() && !self.marks.has(Flags::NOT_PER_RECORD)
    }

    /// Display name with the unit; `requests` and `count` go without saying.
    pub fn name_with_unit(&self) -> String {
        match self.shown {
            Unit::Requests | Unit::Count => self.name.to_owned(),
            shown => format!("{} ({})", self.name, shown.name()),
        }
    }
}

/// The index of the row with a tag.
pub fn row(tag: &str) -> Option<usize> {
    METRICS.iter().position(|metric| metric.tag == tag)
}

#[cfg(test)]
mod tests;
