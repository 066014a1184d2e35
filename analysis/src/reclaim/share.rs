//! Shares of cancels, how sure they are, and how many cancels a small one takes to be seen.

use serde::Serialize;

/// How sure an interval is, and how sure that a share would have been seen.
const CONFIDENCE: f64 = 0.95;

/// Cancels of one kind and what did not come back of them.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Share {
    /// Cancels.
    pub cancels: u64,
    /// Requests that the server still held after the settling time.
    pub leaked: f64,
}

impl Share {
    /// Leaked per cancel.
    pub fn per_cancel(&self) -> f64 {
        if self.cancels == 0 {
            0.0
        } else {
            self.leaked / self.cancels as f64
        }
    }
}

/// So many of the cancels, as a share with its interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Minority {
    /// Cancels that were looked at.
    pub cancels: u64,
    /// Those that are meant.
    pub requests: u64,
    /// Their share, in percent.
    pub share_pct: f64,
    /// The exact 95 % interval of it (Clopper and Pearson), in percent.
    pub interval_pct: [f64; 2],
}

impl Minority {
    /// `requests` of `cancels`; a counter may show more than there were cancels.
    pub fn of(requests: u64, cancels: u64) -> Self {
        let requests = requests.min(cancels);
        let share = requests as f64 / cancels.max(1) as f64;
        let [low, high] = interval(requests, cancels);
        Self {
            cancels,
            requests,
            share_pct: 100.0 * share,
            interval_pct: [100.0 * low, 100.0 * high],
        }
    }

    /// `4 of 40 cancelled requests (10.0 %, 95 % interval 2.8 to 23.7 %)`, given what they are.
    pub(super) fn words(&self, requests: &str) -> String {
        let [low, high] = self.interval_pct;
        format!(
            "{} of {} {requests} ({:.1} %, 95 % interval {low:.1} to {high:.1} %)",
            self.requests, self.cancels, self.share_pct
        )
    }
}

/// The share of which one request at least would have been among so many cancels, at 95 %.
pub fn detectable(cancels: u64) -> f64 {
    match cancels {
        0 => 1.0,
        cancels => 1.0 - (1.0 - CONFIDENCE).powf(1.0 / cancels as f64),
    }
}

/// Cancels of which one at least is of this share, at 95 %.
pub fn cancels_to_detect(share: f64) -> u64 {
    if share >= 1.0 {
        return 1;
    }
    let cancels = (1.0 - CONFIDENCE).ln() / (-share.max(1e-9)).ln_1p();
    cancels.ceil().max(1.0) as u64
}

/// The exact interval of a share.
fn interval(some: u64, all: u64) -> [f64; 2] {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    if all == 0 {
        return [0.0, 1.0];
    }
    let low = match some {
        0 => 0.0,
        // At least so many with a chance of `tail`.
        some => solve(|share| 1.0 - at_most(some - 1, all, share) < tail),
    };
    let high = match some == all {
        true => 1.0,
        false => solve(|share| at_most(some, all, share) > tail),
    };
    [low, high]
}

/// The share from which on `below` is false.
fn solve(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The chance of `some` or fewer of `all`, each with this chance.
fn at_most(some: u64, all: u64, share: f64) -> f64 {
    if share <= 0.0 {
        return 1.0;
    }
    if share >= 1.0 {
        return if some >= all { 1.0 } else { 0.0 };
    }
    // By logarithms: the first terms are far below what a float holds where there are thousands.
    let mut ln = all as f64 * (-share).ln_1p();
    let odds = (share / (1.0 - share)).ln();
    let mut sum = 0.0;
    for k in 0..=some {
        sum += ln.exp();
        ln += ((all - k) as f64 / (k + 1) as f64).ln() + odds;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        for (some, all, low, high) in [
            (0, 40, 0.0, 0.0881),
            (1, 20, 0.0013, 0.2487),
            (4, 40, 0.0279, 0.2366),
            (40, 40, 0.9119, 1.0),
            (0, 0, 0.0, 1.0),
            (100, 2_000, 0.0409, 0.0605),
        ] {
            let [from, to] = interval(some, all);
            assert!((from - low).abs() < 1e-4, "{some} of {all}: {from}");
            assert!((to - high).abs() < 1e-4, "{some} of {all}: {to}");
        }
    }

    #[test]
    fn a_small_share_takes_many_cancels() {
        assert_eq!(
            (cancels_to_detect(0.01), cancels_to_detect(0.05)),
            (299, 59)
        );
        assert_eq!((cancels_to_detect(1.0), cancels_to_detect(0.5)), (1, 5));
        assert!((detectable(299) - 0.01).abs() < 1e-4 && detectable(0) == 1.0);
        assert_eq!(Minority::of(9, 4).requests, 4);
    }
}
