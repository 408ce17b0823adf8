//! The decisions: a state machine without a system call. Facts go in with the time at which they were
//! seen, actions come out.
//!
//! The theory. There are N slots; each is to be held by one worker for as long as fd3 is `Running`. A
//! worker ends because it was asked to (no failure, whatever its status) or by itself (the restart
//! policy, the backoff and the respawn limit decide what follows). Until the first worker was ever
//! ready, COMMAND is unproven: if it cannot even be started then, nobody is helped by trying again, and
//! fd3 ends with the reason. Once `Stopping`, every slot is closed, every worker drains, is killed at its
//! deadline, and with the last one gone fd3 is `Finished`. Stop wins over everything.
//!
//! Where workers show by a signal that they serve, they start one after the other: two signals of one
//! number that wait for fd3 melt into one, and the second worker would never be ready.
//!
//! `handle` writes a fact down (`record`), then asks for what is missing (`settle`). The cost of an event
//! does not grow with the number of slots, but for events that concern them all. Of many vacant slots
//! only a few are filled at a time, so that an order to stop need not wait for the rest.

#![forbid(unsafe_code)]

mod agenda;
mod backoff;
mod check;
mod demand;
mod ends;
mod event;
mod leftovers;
mod orders;
mod outage;
mod reload;
mod renew;
mod says;
mod scale;
mod slot;
mod steer;
mod stop;
mod view;
mod worker;

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

pub use self::event::{
    Action, Actions, Ending, Event, Fact, Failure, Next, Outcome, Sender, Status, StopReason,
    Target, Terms,
};
pub use self::steer::{Queues, Steer};
pub use self::view::{
    Course, Overview, Population, Role, SlotState, SlotView, WorkerState, WorkerView,
};

use self::agenda::{Agenda, Due};
use self::backoff::Chance;
use self::leftovers::Leftovers;
use self::orders::Orders;
use self::outage::Outage;
use self::reload::{Reload, Wanted};
use self::slot::{Load, Newcomer, Seat, Slot};
use self::steer::Steering;
use self::stop::{Haste, Mission};
use self::worker::{Cause, Phase, Worker};
use crate::pid_map::PidMap;
use crate::plan::{Reaction, Readiness, Rules, Ways};
use crate::units::{Generation, Millis, Pid, Signal, SlotId};

/// The exit status for what is fd3's own failure, not a worker's.
const EXIT_OWN_FAILURE: u8 = 125;
/// Workers started in one go; after each burst fd3 looks whether it was told to stop.
const BURST: u32 = 16;
/// The exit status for a worker that was not ready in time and then ended with 0.
const EXIT_TOO_SLOW: u8 = 1;

/// For whom a worker is spawned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    Seat,
    Newcomer,
}

#[derive(Debug)]
pub struct Supervisor {
    /// Of the generation that serves.
    load: Rc<Load>,
    slots: Vec<Slot>,
    workers: PidMap<Worker>,
    /// What dead workers left behind, by their group.
    leftovers: PidMap<Leftovers>,
    agenda: Agenda,
    mission: Mission,
    /// What the stop that runs tells everybody, if not their own stop signal.
    stop_by: Option<Signal>,
    outage: Option<Outage>,
    /// The vacant slots in the order in which they are to be filled.
    vacant: VecDeque<SlotId>,
    /// The one slot whose worker is being spawned.
    spawning: Option<(SlotId, Lane)>,
    reload: Option<Reload>,
    wanted: Wanted,
    orders: Orders,
    steering: Steering,
    /// The slots whose newcomer is to be spawned, in this order.
    newcomers: VecDeque<SlotId>,
    /// How many slots have a newcomer, or wait for one.
    arriving: usize,
    /// How many slots have a former worker on its way out.
    leaving: usize,
    /// Workers whose age has come.
    old: VecDeque<Pid>,
    /// The generations that some slot may still start workers of.
    kept: Vec<Generation>,
    /// How many more may be spawned before fd3 looks at what else has happened.
    burst: u32,
    /// There were workers that show by a signal that they are ready.
    has_signallers: bool,
    /// How many slots there are to be; those beyond were taken away, or will be.
    size: u32,
    target: u32,
    /// How many slots are not closed.
    open: usize,
    /// How many wait until somebody connects.
    waiting: usize,
    /// The latest one that was started.
    generation: Generation,
    /// Whether a worker was ever ready.
    proven: bool,
    /// The latest failure of a worker whose slot then rests for good.
    last_failure: u8,
    chance: Chance,
    /// Once it is finished: how long whoever else is left may take.
    time_left: Option<Rest>,
}

/// What is left of the time of a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    pub until: Option<Millis>,
}

impl Supervisor {
    /// `seed` spreads the restarts; the same one gives the same decisions.
    pub fn new(rules: Rules, workers: u32, seed: u64) -> Supervisor {
        let generation = Generation(1);
        let load = Rc::new(Load { generation, rules });
        let mut slots = Vec::new();
        for _ in 0..workers {
            slots.push(Slot::new(load.clone()));
        }
        Supervisor {
            slots,
            load,
            workers: PidMap::default(),
            leftovers: PidMap::default(),
            agenda: Agenda::default(),
            mission: Mission::NotBegun,
            stop_by: None,
            outage: None,
            vacant: VecDeque::new(),
            spawning: None,
            reload: None,
            wanted: Wanted::default(),
            orders: Orders::default(),
            steering: Steering::default(),
            newcomers: VecDeque::new(),
            arriving: 0,
            leaving: 0,
            old: VecDeque::new(),
            kept: alloc::vec![generation],
            burst: BURST,
            has_signallers: false,
            size: workers,
            target: workers,
            open: workers as usize,
            waiting: 0,
            generation,
            proven: false,
            last_failure: 0,
            chance: Chance::new(seed),
            time_left: None,
        }
    }

    /// Takes in a fact seen at `now`, adds what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event, out: &mut Actions) {
        if !matches!(event, Event::Spawned { .. } | Event::SpawnFailed { .. }) {
            self.burst = BURST;
        }
        self.record(now, event, out);
        self.settle(now, out);
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// When to send `TimePassed` at the latest; `None` when nothing is due.
    pub fn deadline(&self) -> Option<Millis> {
        // The burst is over, and there is more to start: as soon as everything else was looked at.
        if self.may_spawn() { Some(Millis(0)) } else { self.agenda.soonest() }
    }

    /// Whether the slot is to have another worker when this one ends.
    pub fn goes_on(&self, slot: SlotId) -> bool {
        let place = self.slots.get(slot.0 as usize).filter(|_| slot.0 < self.size);
        let comes = |place: &Slot| place.seat != Seat::Closed || place.newcomer != Newcomer::None;
        self.mission == Mission::Running && place.is_some_and(comes)
    }

    /// Who most likely did what was just done to a listener: the only one on its way out, or the only
    /// one there is.
    pub fn suspect(&self) -> Option<(SlotId, Pid)> {
        let one = |leaving: bool| {
            let mut all = self
                .workers
                .iter()
                .filter(|(_, worker)| !leaving || worker.phase.cause().is_some());
            let first = all.next();
            if all.next().is_none() { first } else { None }
        };
        one(true).or_else(|| one(false)).map(|(pid, worker)| (worker.slot, pid))
    }

    #[inline(never)]
    fn record(&mut self, now: Millis, event: Event, out: &mut Actions) {
        match event {
            Event::Begin => self.begin(),
            Event::Spawned { slot, pid } => self.spawned(now, slot, pid, out),
            Event::SpawnFailed { slot, error } => self.spawn_failed(now, slot, error, out),
            Event::ExecFailed { pid, error } => {
                if let Some(worker) = self.workers.get_mut(pid) {
                    worker.exec_failure = Some(error);
                }
            }
            Event::Exited { pid, status } => self.exited(now, pid, status, out),
            Event::Ready { pid } => self.ready(now, pid, out),
            Event::Stops { pid } => self.stops(now, pid, out),
            Event::MoreTime { pid, by } => self.more_time(now, pid, by),
            Event::Well { pid } => self.well(now, pid),
            Event::Hangs { pid } => self.hangs(now, pid, out),
            Event::WatchdogSet { pid, limit } => self.set_watchdog(now, pid, limit),
            Event::Signalled { signal, sender } => self.signalled(now, signal, sender, out),
            Event::ReloadAsked { asker } => self.reload_asked(now, asker, out),
            Event::ReloadOrdered { asker, terms } => self.reload_ordered(now, asker, terms, out),
            Event::StopAsked { how } => self.stop_asked(now, how, out),
            Event::ScaleAsked { workers, asker } => self.scale_asked(workers, asker, out),
            Event::RestartAsked { slot, asker } => self.restart_asked(slot, asker, out),
            Event::Loaded { rules } => self.loaded(now, *rules, out),
            Event::LoadFailed { error } => self.load_failed(now, error, out),
            Event::GroupGone { group } => self.group_gone(group),
            Event::ListenerReplaced => self.listener_replaced(now, out),
            Event::ListenerDead => self.listener_dead(now, out),
            Event::Queue { slot, is_empty } => self.queue_seen(now, slot, is_empty, out),
            Event::Demanded => self.demanded(now, out),
            Event::TimePassed => self.time_passed(now, out),
        }
    }

    /// Fills one vacant slot at a time, so that a failure stops the rest from being tried.
    #[inline(never)]
    fn settle(&mut self, now: Millis, out: &mut Actions) {
        self.scale(now, out);
        self.reload_by_age(now, out);
        self.begin_reload(out);
        self.renew(now, out);
        self.steer(out);
        if self.burst > 0 && self.may_spawn() {
            self.burst -= 1;
            self.spawn_next(now, out);
        }
        if self.open == 0
            && self.reload.is_none()
            && self.workers.is_empty()
            && self.leftovers.is_empty()
            && self.spawning.is_none()
            && let time_left = self.time_left(now)
            && let Some(status) = self.mission.finish(self.last_failure)
        {
            self.time_left = time_left;
            self.set_outage(None);
            self.stop_reload(now, out);
            out.push_back(Action::Finish { status });
        }
    }

    fn may_spawn(&self) -> bool {
        self.mission == Mission::Running
            && self.spawning.is_none()
            && self.outage.is_none()
            && !(self.vacant.is_empty() && self.newcomers.is_empty())
            && !self.is_loading()
            && !self.awaits_signal()
    }

    /// What serves comes before what is to serve.
    fn spawn_next(&mut self, now: Millis, out: &mut Actions) {
        let (slot, generation) = if let Some(slot) = self.vacant.pop_front() {
            self.spawning = Some((slot, Lane::Seat));
            self.set_seat(slot, Seat::Spawning);
            let generation = self.slots.get(slot.0 as usize).map(|slot| slot.load.generation);
            (slot, generation.unwrap_or(self.generation))
        } else if let Some(slot) = self.newcomers.pop_front() {
            self.spawning = Some((slot, Lane::Newcomer));
            self.set_newcomer(slot, Newcomer::Spawning);
            let generation = self.new_load().map(|load| load.generation);
            (slot, generation.unwrap_or(self.generation))
        } else {
            return;
        };
        self.has_sockets(slot);
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            place.tried = now;
        }
        out.push_back(Action::Spawn { slot, generation });
    }

    /// A newcomer that starts is no reason to leave a seat empty.
    fn awaits_signal(&self) -> bool {
        let starts = |(pid, worker): (Pid, &Worker)| {
            matches!(worker.phase, Phase::Starting { .. })
                && matches!(worker.load.rules.readiness, Readiness::Signal(_))
                && (self.vacant.is_empty() || !self.is_newcomer(worker.slot, pid))
        };
        self.has_signallers && self.workers.iter().any(starts)
    }

    fn begin(&mut self) {
        if self.mission == Mission::NotBegun {
            self.mission = Mission::Running;
            for slot in 0..self.size {
                self.fill_or_wait(SlotId(slot));
            }
        }
    }

    #[inline(never)]
    fn spawned(&mut self, now: Millis, slot: SlotId, pid: Pid, out: &mut Actions) {
        let Some((_, lane)) = self.spawning.filter(|(spawning, _)| *spawning == slot) else {
            return;
        };
        self.spawning = None;
        // Its number was free, so nobody of that group was left.
        self.group_gone(pid);
        let Some(load) = self.load_of(slot, lane) else { return };
        let until = match load.rules.readiness {
            Readiness::Alive(time) => Some(now.plus(time)),
            Readiness::Notify(limit) | Readiness::Signal(limit) => {
                limit.map(|limit| now.plus(limit))
            }
        };
        if let Readiness::Signal(_) = load.rules.readiness {
            self.has_signallers = true;
        }
        let (generation, timeout) = (load.generation, load.rules.stop_timeout);
        let phase = Phase::Starting { until };
        let (watchdog, renewal, exec_failure) = (load.rules.watchdog, None, None);
        let worker = Worker { slot, load, started: now, phase, watchdog, renewal, exec_failure };
        self.workers.insert(pid, worker);
        self.agenda.change(Due::Worker(pid), None, until);
        out.push_back(Action::Say(Fact::Started { slot, pid, generation }));
        match (self.mission.worker_limit(now, timeout), lane) {
            (None, Lane::Seat) => self.set_seat(slot, Seat::Held(pid)),
            (None, Lane::Newcomer) => self.set_newcomer(slot, Newcomer::Starting(pid)),
            (Some(limit), _) => {
                self.set_seat(slot, Seat::Closed);
                self.retire(pid, limit, Cause::Wanted, out);
            }
        }
    }

    fn load_of(&self, slot: SlotId, lane: Lane) -> Option<Rc<Load>> {
        match lane {
            Lane::Seat => self.slots.get(slot.0 as usize).map(|slot| slot.load.clone()),
            Lane::Newcomer => self.new_load(),
        }
    }

    fn is_newcomer(&self, slot: SlotId, pid: Pid) -> bool {
        let slot = self.slots.get(slot.0 as usize);
        slot.is_some_and(|slot| slot.newcomer.pid() == Some(pid))
    }

    /// A signal whose sender is a worker is never an order: it means ready, or nothing. But
    /// Server::Starter knows none of its programs to do so.
    #[inline(never)]
    fn signalled(&mut self, now: Millis, signal: Signal, sender: Sender, out: &mut Actions) {
        let by = match self.load.rules.ways() {
            Ways::Own => [sender.pid, sender.group],
            Ways::Starter => [None, None],
        };
        // What a worker left behind still speaks for it, and we may be its parent now.
        for pid in by.into_iter().flatten() {
            if self.leftovers.get(pid).is_some() {
                return;
            }
        }
        for pid in by.into_iter().flatten() {
            let Some(worker) = self.workers.get(pid) else { continue };
            if let Readiness::Signal(_) = worker.load.rules.readiness {
                self.ready(now, pid, out);
            }
            return;
        }
        match self.load.rules.reactions.to(signal) {
            Reaction::Stop => {
                self.asked_to_stop(now, StopReason::Signal(signal), Haste::Limited, out)
            }
            Reaction::Drain => {
                self.asked_to_stop(now, StopReason::Signal(signal), Haste::Patient, out)
            }
            Reaction::StopNow => {
                self.asked_to_stop(now, StopReason::Signal(signal), Haste::Now, out)
            }
            Reaction::StopBy(by) => {
                if !self.mission.is_over() {
                    self.stop_by = Some(by);
                }
                self.asked_to_stop(now, StopReason::Signal(signal), Haste::Patient, out);
            }
            Reaction::Forward(signal) => {
                let to = Target::Process;
                for (pid, _) in self.workers.iter() {
                    out.push_back(Action::Signal { pid, signal, to });
                }
            }
            Reaction::Ignore => {}
            Reaction::Reload => self.reload_asked(now, None, out),
            Reaction::Up => self.one_more(),
            Reaction::Down => self.one_less(),
            Reaction::Upgrade => {
                out.push_back(Action::Say(Fact::SignalIgnored { signal }));
            }
        }
    }

    #[inline(never)]
    fn time_passed(&mut self, now: Millis, out: &mut Actions) {
        while let Some(due) = self.agenda.pop(now) {
            match due {
                Due::Slot(slot) => self.fill_or_wait(slot),
                Due::Worker(pid) => self.worker_due(now, pid, out),
                Due::Group(group) => self.leftovers_due(now, group, out),
                Due::Listeners => self.outage_due(out),
                Due::Age(pid) => self.aged(now, pid),
                Due::Newcomer(slot) => self.newcomer_due(now, slot, out),
                Due::Queue(slot) => self.emptying_due(slot, out),
                Due::Takeover => self.takeover_due(now, out),
            }
        }
    }

    #[inline(never)]
    fn worker_due(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let (slot, after) = (worker.slot, now.since(worker.started));
        match (worker.phase, worker.load.rules.readiness) {
            (Phase::Starting { .. }, Readiness::Alive(_)) => self.ready(now, pid, out),
            (Phase::Starting { .. }, Readiness::Notify(_) | Readiness::Signal(_)) => {
                out.push_back(Action::Say(Fact::StartTimedOut { slot, pid, after }));
                self.too_slow(now, slot, pid, after, out);
            }
            (Phase::Draining { .. }, _) => {
                out.push_back(Action::Say(Fact::StopTimedOut { slot, pid }));
                self.kill(now, pid, out);
            }
            (Phase::Killed { .. }, _) => self.outlived_kill(now, pid, out),
            (Phase::Ready { .. }, _) => self.hangs(now, pid, out),
        }
    }

    /// The only place where a seat changes: agenda and count follow it.
    fn set_seat(&mut self, slot: SlotId, seat: Seat) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let before = core::mem::replace(&mut place.seat, seat);
        self.agenda.change(Due::Slot(slot), before.deadline(), seat.deadline());
        self.touch(slot);
        if before == Seat::Vacant && seat != Seat::Spawning {
            take_out(&mut self.vacant, slot);
        }
        self.waiting += usize::from(seat == Seat::Waiting);
        self.waiting -= usize::from(before == Seat::Waiting);
        self.open += usize::from(before == Seat::Closed);
        self.open -= usize::from(seat == Seat::Closed);
    }

    /// The only place where a worker's phase changes: the agenda follows it.
    fn set_phase(&mut self, pid: Pid, phase: Phase) {
        let Some(worker) = self.workers.get_mut(pid) else { return };
        let before = core::mem::replace(&mut worker.phase, phase);
        let (ways, slot) = (worker.load.rules.ways(), worker.slot);
        self.agenda.change(Due::Worker(pid), before.deadline(), phase.deadline());
        self.phase_changed(slot, pid);
        if ways == Ways::Starter && phase.cause().is_some() {
            self.set_renewal(pid, None);
        }
    }
}

/// One function for all queues.
#[inline(never)]
fn take_out<T: PartialEq>(queue: &mut VecDeque<T>, one: T) {
    queue.retain(|other| *other != one);
}
