//! Age: a worker that was ready for `--max-age` is replaced as by a reload of its slot alone, from the same
//! load. One at a time, and never while a reload runs, which replaces it anyway.

use alloc::vec::Vec;

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions, Fact};
use super::slot::Seat;
use super::stop::Mission;
use crate::units::{Millis, Pid, SlotId};

/// After a renewal that failed, the next try comes after a tenth of the age, but not sooner than this.
const SOONEST: Millis = Millis::seconds(1);

impl Supervisor {
    /// Up to a tenth less by chance, so that workers which started together do not all go together.
    pub(super) fn age_limit(&mut self, pid: Pid) -> Option<Millis> {
        let worker = self.workers.get(pid)?;
        let age = worker.load.rules.max_age?;
        Some(Millis(age.0 - self.chance.up_to(age.0 / 10)))
    }

    pub(super) fn aged(&mut self, pid: Pid) {
        if let Some(worker) = self.workers.get_mut(pid) {
            worker.renewal = None;
            self.old.push_back(pid);
        }
    }

    /// Begins with the one that is too old for the longest time, once nothing is in its way.
    pub(super) fn renew(&mut self, now: Millis, out: &mut Actions) {
        let free = self.reload.is_none() && self.spawning.is_none() && self.outage.is_none();
        if !free || self.wanted.is_asked() || self.leaving > 0 || self.mission != Mission::Running {
            return;
        }
        while let Some(pid) = self.old.pop_front() {
            if let Some(slot) = self.holds_untold(pid) {
                out.push_back(Action::Say(Fact::Renewing { slot }));
                return self.renew_slot(now, slot, out);
            }
        }
    }

    /// The slot of one that holds its seat and was not told to stop.
    fn holds_untold(&self, pid: Pid) -> Option<SlotId> {
        let worker = self.workers.get(pid).filter(|worker| worker.phase.cause().is_none())?;
        let place = self.slots.get(worker.slot.0 as usize)?;
        (place.seat == Seat::Held(pid)).then_some(worker.slot)
    }

    /// After one that failed: how long its old worker goes on.
    pub(super) fn renew_again(&mut self, now: Millis, slot: SlotId) -> Option<Millis> {
        let place = self.slots.get(slot.0 as usize)?;
        let Seat::Held(pid) = place.seat else { return None };
        let age = self.workers.get(pid)?.load.rules.max_age?;
        let wait = SOONEST.max(Millis(age.0 / 10));
        self.set_renewal(pid, Some(now.plus(wait)));
        Some(wait)
    }

    /// The only place where it changes: the agenda follows.
    pub(super) fn set_renewal(&mut self, pid: Pid, after: Option<Millis>) {
        if let Some(worker) = self.workers.get_mut(pid) {
            let before = core::mem::replace(&mut worker.renewal, after);
            self.agenda.change(Due::Age(pid), before, after);
        }
    }

    /// Those who wait for their renewal, for the invariants.
    pub(super) fn ages(&self) -> Vec<(Millis, Due)> {
        let all = self.workers.iter();
        all.filter_map(|(pid, worker)| Some((worker.renewal?, Due::Age(pid)))).collect()
    }
}
