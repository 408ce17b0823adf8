//! What must hold after every event, whatever the world does. Asked by debug builds and the simulation.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Supervisor;
use super::agenda::Due;
use super::slot::Seat;
use super::stop::Mission;
use crate::units::{Millis, Pid, SlotId};

impl Supervisor {
    /// `Err` names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        self.check_workers()?;
        self.check_slots()?;
        self.check_agenda()
    }

    /// Every worker holds its slot's seat or is the one leaving it.
    fn check_workers(&self) -> Result<(), String> {
        for (pid, worker) in self.workers.iter() {
            if self.leftovers.get(pid).is_some() {
                return Err(format!("{pid} lives, and its group is what it left behind"));
            }
            let Some(slot) = self.slots.get(worker.slot.0 as usize) else {
                return Err(format!("worker {pid} has no slot"));
            };
            let leaving = slot.leaving == Some(pid);
            if leaving == (slot.seat == Seat::Held(pid)) && slot.seat != Seat::Closed {
                return Err(format!("worker {pid} neither holds nor leaves slot {}", worker.slot));
            }
            if leaving && worker.phase.cause().is_none() {
                return Err(format!("worker {pid} leaves and was not told to stop"));
            }
        }
        Ok(())
    }

    fn check_slots(&self) -> Result<(), String> {
        let mut vacant: Vec<SlotId> = self.vacant.iter().copied().collect();
        vacant.sort_unstable();
        let mut open = 0;
        for (id, slot) in (0..).map(SlotId).zip(&self.slots) {
            open += usize::from(slot.seat != Seat::Closed);
            let known = |pid: Pid| self.workers.get(pid).is_some_and(|worker| worker.slot == id);
            let listed = vacant.binary_search(&id).is_ok();
            let right = match slot.seat {
                Seat::Vacant => listed || self.mission == Mission::NotBegun,
                Seat::Spawning => !listed && self.spawning == Some(id),
                Seat::Held(pid) => !listed && known(pid),
                Seat::Resting { .. } => !listed && self.mission == Mission::Running,
                Seat::Closed => !listed,
            };
            if !right || slot.leaving.is_some_and(|pid| !known(pid)) {
                return Err(format!("slot {id} is forgotten: {slot:?}"));
            }
        }
        if open != self.open || vacant.windows(2).any(|two| two[0] == two[1]) {
            return Err(format!("{open} slots are open, counted {}", self.open));
        }
        Ok(())
    }

    /// Every deadline has its owner, every owner its deadline.
    fn check_agenda(&self) -> Result<(), String> {
        let workers = self
            .workers
            .iter()
            .filter_map(|(pid, worker)| worker.phase.deadline().map(|at| (at, Due::Worker(pid))));
        let slots = (0..)
            .map(SlotId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| slot.seat.deadline().map(|at| (at, Due::Slot(id))));
        let groups = self.leftovers.iter();
        let groups = groups.filter_map(|(pid, rest)| Some((rest.deadline()?, Due::Group(pid))));
        let outage = self.outage.and_then(|outage| outage.until).map(|at| (at, Due::Listeners));
        let mut wanted: Vec<(Millis, Due)> =
            workers.chain(slots).chain(groups).chain(outage).collect();
        wanted.sort_unstable();
        let mut kept: Vec<(Millis, Due)> = self.agenda.entries().collect();
        kept.reverse();
        if wanted == kept { Ok(()) } else { Err(format!("agenda {kept:?} instead of {wanted:?}")) }
    }
}
