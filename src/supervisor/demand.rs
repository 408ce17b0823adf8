//! `--start on-demand`: nobody is started until a connection waits; then all waiting slots are filled. A worker
//! that ends with 0 had nothing more to do, and its slot waits again; one that fails comes to that after its
//! backoff.
//!
//! While new workers of a reload start nobody is started this way: the slots that wait get what it loaded when it
//! is done. A renewal is of one slot, and changes nothing for the others.

use alloc::rc::Rc;

use super::Supervisor;
use super::event::{Actions, Next};
use super::reload::{Kind, Phase, Reload};
use super::slot::{Load, Seat};
use super::stop::Mission;
use crate::plan::{Restart, Start};
use crate::units::{Millis, SlotId};

impl Supervisor {
    /// Whether fd3 is to be told that a connection waits.
    pub fn awaits_demand(&self) -> bool {
        // A reload that only waits for former workers may do so for long.
        let starts = self.arriving > 0 || self.is_loading();
        let renews = self.reload.as_ref().is_some_and(Reload::is_renewal);
        let free = (!starts || renews) && self.outage.is_none();
        self.waiting > 0 && free && self.mission == Mission::Running
    }

    pub(super) fn demanded(&mut self, now: Millis, out: &mut Actions) {
        if !self.awaits_demand() {
            return;
        }
        self.take_turns_that_wait();
        for id in 0..self.size {
            let seat = self.slots.get(id as usize).map(|slot| slot.seat);
            if seat == Some(Seat::Waiting) {
                self.fill(SlotId(id));
            }
        }
        // The last turn may have been theirs.
        self.go_on(now, out);
    }

    /// In a reload slot by slot whoever comes now comes from what it loaded, if that has proved itself: its turn
    /// may be over, or never come.
    fn take_turns_that_wait(&mut self) {
        let Some(Reload { phase: Phase::Starting { load, .. }, replaced: 1.., kind, .. }) =
            &self.reload
        else {
            return;
        };
        let (load, kind) = (load.clone(), *kind);
        self.reload_waiting(&load, kind);
        if let Some(Reload { phase: Phase::Starting { todo, load, .. }, .. }) = &mut self.reload {
            let slots = &self.slots;
            let done = |slot: &SlotId| {
                slots.get(slot.0 as usize).is_some_and(|place| {
                    place.seat == Seat::Waiting && place.load.generation == load.generation
                })
            };
            todo.retain(|slot| !done(slot));
        }
    }

    /// To be filled now.
    pub(super) fn fill(&mut self, slot: SlotId) {
        self.set_seat(slot, Seat::Vacant);
        self.vacant.push_back(slot);
    }

    /// To be filled now, or when somebody asks for it.
    pub(super) fn fill_or_wait(&mut self, slot: SlotId) {
        if self.starts_on_demand(slot) {
            self.set_seat(slot, Seat::Waiting);
        } else {
            self.fill(slot);
        }
    }

    /// Whose turn it is in a reload: those that wait on have none.
    pub(super) fn next_turn(&mut self) -> Option<SlotId> {
        while let Some(Reload { phase: Phase::Starting { todo, .. }, .. }) = &mut self.reload {
            let slot = todo.pop_front()?;
            if !self.stays_waiting(slot) && !self.is_back(slot) {
                return Some(slot);
            }
        }
        None
    }

    /// Nobody is to be replaced there, and nobody need come: what is loaded starts on demand as well.
    fn stays_waiting(&self, slot: SlotId) -> bool {
        let waits = self.slots.get(slot.0 as usize).map(|slot| slot.seat) == Some(Seat::Waiting);
        waits && self.new_load().is_some_and(|load| load.rules.start == Start::OnDemand)
    }

    fn starts_on_demand(&self, slot: SlotId) -> bool {
        let place = self.slots.get(slot.0 as usize);
        place.is_some_and(|place| place.load.rules.start == Start::OnDemand)
    }

    /// What follows a worker that ended with 0, if its slot is to wait. Where it had hardly begun, whoever waits
    /// may still do so: then not sooner than `--backoff` has it, so that it is not started in a whirl.
    pub(super) fn wait_again(
        &mut self,
        now: Millis,
        slot: SlotId,
        started: Millis,
    ) -> Option<Next> {
        let place = self.slots.get(slot.0 as usize)?;
        let rules = &place.load.rules;
        if rules.start != Start::OnDemand || rules.restart == Restart::Never {
            return None;
        }
        let until = started.plus(rules.backoff.min);
        let seat = if until <= now { Seat::Waiting } else { Seat::Resting { until } };
        self.set_seat(slot, seat);
        Some(Next::Wait)
    }

    /// Slots that wait have no worker to be replaced.
    pub(super) fn reload_waiting(&mut self, load: &Rc<Load>, kind: Kind) {
        for id in 0..self.slots.len() {
            let takes_part = self.takes_part(SlotId(id as u32), kind);
            if let Some(place) = self.slots.get_mut(id)
                && place.seat == Seat::Waiting
                && takes_part
            {
                place.take_load(load.clone());
            }
        }
    }
}
