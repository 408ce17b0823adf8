//! Reloads, reckoned from DESIGN: who is to come, who takes over when, and what a failure undoes.

use fd3::plan::{Rules, Surge, Ways};
use fd3::supervisor::{Failure, Outcome};
use fd3::units::{Asker, Generation, Millis, Pid, SlotId};

use super::{Model, Phase, Worker};

/// The reload that runs.
pub(super) struct Reload {
    pub(super) generation: Generation,
    /// Of this slot alone, because of its worker's age, or of an order.
    pub(super) renewal: Option<SlotId>,
    pub(super) askers: Vec<Asker>,
    pub(super) rules: Rules,
    /// Slots that had no turn yet, the next one last.
    pub(super) todo: Vec<SlotId>,
    /// One of its workers has taken over.
    pub(super) proven: bool,
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
    /// Another one is tried then.
    Waits(Millis),
}

/// What a reload must be said to have come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Came {
    Done,
    Refused,
    RolledBack(Why),
    Stopped,
    Scaled(u32),
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
            Outcome::Scaled { workers } => *self == Came::Scaled(*workers),
            Outcome::RolledBack { why, .. } => *self == Came::RolledBack(Why::of(why)),
        }
    }
}

impl Why {
    pub(super) fn of(why: &Failure) -> Why {
        match why {
            Failure::NotStarted { slot, .. } => Why::NotStarted(*slot),
            Failure::Exited { pid, .. } => Why::Exited(*pid),
            Failure::NotReady { pid, .. } => Why::NotReady(*pid),
            Failure::Hung { pid, .. } => Why::Hung(*pid),
            Failure::Stops { pid, .. } => Why::Stops(*pid),
            Failure::NotStopped { pid, .. } => Why::NotStopped(*pid),
            Failure::Listener => Why::Listener,
        }
    }
}

impl Model {
    pub fn reloading(&self) -> bool {
        self.replaces_all() || self.wanted.is_some()
    }

    pub(super) fn replaces_all(&self) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.renewal.is_none())
    }

    /// Its worker alone is being replaced.
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

    pub(super) fn leaving(&self) -> usize {
        self.workers.values().filter(|worker| worker.left).count()
    }

    pub(super) fn arriving(&self) -> usize {
        self.slots.iter().filter(|slot| slot.newcomer.is_some()).count()
    }

    /// After everything else that an event brings.
    pub(super) fn reload_begins(&mut self) {
        let free = self.spawning.is_none() && self.outage.is_none() && self.leaving() == 0;
        let free = free && self.empties_nobody();
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
        self.reload = Some(Reload { generation, renewal, askers, rules, todo, proven: false });
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
        // One that was replaced by order keeps its time.
        let failed = matches!(came, Came::RolledBack(_)) && reload.askers.is_empty();
        let holder = self.holder(slot).filter(|_| failed);
        let age = self.rules.max_age.filter(|_| holder.is_some());
        let again = age.map(|age| Millis(age.0 / 10).max(Millis(1_000)));
        if let Some(worker) = holder.and_then(|pid| self.workers.get_mut(&pid)) {
            worker.renewal = again.map(|again| now.plus(again));
        }
        self.due.answers.extend(reload.askers.into_iter().map(|asker| (asker, came.clone())));
        self.old.retain(|old| Some(*old) != holder);
        self.due.renewed.push((slot, came, again));
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
                        for slot in self.slots.iter_mut().filter(|slot| slot.waits) {
                            slot.serves(reload.generation);
                        }
                    }
                    self.ended(now, reload, Came::Done);
                    return self.forget();
                }
                None => return,
            }
        }
    }

    /// Somebody connects while a reload goes slot by slot: what it loaded serves, once it has proved itself.
    pub(super) fn turn_of_waiting(&mut self, slot: SlotId) {
        let Some(reload) = self.reload.as_mut().filter(|reload| reload.proven) else { return };
        reload.todo.retain(|todo| *todo != slot);
        let generation = reload.generation;
        self.slot(slot).serves(generation);
    }

    /// `first`: its holder has to go first.
    fn turn(&mut self, now: Millis, slot: SlotId, first: bool) {
        if self.slot(slot).rests || self.slot(slot).waits {
            return;
        }
        let holder = self.holder(slot);
        let starter = self.rules.ways() == Ways::Starter;
        let (place, newcomer) = (
            self.slot(slot),
            if first && holder.is_some() { Newcomer::Awaited } else { Newcomer::Due },
        );
        place.newcomer = Some(newcomer);
        if starter && holder.is_none() {
            (place.ceded, place.vacant, place.wait) = (true, false, None);
        }
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

    pub(super) fn drain(&mut self, now: Millis, pid: Pid) {
        let limit = self.workers.get(&pid).and_then(|worker| worker.drain);
        self.tell(now, pid, limit.map(|limit| now.plus(limit)), true);
    }

    pub(super) fn holder(&self, slot: SlotId) -> Option<Pid> {
        let mut all = self.workers.iter();
        all.find(|(_, worker)| {
            worker.slot == slot && !worker.left && !worker.newcomer && !worker.gone
        })
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
        let Some(reload) = &mut self.reload else { return };
        reload.proven = true;
        let generation = reload.generation;
        let place = self.slot(slot);
        let rested = place.rests;
        (place.vacant, place.wait, place.rests, place.ceded) = (false, None, false, false);
        place.waits = false;
        place.blameless = false;
        place.serves(generation);
        if rested {
            self.last_failure = 0;
        }
        if let Some(former) = former {
            self.drain(now, former);
            match self.rules.ways() {
                Ways::Own => self.leaves(former),
                Ways::Starter => self.goes(former),
            }
        }
    }

    /// Nobody waits for it.
    fn goes(&mut self, pid: Pid) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.gone = true;
            if worker.killed.as_ref().is_some_and(|killed| killed.patience.is_none()) {
                self.abandon(pid);
            }
        }
    }

    /// Somebody who was told to stop has no seat any more; one that outlived SIGKILL is abandoned.
    pub(super) fn leaves(&mut self, pid: Pid) {
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

    /// Server::Starter tries another one, so long after it tried this one.
    pub(super) fn newcomer_failed(&mut self, now: Millis, slot: SlotId, why: Why) {
        let Some(reload) = self.reload.as_ref().filter(|_| self.rules.ways() == Ways::Starter)
        else {
            return self.roll_back(now, why);
        };
        let limit = reload.rules.stop_timeout.map(|limit| now.plus(limit));
        let again = self.slot(slot).tried.plus(self.rules.backoff.min).max(now);
        if let Some(Newcomer::Lives(pid)) = self.slot(slot).newcomer.replace(Newcomer::Waits(again))
            && let Some(worker) = self.workers.get_mut(&pid)
        {
            (worker.newcomer, worker.gone) = (false, true);
            self.tell_only(pid, limit, true);
        }
        self.due.again.push((slot, why, again.since(now)));
    }

    /// Everybody is replaced because somebody is old, in Server::Starter's ways.
    pub(super) fn age_tells(&mut self, now: Millis) {
        let idle = self.reload.is_none() && self.loading.is_none() && self.wanted.is_none();
        if self.rules.ways() == Ways::Own || !idle || !self.running() {
            return;
        }
        let leaves = self.workers.values().any(|worker| !worker.is_untold());
        while let Some(pid) = self.old.front().copied() {
            let worker = self.workers.get_mut(&pid);
            let holds =
                |worker: &&mut Worker| worker.is_untold() && !worker.newcomer && !worker.gone;
            match worker {
                Some(worker) if holds(&worker) => {
                    if worker.renewal.is_some() && leaves {
                        return;
                    }
                    worker.renewal = self.rules.max_age.map(|age| now.plus(age));
                    self.old.pop_front();
                    self.due.too_old = Some(pid);
                    return self.reload_asked(None);
                }
                Some(worker) => worker.renewal = None,
                None => {}
            }
            self.old.pop_front();
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
        self.wanted_command = None;
        self.due.answers.extend(waiting.into_iter().map(|asker| (asker, Came::Stopped)));
        self.orders_stopped();
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
        let (kept, unused): (Vec<_>, Vec<_>) = self.kept.iter().partition(|kept| uses(**kept));
        self.kept = kept;
        self.due.forget.extend(unused);
    }
}
