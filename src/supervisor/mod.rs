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
mod event;
mod leftovers;
mod outage;
mod slot;
mod stop;
mod worker;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub use self::event::{
    Action, Actions, Event, Fact, Failure, Next, Outcome, Sender, Status, StopReason, Target,
};

use self::agenda::{Agenda, Due};
use self::backoff::Chance;
use self::leftovers::Leftovers;
use self::outage::Outage;
use self::slot::{Seat, Slot};
use self::stop::{Haste, Mission};
use self::worker::{Cause, Phase, Worker};
use crate::error::{Error, Kind};
use crate::pid_map::PidMap;
use crate::plan::{Reaction, Readiness, Restart, Rules};
use crate::units::{Generation, Millis, Pid, Signal, SlotId};

/// The exit status for what is fd3's own failure, not a worker's.
const EXIT_OWN_FAILURE: u8 = 125;
/// Workers started in one go; after each burst fd3 looks whether it was told to stop.
const BURST: u32 = 16;
/// The exit status for a worker that was not ready in time and then ended with 0.
const EXIT_TOO_SLOW: u8 = 1;

#[derive(Debug)]
pub struct Supervisor {
    rules: Rules,
    slots: Vec<Slot>,
    workers: PidMap<Worker>,
    /// What dead workers left behind, by their group.
    leftovers: PidMap<Leftovers>,
    agenda: Agenda,
    mission: Mission,
    outage: Option<Outage>,
    /// The vacant slots in the order in which they are to be filled.
    vacant: VecDeque<SlotId>,
    /// The one slot whose worker is being spawned.
    spawning: Option<SlotId>,
    /// How many more may be spawned before fd3 looks at what else has happened.
    burst: u32,
    /// The worker started last, where workers show by a signal that they are ready.
    signaller: Option<Pid>,
    /// How many slots are not closed.
    open: usize,
    generation: Generation,
    /// Whether a worker was ever ready.
    proven: bool,
    /// The latest failure of a worker whose slot then rests for good.
    last_failure: u8,
    chance: Chance,
}

impl Supervisor {
    /// `seed` spreads the restarts; the same one gives the same decisions.
    pub fn new(rules: Rules, workers: u32, seed: u64) -> Supervisor {
        Supervisor {
            rules,
            slots: (0..workers).map(|_| Slot::default()).collect(),
            workers: PidMap::default(),
            leftovers: PidMap::default(),
            agenda: Agenda::default(),
            mission: Mission::NotBegun,
            outage: None,
            vacant: VecDeque::new(),
            spawning: None,
            burst: BURST,
            signaller: None,
            open: workers as usize,
            generation: Generation(1),
            proven: false,
            last_failure: 0,
            chance: Chance::new(seed),
        }
    }

    /// Takes in a fact seen at `now`, adds what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event, out: &mut Actions) {
        if !matches!(event, Event::Spawned { .. } | Event::SpawnFailed { .. }) {
            self.burst = BURST;
        }
        self.record(now, event, out);
        self.settle(out);
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// When to send `TimePassed` at the latest; `None` when nothing is due.
    pub fn deadline(&self) -> Option<Millis> {
        // The burst is over, and there is more to start: as soon as everything else was looked at.
        if self.may_spawn() { Some(Millis(0)) } else { self.agenda.soonest() }
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
            Event::Signalled { signal, sender } => self.signalled(now, signal, sender, out),
            Event::ReloadAsked { .. } | Event::Loaded { .. } | Event::LoadFailed { .. } => {}
            Event::GroupGone { group } => self.group_gone(group),
            Event::ListenerReplaced => self.listener_replaced(now, out),
            Event::ListenerDead => self.listener_dead(now, out),
            Event::TimePassed => self.time_passed(now, out),
        }
    }

    /// Fills one vacant slot at a time, so that a failure stops the rest from being tried.
    fn settle(&mut self, out: &mut Actions) {
        if self.burst > 0
            && self.may_spawn()
            && let Some(slot) = self.vacant.pop_front()
        {
            self.burst -= 1;
            self.spawning = Some(slot);
            self.set_seat(slot, Seat::Spawning);
            out.push_back(Action::Spawn { slot, generation: self.generation });
        }
        if self.open == 0
            && self.workers.is_empty()
            && self.leftovers.is_empty()
            && self.spawning.is_none()
            && let Some(status) = self.mission.finish(self.last_failure)
        {
            self.set_outage(None);
            out.push_back(Action::Finish { status });
        }
    }

    fn may_spawn(&self) -> bool {
        self.mission == Mission::Running
            && self.spawning.is_none()
            && self.outage.is_none()
            && !self.vacant.is_empty()
            && !self.awaits_signal()
    }

    fn awaits_signal(&self) -> bool {
        let worker = self.signaller.and_then(|pid| self.workers.get(pid));
        worker.is_some_and(|worker| matches!(worker.phase, Phase::Starting { .. }))
    }

    fn begin(&mut self) {
        if self.mission == Mission::NotBegun {
            self.mission = Mission::Running;
            self.vacant = (0..self.slots.len()).map(|index| SlotId(index as u32)).collect();
        }
    }

    fn spawned(&mut self, now: Millis, slot: SlotId, pid: Pid, out: &mut Actions) {
        if self.spawning != Some(slot) {
            return;
        }
        self.spawning = None;
        // Its number was free, so nobody of that group was left.
        self.group_gone(pid);
        let until = match self.rules.readiness {
            Readiness::Alive(time) => Some(now.plus(time)),
            Readiness::Notify(limit) | Readiness::Signal(limit) => {
                limit.map(|limit| now.plus(limit))
            }
        };
        let phase = Phase::Starting { until };
        let generation = self.generation;
        let worker = Worker { slot, started: now, phase, exec_failure: None };
        self.workers.insert(pid, worker);
        if let Readiness::Signal(_) = self.rules.readiness {
            self.signaller = Some(pid);
        }
        self.agenda.change(Due::Worker(pid), None, until);
        out.push_back(Action::Say(Fact::Started { slot, pid, generation }));
        match self.mission.worker_limit(now, self.rules.stop_timeout) {
            None => self.set_seat(slot, Seat::Held(pid)),
            Some(limit) => {
                self.set_seat(slot, Seat::Closed);
                self.retire(pid, limit, Cause::Wanted, out);
            }
        }
    }

    fn spawn_failed(&mut self, now: Millis, slot: SlotId, error: Error, out: &mut Actions) {
        if self.spawning != Some(slot) {
            return;
        }
        self.spawning = None;
        let status = error.exit_status();
        let next = self.after_failure(now, slot, &error);
        out.push_back(Action::Say(Fact::NotStarted { slot, error, next }));
        self.give_up_if(next, slot, status, now, out);
    }

    fn exited(&mut self, now: Millis, pid: Pid, status: Status, out: &mut Actions) {
        let Some(worker) = self.workers.remove(pid) else { return };
        self.agenda.change(Due::Worker(pid), worker.phase.deadline(), None);
        self.left_behind(now, pid, worker.phase, out);
        let slot = worker.slot;
        let uptime = now.since(worker.started);
        self.served(now, slot, worker.phase);
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let seated = place.seat == Seat::Held(pid);
        if place.leaving == Some(pid) {
            place.leaving = None;
        }
        let wanted = worker.phase.cause() == Some(Cause::Wanted);
        if !seated || wanted || self.mission != Mission::Running {
            let next = if seated { self.after_asked_end(now, slot) } else { Next::Asked };
            out.push_back(Action::Say(Fact::Exited { slot, pid, status, uptime, next }));
            self.give_up_if(next, slot, EXIT_OWN_FAILURE, now, out);
            self.make_room(now, slot, out);
            return;
        }
        let too_slow = worker.phase.cause() == Some(Cause::TooSlow);
        let code = match &worker.exec_failure {
            Some(error) => error.exit_status(),
            // It obeyed, but it had failed.
            None if too_slow && status.code() == 0 => EXIT_TOO_SLOW,
            None => status.code(),
        };
        let failed = code != 0;
        let next = match worker.exec_failure {
            Some(error) => {
                let next = self.after_failure(now, slot, &error);
                out.push_back(Action::Say(Fact::NotStarted { slot, error, next }));
                next
            }
            None => {
                let next = self.after_end(now, slot, code, failed);
                out.push_back(Action::Say(Fact::Exited { slot, pid, status, uptime, next }));
                next
            }
        };
        self.give_up_if(next, slot, code, now, out);
    }

    /// A worker is no longer ready, or never was.
    fn served(&mut self, now: Millis, slot: SlotId, phase: Phase) {
        if let (Phase::Ready { since }, Some(place)) = (phase, self.slots.get_mut(slot.0 as usize))
        {
            place.misery.was_ready_for(now.since(since));
        }
    }

    /// The seat's holder ended as it was asked to. While fd3 runs it was replaced, and is gone before the
    /// slot's former one: the next one waits here as well, see `make_room`.
    fn after_asked_end(&mut self, now: Millis, slot: SlotId) -> Next {
        if self.mission == Mission::Running {
            return self.start_again(now, slot);
        }
        self.set_seat(slot, Seat::Closed);
        Next::Asked
    }

    /// A worker never came to be. Before COMMAND is proven this is the end. Later a shortage of the
    /// machine's (of processes, memory, descriptors) is waited out: it is no fault of COMMAND's.
    fn after_failure(&mut self, now: Millis, slot: SlotId, error: &Error) -> Next {
        if !self.proven {
            return Next::GiveUp(StopReason::CannotStart);
        }
        match error.kind() {
            Kind::Own => self.rest(now, slot),
            Kind::Usage | Kind::NotExecutable | Kind::NotFound => {
                self.after_end(now, slot, error.exit_status(), true)
            }
        }
    }

    /// What follows an end that nobody asked for.
    fn after_end(&mut self, now: Millis, slot: SlotId, code: u8, failed: bool) -> Next {
        let rests = match self.rules.restart {
            Restart::Always => false,
            Restart::OnFailure => !failed,
            Restart::Never => true,
        };
        if rests {
            if failed {
                self.last_failure = code;
            }
            self.set_seat(slot, Seat::Closed);
            return Next::Rest;
        }
        self.start_again(now, slot)
    }

    /// After the wait that its past deserves, unless there were too many restarts already.
    fn start_again(&mut self, now: Millis, slot: SlotId) -> Next {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Next::Rest };
        if !place.misery.may_restart(now, self.rules.respawn_limit) {
            return Next::GiveUp(StopReason::RespawnLimit(slot));
        }
        self.rest(now, slot)
    }

    fn rest(&mut self, now: Millis, slot: SlotId) -> Next {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Next::Rest };
        let wait = place.misery.next_wait(self.rules.backoff, &mut self.chance);
        self.set_seat(slot, Seat::Resting { until: now.plus(wait) });
        Next::Restart(wait)
    }

    fn ready(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get_mut(pid) else { return };
        let Phase::Starting { until } = worker.phase else { return };
        worker.phase = Phase::Ready { since: now };
        let (slot, after) = (worker.slot, now.since(worker.started));
        self.agenda.change(Due::Worker(pid), until, None);
        self.proven = true;
        out.push_back(Action::Say(Fact::Ready { slot, pid, after }));
    }

    /// A signal whose sender is a worker is never an order: it means ready, or nothing.
    fn signalled(&mut self, now: Millis, signal: Signal, sender: Sender, out: &mut Actions) {
        let by = [sender.pid, sender.group].into_iter().flatten();
        if let Some(pid) = by.into_iter().find(|pid| self.workers.get(*pid).is_some()) {
            if let Readiness::Signal(_) = self.rules.readiness {
                self.ready(now, pid, out);
            }
            return;
        }
        match self.rules.reactions.to(signal) {
            Reaction::Stop => self.asked_to_stop(now, signal, Haste::Limited, out),
            Reaction::Drain => self.asked_to_stop(now, signal, Haste::Patient, out),
            Reaction::StopNow => self.asked_to_stop(now, signal, Haste::Now, out),
            Reaction::Forward(signal) => {
                let to = Target::Process;
                out.extend(self.workers.iter().map(|(pid, _)| Action::Signal { pid, signal, to }));
            }
            Reaction::Ignore => {}
            Reaction::Reload | Reaction::Upgrade | Reaction::Up | Reaction::Down => {
                out.push_back(Action::Say(Fact::SignalIgnored { signal }));
            }
        }
    }

    /// Every worker makes room for another one. Where a former one still is on its way out, the slot
    /// waits for its end, so that it never has more than two.
    fn replace_all(&mut self, now: Millis, out: &mut Actions) {
        if self.mission != Mission::Running {
            return;
        }
        let seated: Vec<(Pid, SlotId)> = self.seated().collect();
        let until = self.rules.stop_timeout.map(|limit| now.plus(limit));
        for (pid, slot) in seated {
            if let Some(worker) = self.workers.get(pid) {
                self.served(now, slot, worker.phase);
            }
            self.retire(pid, until, Cause::Wanted, out);
            self.make_room(now, slot, out);
        }
    }

    /// Gives the seat of a worker that was told to stop to another one, if no former one is in the way.
    /// The next one waits as after a crash: a program that breaks its listener whenever it starts must
    /// not be started in a whirl.
    fn make_room(&mut self, now: Millis, slot: SlotId, out: &mut Actions) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let Seat::Held(pid) = place.seat else { return };
        let Some(phase) = self.workers.get(pid).map(|worker| worker.phase) else { return };
        let told = phase.cause() == Some(Cause::Wanted);
        if !told || place.leaving.is_some() || self.mission != Mission::Running {
            return;
        }
        place.leaving = Some(pid);
        let next = self.start_again(now, slot);
        out.push_back(Action::Say(Fact::Replaced { slot, pid, next }));
        if let Phase::Killed { until: None, .. } = phase {
            self.outlived_kill(now, pid, out);
        }
        self.give_up_if(next, slot, EXIT_OWN_FAILURE, now, out);
    }

    fn seated(&self) -> impl Iterator<Item = (Pid, SlotId)> {
        (0..).map(SlotId).zip(&self.slots).filter_map(|(id, slot)| match slot.seat {
            Seat::Held(pid) => Some((pid, id)),
            Seat::Vacant | Seat::Spawning | Seat::Resting { .. } | Seat::Closed => None,
        })
    }

    fn time_passed(&mut self, now: Millis, out: &mut Actions) {
        while let Some(due) = self.agenda.pop(now) {
            match due {
                Due::Slot(slot) => {
                    self.set_seat(slot, Seat::Vacant);
                    self.vacant.push_back(slot);
                }
                Due::Worker(pid) => self.worker_due(now, pid, out),
                Due::Group(group) => self.leftovers_due(now, group, out),
                Due::Listeners => self.outage_due(out),
            }
        }
    }

    fn worker_due(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let (slot, after) = (worker.slot, now.since(worker.started));
        match (worker.phase, self.rules.readiness) {
            (Phase::Starting { .. }, Readiness::Alive(_)) => self.ready(now, pid, out),
            (Phase::Starting { .. }, Readiness::Notify(_) | Readiness::Signal(_)) => {
                out.push_back(Action::Say(Fact::StartTimedOut { slot, pid, after }));
                let until = self.rules.stop_timeout.map(|limit| now.plus(limit));
                self.retire(pid, until, Cause::TooSlow, out);
            }
            (Phase::Draining { .. }, _) => {
                out.push_back(Action::Say(Fact::StopTimedOut { slot, pid }));
                self.kill(now, pid, out);
            }
            (Phase::Killed { .. }, _) => self.outlived_kill(now, pid, out),
            (Phase::Ready { .. }, _) => {}
        }
    }

    /// The only place where a seat changes: agenda and count follow it.
    fn set_seat(&mut self, slot: SlotId, seat: Seat) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let before = core::mem::replace(&mut place.seat, seat);
        self.agenda.change(Due::Slot(slot), before.deadline(), seat.deadline());
        if before != Seat::Closed && seat == Seat::Closed {
            self.open -= 1;
        }
    }

    /// The only place, but for `ready`, where a worker's phase changes: the agenda follows it.
    fn set_phase(&mut self, pid: Pid, phase: Phase) {
        let Some(worker) = self.workers.get_mut(pid) else { return };
        let before = core::mem::replace(&mut worker.phase, phase);
        self.agenda.change(Due::Worker(pid), before.deadline(), phase.deadline());
    }
}
