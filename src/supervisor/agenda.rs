//! Who is due when. A sorted list, soonest last: finding is a binary search, and moving some kilobytes
//! is cheaper than a system call even with thousands of slots.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::units::{Millis, Pid, SlotId};

/// Whose deadline it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    Worker(Pid),
    Slot(SlotId),
    /// A worker's age.
    Age(Pid),
    Newcomer(SlotId),
    Takeover,
    /// Of a slot that is being emptied.
    Queue(SlotId),
    Group(Pid),
    Listeners,
}

#[derive(Debug, Default)]
pub(super) struct Agenda(Vec<Reverse<(Millis, Due)>>);

impl Agenda {
    pub(super) fn soonest(&self) -> Option<Millis> {
        self.0.last().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due.
    pub(super) fn pop(&mut self, now: Millis) -> Option<Due> {
        let Reverse((at, due)) = *self.0.last()?;
        (at <= now).then(|| {
            self.0.pop();
            due
        })
    }

    /// Exchanges the deadline `before` for `after`; `None` is none. `before` may be taken out already, so
    /// that `after` is put in even where they are the same.
    pub(super) fn change(&mut self, due: Due, before: Option<Millis>, after: Option<Millis>) {
        if let Some(at) = before
            && let Ok(place) = self.0.binary_search(&Reverse((at, due)))
        {
            self.0.remove(place);
        }
        if let Some(at) = after
            && let Err(place) = self.0.binary_search(&Reverse((at, due)))
        {
            self.0.insert(place, Reverse((at, due)));
        }
    }

    /// For the invariants.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Millis, Due)> {
        self.0.iter().map(|Reverse(entry)| *entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_taken_out_can_be_due_again_at_the_same_time() {
        let (mut agenda, due, at) = (Agenda::default(), Due::Worker(Pid(7)), Some(Millis(5)));
        agenda.change(due, None, at);
        agenda.change(due, at, at);
        assert_eq!(agenda.entries().count(), 1);
        assert_eq!(agenda.pop(Millis(4)), None);
        assert_eq!(agenda.pop(Millis(5)), Some(due));
        agenda.change(due, at, at);
        assert_eq!(agenda.soonest(), at);
    }
}
