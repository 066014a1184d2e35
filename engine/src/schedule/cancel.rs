//! Which requests are left by plan, when, and how.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use pinfire_base::{
    clock::{Span, Stamp},
    delay::Delay,
    random::Purpose,
    record::{Cancel, Leave, Trigger},
};

/// When the delay of a request begins.
#[derive(Clone, Debug)]
enum When {
    /// At the same trigger for all.
    At(Trigger),
    /// After so many content events, by entry of the dataset.
    TokensOf(Arc<[u32]>),
}

/// The plan to leave a share of the requests. What is drawn for one request is a pure function of
/// (seed, index), so any number of cores leaves the same ones after the same delays.
///
/// ```
/// use pinfire_base::clock::Span;
/// use pinfire_engine::schedule::CancelPlan;
///
/// let plan = CancelPlan::new(42, 20.0, Span::from_millis(100));
/// let chosen: Vec<u64> = (0..10_000).filter(|&index| plan.delay(index).is_some()).collect();
/// assert!((1_800..2_200).contains(&chosen.len()));
/// assert_eq!(plan.delay(chosen[0]), Some(Span::from_millis(100)));
/// ```
#[derive(Clone, Debug)]
pub struct CancelPlan {
    draws: Purpose,
    delays: Purpose,
    share: f64,
    /// Only requests below this index are drawn at all.
    among: u64,
    delay: Delay,
    when: When,
    leave: Leave,
    wave: Option<Span>,
    /// Nanoseconds by which waves come later than from the phase's begin.
    shift: Option<Arc<AtomicI64>>,
}

/// What a request that is chosen carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The plan for it.
    pub cancel: Cancel,
    /// Where the waves begin, and how far apart they are.
    pub wave: Option<(Stamp, Span)>,
}

impl CancelPlan {
    /// Cancels each request with probability `percent / 100`, `delay` after its last byte was sent.
    pub fn new(seed: u64, percent: f64, delay: Span) -> Self {
        Self::delayed(seed, percent, Delay::Fixed(delay))
    }

    /// The same with a distribution.
    pub fn delayed(seed: u64, percent: f64, delay: Delay) -> Self {
        // The stream's name is AIPerf's. The generator is counter-based instead, so that a draw
        // depends on the request's index alone, whatever core takes it.
        let draws = Purpose::new(seed, "timing.request.cancellation");
        Self {
            draws,
            delays: Purpose::new(seed, "timing.request.cancellation.delay"),
            share: percent / 100.0,
            among: u64::MAX,
            delay,
            when: When::At(Trigger::Sent),
            leave: Leave::Fin,
            wave: None,
            shift: None,
        }
    }

    /// Counts the delay from this trigger.
    #[must_use]
    pub fn from_trigger(mut self, trigger: Trigger) -> Self {
        self.when = When::At(trigger);
        self
    }

    /// Counts the delay from so many content events, by entry of the dataset.
    #[must_use]
    pub fn from_tokens(mut self, of_entry: Arc<[u32]>) -> Self {
        self.when = When::TokensOf(of_entry);
        self
    }

    /// Leaves in this way.
    #[must_use]
    pub const fn leaving(mut self, leave: Leave) -> Self {
        self.leave = leave;
        self
    }

    /// Leaves in waves: all whose delay is over, at multiples of `every` from the phase's begin.
    #[must_use]
    pub const fn in_waves(mut self, every: Span) -> Self {
        self.wave = Some(every);
        self
    }

    /// Lets waves come so many nanoseconds later, or earlier, as it stands when a request begins:
    /// another clock that goes faster or slower than this one says when they are.
    #[must_use]
    pub fn shifted_by(mut self, shift: Arc<AtomicI64>) -> Self {
        self.shift = Some(shift);
        self
    }

    /// Chooses among the first `count` requests only.
    #[must_use]
    pub const fn among_first(mut self, count: u64) -> Self {
        self.among = count;
        self
    }

    /// How they leave.
    pub const fn leave(&self) -> Leave {
        self.leave
    }

    /// The delay of request `index`, if it is chosen.
    #[inline]
    pub fn delay(&self, index: u64) -> Option<Span> {
        let chosen = index < self.among && self.draws.uniform(index) < self.share;
        chosen.then(|| self.delay.draw(&mut self.delays.at(index)))
    }

    /// What request `index` with this entry of the dataset carries, if it is chosen, in a phase
    /// that began at `begun`.
    #[inline]
    pub fn of(&self, index: u64, entry: u32, begun: Stamp) -> Option<Chosen> {
        let delay = self.delay(index)?;
        let trigger = match &self.when {
            When::At(trigger) => *trigger,
            When::TokensOf(counts) => {
                Trigger::Tokens(counts.get(entry as usize).copied().unwrap_or(1))
            }
        };
        Some(Chosen {
            cancel: Cancel {
                delay,
                trigger,
                leave: self.leave,
                done: None,
            },
            wave: self.wave.map(|every| (self.shifted(begun), every)),
        })
    }

    fn shifted(&self, begun: Stamp) -> Stamp {
        let Some(shift) = &self.shift else {
            return begun;
        };
        let shift = shift.load(Ordering::Relaxed);
        Stamp::from_nanos(begun.nanos().saturating_add_signed(shift))
    }
}

impl Chosen {
    /// When a request is left whose trigger came at `at`.
    pub(crate) fn due(&self, at: Stamp) -> Stamp {
        let due = at + self.cancel.delay;
        match self.wave {
            Some((begun, every)) if every > Span::ZERO => {
                let waves = due.since(begun).nanos().div_ceil(every.nanos());
                begun + Span::from_nanos(waves.saturating_mul(every.nanos()))
            }
            _ => due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_binomial_and_fixed_by_the_seed() {
        let plan = CancelPlan::new(42, 20.0, Span::from_millis(100));
        let chosen: Vec<u64> = (0..10_000).filter(|&i| plan.delay(i).is_some()).collect();
        assert!((1_880..2_120).contains(&chosen.len()), "{}", chosen.len());
        let again = CancelPlan::new(42, 20.0, Span::ZERO);
        assert!(chosen.iter().all(|&i| again.delay(i) == Some(Span::ZERO)));
        let other = CancelPlan::new(43, 20.0, Span::ZERO);
        assert!(chosen.iter().any(|&i| other.delay(i).is_none()));
    }

    #[test]
    fn the_ends_of_the_range() {
        let all = CancelPlan::new(1, 100.0, Span::ZERO);
        assert!((0..1_000).all(|i| all.delay(i).is_some()));
        // A request that a lower rate cancels is cancelled by a higher one too.
        let few = CancelPlan::new(1, 5.0, Span::ZERO);
        let more = CancelPlan::new(1, 50.0, Span::ZERO);
        assert!((0..1_000).all(|i| few.delay(i).is_none() || more.delay(i).is_some()));
        let first = all.among_first(10);
        assert_eq!((0..1_000).filter(|&i| first.delay(i).is_some()).count(), 10);
    }

    /// Mean and spread of each distribution, and the choice does not depend on it.
    #[test]
    fn delays_follow_their_distribution_and_move_no_choice() {
        let second = |s: f64| Span::from_secs_f64(s);
        let fixed = CancelPlan::new(9, 30.0, Span::ZERO);
        let (low, high) = (second(0.1), second(2.0));
        let uniform = Delay::Uniform { low, high };
        let exponential = Delay::Exponential { mean: second(0.5) };
        let (median, sigma) = (second(0.5), 0.8);
        let normal = Delay::LogNormal { median, sigma };
        for (delay, mean, middle) in [
            (uniform, 1.05, 1.05),
            (exponential, 0.5, 0.5 * std::f64::consts::LN_2),
            (normal, 0.5 * 0.32_f64.exp(), 0.5),
        ] {
            let plan = CancelPlan::delayed(9, 30.0, delay);
            let mut drawn = Vec::new();
            for index in 0..60_000 {
                let span = plan.delay(index);
                assert_eq!(span.is_some(), fixed.delay(index).is_some());
                assert_eq!(span, plan.delay(index));
                drawn.extend(span.map(|span| span.as_secs_f64()));
            }
            drawn.sort_by(f64::total_cmp);
            let average = drawn.iter().sum::<f64>() / drawn.len() as f64;
            assert!((average / mean - 1.0).abs() < 0.03, "{delay}: {average}");
            let median = drawn[drawn.len() / 2];
            assert!((median / middle - 1.0).abs() < 0.04, "{delay}: {median}");
            assert!((delay.mean().as_secs_f64() - mean).abs() < 1e-6, "{delay}");
        }
        let plan = CancelPlan::delayed(9, 100.0, uniform);
        let bounds = low..=high;
        assert!((0..5_000).all(|i| bounds.contains(&plan.delay(i).unwrap())));
    }

    #[test]
    fn waves_gather_what_is_over_by_then() {
        let begun = Stamp::from_nanos(1_000);
        let plan = CancelPlan::new(1, 100.0, Span::from_nanos(5)).in_waves(Span::from_nanos(100));
        let chosen = plan.of(0, 0, begun).unwrap();
        for (at, due) in [
            (1_000, 1_100),
            (1_095, 1_100),
            (1_096, 1_200),
            (1_195, 1_200),
        ] {
            let due = Stamp::from_nanos(due);
            assert_eq!(chosen.due(Stamp::from_nanos(at)), due, "{at}");
        }
        // Another clock goes slower: the next one comes later.
        let shift = Arc::new(AtomicI64::new(7));
        let shifted = plan.shifted_by(Arc::clone(&shift));
        let late = shifted.of(0, 0, begun).unwrap();
        let at = Stamp::from_nanos(1_095);
        assert_eq!(late.due(at), Stamp::from_nanos(1_107));
        shift.store(-7, Ordering::Relaxed);
        let early = shifted.of(0, 0, begun).unwrap();
        assert_eq!(early.due(at), Stamp::from_nanos(1_193));
        let alone = CancelPlan::new(1, 100.0, Span::from_nanos(5));
        let chosen = alone.of(0, 0, begun).unwrap();
        assert_eq!(
            chosen.due(Stamp::from_nanos(1_096)),
            Stamp::from_nanos(1_101)
        );
    }

    #[test]
    fn a_fraction_is_a_count_of_each_entry() {
        let counts: Arc<[u32]> = [4, 9].into();
        let plan = CancelPlan::new(1, 100.0, Span::ZERO).from_tokens(counts);
        let begun = Stamp::from_nanos(1);
        let trigger = |entry| plan.of(0, entry, begun).unwrap().cancel.trigger;
        assert_eq!(trigger(0), Trigger::Tokens(4));
        assert_eq!(trigger(1), Trigger::Tokens(9));
    }
}
