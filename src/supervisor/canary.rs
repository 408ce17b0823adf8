//! A canary: a reload of a few slots, which then holds until somebody decides. Promoted, the other slots get
//! what it was loaded with; rolled back, its own get back what serves in the others.
//!
//! None -> Canary (the reload of its slots) -> it holds -> Promote -> None, or -> RollBack -> None. What serves,
//! and with it the generation that counts, changes only when it is promoted. Its slots are those whose load is its own.
//!
//! It is on probation until then. As soon as one of its workers ends that nobody had asked to, or one that is to
//! follow when it is promoted fails, it is doomed: that slot gets back at once what serves, and the others are
//! rolled back, if need be again and again, as nothing else can come of it. Where that goes slot by slot, those
//! that were replaced before the failure are put back as well.
//!
//! Of what is decided one waits for its turn at a time. A reload that a signal asks for waits until there is no
//! canary; one that is ordered by name is refused while somebody has to decide. A stop wins over everything.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions, Decision, Fact, Failure, Outcome};
use super::orders::refuse;
use super::reload::{Kind, Phase, Reload};
use super::slot::{Load, Seat, Slot};
use super::view::Holding;
use crate::plan::Ways;
use crate::units::{Asker, CommandId, Generation, Millis, SlotId};

/// Whether there can be one.
const HERE: bool = cfg!(feature = "control");

#[derive(Debug)]
pub(super) struct Canary {
    load: Rc<Load>,
    /// It is to be rolled back, whatever anybody decides.
    doomed: bool,
    /// When that is tried again, after it came to nothing.
    again: Option<Millis>,
}

/// A reload that is to come.
#[derive(Debug)]
pub(super) struct Step {
    kind: Kind,
    since: Millis,
    askers: Vec<Asker>,
    command: Option<CommandId>,
}

impl Supervisor {
    pub(super) fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref().filter(|_| HERE)
    }

    pub(super) fn is_canarys(&self, generation: Generation) -> bool {
        self.canary().is_some_and(|canary| canary.load.generation == generation)
    }

    pub(super) fn is_canary(&self, slot: SlotId) -> bool {
        let place = self.slots.get(slot.0 as usize).filter(|_| HERE && slot.0 < self.size);
        place.is_some_and(|place| self.is_canarys(place.load.generation))
    }

    fn runs(&self) -> Option<Kind> {
        self.reload.as_ref().map(|reload| reload.kind)
    }

    /// The generation of one that somebody has to decide about, or will have to.
    pub(super) fn undecided(&self) -> Option<Generation> {
        let next = Generation(self.generation.0.saturating_add(1));
        match (self.canary(), &self.step) {
            (_, Some(Step { kind: Kind::Canary(_), .. })) if HERE => Some(next),
            (Some(canary), None) if !canary.doomed => match self.runs() {
                Some(Kind::Promote | Kind::RollBack) => None,
                Some(Kind::All | Kind::Renewal(_) | Kind::Canary(_)) | None => {
                    Some(canary.load.generation)
                }
            },
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    /// Why there cannot be one of so many slots.
    pub(super) fn no_canary(&self, slots: u32) -> Option<String> {
        let slots_now = self.slots.iter().take(self.size as usize);
        let open = slots_now.filter(|slot| slot.seat != Seat::Closed).count();
        let most = open.saturating_sub(1);
        if self.load.rules.ways() == Ways::Starter {
            Some("start_server replaces all workers or none".to_owned())
        } else if most == 0 {
            Some("--canary leaves no slot as it was; there is only one".to_owned())
        } else if slots == 0 || slots as usize > most {
            Some(format!("--canary {slots} of {open} slots; accepted: 1 to {most}"))
        } else {
            None
        }
    }

    pub(super) fn canary_ordered(
        &mut self,
        now: Millis,
        slots: u32,
        command: Option<CommandId>,
        asker: Option<Asker>,
        out: &mut Actions,
    ) {
        let (kind, askers) = (Kind::Canary(slots), Vec::from_iter(asker));
        self.say_who_is_waited_for(out);
        self.step = Some(Step { kind, since: now, askers, command });
    }

    fn say_who_is_waited_for(&self, out: &mut Actions) {
        if self.reload.is_none() && self.leaving > 0 {
            out.push_back(Action::Say(Fact::ReloadWaits { workers: self.leaving }));
        }
    }

    pub(super) fn decided(
        &mut self,
        now: Millis,
        decision: Decision,
        only: Option<Generation>,
        asker: Option<Asker>,
        out: &mut Actions,
    ) {
        if !HERE || self.too_late(asker, out) {
            return;
        }
        if let Some(why) = self.no_decision(decision, only) {
            return refuse(doing(decision), "the canary", &why, asker, out);
        }
        let kind = match decision {
            Decision::Promote => Kind::Promote,
            Decision::RollBack => {
                self.undo(now, out);
                Kind::RollBack
            }
        };
        match (&mut self.reload, &mut self.step) {
            (Some(reload), _) if reload.kind == kind => reload.askers.extend(asker),
            (_, Some(step)) if step.kind == kind => step.askers.extend(asker),
            // It never took over.
            _ if self.canary.is_none() => {
                let outcome =
                    Outcome::PutBack { generation: self.load.generation, after: Millis(0) };
                out.extend(asker.map(|asker| Action::Answer { asker, outcome }));
            }
            _ => {
                self.say_who_is_waited_for(out);
                let askers = Vec::from_iter(asker);
                self.step = Some(Step { kind, since: now, askers, command: None });
            }
        }
    }

    fn no_decision(&self, decision: Decision, only: Option<Generation>) -> Option<String> {
        let Some(canary) = self.canary() else { return Some("there is none".to_owned()) };
        let generation = canary.load.generation;
        if only.is_some_and(|only| only != generation) {
            return Some(format!("it is generation {generation}"));
        }
        let step = self.step.as_ref().map(|step| step.kind);
        let back =
            canary.doomed || self.runs() == Some(Kind::RollBack) || step == Some(Kind::RollBack);
        match (decision, self.runs()) {
            (Decision::Promote, _) if back => Some("it is being rolled back".to_owned()),
            (Decision::Promote, Some(Kind::Canary(_))) => {
                Some("its workers do not serve yet".to_owned())
            }
            (Decision::Promote | Decision::RollBack, _) => None,
        }
    }

    /// To roll it back need not wait for what that undoes.
    fn undo(&mut self, now: Millis, out: &mut Actions) {
        if let Some(Kind::Canary(_) | Kind::Promote) = self.runs() {
            self.roll_back(now, Failure::Decided, out);
        }
        self.refuse_promotion(out);
    }

    /// One that waits for its turn.
    fn refuse_promotion(&mut self, out: &mut Actions) {
        if let Some(step) = self.step.take_if(|step| step.kind == Kind::Promote) {
            let why = "it is being rolled back";
            refuse(doing(Decision::Promote), "the canary", why, step.askers, out);
        }
    }

    pub(super) fn step_command(&self) -> Option<CommandId> {
        self.step.as_ref().and_then(|step| step.command)
    }

    /// Whether something is only waiting for its turn.
    pub(super) fn step_is_due(&self) -> bool {
        let doomed = |canary: &Canary| canary.doomed && canary.again.is_none();
        HERE && (self.step.is_some() || self.canary().is_some_and(doomed))
    }

    /// Begins what is to come, once nothing is in its way.
    pub(super) fn take_step(&mut self, now: Millis, out: &mut Actions) {
        if !HERE || !self.step_is_due() || !self.may_replace() {
            return;
        }
        let itself =
            || Step { kind: Kind::RollBack, since: now, askers: Vec::new(), command: None };
        let Step { kind, since, askers, command } = self.step.take().unwrap_or_else(itself);
        if let Kind::Canary(slots) = kind {
            return match self.no_canary(slots) {
                Some(why) => refuse("reload", "on these terms", &why, askers, out),
                None => self.load_anew(since, kind, askers, command, out),
            };
        }
        self.set_again(None);
        let Some(canary) = self.canary() else { return };
        let load = if kind == Kind::Promote { &canary.load } else { &self.load };
        let load = load.clone();
        let mut todo = VecDeque::new();
        for id in (0..self.size).map(SlotId) {
            if self.has_a_turn(id, kind) {
                todo.push_back(id);
            }
        }
        let phase = Phase::Starting { load, todo, unready: 0, until: None };
        self.replace_from(now, Reload::new(since, askers, kind, phase), out);
    }

    /// Where nobody of the canary's serves, nobody has to be replaced: it is what serves again.
    fn has_a_turn(&mut self, slot: SlotId, kind: Kind) -> bool {
        let (canary, seat) = (self.is_canary(slot), self.slots.get(slot.0 as usize));
        let seat = seat.map_or(Seat::Closed, |slot| slot.seat);
        match (kind, seat) {
            (_, Seat::Closed) => false,
            (Kind::RollBack, Seat::Held(_)) => canary,
            (Kind::RollBack, _) => {
                self.leave_canary(slot);
                false
            }
            (_, _) => !canary,
        }
    }

    /// What was loaded is to serve in its first slots that have not come to rest.
    pub(super) fn begin_canary(&mut self, load: &Rc<Load>, todo: &mut VecDeque<SlotId>) {
        let Some(reload) = self.reload.as_mut().filter(|_| HERE) else { return };
        let Kind::Canary(slots) = &mut reload.kind else { return };
        todo.truncate(*slots as usize);
        *slots = todo.back().map_or(0, |last| last.0 + 1);
        self.canary = Some(Canary { load: load.clone(), doomed: false, again: None });
    }

    /// Whether a slot that waits for somebody to connect is one that this reload is about.
    pub(super) fn takes_part(&self, slot: SlotId, kind: Kind) -> bool {
        match kind {
            _ if !HERE => true,
            Kind::All | Kind::Promote => true,
            Kind::Renewal(only) => slot == only,
            Kind::Canary(slots) => slot.0 < slots,
            Kind::RollBack => self.is_canary(slot),
        }
    }

    /// Its turn in the rollback that runs is over, as its worker has failed.
    pub(super) fn is_back(&self, slot: SlotId) -> bool {
        HERE && self.runs() == Some(Kind::RollBack) && !self.is_canary(slot)
    }

    /// From now on its workers are again those that serve; whether they were not.
    pub(super) fn leave_canary(&mut self, slot: SlotId) -> bool {
        let leaves = self.is_canary(slot);
        if leaves && let Some(place) = self.slots.get_mut(slot.0 as usize) {
            place.take_load(self.load.clone());
        }
        leaves
    }

    /// A reload of one of its kinds is done.
    pub(super) fn canary_done(&mut self, load: Rc<Load>, kind: Kind, after: Millis) -> Outcome {
        let generation = load.generation;
        if !HERE {
            return Outcome::Done { generation, after };
        }
        match kind {
            Kind::Canary(_) => Outcome::Holds { generation, slots: self.canary_slots(), after },
            Kind::RollBack => {
                self.canary = None;
                Outcome::PutBack { generation, after }
            }
            Kind::All | Kind::Renewal(_) | Kind::Promote => {
                self.canary = None;
                self.load = load;
                Outcome::Done { generation, after }
            }
        }
    }

    /// A reload of one of its kinds came to nothing.
    pub(super) fn canary_undone(
        &mut self,
        now: Millis,
        kind: Kind,
        replaced: u32,
        why: Rc<Failure>,
    ) -> Outcome {
        if !HERE {
            return Outcome::RolledBack { why, replaced };
        }
        let again = now.plus(self.load.rules.backoff.max);
        match (kind, &mut self.canary) {
            (Kind::Canary(_), _) if replaced == 0 => {
                self.canary = None;
                Outcome::RolledBack { why, replaced }
            }
            (Kind::Canary(_) | Kind::Promote, Some(canary)) => {
                canary.doomed = true;
                Outcome::Undone { why }
            }
            (_, canary) => {
                if canary.as_ref().is_some_and(|canary| canary.doomed) {
                    self.set_again(Some(again));
                }
                Outcome::HoldsOn { why }
            }
        }
    }

    /// A worker of its own ended, and nobody had asked for that.
    pub(super) fn canary_failed(&mut self, now: Millis, why: Failure, out: &mut Actions) {
        let Some(generation) = self.canary().map(|canary| canary.load.generation) else { return };
        if self.new_load().is_some_and(|load| load.generation == generation) {
            self.roll_back(now, why.clone(), out);
        }
        if let Some(canary) = self.canary.as_mut().filter(|canary| !canary.doomed) {
            canary.doomed = true;
            let outcome = Outcome::Undone { why: Rc::new(why) };
            out.push_back(Action::Say(Fact::ReloadEnded { generation, outcome }));
        }
        if self.canary_slots() == 0 {
            self.set_again(None);
        }
        self.refuse_promotion(out);
    }

    /// The next try.
    pub(super) fn canary_due(&mut self) {
        if let Some(canary) = self.canary.as_mut().filter(|_| HERE) {
            canary.again = None;
        }
    }

    pub(super) fn stop_canary(&mut self, out: &mut Actions) {
        if !HERE {
            return;
        }
        self.set_again(None);
        self.canary = None;
        for asker in self.step.take().map(|step| step.askers).unwrap_or_default() {
            out.push_back(Action::Answer { asker, outcome: Outcome::Stopped });
        }
    }

    /// The only place where it is set: the agenda follows.
    fn set_again(&mut self, after: Option<Millis>) {
        if let Some(canary) = &mut self.canary {
            let before = core::mem::replace(&mut canary.again, after);
            self.agenda.change(Due::Canary, before, after);
        }
    }

    fn canary_slots(&self) -> u32 {
        let own =
            |place: &&Slot| place.seat != Seat::Closed && self.is_canarys(place.load.generation);
        self.slots.iter().take(self.size as usize).filter(own).count() as u32
    }

    pub(super) fn holding(&self) -> Option<Holding> {
        let canary = self.canary()?;
        let generation = canary.load.generation;
        Some(Holding { generation, slots: self.canary_slots(), failed: canary.doomed })
    }

    /// For the invariants.
    pub(super) fn canary_deadline(&self) -> Option<Millis> {
        self.canary().and_then(|canary| canary.again)
    }

    /// What it was loaded with can still be started; and what is decided, or runs, has its canary.
    pub(super) fn check_canary(&self) -> Result<(), String> {
        let runs = match &self.reload {
            Some(Reload { kind: Kind::Canary(_), phase: Phase::Starting { .. }, .. }) => true,
            Some(reload) => matches!(reload.kind, Kind::Promote | Kind::RollBack),
            None => false,
        };
        let Some(canary) = &self.canary else {
            return if runs { Err("a canary's reload runs without it".into()) } else { Ok(()) };
        };
        let known = self.kept.contains(&canary.load.generation);
        if canary.load.generation == self.load.generation || !known && !runs {
            return Err(format!("the canary {canary:?} is what serves, or is forgotten"));
        }
        if self.mission.is_over() {
            return Err("a canary outlives a stop".into());
        }
        Ok(())
    }
}

fn doing(decision: Decision) -> &'static str {
    match decision {
        Decision::Promote => "promote",
        Decision::RollBack => "roll back",
    }
}
