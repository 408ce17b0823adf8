//! More slots, or fewer: at the end of the row. While a reload runs nothing changes; what was asked for
//! meanwhile comes after it.

use super::Supervisor;
use super::event::{Action, Actions, Fact};
use super::slot::{Seat, Slot};
use super::steer::Steer;
use super::stop::Mission;
use crate::units::{Millis, Pid, SlotId};

impl Supervisor {
    pub(super) fn one_more(&mut self) {
        self.target = (self.target + 1).min(self.most());
    }

    pub(super) fn one_less(&mut self) {
        self.target = (self.target - 1).max(1);
    }

    #[inline(never)]
    pub(super) fn scale(&mut self, now: Millis, out: &mut Actions) {
        let free = self.reload.is_none() && self.spawning.is_none();
        if !free || self.mission != Mission::Running {
            return;
        }
        if self.size != self.target {
            self.change_size(now, out);
        }
        self.scale_is_done(out);
    }

    fn change_size(&mut self, now: Millis, out: &mut Actions) {
        let (before, after) = (self.size, self.target);
        self.size = after;
        out.push_back(Action::Say(Fact::Scaled { workers: after }));
        for slot in before..after {
            self.add(SlotId(slot));
        }
        for slot in after..before {
            self.take_away(now, SlotId(slot), out);
        }
    }

    /// One that was taken away before may still have its former worker, on its way out.
    fn add(&mut self, slot: SlotId) {
        if self.slots.get(slot.0 as usize).is_none() {
            let mut place = Slot::new(self.load.clone());
            place.seat = Seat::Closed;
            place.steer = Steer::Out;
            self.slots.push(place);
        }
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        place.load = self.load.clone();
        place.blameless = true;
        if place.seat == Seat::Closed {
            self.fill_or_wait(slot);
        }
        self.set_emptying(slot, None);
    }

    fn take_away(&mut self, now: Millis, slot: SlotId, out: &mut Actions) {
        match self.slots.get(slot.0 as usize).map(|slot| slot.seat) {
            Some(Seat::Held(pid)) if self.empties_first(now, slot, pid, out) => {}
            Some(Seat::Held(pid)) => self.take_worker_away(now, slot, pid, out),
            Some(Seat::Vacant | Seat::Resting { .. } | Seat::Waiting | Seat::Ceded) => {
                self.set_seat(slot, Seat::Closed);
            }
            Some(Seat::Spawning | Seat::Closed) | None => {}
        }
    }

    pub(super) fn take_worker_away(
        &mut self,
        now: Millis,
        slot: SlotId,
        pid: Pid,
        out: &mut Actions,
    ) {
        self.drain(now, slot, pid, out);
        // Another former one may be in its way; then it goes from where it is.
        if self.slots.get(slot.0 as usize).is_some_and(|slot| slot.leaving.is_none()) {
            self.set_leaving(slot, Some(pid));
            self.set_seat(slot, Seat::Closed);
            self.leave_behind_if_in_vain(now, pid, out);
        }
    }
}
