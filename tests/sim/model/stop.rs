//! Stops, replacements, and what falls due.

use fd3::plan::{Reaction, Readiness, Ways};
use fd3::units::{Millis, Pid, Signal, SlotId};

use super::reload::{Newcomer, Why};
use super::{Haste, KILL_PATIENCE, Killed, Model, Phase, Stop, Told};

impl Model {
    pub(super) fn ordered(&mut self, now: Millis, signal: Signal) {
        match self.rules.reactions.to(signal) {
            Reaction::Stop => self.ordered_stop(now, Haste::Limited, None),
            Reaction::Drain => self.ordered_stop(now, Haste::Patient, None),
            Reaction::StopNow => self.ordered_stop(now, Haste::Now, None),
            Reaction::StopBy(by) => self.ordered_stop(now, Haste::Patient, Some(by)),
            Reaction::Forward(signal) => {
                self.due.forward = self.workers.keys().map(|pid| (*pid, signal)).collect();
            }
            Reaction::Reload => self.reload_asked(None),
            Reaction::Up => self.target += 1,
            Reaction::Down => self.target = (self.target - 1).max(1),
            Reaction::Upgrade => {}
            Reaction::Ignore => {}
        }
    }

    pub(super) fn ordered_stop(&mut self, now: Millis, asked: Haste, by: Option<Signal>) {
        if self.finished {
            return;
        }
        let Some(stop) = &mut self.stop else {
            return self.begin_stop_by(now, asked, 0, by);
        };
        let twice = stop.haste == Haste::Limited
            && asked == Haste::Limited
            && now >= stop.since.plus(Millis(100));
        let next = if twice { Haste::Now } else { asked };
        if next > stop.haste {
            stop.haste = next;
            stop.since = now;
            self.hasten(now, next);
        }
    }

    pub(super) fn begin_stop(&mut self, now: Millis, haste: Haste, status: u8) {
        self.begin_stop_by(now, haste, status, None);
    }

    fn begin_stop_by(&mut self, now: Millis, haste: Haste, status: u8, by: Option<Signal>) {
        self.stop = Some(Stop { haste, since: now, status, by });
        self.due.close = true;
        self.outage = None;
        self.reload_stopped();
        for slot in &mut self.slots {
            slot.vacant = false;
            slot.waits = false;
            slot.wait = None;
            slot.rests = true;
        }
        self.hasten(now, haste);
    }

    fn hasten(&mut self, now: Millis, haste: Haste) {
        let limit = match haste {
            Haste::Patient => None,
            Haste::GaveUp | Haste::Named | Haste::Limited => {
                self.rules.stop_timeout.map(|t| now.plus(t))
            }
            Haste::Now => Some(now),
        };
        self.groups_hasten(limit);
        let pids: Vec<Pid> = self.workers.keys().copied().collect();
        for pid in pids {
            if haste == Haste::Now {
                self.kill(now, pid);
            } else {
                self.tell(now, pid, limit, true);
            }
            if let Some(worker) = self.workers.get_mut(&pid)
                && let Some(killed) = &mut worker.killed
            {
                killed.patience = killed.patience.or(Some(now.plus(KILL_PATIENCE)));
            }
        }
    }

    /// Told once; later only the limit may come nearer.
    pub(super) fn tell(&mut self, now: Millis, pid: Pid, until: Option<Millis>, wanted: bool) {
        self.served(now, pid);
        self.tell_only(pid, until, wanted);
    }

    pub(super) fn tell_only(&mut self, pid: Pid, until: Option<Millis>, wanted: bool) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if worker.killed.is_some() {
            return;
        }
        let until = match worker.told {
            Some(told) => {
                // Once more, by another signal.
                if self.stop.is_some_and(|stop| stop.by.is_some()) {
                    self.due.tell.push(pid);
                }
                [told.until, until].into_iter().flatten().min()
            }
            None => {
                self.due.tell.push(pid);
                [worker.stops.flatten(), until].into_iter().flatten().min()
            }
        };
        worker.told = Some(Told { until, wanted });
    }

    fn kill(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if worker.killed.is_none() {
            worker.killed = Some(Killed { patience: Some(now.plus(KILL_PATIENCE)) });
            self.due.kill.push(pid);
        }
    }

    /// All workers are told to stop and make room, slot by slot; each slot may be one too many.
    pub(super) fn replaced(&mut self, now: Millis) {
        if !self.running() {
            return;
        }
        let blameless = self.reload.is_some();
        self.roll_back(now, Why::Listener);
        let limit = self.rules.stop_timeout.map(|limit| now.plus(limit));
        let mut seated: Vec<(SlotId, Pid)> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.left && !worker.gone)
            .map(|(pid, worker)| (worker.slot, *pid))
            .collect();
        seated.sort_unstable();
        for (slot, pid) in seated {
            if self.running() {
                self.slot(slot).blameless |= blameless;
                self.tell(now, pid, limit, true);
                self.make_room(now, slot);
            }
        }
    }

    pub(super) fn time_passed(&mut self, now: Millis) {
        loop {
            let takeover = self.takeovers().into_iter().min().filter(|(at, _)| *at <= now);
            match (self.soonest(now), takeover) {
                // Of what is due at the same time, the workers come first.
                (Some((at, pid)), next) if next.is_none_or(|(then, _)| at <= then) => {
                    self.start_is_due(now, pid);
                    self.end_is_due(now, pid);
                }
                (_, Some((at, slot))) => {
                    self.waits_over(at);
                    self.takeover_due(now, slot);
                }
                (_, None) => break,
            }
        }
        self.waits_over(now);
        self.looks_are_due(now);
        let ways = self.rules.ways();
        let workers = self.workers.iter_mut();
        let mut aged: Vec<(Millis, Pid)> = workers
            .filter(|(_, worker)| worker.age(ways).is_some_and(|at| at <= now))
            .filter_map(|(pid, worker)| Some((worker.renewal.take()?, *pid)))
            .collect();
        aged.sort_unstable();
        for (_, pid) in aged {
            self.aged(now, pid);
        }
        for slot in &mut self.slots {
            if matches!(slot.newcomer, Some(Newcomer::Waits(until)) if until <= now) {
                slot.newcomer = Some(Newcomer::Due);
            }
        }
        self.groups_due(now);
    }

    /// Slots whose wait has ended by then. Before a takeover of the same time, after which others have their turn.
    fn waits_over(&mut self, by: Millis) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.wait.as_ref().is_some_and(|wait| wait.until.is_some_and(|at| at <= by)) {
                slot.wait = None;
                self.fill(SlotId(index as u32));
            }
        }
    }

    /// In Server::Starter's ways it waits once more, for former ones to go.
    fn aged(&mut self, now: Millis, pid: Pid) {
        if self.old.contains(&pid) {
            return;
        }
        self.old.push_back(pid);
        let (ways, age) = (self.rules.ways(), self.rules.max_age.unwrap_or_default());
        if let Some(worker) = self.workers.get_mut(&pid)
            && let Phase::Ready { since, .. } = worker.phase
            && worker.is_untold()
            && ways == Ways::Starter
        {
            worker.renewal = Some(since.plus(age).plus(age)).filter(|at| *at > now);
        }
    }

    /// The worker of whom something is due for the longest time.
    fn soonest(&self, now: Millis) -> Option<(Millis, Pid)> {
        let due = self.workers.iter().filter_map(|(pid, worker)| Some((worker.deadline()?, *pid)));
        due.min().filter(|(at, _)| *at <= now)
    }

    fn start_is_due(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(&pid) else { return };
        let until = match worker.phase {
            Phase::Starting { until } | Phase::Ready { until, .. } => until,
        };
        if until.is_none_or(|until| now < until) || !worker.is_untold() {
            return;
        }
        if let Phase::Ready { .. } = worker.phase {
            return self.hangs(now, pid);
        }
        match self.rules.readiness {
            Readiness::Alive(_) => self.ready(now, pid),
            Readiness::Notify(_) | Readiness::Signal(_) => {
                if worker.newcomer {
                    let slot = worker.slot;
                    return self.newcomer_failed(now, slot, Why::NotReady(pid));
                }
                let limit = self.rules.stop_timeout.map(|limit| now.plus(limit));
                self.tell(now, pid, limit, false);
            }
        }
    }

    fn end_is_due(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if let Some(killed) = &mut worker.killed {
            if killed.patience.is_some_and(|patience| patience <= now) {
                killed.patience = None;
                let (slot, left) = (worker.slot, worker.left);
                if left || worker.gone || self.stop.is_some() {
                    self.abandon(pid);
                    if left && self.stop.is_none() {
                        self.left(slot);
                    }
                    self.make_room(now, slot);
                } else if self.slot(slot).newcomer == Some(Newcomer::Awaited) {
                    self.roll_back(now, Why::NotStopped(pid));
                }
            }
        } else if !worker.is_untold() && worker.deadline().is_some_and(|at| at <= now) {
            self.kill(now, pid);
        }
    }
}
