//! Reloads, reckoned from DESIGN: who is to come, who takes over when, and what a failure undoes.

use fd3::plan::{Rules, Surge};
use fd3::supervisor::{Failure, Outcome};
use fd3::units::{Asker, Generation, Millis, Pid, SlotId};

use super::{Model, Phase, Slot, Worker};

/// The reload that runs.
pub(super) struct Reload {
    pub(super) generation: Generation,
    /// Of this slot alone, because of its worker's age.
    renewal: Option<SlotId>,
    askers: Vec<Asker>,
    rules: Rules,
    /// Slots that had no turn yet, the next one last.
    todo: Vec<SlotId>,
}

/// What a slot's newcomer is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Newcomer {
    /// Not before the holder is gone.
    Awaited,
    /// It has to be started.
    Due,
    Spawning,
    Lives(Pid),
}

/// What a reload must be said to have come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Came {
    Done,
    Refused,
    RolledBack(Why),
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    NotStarted(SlotId),
    Exited(Pid),
    NotReady(Pid),
    Hung(Pid),
    Stops(Pid),
    NotStopped(Pid),
    Listener,
}

impl Reload {
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl Came {
    pub(super) fn is(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Done { .. } => *self == Came::Done,
            Outcome::Refused { .. } => *self == Came::Refused,
            Outcome::Stopped => *self == Came::Stopped,
            Outcome::RolledBack { why, .. } => {
                let why = match why {
                    Failure::NotStarted { slot, .. } => Why::NotStarted(*slot),
                    Failure::Exited { pid, .. } => Why::Exited(*pid),
                    Failure::NotReady { pid, .. } => Why::NotReady(*pid),
                    Failure::Hung { pid, .. } => Why::Hung(*pid),
                    Failure::Stops { pid, .. } => Why::Stops(*pid),
                    Failure::NotStopped { pid, .. } => Why::NotStopped(*pid),
                    Failure::Listener => Why::Listener,
                };
                *self == Came::RolledBack(why)
            }
        }
    }
}

impl Model {
    pub fn reloading(&self) -> bool {
        let reload = self.reload.as_ref();
        reload.is_some_and(|reload| reload.renewal.is_none()) || self.wanted.is_some()
    }

    /// Its worker is being replaced because of its age.
    pub fn renews(&self, slot: SlotId) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.renewal == Some(slot))
    }

    pub(super) fn reload_asked(&mut self, asker: Option<Asker>) {
        if self.stop.is_some() || self.finished {
            self.due.answers.extend(asker.map(|asker| (asker, Came::Stopped)));
        } else {
            let idle = self.reload.is_none() && self.loading.is_none() && self.wanted.is_none();
            if idle && self.leaving() > 0 {
                self.due.waits = Some(self.leaving());
            }
            self.wanted.get_or_insert_default().extend(asker);
        }
    }

    fn leaving(&self) -> usize {
        self.workers.values().filter(|worker| worker.left).count()
    }

    fn arriving(&self) -> usize {
        self.slots.iter().filter(|slot| slot.newcomer.is_some()).count()
    }

    /// Slots come and go at the end of the row, and not while a reload runs.
    pub(super) fn scale(&mut self, now: Millis) {
        let free = self.reload.is_none() && self.loading.is_none() && self.spawning.is_none();
        if !self.running() || !free || self.size == self.target {
            return;
        }
        self.due.scaled = true;
        let (before, after) = (self.size, self.target);
        self.size = after;
        for slot in (before..after).map(SlotId) {
            if self.slots.len() == slot.0 as usize {
                self.slots.push(Slot { rests: true, ..Slot::new() });
            }
            let (serving, place) = (self.serving, self.slot(slot));
            (place.generation, place.blameless) = (serving, true);
            place.vacant |= core::mem::take(&mut place.rests);
        }
        for slot in (after..before).map(SlotId) {
            let alone = self.workers.values().all(|worker| worker.slot != slot || !worker.left);
            match self.holder(slot) {
                Some(pid) => {
                    self.drain(now, pid);
                    if alone {
                        self.slot(slot).rests = true;
                        self.leaves(pid);
                    }
                }
                None => {
                    let place = self.slot(slot);
                    (place.vacant, place.wait, place.rests) = (false, None, true);
                    place.ceded = false;
                }
            }
        }
    }

    /// After everything else that an event brings.
    pub(super) fn reload_begins(&mut self) {
        let free = self.spawning.is_none() && self.outage.is_none() && self.leaving() == 0;
        let open = self.slots.iter().any(|slot| !slot.rests);
        if !self.finished && self.is_over().is_some() {
            self.reload_stopped();
        }
        if self.running() && open && free && self.reload.is_none() && self.loading.is_none() {
            self.loading = self.wanted.take();
            self.due.load = self.loading.is_some();
        }
    }

    pub(super) fn loaded(&mut self, now: Millis, rules: &Rules) {
        let Some(askers) = self.loading.take() else { return };
        self.newest = Generation(self.newest.0 + 1);
        self.kept.push(self.newest);
        self.loads.push(rules.clone());
        let all = (0..self.size).map(SlotId);
        let todo = all.rev().filter(|slot| !self.slots[slot.0 as usize].rests).collect();
        let (generation, renewal, rules) = (self.newest, None, rules.clone());
        self.reload = Some(Reload { generation, renewal, askers, rules, todo });
        self.due.reloading = true;
        self.go_on(now);
    }

    pub(super) fn load_failed(&mut self) {
        if let Some(askers) = self.loading.take() {
            self.came(askers, Came::Refused);
        }
    }

    fn ended(&mut self, now: Millis, reload: Reload, came: Came) {
        let Some(slot) = reload.renewal else { return self.came(reload.askers, came) };
        let failed = matches!(came, Came::RolledBack(_));
        let holder = self.holder(slot).filter(|_| failed);
        let age = self.rules.max_age.unwrap_or_default();
        let again = holder.map(|_| Millis(age.0 / 10).max(Millis(1_000)));
        if let Some(worker) = holder.and_then(|pid| self.workers.get_mut(&pid)) {
            worker.renewal = again.map(|again| now.plus(again));
        }
        self.due.renewed = Some((slot, came, again));
    }

    /// The oldest one that still holds its seat, when nothing else is being replaced.
    pub(super) fn renew(&mut self, now: Millis) {
        let idle = self.reload.is_none() && self.loading.is_none() && self.wanted.is_none();
        let free = self.spawning.is_none() && self.outage.is_none() && self.leaving() == 0;
        if !self.running() || !idle || !free {
            return;
        }
        while let Some(pid) = self.old.pop_front() {
            let worker = self.workers.get(&pid);
            let holds = |worker: &&Worker| worker.is_untold() && !worker.left && !worker.newcomer;
            let Some(slot) = worker.filter(holds).map(|worker| worker.slot) else { continue };
            let generation = self.slot(slot).generation;
            let rules = self.loads[generation.0 as usize].clone();
            let (renewal, askers, todo) = (Some(slot), Vec::new(), vec![slot]);
            self.reload = Some(Reload { generation, renewal, askers, rules, todo });
            self.due.renewing = Some(slot);
            return self.go_on(now);
        }
    }

    fn came(&mut self, askers: Vec<Asker>, came: Came) {
        self.due.answers.extend(askers.into_iter().map(|asker| (asker, came.clone())));
        self.due.came = Some(came);
    }

    /// Turns as far as there is room; the end after the last one.
    pub(super) fn go_on(&mut self, now: Millis) {
        loop {
            let busy = self.arriving() + self.leaving();
            let Some(reload) = &mut self.reload else { return };
            let room = match reload.rules.surge {
                Surge::All => true,
                Surge::AtMost(most) => busy < most.max(1) as usize,
            };
            let first = reload.rules.surge == Surge::AtMost(0);
            match reload.todo.pop() {
                Some(slot) if !room => {
                    reload.todo.push(slot);
                    return;
                }
                Some(slot) => self.turn(now, slot, first),
                None if self.arriving() == 0 => {
                    let Some(reload) = self.reload.take() else { return };
                    if reload.renewal.is_none() {
                        self.serving = self.newest;
                    }
                    self.ended(now, reload, Came::Done);
                    return self.forget();
                }
                None => return,
            }
        }
    }

    /// `first`: its holder has to go first.
    fn turn(&mut self, now: Millis, slot: SlotId, first: bool) {
        if self.slot(slot).rests {
            return;
        }
        let holder = self.holder(slot);
        let (place, newcomer) = (
            self.slot(slot),
            if first && holder.is_some() { Newcomer::Awaited } else { Newcomer::Due },
        );
        place.newcomer = Some(newcomer);
        if first {
            place.ceded = holder.is_none();
            place.vacant = false;
            place.wait = None;
        }
        if let Some(pid) = holder.filter(|_| first) {
            self.drain(now, pid);
            let killed = self.workers.get(&pid).and_then(|worker| worker.killed.as_ref());
            if killed.is_some_and(|killed| killed.patience.is_none()) {
                self.roll_back(now, Why::NotStopped(pid));
            }
        }
    }

    fn drain(&mut self, now: Millis, pid: Pid) {
        let limit = self.workers.get(&pid).and_then(|worker| worker.drain);
        self.tell(now, pid, limit.map(|limit| now.plus(limit)), true);
    }

    pub(super) fn holder(&self, slot: SlotId) -> Option<Pid> {
        let mut all = self.workers.iter();
        all.find(|(_, worker)| worker.slot == slot && !worker.left && !worker.newcomer)
            .map(|(pid, _)| *pid)
    }

    /// When each newcomer takes over, as far as it is known.
    pub(super) fn takeovers(&self) -> Vec<(Millis, SlotId)> {
        let Some(reload) = &self.reload else { return Vec::new() };
        let mut ready = Vec::new();
        let mut unready = false;
        for (slot, place) in (0..).map(SlotId).zip(&self.slots) {
            let since = match place.newcomer {
                None => continue,
                Some(Newcomer::Lives(pid)) => match self.workers.get(&pid).map(|one| &one.phase) {
                    Some(Phase::Ready { since, .. }) => Some(*since),
                    Some(Phase::Starting { .. }) | None => None,
                },
                Some(_) => None,
            };
            match since {
                Some(since) => ready.push((since.plus(reload.rules.overlap), slot)),
                None => unready = true,
            }
        }
        if reload.rules.surge == Surge::All {
            let last = ready.iter().map(|(at, _)| *at).max().filter(|_| !unready);
            return last.map_or(Vec::new(), |last| {
                ready.into_iter().map(|(_, slot)| (last, slot)).collect()
            });
        }
        ready
    }

    /// Of this slot, or of all together.
    pub(super) fn takeover_due(&mut self, now: Millis, slot: SlotId) {
        let Some(reload) = &self.reload else { return };
        let slots = match reload.rules.surge {
            Surge::All => (0..self.slots.len() as u32).map(SlotId).collect(),
            Surge::AtMost(_) => vec![slot],
        };
        for slot in slots {
            self.take_over(now, slot);
        }
        self.go_on(now);
    }

    fn take_over(&mut self, now: Millis, slot: SlotId) {
        let Some(Newcomer::Lives(pid)) = self.slot(slot).newcomer.take() else { return };
        let former = self.holder(slot);
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.newcomer = false;
        }
        let newest = self.newest;
        let generation = self.reload.as_ref().map_or(newest, |reload| reload.generation);
        let place = self.slot(slot);
        let rested = place.rests;
        (place.vacant, place.wait, place.rests, place.ceded) = (false, None, false, false);
        place.blameless = false;
        if place.generation != generation {
            (place.in_a_row, place.generation) = (0, generation);
            place.restarts.clear();
        }
        if rested {
            self.last_failure = 0;
        }
        if let Some(former) = former {
            self.drain(now, former);
            self.leaves(former);
        }
    }

    /// Somebody who was told to stop has no seat any more; one that outlived SIGKILL is abandoned.
    fn leaves(&mut self, pid: Pid) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.left = true;
            if worker.killed.as_ref().is_some_and(|killed| killed.patience.is_none()) {
                self.abandon(pid);
            }
        }
    }

    /// Where nobody may run beside a newcomer that failed, the seat waits for its end.
    pub(super) fn left(&mut self, slot: SlotId) {
        let place = self.slot(slot);
        if place.newcomer.is_none() {
            place.vacant |= core::mem::take(&mut place.ceded);
        }
    }

    pub(super) fn roll_back(&mut self, now: Millis, why: Why) {
        let Some(reload) = self.reload.take() else { return };
        for index in 0..self.slots.len() {
            let place = &mut self.slots[index];
            if let Some(Newcomer::Lives(pid)) = place.newcomer.take()
                && let Some(worker) = self.workers.get_mut(&pid)
            {
                (worker.newcomer, worker.left) = (false, true);
                let limit = match worker.phase {
                    Phase::Ready { .. } => worker.drain,
                    Phase::Starting { .. } => self.rules.stop_timeout,
                };
                self.tell_only(pid, limit.map(|limit| now.plus(limit)), true);
            } else {
                place.vacant |= core::mem::take(&mut place.ceded);
            }
        }
        self.ended(now, reload, Came::RolledBack(why));
        self.forget();
    }

    pub(super) fn reload_stopped(&mut self) {
        if let Some(reload) = self.reload.take() {
            self.ended(Millis(0), reload, Came::Stopped);
        }
        let waiting = self.wanted.take().unwrap_or_default();
        self.due.answers.extend(waiting.into_iter().map(|asker| (asker, Came::Stopped)));
        for slot in &mut self.slots {
            (slot.newcomer, slot.ceded) = (None, false);
        }
        self.workers.values_mut().for_each(|worker| worker.newcomer = false);
    }

    fn forget(&mut self) {
        let (slots, serving) = (&self.slots, self.serving);
        let uses = |generation: Generation| {
            generation == serving
                || slots.iter().any(|slot| !slot.rests && slot.generation == generation)
        };
        let (kept, unused) = self.kept.iter().partition(|generation| uses(**generation));
        (self.kept, self.due.forget) = (kept, unused);
    }
}
