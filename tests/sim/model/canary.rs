//! Canaries, reckoned from DESIGN: which slots try out what the others have not, who decides about them, and
//! what comes of a failure.

use fd3::plan::Ways;
use fd3::supervisor::{Decision, Terms};
use fd3::units::{Asker, Generation, Millis, SlotId};

use super::Model;
use super::reload::{Came, Kind, Reload, Why};

pub(super) struct Canary {
    pub(super) generation: Generation,
    /// It goes, whatever anybody says.
    pub(super) doomed: bool,
    pub(super) again: Option<Millis>,
}

/// What waits for its turn.
pub(super) struct Step {
    pub(super) kind: Kind,
    askers: Vec<Asker>,
}

impl Model {
    /// Somebody has to say what becomes of it, and can.
    pub fn holds(&self) -> bool {
        let free = self.reload.is_none() && self.step.is_none();
        free && self.canary.as_ref().is_some_and(|canary| !canary.doomed)
    }

    fn runs(&self) -> Option<Kind> {
        self.reload.as_ref().map(|reload| reload.kind)
    }

    fn waits(&self) -> Option<Kind> {
        self.step.as_ref().map(|step| step.kind)
    }

    /// Nothing else is reloaded by name, and signals wait.
    pub(super) fn undecided(&self) -> bool {
        if let Some(Kind::Canary(_)) = self.waits() {
            return true;
        }
        let decided = matches!(self.runs(), Some(Kind::Promote | Kind::Back));
        let doomed = self.canary.as_ref().is_none_or(|canary| canary.doomed);
        !doomed && !decided && self.step.is_none()
    }

    pub(super) fn is_canary(&self, slot: SlotId) -> bool {
        let generation = self.slots.get(slot.0 as usize).map(|slot| slot.generation);
        let own = self.canary.as_ref().map(|canary| canary.generation);
        slot.0 < self.size && own.is_some() && own == generation
    }

    fn canary_slots(&self) -> u32 {
        let own = |slot: &u32| self.is_canary(SlotId(*slot)) && !self.slots[*slot as usize].rests;
        (0..self.size).filter(own).count() as u32
    }

    /// It leaves at least one slot as it is.
    pub(super) fn may_canary(&self, slots: u32) -> bool {
        let open = self.slots.iter().take(self.size as usize).filter(|slot| !slot.rests).count();
        slots > 0 && (slots as usize) < open && self.rules.ways() == Ways::Own
    }

    pub(super) fn canary_ordered(&mut self, slots: u32, terms: Terms, asker: Asker) {
        self.waits_for_leavers();
        self.step_command = terms.command;
        self.step = Some(Step { kind: Kind::Canary(slots), askers: vec![asker] });
    }

    fn waits_for_leavers(&mut self) {
        if self.reload.is_none() && self.loading.is_none() && self.leaving() > 0 {
            self.due.waits = Some(self.leaving());
        }
    }

    pub(super) fn decided(
        &mut self,
        now: Millis,
        decision: Decision,
        only: Option<Generation>,
        asker: Asker,
    ) {
        if self.is_too_late(asker) {
            return;
        }
        let (runs, waits) = (self.runs(), self.waits());
        let goes = runs == Some(Kind::Back) || waits == Some(Kind::Back);
        let starts = matches!(runs, Some(Kind::Canary(_)));
        let refused = match (&self.canary, decision) {
            (None, _) => true,
            (Some(canary), _) if only.is_some_and(|only| only != canary.generation) => true,
            (Some(canary), Decision::Promote) => canary.doomed || goes || starts,
            (Some(_), Decision::RollBack) => false,
        };
        if refused {
            return self.due.answers.push((asker, Came::Refused));
        }
        let kind = match decision {
            Decision::Promote => Kind::Promote,
            Decision::RollBack => Kind::Back,
        };
        if decision == Decision::RollBack {
            if starts || runs == Some(Kind::Promote) {
                self.roll_back(now, Why::Decided);
            }
            self.refuse_promotion();
        }
        if let Some(reload) = self.reload.as_mut().filter(|reload| reload.kind == kind) {
            reload.askers.push(asker);
        } else if let Some(step) = self.step.as_mut().filter(|step| step.kind == kind) {
            step.askers.push(asker);
        } else if self.canary.is_none() {
            self.due.answers.push((asker, Came::Back));
        } else {
            self.waits_for_leavers();
            self.step = Some(Step { kind, askers: vec![asker] });
        }
    }

    fn refuse_promotion(&mut self) {
        if let Some(step) = self.step.take_if(|step| step.kind == Kind::Promote) {
            let refused = step.askers.into_iter().map(|asker| (asker, Came::Refused));
            self.due.answers.extend(refused);
        }
    }

    /// Whether something comes before a worker's age.
    pub(super) fn step_is_due(&self) -> bool {
        let goes = |canary: &Canary| canary.doomed && canary.again.is_none();
        self.step.is_some() || self.canary.as_ref().is_some_and(goes)
    }

    /// After everything else that an event brings, and before what signals asked for.
    pub(super) fn step_begins(&mut self, now: Millis) {
        let free = self.spawning.is_none() && self.outage.is_none() && self.leaving() == 0;
        let open = self.slots.iter().any(|slot| !slot.rests);
        let idle = self.reload.is_none() && self.loading.is_none();
        if !self.running() || !free || !open || !idle || !self.step_is_due() {
            return;
        }
        let itself = Step { kind: Kind::Back, askers: Vec::new() };
        let Step { kind, askers } = self.step.take().unwrap_or(itself);
        let own = match (&mut self.canary, kind) {
            (_, Kind::Canary(slots)) => {
                let command = self.step_command.take();
                if self.may_canary(slots) {
                    (self.load_command, self.due.load) = (command, true);
                    self.loading = Some((kind, askers));
                } else {
                    let refused = askers.into_iter().map(|asker| (asker, Came::Refused));
                    self.due.answers.extend(refused);
                }
                return;
            }
            (Some(canary), _) => {
                canary.again = None;
                canary.generation
            }
            (None, _) => return,
        };
        let back = kind == Kind::Back;
        let mut todo = Vec::new();
        for slot in (0..self.size).rev().map(SlotId) {
            if self.slots[slot.0 as usize].rests || self.is_canary(slot) != back {
                continue;
            }
            if back && self.holder(slot).is_none() {
                let serving = self.serving;
                self.slot(slot).serves(serving);
            } else {
                todo.push(slot);
            }
        }
        let generation = if back { self.serving } else { own };
        let rules = self.loads[generation.0 as usize].clone();
        self.reload = Some(Reload { generation, kind, askers, rules, todo, proven: false });
        self.due.reloading = true;
        self.go_on(now);
    }

    /// Whether a slot without a worker is one that the reload is about.
    pub(super) fn takes_part(&self, slot: SlotId, kind: Kind) -> bool {
        match kind {
            Kind::All | Kind::Promote => true,
            Kind::One(only) => only == slot,
            Kind::Canary(slots) => slot.0 < slots,
            Kind::Back => self.is_canary(slot),
        }
    }

    /// Slots that wait have nobody to be replaced.
    pub(super) fn reload_waiting(&mut self, reload: &Reload) {
        for slot in (0..self.slots.len() as u32).map(SlotId) {
            let all = !matches!(reload.kind, Kind::One(_));
            if all && self.slot(slot).waits && self.takes_part(slot, reload.kind) {
                self.slot(slot).serves(reload.generation);
            }
        }
    }

    /// What a reload that is done has come to.
    pub(super) fn canary_done(&mut self, generation: Generation, kind: Kind) -> Came {
        match kind {
            Kind::Canary(_) => return Came::Holds(self.canary_slots()),
            Kind::Back => {
                self.canary = None;
                return Came::Back;
            }
            Kind::Promote => self.canary = None,
            Kind::All => {}
            Kind::One(_) => return Came::Done,
        }
        self.serving = generation;
        Came::Done
    }

    /// What one that failed has come to.
    pub(super) fn canary_undone(
        &mut self,
        now: Millis,
        kind: Kind,
        proven: bool,
        why: Why,
    ) -> Came {
        let again = now.plus(self.rules.backoff.max);
        match (&mut self.canary, kind) {
            (_, Kind::Canary(_)) if !proven => {
                self.canary = None;
                Came::RolledBack(why)
            }
            (Some(canary), Kind::Canary(_) | Kind::Promote) => {
                canary.doomed = true;
                Came::Undone(why)
            }
            (Some(canary), Kind::Back) => {
                canary.again = canary.doomed.then_some(again);
                Came::HoldsOn(why)
            }
            (_, _) => Came::RolledBack(why),
        }
    }

    /// The slot's next worker is of what serves.
    pub(super) fn leaves_canary(&mut self, slot: SlotId) -> bool {
        let leaves = self.is_canary(slot);
        if leaves {
            let serving = self.serving;
            self.slot(slot).serves(serving);
        }
        leaves
    }

    /// One of its workers ended unasked, or could not be started.
    pub(super) fn canary_failed(&mut self, now: Millis, why: Why) {
        let Some(own) = self.canary.as_ref().map(|canary| canary.generation) else { return };
        if self.reload.as_ref().is_some_and(|reload| reload.generation == own) {
            self.roll_back(now, why);
        }
        if let Some(canary) = self.canary.as_mut().filter(|canary| !canary.doomed) {
            canary.doomed = true;
            self.due.came.push_back(Came::Undone(why));
        }
        let none = self.canary_slots() == 0;
        if let Some(canary) = self.canary.as_mut().filter(|_| none) {
            canary.again = None;
        }
        self.refuse_promotion();
    }

    pub(super) fn canary_stopped(&mut self) {
        self.canary = None;
        self.step_command = None;
        let askers = self.step.take().map_or(Vec::new(), |step| step.askers);
        self.due.answers.extend(askers.into_iter().map(|asker| (asker, Came::Stopped)));
    }
}
