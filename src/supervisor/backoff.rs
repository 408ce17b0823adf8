//! How long a crashed worker waits, and when its slot is given up.

use alloc::vec::Vec;

use crate::plan::{Backoff, RespawnLimit};
use crate::units::Millis;

/// After so long of being ready, a slot's crashes are forgotten.
const FORGIVEN_AFTER: Millis = Millis::seconds(10);

/// The crashes of one slot.
#[derive(Debug, Default)]
pub(super) struct Misery {
    /// In a row, without a long enough time of being ready between them.
    pub(super) in_a_row: u32,
    /// When the latest restarts were, as far as the limit's window asks.
    pub(super) restarts: Vec<Millis>,
}

impl Misery {
    /// A worker ended that had been ready for `ready_for`.
    pub(super) fn was_ready_for(&mut self, ready_for: Millis) {
        if ready_for >= FORGIVEN_AFTER {
            self.in_a_row = 0;
        }
    }

    /// Counts a restart; `false` when it is one too many.
    pub(super) fn may_restart(&mut self, now: Millis, limit: Option<RespawnLimit>) -> bool {
        let Some(limit) = limit else { return true };
        while self.restarts.first().is_some_and(|at| now.since(*at) >= limit.window) {
            self.restarts.remove(0);
        }
        self.restarts.push(now);
        self.restarts.len() <= limit.count as usize
    }

    /// The next wait: doubling, and up to a quarter longer by chance, so that slots which failed
    /// together do not come back together.
    pub(super) fn next_wait(&mut self, backoff: Backoff, chance: &mut Chance) -> Millis {
        let doubled = backoff.min.0.checked_shl(self.in_a_row).filter(|_| self.in_a_row < 32);
        let wait = doubled.map_or(backoff.max.0, |wait| wait.clamp(backoff.min.0, backoff.max.0));
        self.in_a_row = self.in_a_row.saturating_add(1);
        Millis(wait.saturating_add(chance.up_to(wait / 4)).min(backoff.max.0))
    }
}

/// Chance by xorshift64* (Marsaglia 2003, Vigna 2016): enough to spread restarts, and repeatable.
#[derive(Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        drawn % most.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { min: Millis(100), max: Millis(30_000) };

    #[test]
    fn waits_double_to_the_maximum_and_start_over_after_a_good_time() {
        let (mut misery, mut chance) = (Misery::default(), Chance::new(7));
        for doubling in 0..40 {
            let base = (100_u64 << doubling.min(20)).min(30_000);
            let wait = misery.next_wait(BACKOFF, &mut chance).0;
            assert!((base..=(base + base / 4).min(30_000)).contains(&wait), "{doubling}: {wait}");
        }
        misery.was_ready_for(Millis(9_999));
        assert!(misery.next_wait(BACKOFF, &mut chance).0 == 30_000);
        misery.was_ready_for(Millis(10_000));
        assert!(misery.next_wait(BACKOFF, &mut chance).0 <= 125);
    }

    #[test]
    fn waits_of_slots_that_fail_together_differ() {
        let mut chance = Chance::new(7);
        let waits: alloc::vec::Vec<_> =
            (0..10).map(|_| Misery::default().next_wait(BACKOFF, &mut chance)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }

    #[test]
    fn a_slot_is_given_up_past_the_limit_within_the_window() {
        let limit = Some(RespawnLimit { count: 5, window: Millis::seconds(60) });
        let mut misery = Misery::default();
        for at in 0..5 {
            assert!(misery.may_restart(Millis(at * 1000), limit));
        }
        // The first one falls out of the window just now.
        assert!(misery.may_restart(Millis(60_000), limit));
        assert!(!misery.may_restart(Millis(60_001), limit));
        assert!(Misery::default().may_restart(Millis(0), None));
    }
}
