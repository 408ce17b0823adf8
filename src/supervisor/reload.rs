//! Reload: another generation takes over, or everything stays as it was.
//!
//! Wanted -> Loading -> Starting -> done, refused or rolled back. With `--surge all` every slot gets a
//! newcomer beside its holder, and when all of them were ready for the overlap they take over together; the
//! first one to fail takes all of them back. With `--surge K` the slots have their turns, so that newcomers
//! and leaving workers are never more than K; with 0 the holder goes first. There the first failure ends the
//! reload, and slots that had no turn yet keep what they have. In Server::Starter's ways nothing fails: where
//! a newcomer does, others follow until one stays, and holders that are replaced are in nobody's way.
//!
//! A slot's load (what its next worker is started from) changes only at the takeover: until then a crash of
//! the holder is mended from the old one, and after a rollback nothing has to be put back.
//!
//! Only one reload runs, and it begins when nobody is leaving; asked for meanwhile, it is done once more
//! afterwards, however often. A stop ends both. Who asks is always answered.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions, Fact, Failure, Outcome};
use super::slot::{Load, Newcomer, Seat, Slot};
use super::stop::Mission;
use super::worker::{Cause, Phase as WorkerPhase};
use crate::error::Error;
use crate::plan::{Rules, Surge, Ways};
use crate::units::{Asker, CommandId, Generation, Millis, Pid, SlotId};

/// The orders that no running reload covers.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// When the first one asked.
    since: Option<Millis>,
    askers: Vec<Asker>,
    /// The one that is to be loaded, if it is not the one that serves.
    pub(super) command: Option<CommandId>,
}

#[derive(Debug)]
pub(super) struct Reload {
    /// When it was asked for.
    begun: Millis,
    askers: Vec<Asker>,
    /// Of this slot alone, because of its worker's age, or because somebody asked for that.
    renewal: Option<SlotId>,
    /// Slots that were taken over.
    pub(super) replaced: u32,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Loading,
    Starting {
        load: Rc<Load>,
        /// The slots that had no turn yet.
        todo: VecDeque<SlotId>,
        /// Newcomers that are not ready.
        unready: usize,
        /// With `--surge all`: when they take over.
        until: Option<Millis>,
    },
}

impl Wanted {
    pub(super) fn is_asked(&self) -> bool {
        self.since.is_some()
    }
}

impl Reload {
    pub(super) fn is_renewal(&self) -> bool {
        self.renewal.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Loading => None,
            Phase::Starting { until, .. } => *until,
        }
    }
}

impl Supervisor {
    pub(super) fn reload_asked(&mut self, now: Millis, asker: Option<Asker>, out: &mut Actions) {
        match self.mission {
            Mission::Running | Mission::NotBegun => {
                if self.wanted.since.is_none() && self.reload.is_none() && self.leaving > 0 {
                    let workers = self.leaving;
                    out.push_back(Action::Say(Fact::ReloadWaits { workers }));
                }
                self.wanted.since = self.wanted.since.or(Some(now));
                if let Some(asker) = asker {
                    self.wanted.askers.push(asker);
                }
            }
            Mission::Stopping { .. } | Mission::Finished => {
                if let Some(asker) = asker {
                    out.push_back(Action::Answer { asker, outcome: Outcome::Stopped });
                }
            }
        }
    }

    /// Begins what is wanted, once nothing is in its way.
    pub(super) fn begin_reload(&mut self, out: &mut Actions) {
        let free = self.reload.is_none() && self.spawning.is_none() && self.outage.is_none();
        let nobody_leaves = self.leaving == 0 && self.steering.emptying == 0;
        let ready = self.open > 0 && nobody_leaves && self.mission == Mission::Running;
        let Some(begun) = self.wanted.since.filter(|_| free && ready) else { return };
        let Wanted { askers, command, .. } = core::mem::take(&mut self.wanted);
        self.reload =
            Some(Reload { begun, askers, renewal: None, replaced: 0, phase: Phase::Loading });
        out.push_back(Action::Load { generation: self.next_generation(), command });
    }

    fn next_generation(&self) -> Generation {
        Generation(self.generation.0.saturating_add(1))
    }

    pub(super) fn loaded(&mut self, now: Millis, rules: Rules, out: &mut Actions) {
        if !self.is_loading() {
            return;
        }
        self.generation = self.next_generation();
        let generation = self.generation;
        let load = Rc::new(Load { generation, rules });
        let mut todo = VecDeque::new();
        for (id, slot) in (0..self.size).zip(&self.slots) {
            if slot.seat != Seat::Closed {
                todo.push_back(SlotId(id));
            }
        }
        if let Some(reload) = &mut self.reload {
            reload.phase = Phase::Starting { load, todo, unready: 0, until: None };
        }
        out.push_back(Action::Say(Fact::Reloading { generation }));
        self.first_turns(now, out);
    }

    /// A reload of one slot, from the load that it has.
    pub(super) fn renew_slot(
        &mut self,
        now: Millis,
        slot: SlotId,
        askers: Vec<Asker>,
        out: &mut Actions,
    ) {
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        let (load, todo) = (place.load.clone(), VecDeque::from([slot]));
        let phase = Phase::Starting { load, todo, unready: 0, until: None };
        let (begun, renewal) = (now, Some(slot));
        self.reload = Some(Reload { begun, askers, renewal, replaced: 0, phase });
        self.first_turns(now, out);
    }

    fn first_turns(&mut self, now: Millis, out: &mut Actions) {
        if self.surge() == Surge::All {
            while let Some(slot) = self.next_turn() {
                self.cede_to_newcomer(slot);
                self.await_newcomer(slot, Newcomer::Vacant);
            }
        }
        self.go_on(now, out);
    }

    /// In Server::Starter's ways only one is tried at a time.
    fn cede_to_newcomer(&mut self, slot: SlotId) {
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        if place.load.rules.ways() == Ways::Starter
            && let Seat::Vacant | Seat::Resting { .. } = place.seat
        {
            self.set_seat(slot, Seat::Ceded);
        }
    }

    /// What newcomers are started from.
    pub(super) fn new_load(&self) -> Option<Rc<Load>> {
        match &self.reload {
            Some(Reload { phase: Phase::Starting { load, .. }, .. }) => Some(load.clone()),
            Some(Reload { phase: Phase::Loading, .. }) | None => None,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(&self.reload, Some(Reload { phase: Phase::Loading, .. }))
    }

    pub(super) fn load_failed(&mut self, now: Millis, error: Error, out: &mut Actions) {
        if self.is_loading() {
            let generation = self.next_generation();
            let error = Rc::new(error);
            self.end_reload(now, generation, Outcome::Refused { error }, out);
        }
    }

    fn surge(&self) -> Surge {
        match &self.reload {
            Some(Reload { phase: Phase::Starting { load, .. }, .. }) => load.rules.surge,
            Some(Reload { phase: Phase::Loading, .. }) | None => Surge::All,
        }
    }

    fn await_newcomer(&mut self, slot: SlotId, newcomer: Newcomer) {
        if let Some(Reload { phase: Phase::Starting { unready, .. }, .. }) = &mut self.reload {
            *unready += 1;
        }
        self.arriving += 1;
        self.set_newcomer(slot, newcomer);
    }

    /// Gives slots their turns as far as the surge allows; ends the reload after the last.
    pub(super) fn go_on(&mut self, now: Millis, out: &mut Actions) {
        if let Surge::AtMost(most) = self.surge() {
            let room = if most == 0 { 1 } else { most as usize };
            while self.arriving + self.leaving < room
                && let Some(slot) = self.next_turn()
            {
                self.take_turn(now, slot, most, out);
            }
        }
        let over = match &self.reload {
            Some(Reload { phase: Phase::Starting { todo, load, .. }, .. })
                if todo.is_empty() && self.arriving == 0 =>
            {
                Some(load.clone())
            }
            Some(_) | None => None,
        };
        if let (Some(load), Some(reload)) = (over, &self.reload) {
            let (generation, after) = (load.generation, now.since(reload.begun));
            if !reload.is_renewal() {
                self.load = load;
                self.reload_waiting();
            }
            self.end_reload(now, generation, Outcome::Done { generation, after }, out);
            self.forget_unused(generation, out);
        }
    }

    fn take_turn(&mut self, now: Millis, slot: SlotId, most: u32, out: &mut Actions) {
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        match place.seat {
            // The policy laid it to rest meanwhile.
            Seat::Closed => {}
            Seat::Held(pid) if most == 0 => {
                self.await_newcomer(slot, Newcomer::Awaited);
                self.drain(now, slot, pid, out);
                let phase = self.workers.get(pid).map(|worker| worker.phase);
                if let Some(WorkerPhase::Killed { until: None, .. }) = phase {
                    self.roll_back(now, Failure::NotStopped { slot, pid }, out);
                }
            }
            Seat::Vacant | Seat::Resting { .. } | Seat::Waiting if most == 0 => {
                self.await_newcomer(slot, Newcomer::Vacant);
                self.set_seat(slot, Seat::Ceded);
            }
            Seat::Vacant | Seat::Resting { .. } | Seat::Waiting | Seat::Held(_) => {
                self.await_newcomer(slot, Newcomer::Vacant);
            }
            Seat::Spawning | Seat::Ceded => {}
        }
    }

    pub(super) fn newcomer_ready(&mut self, now: Millis, slot: SlotId, pid: Pid) {
        let Some(Reload { phase: Phase::Starting { load, unready, .. }, .. }) = &mut self.reload
        else {
            return;
        };
        *unready -= 1;
        let at = now.plus(load.rules.overlap);
        let (surge, last) = (load.rules.surge, *unready == 0);
        let until = (surge != Surge::All).then_some(at);
        self.set_newcomer(slot, Newcomer::Ready { pid, until });
        if surge == Surge::All && last {
            self.set_takeover(Some(at));
        }
    }

    /// All of them, together.
    pub(super) fn takeover_due(&mut self, now: Millis, out: &mut Actions) {
        for index in 0..self.slots.len() {
            self.take_over(now, SlotId(index as u32), out);
        }
        self.go_on(now, out);
    }

    pub(super) fn newcomer_due(&mut self, now: Millis, slot: SlotId, out: &mut Actions) {
        let newcomer = self.slots.get(slot.0 as usize).map(|slot| slot.newcomer);
        if let Some(Newcomer::Resting { .. }) = newcomer {
            return self.set_newcomer(slot, Newcomer::Vacant);
        }
        self.take_over(now, slot, out);
        self.go_on(now, out);
    }

    /// The newcomer gets the seat, its holder is told to finish.
    fn take_over(&mut self, now: Millis, slot: SlotId, out: &mut Actions) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let Newcomer::Ready { pid, .. } = place.newcomer else { return };
        let Some(Reload { phase: Phase::Starting { load, .. }, replaced, .. }) = &mut self.reload
        else {
            return;
        };
        *replaced += 1;
        let load = load.clone();
        let former = place.seat;
        place.take_load(load);
        place.blameless = false;
        if former == Seat::Closed {
            // What its former worker failed with is no longer how it ended.
            self.last_failure = 0;
        }
        self.arriving -= 1;
        self.set_newcomer(slot, Newcomer::None);
        self.set_seat(slot, Seat::Held(pid));
        if let Seat::Held(former) = former {
            if self.load.rules.ways() == Ways::Own {
                self.set_leaving(slot, Some(former));
            }
            self.drain(now, slot, former, out);
            self.leave_behind_if_in_vain(now, former, out);
        }
    }

    /// Tells a worker that another one replaces to finish what it has.
    pub(super) fn drain(&mut self, now: Millis, slot: SlotId, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let until = worker.load.rules.drain_timeout.map(|limit| now.plus(limit));
        let phase = worker.phase;
        self.served(now, slot, phase);
        self.retire(pid, until, Cause::Wanted, out);
    }

    /// One newcomer failed: that is the end of all of them, or another one is tried in its place.
    pub(super) fn newcomer_failed(
        &mut self,
        now: Millis,
        slot: SlotId,
        why: Failure,
        out: &mut Actions,
    ) {
        let load = self.new_load().filter(|load| load.rules.ways() == Ways::Starter);
        let (Some(load), Some(place)) = (load, self.slots.get(slot.0 as usize)) else {
            return self.roll_back(now, why, out);
        };
        let (newcomer, rules) = (place.newcomer, &load.rules);
        let again_in = rules.backoff.rest_of_min(now.since(place.tried));
        if let Newcomer::Ready { .. } = newcomer {
            if let Some(Reload { phase: Phase::Starting { unready, .. }, .. }) = &mut self.reload {
                *unready += 1;
            }
            self.set_takeover(None);
        }
        self.set_newcomer(slot, Newcomer::Resting { until: now.plus(again_in) });
        if let Some(pid) = newcomer.pid() {
            self.retire(pid, rules.stop_timeout.map(|limit| now.plus(limit)), Cause::Wanted, out);
        }
        out.push_back(Action::Say(Fact::TriedAgain { slot, why, again_in }));
    }

    /// One newcomer failed, or what they were to serve: back to what was before.
    pub(super) fn roll_back(&mut self, now: Millis, why: Failure, out: &mut Actions) {
        if let Some(Reload { phase: Phase::Starting { load, .. }, replaced, .. }) = &self.reload {
            let (generation, replaced) = (load.generation, *replaced);
            self.send_newcomers_away(now, out);
            let why = Rc::new(why);
            self.end_reload(now, generation, Outcome::RolledBack { why, replaced }, out);
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
    pub(super) fn stop_reload(&mut self, now: Millis, out: &mut Actions) {
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
        self.stop_orders(out);
    }

    fn end_reload(
        &mut self,
        now: Millis,
        generation: Generation,
        outcome: Outcome,
        out: &mut Actions,
    ) {
        self.set_takeover(None);
        let Some(reload) = self.reload.take() else { return };
        let failed = matches!(outcome, Outcome::RolledBack { .. });
        out.push_back(Action::Say(match reload.renewal {
            Some(slot) => {
                // One that was replaced by order keeps its time.
                let by_age = reload.askers.is_empty();
                let again_in = if failed && by_age { self.renew_again(now, slot) } else { None };
                Fact::RenewalEnded { slot, outcome: outcome.clone(), again_in }
            }
            None => Fact::ReloadEnded { generation, outcome: outcome.clone() },
        }));
        for asker in reload.askers {
            out.push_back(Action::Answer { asker, outcome: outcome.clone() });
        }
    }

    /// A generation that no slot would start a worker of is not needed any more.
    fn forget_unused(&mut self, newest: Generation, out: &mut Actions) {
        if !self.kept.contains(&newest) {
            self.kept.push(newest);
        }
        let mut place = 0;
        while let Some(&generation) = self.kept.get(place) {
            let uses =
                |slot: &Slot| slot.seat != Seat::Closed && slot.load.generation == generation;
            // A slot that is added starts from what serves.
            if generation == self.load.generation || self.slots.iter().any(uses) {
                place += 1;
            } else {
                self.kept.remove(place);
                out.push_back(Action::Forget { generation });
            }
        }
    }

    /// The only place where a slot's newcomer changes: agenda and queue follow it.
    pub(super) fn set_newcomer(&mut self, slot: SlotId, newcomer: Newcomer) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let before = core::mem::replace(&mut place.newcomer, newcomer);
        self.touch(slot);
        self.agenda.change(Due::Newcomer(slot), before.deadline(), newcomer.deadline());
        if newcomer == Newcomer::Vacant {
            self.newcomers.push_back(slot);
        }
    }

    /// Nobody is on the way out any more: where a newcomer failed that nobody may run beside, the seat is
    /// its former load's again.
    pub(super) fn left(&mut self, slot: SlotId) {
        self.set_leaving(slot, None);
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        if place.seat == Seat::Ceded && place.newcomer == Newcomer::None {
            self.fill(slot);
        }
    }

    /// The only place where somebody begins or ends to leave: the count follows.
    pub(super) fn set_leaving(&mut self, slot: SlotId, leaving: Option<Pid>) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        self.leaving -= usize::from(place.leaving.is_some());
        self.leaving += usize::from(leaving.is_some());
        place.leaving = leaving;
        self.touch(slot);
    }

    fn set_takeover(&mut self, after: Option<Millis>) {
        let Some(Reload { phase: Phase::Starting { until, .. }, .. }) = &mut self.reload else {
            return;
        };
        let before = core::mem::replace(until, after);
        self.agenda.change(Due::Takeover, before, after);
    }
}
