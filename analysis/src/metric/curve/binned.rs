//! The curves of a run that is too long to keep its requests: what each was on average in every
//! tenth of a second.

use super::{Curve, Curves};

/// Length of a bin, in nanoseconds.
pub const BIN: u64 = 100_000_000;

/// One request as the curves see it. Times in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct CurveRequest<'a> {
    /// Start.
    pub start: u64,
    /// Record end.
    pub end: u64,
    /// First content.
    pub first: Option<u64>,
    /// Input tokens.
    pub isl: Option<u64>,
    /// Output tokens.
    pub osl: Option<u64>,
    /// Gaps between contents.
    pub gaps: &'a [u64],
}

/// The step functions whose areas are kept; the others follow from them.
const CONCURRENCY: usize = 0;
const PREFILL: usize = 1;
const DECODE: usize = 2;
const PREFILL_RATE: usize = 3;
const DECODE_RATE: usize = 4;
const TOTAL_RATE: usize = 5;
const IN_FLIGHT: usize = 6;

/// All curves, bin by bin. Grows with the length of the run: 112 bytes per bin, 4 MB an hour.
#[derive(Debug, Default)]
pub struct Binned {
    areas: [Areas; 7],
    /// The zero of the bins; absent before the first request.
    zero: Option<u64>,
    first_start: u64,
    last_end: u64,
}

impl Binned {
    /// Adds a request.
    pub fn add(&mut self, seen: &CurveRequest<'_>) {
        let CurveRequest { start, end, .. } = *seen;
        let end = end.max(start);
        self.make_room(start);
        self.first_start = self.first_start.min(start);
        self.last_end = self.last_end.max(end);
        self.hold(CONCURRENCY, start, end, 1.0);
        let Some(first) = seen.first.filter(|&first| first >= start) else {
            return;
        };
        self.hold(PREFILL, start, first.min(end), 1.0);
        self.hold(DECODE, first, end, 1.0);
        if let Some(isl) = seen.isl.filter(|_| first > start) {
            let rate = isl as f64 * 1e9 / (first - start) as f64;
            self.hold(PREFILL_RATE, start, first, rate);
            self.hold(TOTAL_RATE, start, first, rate);
            self.hold(IN_FLIGHT, start, end, isl as f64);
        }
        let Some(later) = seen.osl.and_then(|osl| osl.checked_sub(1)) else {
            return;
        };
        if end > first {
            let rate = later as f64 * 1e9 / (end - first) as f64;
            self.hold(TOTAL_RATE, first, end, rate);
        }
        if !seen.gaps.is_empty() {
            self.hold(IN_FLIGHT, first, end, 1.0);
        }
        let taking = seen.gaps.iter().filter(|&&gap| gap > 0).count();
        let mut at = first;
        for &gap in seen.gaps {
            if gap > 0 {
                let rate = later as f64 / taking as f64 * 1e9 / gap as f64;
                self.hold(DECODE_RATE, at, at + gap, rate);
            }
            at += gap;
            let share = later as f64 / seen.gaps.len() as f64;
            self.hold(IN_FLIGHT, at.min(end), end, share);
        }
    }

    fn make_room(&mut self, start: u64) {
        match self.zero {
            None => {
                self.zero = Some(start);
                self.first_start = start;
            }
            Some(zero) if start < zero => {
                let bins = (zero - start).div_ceil(BIN);
                self.areas
                    .iter_mut()
                    .for_each(|areas| areas.shift(bins as usize));
                self.zero = Some(zero - bins * BIN);
            }
            Some(_) => {}
        }
    }

    fn hold(&mut self, which: usize, from: u64, to: u64, value: f64) {
        let zero = self.zero.unwrap_or(0);
        if let Some(areas) = self.areas.get_mut(which).filter(|_| to > from) {
            areas.hold(from.saturating_sub(zero), to.saturating_sub(zero), value);
        }
    }

    /// The average number of open requests from `from` to `to`, and the most of any bin; both to
    /// the bin.
    pub fn concurrency(&self, from: u64, to: u64) -> Option<(f64, f64)> {
        let zero = self.zero?;
        let bin = |at: u64| (at.saturating_sub(zero) / BIN) as usize;
        let areas = self.areas.get(CONCURRENCY)?.each();
        let within: Vec<f64> = areas
            .skip(bin(from))
            .take((bin(to) - bin(from)).max(1))
            .map(|area| area / BIN as f64)
            .collect();
        let most = within.iter().copied().fold(0.0, f64::max);
        let bins = within.len();
        (bins > 0).then(|| (within.iter().sum::<f64>() / bins as f64, most))
    }

    /// Every curve from the first start to the last end.
    pub fn curves(&self) -> Curves {
        let mut curves = Curves::default();
        let Some(zero) = self.zero else {
            return curves;
        };
        let mut areas: Vec<Vec<f64>> = self
            .areas
            .iter()
            .map(|areas| areas.each().collect())
            .collect();
        let bins = ((self.last_end - zero).div_ceil(BIN)) as usize;
        for curve in &mut areas {
            curve.resize(bins, 0.0);
            let least = curve.iter().copied().fold(0.0, f64::max) * 1e-9;
            // What is left of sums that cancel out is nothing.
            curve
                .iter_mut()
                .filter(|area| area.abs() < least)
                .for_each(|area| *area = 0.0);
        }
        let area = |which: usize, bin: usize| {
            let curve = areas.get(which).and_then(|curve| curve.get(bin));
            curve.copied().unwrap_or(0.0)
        };
        for bin in 0..bins {
            let from = (zero + bin as u64 * BIN).max(self.first_start);
            let to = (zero + (bin as u64 + 1) * BIN).min(self.last_end);
            let nanos = to.saturating_sub(from);
            if nanos == 0 {
                continue;
            }
            let of = |which: usize| area(which, bin) / nanos as f64;
            let (open, prefill, decode) = (of(CONCURRENCY), of(PREFILL), of(DECODE));
            let per_user = |rate: f64, users: f64| if users > 0.0 { rate / users } else { 0.0 };
            let mut add = |curve, value, active| curves.add(curve, value, active, nanos);
            add(Curve::Concurrency, open, open > 0.0);
            add(Curve::PrefillConcurrency, prefill, prefill > 0.0);
            add(Curve::DecodeConcurrency, decode, decode > 0.0);
            add(Curve::PrefillThroughput, of(PREFILL_RATE), prefill > 0.0);
            add(Curve::DecodeThroughput, of(DECODE_RATE), decode > 0.0);
            add(Curve::TotalThroughput, of(TOTAL_RATE), open > 0.0);
            add(
                Curve::PrefillPerUser,
                per_user(of(PREFILL_RATE), prefill),
                prefill > 0.0,
            );
            add(
                Curve::DecodePerUser,
                per_user(of(DECODE_RATE), decode),
                decode > 0.0,
            );
            add(Curve::TokensInFlight, of(IN_FLIGHT), open > 0.0);
        }
        curves.settled()
    }
}

/// The area under one step function in every bin. A piece of any length takes four additions.
#[derive(Debug, Default)]
struct Areas {
    /// Change of the level that holds for whole bins.
    level: Vec<f64>,
    /// Area of the pieces that do not fill their bin, in units of nanoseconds.
    part: Vec<f64>,
}

impl Areas {
    fn hold(&mut self, from: u64, to: u64, value: f64) {
        let (first, last) = ((from / BIN) as usize, (to / BIN) as usize);
        if self.part.len() <= last + 1 {
            self.part.resize(last + 2, 0.0);
            self.level.resize(last + 2, 0.0);
        }
        let mut add = |bin: usize, nanos: u64| {
            if let Some(part) = self.part.get_mut(bin) {
                *part += value * nanos as f64;
            }
        };
        if first == last {
            add(first, to - from);
            return;
        }
        add(first, (first as u64 + 1) * BIN - from);
        add(last, to - last as u64 * BIN);
        for (bin, change) in [(first + 1, value), (last, -value)] {
            if let Some(level) = self.level.get_mut(bin) {
                *level += change;
            }
        }
    }

    fn shift(&mut self, bins: usize) {
        for values in [&mut self.level, &mut self.part] {
            values.splice(0..0, std::iter::repeat_n(0.0, bins));
        }
    }

    fn each(&self) -> impl Iterator<Item = f64> {
        let mut level = 0.0;
        self.level
            .iter()
            .zip(&self.part)
            .map(move |(change, part)| {
                level += change;
                level * BIN as f64 + part
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Percentiles;

    const S: u64 = 1_000_000_000;

    fn figures(binned: &Binned, curve: Curve) -> (f64, f64, f64) {
        let figures = binned
            .curves()
            .figures(curve, false, &Percentiles::default())
            .unwrap();
        (
            figures.avg.unwrap(),
            figures.min.unwrap(),
            figures.max.unwrap(),
        )
    }

    #[test]
    fn areas_are_exact_whatever_the_bins() {
        let mut binned = Binned::default();
        // 3 open from 10 to 12 s, of which one begins 0.25 s later and one ends 0.55 s before.
        for (start, end) in [
            (100 * BIN, 120 * BIN),
            (102 * BIN + BIN / 2, 12 * S),
            (10 * S, 114 * BIN + BIN / 2),
        ] {
            binned.add(&CurveRequest {
                start,
                end,
                first: None,
                isl: None,
                osl: None,
                gaps: &[],
            });
        }
        let (avg, min, max) = figures(&binned, Curve::Concurrency);
        assert!((avg - (2.0 + 1.75 + 1.45) / 2.0).abs() < 1e-12, "{avg}");
        assert_eq!((min, max), (2.0, 3.0));
        // One that began before all others.
        binned.add(&CurveRequest {
            start: 9 * S,
            end: 10 * S,
            first: None,
            isl: None,
            osl: None,
            gaps: &[],
        });
        let (avg, min, _) = figures(&binned, Curve::Concurrency);
        assert!(
            (avg - (1.0 + 2.0 + 1.75 + 1.45) / 3.0).abs() < 1e-12,
            "{avg}"
        );
        assert_eq!(min, 1.0);
        let (held, most) = binned.concurrency(10 * S, 12 * S).unwrap();
        assert!((held - (2.0 + 1.75 + 1.45) / 2.0).abs() < 1e-12 && most == 3.0);
    }

    #[test]
    fn tokens_flow_where_the_request_was() {
        let mut binned = Binned::default();
        binned.add(&CurveRequest {
            start: S,
            end: 3 * S,
            first: Some(2 * S),
            isl: Some(100),
            osl: Some(11),
            gaps: &[S / 2, 0, S / 2],
        });
        let near = |curve, expected: f64| {
            let (avg, _, _) = figures(&binned, curve);
            assert!((avg - expected).abs() < 1e-9, "{curve:?}: {avg}");
        };
        near(Curve::PrefillThroughput, 50.0);
        near(Curve::DecodeThroughput, 5.0);
        near(Curve::TotalThroughput, 55.0);
        near(Curve::DecodeConcurrency, 0.5);
        // 100 all the time, 1 for a second, and twice a third of ten for half a second.
        near(
            Curve::TokensInFlight,
            100.0 + (1.0 + 20.0 / 3.0 / 2.0) / 2.0,
        );
        near(Curve::PrefillPerUser, 50.0);
    }
}
