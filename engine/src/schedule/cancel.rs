//! Which requests are hung up on, and how long after they were sent.

use crate::{clock::Span, random::Purpose};

/// The plan to cancel a share of the requests. The draw of one request is a pure function of
/// (seed, index), so any number of cores cancels the same ones.
#[derive(Clone, Copy, Debug)]
pub struct CancelPlan {
    draws: Purpose,
    share: f64,
    delay: Span,
}

impl CancelPlan {
    /// Cancels each request with probability `percent / 100`, `delay` after its last byte was sent.
    pub fn new(seed: u64, percent: f64, delay: Span) -> Self {
        // The stream's name is AIPerf's, the generator is ours (product ruling R5).
        let draws = Purpose::new(seed, "timing.request.cancellation");
        Self {
            draws,
            share: percent / 100.0,
            delay,
        }
    }

    /// The delay of request `index`, if it is chosen.
    #[inline]
    pub fn delay(&self, index: u64) -> Option<Span> {
        (self.draws.uniform(index) < self.share).then_some(self.delay)
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
    }
}
