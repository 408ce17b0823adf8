//! Age: a worker that was ready for `--max-age` is replaced as by a reload of its slot alone, from the same
//! load. One at a time, and never while a reload runs, which replaces it anyway.

use alloc::vec::Vec;

use super::agenda::Due;
use super::event::{Action, Actions, Fact};
use super::slot::Seat;
use super::stop::Mission;
use super::worker::Phase;
use super::worker::Worker;
use super::{Supervisor, take_out};
use crate::plan::Ways;
use crate::units::{Millis, Pid, SlotId};

/// After a renewal that failed, the next try comes after a tenth of the age, but not sooner than this.
const SOONEST: Millis = Millis::seconds(1);

impl Supervisor {
    /// Up to a tenth less by chance, so that workers which started together do not all go together.
    pub(super) fn age_limit(&mut self, pid: Pid) -> Option<Millis> {
        let worker = self.workers.get(pid)?;
        let age = worker.load.rules.max_age?;
        match worker.load.rules.ways() {
            Ways::Own => Some(Millis(age.0 - self.chance.up_to(age.0 / 10))),
            Ways::Starter => Some(age),
        }
    }

    pub(super) fn aged(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(pid) else { return };
        worker.renewal = None;
        if self.old.contains(&pid) {
            return;
        }
        self.old.push_back(pid);
        let rules = &worker.load.rules;
        if let (Ways::Starter, Some(age), Phase::Ready { since, .. }) =
            (rules.ways(), rules.max_age, worker.phase)
        {
            // Until then others may be on their way out.
            let twice = since.plus(age).plus(age);
            self.set_renewal(pid, Some(twice).filter(|at| *at > now));
        }
    }

    /// In Server::Starter's ways it is all that are replaced, when no former one is left, or when the
    /// time for that is over.
    pub(super) fn reload_by_age(&mut self, now: Millis, out: &mut Actions) {
        let busy = self.reload.is_some() || self.wanted.is_asked();
        if self.load.rules.ways() == Ways::Own || busy || self.mission != Mission::Running {
            return;
        }
        while let Some(pid) = self.old.front().copied() {
            let Some((slot, worker)) = self.holds_untold(pid).zip(self.workers.get(pid)) else {
                self.old.pop_front();
                self.set_renewal(pid, None);
                continue;
            };
            let leaves = |(_, worker): (Pid, &Worker)| worker.phase.cause().is_some();
            if worker.renewal.is_some() && self.workers.iter().any(leaves) {
                return;
            }
            let since = match worker.phase {
                Phase::Ready { since, .. } => since,
                Phase::Starting { .. } | Phase::Draining { .. } | Phase::Killed { .. } => now,
            };
            let again = worker.load.rules.max_age.map(|age| now.plus(age));
            self.old.pop_front();
            // Should it be refused.
            self.set_renewal(pid, again);
            let after = now.since(since);
            out.push_back(Action::Say(Fact::TooOld { slot, pid, after }));
            return self.reload_asked(now, None, out);
        }
    }

    /// Begins with the one that is too old for the longest time, once nothing is in its way.
    pub(super) fn renew(&mut self, now: Millis, out: &mut Actions) {
        let free = self.reload.is_none() && self.spawning.is_none() && self.outage.is_none();
        if !free || self.load.rules.ways() == Ways::Starter {
            return;
        }
        let leaves = self.leaving > 0 || self.steering.emptying > 0;
        if self.wanted.is_asked() || leaves || self.mission != Mission::Running {
            return;
        }
        self.restart(now, out);
        while self.reload.is_none()
            && let Some(pid) = self.old.pop_front()
        {
            if let Some(slot) = self.holds_untold(pid) {
                out.push_back(Action::Say(Fact::Renewing { slot }));
                return self.renew_slot(now, slot, Vec::new(), out);
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
        // It may have become too old meanwhile.
        take_out(&mut self.old, pid);
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
