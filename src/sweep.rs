//! The end of a service: whoever is left is told to stop, waited for, and killed when that takes too long.
//! Pure; for `fd3 run` and `fd3 init`.
#![forbid(unsafe_code)]

use crate::units::{Millis, sooner};

/// Two orders to stop within this time are one: timeout(1), for one, signals the process and then its
/// group.
pub const ONE_ORDER: Millis = Millis(100);
/// After SIGKILL a process that still exists hangs in the kernel; the end goes on without it.
pub const KILL_PATIENCE: Millis = Millis::seconds(5);

/// Begins with everybody told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sweep {
    Told { since: Millis, until: Option<Millis> },
    Killed { until: Millis },
}

/// What the time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Kill,
    GiveUp,
}

impl Sweep {
    pub fn deadline(self) -> Option<Millis> {
        match self {
            Sweep::Told { until, .. } => until,
            Sweep::Killed { until } => Some(until),
        }
    }

    /// An order to stop; all have it already. Who asks again means at once.
    pub fn hasten(&mut self, now: Millis) {
        if let Sweep::Told { since, until } = self
            && now.since(*since) >= ONE_ORDER
        {
            *until = sooner(*until, Some(now));
        }
    }

    /// To be carried out when it is told.
    pub fn due(&mut self, now: Millis) -> Option<Due> {
        if self.deadline().is_none_or(|until| now < until) {
            return None;
        }
        match *self {
            Sweep::Told { .. } => {
                *self = Sweep::Killed { until: now.plus(KILL_PATIENCE) };
                Some(Due::Kill)
            }
            Sweep::Killed { .. } => Some(Due::GiveUp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_killed_given_up() {
        let mut sweep = Sweep::Told { since: Millis(0), until: Some(Millis(800)) };
        assert_eq!((sweep.due(Millis(799)), sweep.deadline()), (None, Some(Millis(800))));
        assert_eq!(sweep.due(Millis(800)), Some(Due::Kill));
        assert_eq!((sweep.due(Millis(801)), sweep.deadline()), (None, Some(Millis(5_800))));
        sweep.hasten(Millis(900));
        assert_eq!((sweep.due(Millis(5_799)), sweep.due(Millis(5_800))), (None, Some(Due::GiveUp)));
    }

    #[test]
    fn who_asks_again_means_at_once_and_who_asks_twice_does_not() {
        for until in [None, Some(Millis(800))] {
            let mut sweep = Sweep::Told { since: Millis(0), until };
            sweep.hasten(Millis(99));
            assert_eq!((sweep.due(Millis(99)), sweep.deadline()), (None, until));
            sweep.hasten(Millis(100));
            assert_eq!(sweep.due(Millis(100)), Some(Due::Kill));
        }
    }
}
