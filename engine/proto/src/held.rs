//! The memory that all responses being read may hold together: one account for the process.
//!
//! Only what goes beyond an ordinary answer is accounted for, in large steps, so that an ordinary
//! one never touches the account.

use std::sync::atomic::{AtomicUsize, Ordering};

use pinfire_base::limits::{HELD_BYTES, HELD_STEP, KEPT_BUFFER_BYTES};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// One response's share of the account; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    steps: usize,
}

impl Share {
    /// The response holds so many bytes now. False if the account has no room for them.
    #[inline]
    pub(super) fn holds(&mut self, bytes: usize) -> bool {
        bytes <= KEPT_BUFFER_BYTES || bytes <= self.steps * HELD_STEP || self.grow(bytes)
    }

    #[cold]
    fn grow(&mut self, bytes: usize) -> bool {
        let steps = bytes.div_ceil(HELD_STEP) - self.steps;
        let before = HELD.fetch_add(steps * HELD_STEP, Ordering::Relaxed);
        self.steps += steps;
        before + steps * HELD_STEP <= HELD_BYTES
    }

    /// It holds nothing more.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.steps > 0 {
            HELD.fetch_sub(self.steps * HELD_STEP, Ordering::Relaxed);
            self.steps = 0;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_for_all() {
        let mut shares: Vec<Share> = (0..8).map(|_| Share::default()).collect();
        assert!(shares.iter_mut().all(|share| share.holds(100 << 20)));
        assert!(!shares[0].holds(500 << 20), "1,200 MiB together");
        shares[0].release();
        shares[1].release();
        assert!(shares[2].holds(200 << 20));
        assert!(Share::default().holds(10), "an ordinary one is not asked");
    }
}
