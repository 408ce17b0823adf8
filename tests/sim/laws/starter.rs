//! The laws of Server::Starter's ways, and of a stop that tells all by a signal of its own.

use fd3::plan::Reaction;
use fd3::supervisor::Target;
use fd3::units::{Generation, Millis, Pid, SlotId};

use super::Laws;
use crate::memory::Worker;
use crate::world::Claim;

impl Laws {
    /// The next start of each slot is no fault of its own.
    pub(super) fn excuse(&mut self) {
        for place in self.slots.iter_mut().flat_map(|slot| slot.values_mut()) {
            (place.excused, place.promise, place.ended) = (true, None, None);
        }
        self.forgiven += 1;
    }

    /// Nobody is waited for but the one who holds the seat, or is to come; and two starts of what is the
    /// same are so far apart.
    pub(super) fn spawn_as_starter(&mut self, now: Millis, slot: SlotId, of: Generation) -> Claim {
        let untold = |worker: &&Worker| worker.slot == slot && worker.since().is_none();
        if self.workers.values().filter(untold).count() > 1 {
            return Err(format!("slot {slot} has two workers, and one more is started"));
        }
        let Some(place) = self.slots.get_mut(slot.0 as usize) else {
            return Err(format!("there is no slot {slot}"));
        };
        let place = place.entry(of).or_default();
        let (before, excused) = (place.spawned.replace(now), core::mem::take(&mut place.excused));
        match before {
            Some(before) if now < before.plus(self.rules.backoff.min) && !excused => {
                Err(format!("slot {slot} was started at {} and is started again", before.0))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Only while a stop runs.
    pub(super) fn told_by_another(&self, pid: Pid, to: Target) -> Claim {
        match (to, self.closed) {
            (Target::Process, Some(_)) => Ok(()),
            _ => Err(format!("{pid} is told by another signal, and no stop runs")),
        }
    }
}

pub(super) fn is_order(reaction: Reaction) -> bool {
    match reaction {
        Reaction::Stop | Reaction::Drain | Reaction::StopNow | Reaction::StopBy(_) => true,
        Reaction::Reload | Reaction::Upgrade | Reaction::Up | Reaction::Down => false,
        Reaction::Ignore | Reaction::Forward(_) => false,
    }
}
