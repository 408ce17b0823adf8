//! What must happen: an own reckoning of every worker and slot, made from the events alone. Before an
//! event is handed over it is reckoned what it asks for; each action must be one of these, and none may
//! be missing afterwards. Written from DESIGN, not from the supervisor.

mod after;
mod facts;
mod listeners;
mod orders;
mod reload;
mod says;
mod state;
mod steer;
mod stop;

use std::collections::{BTreeMap, VecDeque};

use fd3::plan::{Readiness, Restart, Rules, Start, Ways};
use fd3::supervisor::{Status, StopReason};
use fd3::units::{Asker, CommandId, Generation, Millis, Pid, SlotId};
use fd3::{Error, ErrorKind};

use crate::scene::Scene;
use orders::Orders;
use reload::{Newcomer, Reload, Why};
use state::{
    Due, End, Follows, Group, Haste, Killed, Of, Outage, Phase, Slot, Stop, Told, Wait, Worker,
};
use steer::Spread;

/// A slot's crashes are forgotten after so long of being ready.
const FORGIVEN_AFTER: Millis = Millis(10_000);
/// How long SIGKILL may take.
const KILL_PATIENCE: Millis = Millis(5_000);
/// The status of a worker that was too slow, and of fd3 where no worker is to blame.
const TOO_SLOW: u8 = 1;
const OWN_FAILURE: u8 = 125;
/// Workers started in one go.
const BURST: u32 = 16;

pub struct Model {
    rules: Rules,
    begun: bool,
    proven: bool,
    workers: BTreeMap<Pid, Worker>,
    /// What dead workers may have left behind.
    groups: BTreeMap<Pid, Group>,
    slots: Vec<Slot>,
    spawning: Option<SlotId>,
    /// How many more may be started before something else is looked at.
    burst: u32,
    outage: Option<Outage>,
    /// A reload was asked for and has not begun; who waits for it.
    wanted: Option<Vec<Asker>>,
    /// The COMMAND that it is to load, and the one that is due to be loaded.
    wanted_command: Option<CommandId>,
    /// What it is to be started from is being read; who waits for it.
    loading: Option<Vec<Asker>>,
    reload: Option<Reload>,
    orders: Orders,
    newest: Generation,
    /// The one that took over last.
    serving: Generation,
    size: u32,
    target: u32,
    /// The generations that may still be started.
    kept: Vec<Generation>,
    /// The rules of each generation.
    loads: Vec<Rules>,
    /// Workers whose age has come.
    old: VecDeque<Pid>,
    stop: Option<Stop>,
    finished: bool,
    last_failure: u8,
    spread: Spread,
    due: Due,
}

impl Model {
    pub fn new(scene: &Scene) -> Model {
        Model {
            rules: scene.rules.clone(),
            begun: false,
            proven: false,
            workers: BTreeMap::new(),
            groups: BTreeMap::new(),
            slots: (0..scene.workers).map(|_| Slot::new()).collect(),
            spawning: None,
            burst: BURST,
            outage: None,
            wanted: None,
            wanted_command: None,
            loading: None,
            reload: None,
            orders: Orders::default(),
            newest: Generation(1),
            serving: Generation(1),
            size: scene.workers,
            target: scene.workers,
            kept: vec![Generation(1)],
            loads: vec![scene.rules.clone(), scene.rules.clone()],
            old: VecDeque::new(),
            stop: None,
            finished: false,
            last_failure: 0,
            spread: Spread::new(scene.queues),
            due: Due::default(),
        }
    }

    pub fn serving(&self) -> Generation {
        self.serving
    }

    pub fn begun(&self) -> bool {
        self.begun
    }

    pub fn proven(&self) -> bool {
        self.proven
    }

    pub fn stopping(&self) -> bool {
        self.stop.is_some()
    }

    pub fn rests(&self, slot: SlotId) -> bool {
        self.slots.get(slot.0 as usize).is_none_or(|slot| slot.rests)
    }

    /// A worker that SIGKILL did not end, and nobody waits for.
    pub fn outlived_kill(&self) -> bool {
        let mut killed = self.workers.values().filter_map(|worker| worker.killed.as_ref());
        self.running() && killed.any(|killed| killed.patience.is_none())
    }

    fn running(&self) -> bool {
        self.begun && self.stop.is_none() && !self.finished
    }

    fn on_demand(&self) -> bool {
        self.rules.start == Start::OnDemand
    }

    /// Whether fd3 wants to know that somebody connects.
    pub fn awaits_demand(&self) -> bool {
        let busy = self.replaces_all() && self.arriving() > 0;
        let free = self.outage.is_none() && self.loading.is_none() && !busy;
        self.running() && free && self.slots.iter().any(|slot| slot.waits)
    }

    /// All that wait are filled.
    fn demanded(&mut self) {
        if self.awaits_demand() {
            for slot in (0..self.slots.len() as u32).map(SlotId) {
                if core::mem::take(&mut self.slot(slot).waits) {
                    self.slot(slot).vacant = true;
                    self.turn_of_waiting(slot);
                }
            }
        }
    }

    /// A slot is to be filled.
    fn fill(&mut self, slot: SlotId) {
        let waits = self.on_demand();
        let place = self.slot(slot);
        (place.vacant, place.waits) = (!waits, waits);
    }

    fn may_spawn(&self) -> bool {
        let free = self.spawning.is_none() && self.outage.is_none() && self.loading.is_none();
        self.running() && free && !self.awaits_signal()
    }

    /// Two signals of one number can melt into one: one worker at a time may send them.
    fn awaits_signal(&self) -> bool {
        // But a newcomer is no reason to leave a seat empty.
        let vacant = self.slots.iter().any(|slot| slot.vacant);
        let starts = |worker: &Worker| {
            let starting = matches!(worker.phase, Phase::Starting { .. }) && worker.is_untold();
            starting && !(worker.newcomer && vacant)
        };
        matches!(self.rules.readiness, Readiness::Signal(_)) && self.workers.values().any(starts)
    }

    fn slot(&mut self, slot: SlotId) -> &mut Slot {
        // A slot out of range was refused when its worker was to be spawned.
        &mut self.slots[slot.0 as usize]
    }

    fn started(&mut self, now: Millis, slot: SlotId, pid: Pid) {
        if self.spawning != Some(slot) {
            return;
        }
        self.spawning = None;
        self.groups.remove(&pid);
        let until = match self.rules.readiness {
            Readiness::Alive(time) => Some(now.plus(time)),
            Readiness::Notify(limit) | Readiness::Signal(limit) => limit.map(|l| now.plus(l)),
        };
        let phase = Phase::Starting { until };
        let newcomer = self.slot(slot).newcomer == Some(Newcomer::Spawning);
        let rules = if newcomer { self.reload.as_ref().map(Reload::rules) } else { None };
        let load = &self.loads[self.slots[slot.0 as usize].generation.0 as usize];
        let rules = rules.unwrap_or(load);
        let (drain, overlap) = (rules.drain_timeout, rules.overlap);
        let (told, stops, killed, exec_failure, left) = (None, None, None, None, false);
        let (watchdog, renewal) = (self.rules.watchdog, None);
        let worker = Worker {
            slot,
            started: now,
            phase,
            told,
            stops,
            killed,
            exec_failure,
            renewal,
            left,
            newcomer,
            watchdog,
            gone: false,
            drain,
            overlap,
        };
        self.workers.insert(pid, worker);
        if newcomer {
            self.slot(slot).newcomer = Some(Newcomer::Lives(pid));
        }
    }

    fn ready(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if let Phase::Starting { .. } = worker.phase
            && worker.is_untold()
        {
            let until = worker.watchdog.map(|limit| now.plus(limit));
            worker.phase = Phase::Ready { since: now, until };
            self.proven = true;
            self.due.ready.push(pid);
        }
    }

    fn exited(&mut self, now: Millis, pid: Pid, status: Status) {
        if self.workers.get(&pid).is_some_and(|worker| !worker.newcomer) {
            self.served(now, pid);
        }
        let Some(worker) = self.workers.remove(&pid) else { return };
        self.old.retain(|old| *old != pid);
        let slot = worker.slot;
        self.left_behind(now, pid, &worker);
        if worker.newcomer {
            let why = match worker.exec_failure {
                Some(_) => Why::NotStarted(slot),
                None => {
                    self.due.ends.push_back(End {
                        slot,
                        of: Of::Exit(pid),
                        follows: Follows::InVain,
                    });
                    Why::Exited(pid)
                }
            };
            return self.newcomer_failed(now, slot, why);
        }
        let of = Of::Exit(pid);
        if worker.left && self.stop.is_none() {
            self.left(slot);
        }
        if self.stop.is_some() || worker.left || worker.gone {
            self.due.ends.push_back(End { slot, of, follows: Follows::Nothing });
            return self.make_room(now, slot);
        }
        if self.slot(slot).newcomer == Some(Newcomer::Awaited) {
            let place = self.slot(slot);
            (place.newcomer, place.ceded) = (Some(Newcomer::Due), true);
            return self.due.ends.push_back(End { slot, of, follows: Follows::Nothing });
        }
        if slot.0 >= self.size {
            self.slot(slot).rests = true;
            return self.due.ends.push_back(End { slot, of, follows: Follows::Nothing });
        }
        if worker.told.is_some_and(|told| told.wanted) {
            // It could not make room, and now is gone before the slot's former one.
            let follows = self.another(now, slot);
            return self.follow(now, End { slot, of, follows }, OWN_FAILURE);
        }
        if let Some(error) = &worker.exec_failure {
            return self.never_was(now, slot, error);
        }
        let too_slow = worker.told.is_some() && status.code() == 0;
        let code = if too_slow { TOO_SLOW } else { status.code() };
        if code == 0 && self.on_demand() && self.rules.restart != Restart::Never {
            let from = worker.started.plus(self.rules.backoff.min);
            let follows = Follows::Wait { from: Some(from).filter(|from| *from > now) };
            return self.follow(now, End { slot, of, follows }, code);
        }
        let follows = self.after_end(now, slot, code);
        self.follow(now, End { slot, of, follows }, code);
    }

    /// Its time of being ready is over: a long one makes up for the slot's crashes.
    fn served(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(&pid).filter(|worker| worker.is_untold()) else {
            return;
        };
        if let Phase::Ready { since, .. } = worker.phase
            && now.since(since) >= FORGIVEN_AFTER
        {
            let slot = worker.slot;
            self.slot(slot).in_a_row = 0;
        }
    }

    /// The slot's worker was told to stop, so that another one can take its place. No slot ever has more
    /// than two: where a former worker still is on its way out, this one stays until that one is gone.
    fn make_room(&mut self, now: Millis, slot: SlotId) {
        let mut all = self.workers.iter().filter(|(_, worker)| worker.slot == slot && !worker.gone);
        let (Some((&pid, worker)), None) = (all.next(), all.next()) else { return };
        let told = worker.told.is_some_and(|told| told.wanted);
        if !self.running() || worker.left || !told || slot.0 >= self.size {
            return;
        }
        let in_vain = worker.killed.as_ref().is_some_and(|killed| killed.patience.is_none());
        let follows = self.another(now, slot);
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.left = true;
        }
        if in_vain {
            self.abandon(pid);
        }
        self.follow(now, End { slot, of: Of::Replacement(pid), follows }, OWN_FAILURE);
    }

    fn abandon(&mut self, pid: Pid) {
        self.workers.remove(&pid);
        self.old.retain(|old| *old != pid);
        self.due.abandon.push(pid);
    }

    fn spawn_failed(&mut self, now: Millis, slot: SlotId, error: &Error) {
        if self.spawning != Some(slot) {
            return;
        }
        self.spawning = None;
        if self.slot(slot).newcomer == Some(Newcomer::Spawning) {
            return self.newcomer_failed(now, slot, Why::NotStarted(slot));
        }
        self.never_was(now, slot, error);
    }

    /// The end, before COMMAND ever was ready. Later a shortage is waited out, and not counted.
    fn never_was(&mut self, now: Millis, slot: SlotId, error: &Error) {
        let code = error.exit_status();
        let follows = match error.kind() {
            _ if self.rules.ways() == Ways::Starter => self.wait(now, slot),
            _ if !self.proven => Follows::GiveUp(StopReason::CannotStart),
            ErrorKind::Own => self.wait(now, slot),
            ErrorKind::Usage | ErrorKind::NotExecutable | ErrorKind::NotFound => {
                self.after_end(now, slot, code)
            }
        };
        self.follow(now, End { slot, of: Of::Failure, follows }, code);
    }

    fn after_end(&mut self, now: Millis, slot: SlotId, code: u8) -> Follows {
        let failed = code != 0;
        let rests = match self.rules.restart {
            Restart::Always => false,
            Restart::OnFailure => !failed,
            Restart::Never => true,
        };
        if rests {
            self.last_failure = if failed { code } else { self.last_failure };
            return Follows::Rest;
        }
        self.again(now, slot)
    }

    /// Another worker for one that was told to stop: whoever is not to blame is not counted.
    fn another(&mut self, now: Millis, id: SlotId) -> Follows {
        if core::mem::take(&mut self.slot(id).blameless) {
            return self.wait(now, id);
        }
        self.again(now, id)
    }

    /// Another worker, after a wait; unless there were too many.
    fn again(&mut self, now: Millis, id: SlotId) -> Follows {
        let (limit, mending) = (self.rules.respawn_limit, self.reload.is_some());
        let slot = self.slot(id);
        slot.restarts.push_back(now);
        if let Some(limit) = limit {
            slot.restarts.retain(|at| now.since(*at) < limit.window);
            if slot.restarts.len() > limit.count as usize && !mending {
                return Follows::GiveUp(StopReason::RespawnLimit(id));
            }
        }
        self.wait(now, id)
    }

    fn wait(&mut self, now: Millis, slot: SlotId) -> Follows {
        let (backoff, ways) = (self.rules.backoff, self.rules.ways());
        let slot = self.slot(slot);
        if ways == Ways::Starter {
            // The shortest time between two starts; a newcomer that is on its way is another start.
            let wait = slot.tried.plus(backoff.min).since(now);
            slot.ceded |= slot.newcomer.is_some();
            return match slot.newcomer {
                Some(_) => Follows::Nothing,
                None => Follows::Restart { least: wait, most: wait },
            };
        }
        let doubled = backoff.min.0 << slot.in_a_row.min(20);
        let least = doubled.min(backoff.max.0);
        let most = (least + least / 4).min(backoff.max.0);
        slot.in_a_row += 1;
        Follows::Restart { least: Millis(least), most: Millis(most) }
    }

    fn follow(&mut self, now: Millis, end: End, code: u8) {
        self.due.ends.push_back(end);
        match end.follows {
            Follows::Nothing | Follows::InVain => {}
            Follows::Rest => self.slot(end.slot).rests = true,
            Follows::Wait { from: None } => self.slot(end.slot).waits = true,
            Follows::Wait { from } => {
                self.slot(end.slot).wait = Some(Wait { began: now, until: from });
            }
            Follows::Restart { .. } => {
                self.slot(end.slot).wait = Some(Wait { began: now, until: None });
            }
            Follows::GiveUp(_) => self.begin_stop(now, Haste::GaveUp, code),
        }
    }
}
