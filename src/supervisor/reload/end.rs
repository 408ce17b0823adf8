//! How a reload ends: done, rolled back, refused or stopped.

use alloc::rc::Rc;

use super::super::Supervisor;
use super::super::event::{Action, Actions, Fact, Failure, Outcome};
use super::super::slot::{Load, Newcomer, Seat, Slot};
use super::super::worker::Cause;
use super::{Kind, Phase, Reload, Wanted};
use crate::units::{Generation, Millis, SlotId};

impl Supervisor {
    /// Everybody it replaces is replaced.
    pub(super) fn is_done(
        &mut self,
        now: Millis,
        load: Rc<Load>,
        kind: Kind,
        after: Millis,
        out: &mut Actions,
    ) {
        let generation = load.generation;
        let mut outcome = Outcome::Done { generation, after };
        match kind {
            Kind::Renewal(_) => {}
            Kind::All => {
                self.reload_waiting(&load, kind);
                self.load = load;
            }
            Kind::Canary(_) | Kind::Promote | Kind::RollBack => {
                self.reload_waiting(&load, kind);
                outcome = self.canary_done(load, kind, after);
            }
        }
        self.end_reload(now, generation, outcome, out);
        self.forget_unused(generation, out);
    }

    /// One newcomer failed, or what they were to serve: back to what was before.
    pub(in super::super) fn roll_back(&mut self, now: Millis, why: Failure, out: &mut Actions) {
        if let Some(Reload { phase: Phase::Starting { load, .. }, replaced, kind, .. }) =
            &self.reload
        {
            let (generation, replaced, kind) = (load.generation, *replaced, *kind);
            self.send_newcomers_away(now, out);
            let why = Rc::new(why);
            let outcome = match kind {
                Kind::All | Kind::Renewal(_) => Outcome::RolledBack { why, replaced },
                Kind::Canary(_) | Kind::Promote | Kind::RollBack => {
                    self.canary_undone(now, kind, replaced, why)
                }
            };
            self.end_reload(now, generation, outcome, out);
            self.forget_unused(generation, out);
        }
    }

    fn send_newcomers_away(&mut self, now: Millis, out: &mut Actions) {
        self.newcomers.clear();
        self.arriving = 0;
        for index in 0..self.slots.len() {
            let slot = SlotId(index as u32);
            let Some(place) = self.slots.get(index) else { continue };
            let (newcomer, seat) = (place.newcomer, place.seat);
            if newcomer == Newcomer::None {
                continue;
            }
            self.set_newcomer(slot, Newcomer::None);
            let worker = newcomer.pid().and_then(|pid| Some((pid, self.workers.get(pid)?)));
            if let Some((pid, worker)) = worker {
                let rules = &worker.load.rules;
                // One that never served has nothing to finish.
                let served = matches!(newcomer, Newcomer::Ready { .. });
                let limit = if served { rules.drain_timeout } else { rules.stop_timeout };
                self.set_leaving(slot, Some(pid));
                self.retire(pid, limit.map(|limit| now.plus(limit)), Cause::Wanted, out);
            } else if seat == Seat::Ceded {
                self.fill(slot);
            }
        }
    }

    /// A stop ends the reload that runs and the one that was to follow.
    pub(in super::super) fn stop_reload(&mut self, now: Millis, out: &mut Actions) {
        self.newcomers.clear();
        self.arriving = 0;
        for index in 0..self.slots.len() {
            self.set_newcomer(SlotId(index as u32), Newcomer::None);
        }
        let generation = self.generation;
        if self.reload.is_some() {
            self.end_reload(now, generation, Outcome::Stopped, out);
        }
        let Wanted { askers, .. } = core::mem::take(&mut self.wanted);
        for asker in askers {
            out.push_back(Action::Answer { asker, outcome: Outcome::Stopped });
        }
        self.stop_canary(out);
        self.stop_orders(out);
    }

    pub(in super::super) fn end_reload(
        &mut self,
        now: Millis,
        generation: Generation,
        outcome: Outcome,
        out: &mut Actions,
    ) {
        self.set_takeover(None);
        let Some(reload) = self.reload.take() else { return };
        let failed = matches!(outcome, Outcome::RolledBack { .. });
        out.push_back(Action::Say(match reload.kind {
            Kind::Renewal(slot) => {
                // One that was replaced by order keeps its time.
                let by_age = reload.askers.is_empty();
                let again_in = if failed && by_age { self.renew_again(now, slot) } else { None };
                Fact::RenewalEnded { slot, outcome: outcome.clone(), again_in }
            }
            Kind::All | Kind::Canary(_) | Kind::Promote | Kind::RollBack => {
                Fact::ReloadEnded { generation, outcome: outcome.clone() }
            }
        }));
        for asker in reload.askers {
            out.push_back(Action::Answer { asker, outcome: outcome.clone() });
        }
    }

    /// A generation that no slot would start a worker of is not needed any more.
    pub(in super::super) fn forget_unused(&mut self, newest: Generation, out: &mut Actions) {
        if !self.kept.contains(&newest) {
            self.kept.push(newest);
        }
        let mut place = 0;
        while let Some(&generation) = self.kept.get(place) {
            let uses =
                |slot: &Slot| slot.seat != Seat::Closed && slot.load.generation == generation;
            // A slot that is added starts from what serves, and one that is promoted from what the canary has.
            let serves = generation == self.load.generation;
            if serves || self.is_canarys(generation) || self.slots.iter().any(uses) {
                place += 1;
            } else {
                self.kept.remove(place);
                out.push_back(Action::Forget { generation });
            }
        }
    }
}
