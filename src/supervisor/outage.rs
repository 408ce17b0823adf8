//! Dead listeners. One that was replaced costs every worker its seat: they hold the dead one. One that
//! cannot be replaced is an outage: its address is taken, mostly by the workers themselves, who still
//! hold the dead socket. All workers are told to stop, none is started, and the listeners are tried
//! again and again, until they are whole; or until nobody is left who could hold the address.

use alloc::vec::Vec;

use super::agenda::Due;
use super::event::{Action, Actions, Fact, Failure, StopReason};
use super::slot::Seat;
use super::stop::{Haste, Mission};
use super::worker::{Cause, Phase};
use super::{EXIT_OWN_FAILURE, Supervisor};
use crate::units::{Millis, Pid, SlotId};

/// The wait before the first try; it doubles with each.
const FIRST_WAIT: Millis = Millis(50);
/// Doublings: to 1.6 s.
const DOUBLINGS: u32 = 5;
/// So many tries in vain after the last worker is gone, and fd3 gives up: after some 10 s.
const TRIES_ALONE: u32 = 8;

/// No worker can be started before the listeners are whole.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Outage {
    pub(super) tries: u32,
    /// Those since nobody was left.
    pub(super) alone: u32,
    /// When to try again; `None` while a try is under way.
    pub(super) until: Option<Millis>,
}

impl Supervisor {
    #[inline(never)]
    pub(super) fn listener_dead(&mut self, now: Millis, out: &mut Actions) {
        if self.mission != Mission::Running {
            return;
        }
        let mut outage = match self.outage {
            // It was said unasked, by the check at some worker's exit.
            Some(Outage { until: Some(_), .. }) => return,
            Some(outage) => outage,
            None => {
                out.push_back(Action::Say(Fact::ListenersDown));
                self.replace_all(now, out);
                if self.mission != Mission::Running {
                    return;
                }
                Outage::default()
            }
        };
        if self.workers.is_empty() && self.leftovers.is_empty() {
            outage.alone += 1;
        }
        if outage.alone > TRIES_ALONE {
            self.begin_stop(now, StopReason::ListenerDead, EXIT_OWN_FAILURE, Haste::GaveUp, out);
            return;
        }
        let wait = Millis(FIRST_WAIT.0 << outage.tries.min(DOUBLINGS));
        outage.tries += 1;
        outage.until = Some(now.plus(wait));
        self.set_outage(Some(outage));
    }

    pub(super) fn listener_replaced(&mut self, now: Millis, out: &mut Actions) {
        match self.outage {
            // Who holds a dead one was told already.
            Some(_) => self.set_outage(None),
            None => self.replace_all(now, out),
        }
    }

    pub(super) fn outage_due(&mut self, out: &mut Actions) {
        if let Some(outage) = self.outage {
            self.set_outage(Some(Outage { until: None, ..outage }));
            out.push_back(Action::MendListeners);
        }
    }

    /// Every worker makes room for another one. Where a former one still is on its way out, the slot
    /// waits for its end, so that it never has more than two.
    pub(super) fn replace_all(&mut self, now: Millis, out: &mut Actions) {
        if self.mission != Mission::Running {
            return;
        }
        // What the newcomers of a reload did is their fault, and they are sent away.
        let blameless = self.new_load().is_some();
        self.roll_back(now, Failure::Listener, out);
        let mut seated = Vec::new();
        for (id, slot) in (0..).zip(&self.slots) {
            if let Seat::Held(pid) = slot.seat {
                seated.push((pid, SlotId(id)));
            }
        }
        for (pid, slot) in seated {
            let Some(worker) = self.workers.get(pid) else { continue };
            let (phase, limit) = (worker.phase, worker.load.rules.stop_timeout);
            self.served(now, slot, phase);
            if let Some(place) = self.slots.get_mut(slot.0 as usize) {
                place.blameless |= blameless;
            }
            self.retire(pid, limit.map(|limit| now.plus(limit)), Cause::Wanted, out);
            self.make_room(now, slot, out);
        }
    }

    /// Gives the seat of a worker that was told to stop to another one, if no former one is in the way.
    /// The next one waits as after a crash: a program that breaks its listener whenever it starts must
    /// not be started in a whirl.
    pub(super) fn make_room(&mut self, now: Millis, slot: SlotId, out: &mut Actions) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let Seat::Held(pid) = place.seat else { return };
        let Some(phase) = self.workers.get(pid).map(|worker| worker.phase) else { return };
        let told = phase.cause() == Some(Cause::Wanted);
        let gone = slot.0 >= self.size || self.mission != Mission::Running;
        if !told || place.leaving.is_some() || gone {
            return;
        }
        self.set_leaving(slot, Some(pid));
        let next = self.start_another(now, slot);
        out.push_back(Action::Say(Fact::Replaced { slot, pid, next }));
        self.leave_behind_if_in_vain(now, pid, out);
        self.give_up_if(next, slot, EXIT_OWN_FAILURE, now, out);
    }

    /// One that SIGKILL did not end by now has no seat any more that it could keep.
    pub(super) fn leave_behind_if_in_vain(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let phase = self.workers.get(pid).map(|worker| worker.phase);
        if let Some(Phase::Killed { until: None, .. }) = phase {
            self.outlived_kill(now, pid, out);
        }
    }

    /// The only place where it changes: the agenda follows.
    pub(super) fn set_outage(&mut self, after: Option<Outage>) {
        let before = core::mem::replace(&mut self.outage, after);
        let due = |outage: Option<Outage>| outage.and_then(|outage| outage.until);
        self.agenda.change(Due::Listeners, due(before), due(after));
    }
}
