//! What must hold after every event, whatever the world does. Asked by debug builds and the simulation.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::agenda::Due;
use super::reload::Reload;
use super::slot::{Newcomer, Seat};
use super::stop::Mission;
use super::{Lane, Supervisor};
use crate::plan::Ways;
use crate::units::{Millis, Pid, SlotId};

impl Supervisor {
    /// `Err` names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        self.check_workers()?;
        self.check_slots()?;
        self.check_reload()?;
        self.check_steering()?;
        self.check_agenda()
    }

    /// Every worker holds its slot's seat, is the one leaving it, or the one to come.
    fn check_workers(&self) -> Result<(), String> {
        for (pid, worker) in self.workers.iter() {
            if self.leftovers.get(pid).is_some() {
                return Err(format!("{pid} lives, and its group is what it left behind"));
            }
            let Some(slot) = self.slots.get(worker.slot.0 as usize) else {
                return Err(format!("worker {pid} has no slot"));
            };
            let leaving = slot.leaving == Some(pid);
            let places = [leaving, slot.seat == Seat::Held(pid), slot.newcomer.pid() == Some(pid)];
            let count = places.iter().filter(|there| **there).count();
            // In Server::Starter's ways one that was replaced has none.
            let ways = worker.load.rules.ways();
            let one = self.mission == Mission::Running
                && (ways == Ways::Own || worker.phase.cause().is_none());
            if count > 1 || count == 0 && one {
                return Err(format!("worker {pid} has {count} places in slot {}", worker.slot));
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
        let (mut open, mut waiting) = (0, 0);
        for (id, slot) in (0..).map(SlotId).zip(&self.slots) {
            open += usize::from(slot.seat != Seat::Closed);
            waiting += usize::from(slot.seat == Seat::Waiting);
            let known = |pid: Pid| self.workers.get(pid).is_some_and(|worker| worker.slot == id);
            let listed = vacant.binary_search(&id).is_ok();
            let right = match slot.seat {
                Seat::Vacant => listed || self.mission == Mission::NotBegun,
                Seat::Spawning => !listed && self.spawning == Some((id, Lane::Seat)),
                Seat::Held(pid) => !listed && known(pid),
                Seat::Resting { .. } | Seat::Waiting => !listed && self.mission == Mission::Running,
                Seat::Ceded => {
                    !listed && (slot.newcomer != Newcomer::None || slot.leaving.is_some())
                }
                Seat::Closed => !listed,
            };
            if !right || slot.leaving.is_some_and(|pid| !known(pid)) {
                return Err(format!("slot {id} is forgotten: {slot:?}"));
            }
        }
        if open != self.open || vacant.windows(2).any(|two| two[0] == two[1]) {
            return Err(format!("{open} slots are open, counted {}", self.open));
        }
        if waiting != self.waiting {
            return Err(format!("{waiting} slots wait, counted {}", self.waiting));
        }
        Ok(())
    }

    /// Newcomers are there only while a reload runs; those counted and queued are those that are.
    fn check_reload(&self) -> Result<(), String> {
        let slots = || (0..).map(SlotId).zip(&self.slots);
        let arriving = slots().filter(|(_, slot)| slot.newcomer != Newcomer::None).count();
        let leaving = slots().filter(|(_, slot)| slot.leaving.is_some()).count();
        if (arriving, leaving) != (self.arriving, self.leaving) {
            return Err(format!("{arriving} arrive and {leaving} leave: counted wrongly"));
        }
        if arriving > 0 && self.new_load().is_none() {
            return Err("somebody arrives, and no reload runs".into());
        }
        for (id, slot) in slots() {
            let queued = self.newcomers.iter().filter(|queued| **queued == id).count();
            let spawning = self.spawning == Some((id, Lane::Newcomer));
            let both = slot.leaving.is_some() && slot.newcomer != Newcomer::None;
            let right = match slot.newcomer {
                Newcomer::Vacant => queued == 1,
                Newcomer::Spawning => queued == 0 && spawning,
                Newcomer::Awaited => queued == 0 && matches!(slot.seat, Seat::Held(_)),
                Newcomer::None | Newcomer::Starting(_) | Newcomer::Ready { .. } => queued == 0,
                Newcomer::Resting { .. } => queued == 0,
            };
            if !right || both {
                return Err(format!("slot {id} has lost its newcomer: {slot:?}"));
            }
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
        let newcomers = (0..)
            .map(SlotId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| Some((slot.newcomer.deadline()?, Due::Newcomer(id))));
        let queues = (0..)
            .map(SlotId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| Some((slot.emptying?.deadline()?, Due::Queue(id))));
        let takeover = self.reload.as_ref().and_then(Reload::deadline);
        let takeover = takeover.map(|at| (at, Due::Takeover));
        let others = groups.chain(outage).chain(newcomers).chain(takeover).chain(self.ages());
        let others = others.chain(queues);
        let mut wanted: Vec<(Millis, Due)> = workers.chain(slots).chain(others).collect();
        wanted.sort_unstable();
        let mut kept: Vec<(Millis, Due)> = self.agenda.entries().collect();
        kept.reverse();
        if wanted == kept { Ok(()) } else { Err(format!("agenda {kept:?} instead of {wanted:?}")) }
    }
}
