//! Where connections go when each slot has sockets of its own: to whoever is ready and was not told to stop, and
//! to nobody whose queue nobody accepts, as far as the kernel can be made to.

use std::collections::BTreeMap;

use fd3::supervisor::{Action, Queues, Steer};
use fd3::units::{Millis, Pid, SlotId};

use super::{Model, Phase, Worker};
use crate::world::Claim;

pub(super) struct Spread {
    queues: Queues,
    /// As fd3 has steered; those that are not named are Past.
    to: BTreeMap<SlotId, Steer>,
    /// Slots that were taken away, and accept first what waits there.
    emptied: BTreeMap<SlotId, Emptied>,
    /// How many slots there ever were: they begin with sockets.
    known: u32,
}

struct Emptied {
    pid: Pid,
    looks: usize,
    until: Option<Millis>,
    limit: Option<Millis>,
}

impl Spread {
    pub(super) fn new(queues: Queues) -> Spread {
        Spread { queues, to: BTreeMap::new(), emptied: BTreeMap::new(), known: 0 }
    }

    fn of(&self, slot: SlotId) -> Steer {
        self.to.get(&slot).copied().unwrap_or(Steer::Past)
    }

    fn somebody_is_in(&self) -> bool {
        self.to.values().any(|to| *to == Steer::In)
    }

    /// A slot that never was has no sockets before its first worker comes.
    pub(super) fn comes_back(&mut self, slot: SlotId) {
        self.emptied.remove(&slot);
        if slot.0 >= self.known {
            self.known = slot.0 + 1;
            self.to.insert(slot, Steer::Out);
        }
    }
}

impl Model {
    fn serves(&self, slot: SlotId) -> bool {
        let ready = |worker: &Worker| {
            worker.slot == slot && matches!(worker.phase, Phase::Ready { .. }) && worker.is_untold()
        };
        !self.spread.emptied.contains_key(&slot) && self.workers.values().any(ready)
    }

    /// Somebody else is ready there whom nobody has told yet.
    fn serves_yet(&self, slot: SlotId, told: Pid) -> bool {
        let is_yet_to_be_told = |pid| self.due.tell.contains(pid) || self.due.abort.contains(pid);
        self.workers.iter().any(|(pid, worker)| {
            let ready = worker.slot == slot && matches!(worker.phase, Phase::Ready { .. });
            ready && *pid != told && (worker.is_untold() || is_yet_to_be_told(pid))
        })
    }

    /// Somebody accepts what waits there, or is just being started.
    fn accepts(&self, slot: SlotId) -> bool {
        let goes_on = |worker: &Worker| worker.slot == slot && worker.is_untold();
        self.spawning == Some(slot) || self.workers.values().any(goes_on)
    }

    fn is_deserted(&self, slot: SlotId) -> bool {
        let place = &self.slots[slot.0 as usize];
        let there = self.workers.values().any(|worker| worker.slot == slot && !worker.gone);
        place.rests && place.newcomer.is_none() && !there
    }

    /// Whether nothing is to be left in the slot's queue.
    fn is_to_be_out(&self, slot: SlotId) -> bool {
        match self.spread.queues {
            Queues::Shared => false,
            Queues::Move => self.spread.somebody_is_in() && !self.accepts(slot),
            Queues::Stay => self.is_deserted(slot),
        }
    }

    /// What an action means for where connections go.
    pub(super) fn may_steer(&mut self, action: &Action) -> Claim {
        match action {
            Action::Spawn { slot, .. } if self.spread.of(*slot) == Steer::Out => {
                self.spread.to.insert(*slot, Steer::Past);
            }
            Action::Signal { pid, signal, .. } => {
                let told = self.due.tell.contains(pid) || self.due.abort.contains(pid);
                let slot = self.workers.get(pid).map(|worker| worker.slot);
                let stops = signal.0 != libc::SIGCONT && told && self.running();
                if let Some(slot) = slot.filter(|_| stops)
                    && self.spread.of(slot) == Steer::In
                    && !self.serves_yet(slot, *pid)
                {
                    return Err(format!("{pid} is told, and connections still go to slot {slot}"));
                }
            }
            Action::Steer { slot, to } => return self.steer(*slot, *to),
            Action::Spawn { .. } | Action::Load { .. } | Action::Forget { .. } => {}
            Action::Answer { .. } | Action::SignalLeftovers { .. } | Action::MendListeners => {}
            Action::LookAtQueue { .. } | Action::CloseListeners | Action::Say(_) => {}
            Action::Finish { .. } => {}
        }
        Ok(())
    }

    fn steer(&mut self, slot: SlotId, to: Steer) -> Claim {
        let there = slot.0 < self.slots.len() as u32;
        // Somebody may have been told before it came to the stop that the event brought.
        let runs = self.running() || self.due.close;
        if !runs || self.spread.queues == Queues::Shared || !there {
            return Err(format!("slot {slot} is steered, and is none"));
        }
        let right = match (self.spread.of(slot), to) {
            (Steer::Past, Steer::In) => self.serves(slot),
            (Steer::In, Steer::Past) => !self.serves(slot),
            (Steer::Past, Steer::Out) => self.is_to_be_out(slot),
            (Steer::In | Steer::Past | Steer::Out, _) => false,
        };
        self.spread.to.insert(slot, to);
        if right { Ok(()) } else { Err(format!("slot {slot} is steered {to:?}")) }
    }

    pub(super) fn is_steered(&self) -> Claim {
        if !self.running() || self.spread.queues == Queues::Shared {
            return Ok(());
        }
        for slot in (0..self.slots.len() as u32).map(SlotId) {
            let to = self.spread.of(slot);
            if self.serves(slot) != (to == Steer::In) {
                return Err(format!("slot {slot} is steered {to:?}"));
            }
            if to == Steer::Past && self.is_to_be_out(slot) {
                return Err(format!("whoever waits at slot {slot} waits for nobody"));
            }
        }
        Ok(())
    }

    /// A slot is taken away: whether its worker is told only when nobody waits there.
    pub(super) fn empties(&mut self, now: Millis, slot: SlotId, pid: Pid) -> bool {
        let Some(worker) = self.workers.get(&pid) else { return false };
        let ready = matches!(worker.phase, Phase::Ready { .. }) && worker.is_untold();
        if !ready || self.spread.queues != Queues::Stay {
            return false;
        }
        let limit = worker.drain.map(|limit| now.plus(limit));
        let until = Some(now.plus(worker.overlap));
        self.spread.emptied.insert(slot, Emptied { pid, looks: 0, until, limit });
        true
    }

    pub(super) fn empties_nobody(&self) -> bool {
        self.spread.emptied.is_empty()
    }

    pub(super) fn looks_are_due(&mut self, now: Millis) {
        for (slot, emptied) in &mut self.spread.emptied {
            if emptied.until.is_some_and(|until| until <= now) {
                emptied.until = None;
                self.due.look.push(*slot);
            }
        }
    }

    pub(super) fn looks(&self) -> Vec<Millis> {
        self.spread.emptied.values().filter_map(|emptied| emptied.until).collect()
    }

    pub(super) fn looked(&mut self, now: Millis, slot: SlotId, is_empty: bool) {
        let Some(emptied) = self.spread.emptied.get_mut(&slot) else { return };
        if emptied.until.is_some() {
            return;
        }
        if is_empty || emptied.limit.is_some_and(|limit| limit <= now) {
            let pid = emptied.pid;
            self.spread.emptied.remove(&slot);
            return self.take_away(now, slot, pid);
        }
        let wait = [50, 100, 200, 400, 800, 1600][emptied.looks.min(5)];
        emptied.looks += 1;
        emptied.until = Some(now.plus(Millis(wait)));
    }

    /// Only whoever still serves accepts what is left.
    pub(super) fn no_longer_emptied(&mut self) {
        let (running, workers) = (self.running(), &self.workers);
        self.spread.emptied.retain(|_, emptied| {
            running && workers.get(&emptied.pid).is_some_and(Worker::is_untold)
        });
        self.due.look.retain(|slot| self.spread.emptied.contains_key(slot));
        self.spread.known = self.spread.known.max(self.slots.len() as u32);
    }
}
