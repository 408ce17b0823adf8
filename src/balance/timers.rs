//! When who is due. Deadlines that only move further away cost nothing: an alarm that comes early is set anew for the
//! time that counts by then.
#![forbid(unsafe_code)]

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::ConnId;
use crate::units::Millis;

/// So many alarms may be there for nobody before they are cleared away.
const STALE_MAX: usize = 1024;

/// What one connection's deadline is, and when its alarm goes off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Due {
    deadline: Option<Millis>,
    alarm: Option<Millis>,
}

impl Due {
    pub fn never(&mut self) {
        self.deadline = None;
    }
}

#[derive(Debug, Default)]
pub struct Timers {
    alarms: BinaryHeap<Reverse<(Millis, ConnId)>>,
}

impl Timers {
    pub fn set(&mut self, id: ConnId, due: &mut Due, deadline: Millis) {
        due.deadline = Some(deadline);
        if due.alarm.is_none_or(|alarm| alarm > deadline) {
            due.alarm = Some(deadline);
            self.alarms.push(Reverse((deadline, id)));
        }
    }

    /// When to look again.
    pub fn next(&self) -> Option<Millis> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Somebody whose alarm has gone off.
    pub fn ring(&mut self, now: Millis) -> Option<(Millis, ConnId)> {
        self.next().filter(|at| *at <= now)?;
        self.alarms.pop().map(|Reverse(alarm)| alarm)
    }

    /// Whether its time is really over; where it is not, its alarm is set anew.
    pub fn is_over(&mut self, at: Millis, id: ConnId, due: &mut Due, now: Millis) -> bool {
        if due.alarm != Some(at) {
            return false;
        }
        due.alarm = None;
        match due.deadline {
            None => false,
            Some(deadline) if deadline <= now => {
                due.deadline = None;
                true
            }
            Some(deadline) => {
                self.set(id, due, deadline);
                false
            }
        }
    }

    /// Clears away the alarms of connections that are gone, where they are many.
    pub fn tidy(&mut self, alive: usize, is_alarm: impl Fn(Millis, ConnId) -> bool) {
        if self.alarms.len() > 2 * alive + STALE_MAX {
            self.alarms.retain(|Reverse((at, id))| is_alarm(*at, *id));
        }
    }
}

impl Due {
    /// Whether this alarm is the one that counts.
    pub fn has_alarm(&self, at: Millis) -> bool {
        self.alarm == Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnId = ConnId { slot: 1, generation: 1 };

    #[test]
    fn a_deadline_that_moves_away_costs_no_alarm() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        for at in 10..1000 {
            timers.set(ONE, &mut due, Millis(at));
        }
        assert_eq!(timers.alarms.len(), 1);
        assert_eq!(timers.ring(Millis(9)), None);
        let (at, id) = timers.ring(Millis(10)).expect("it goes off");
        assert!(!timers.is_over(at, id, &mut due, Millis(10)));
        let (at, id) = timers.ring(Millis(999)).expect("again, when it counts");
        assert!(timers.is_over(at, id, &mut due, Millis(999)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn an_earlier_deadline_counts_at_once_and_the_later_alarm_for_nobody() {
        let (mut timers, mut due) = (Timers::default(), Due::default());
        timers.set(ONE, &mut due, Millis(60));
        timers.set(ONE, &mut due, Millis(3));
        let (at, id) = timers.ring(Millis(3)).expect("the earlier one");
        assert!(timers.is_over(at, id, &mut due, Millis(3)));
        let (at, id) = timers.ring(Millis(60)).expect("the stale one");
        assert!(!timers.is_over(at, id, &mut due, Millis(60)));
        timers.set(ONE, &mut due, Millis(70));
        due.never();
        let (at, id) = timers.ring(Millis(70)).expect("it goes off");
        assert!(!timers.is_over(at, id, &mut due, Millis(70)));
    }

    #[test]
    fn alarms_of_who_is_gone_do_not_pile_up() {
        let mut timers = Timers::default();
        for slot in 0..10_000 {
            let mut due = Due::default();
            timers.set(ConnId { slot, generation: 1 }, &mut due, Millis(3000));
            timers.tidy(0, |_, _| false);
            assert!(timers.alarms.len() <= STALE_MAX + 1);
        }
    }
}
