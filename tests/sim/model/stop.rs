//! Stops, replacements, and what falls due.

use fd3::plan::{Reaction, Readiness};
use fd3::units::{Millis, Pid, Signal, SlotId};

use super::{Haste, KILL_PATIENCE, Killed, Model, Phase, Stop, Told};

impl Model {
    pub(super) fn ordered(&mut self, now: Millis, signal: Signal) {
        match self.rules.reactions.to(signal) {
            Reaction::Stop => self.ordered_stop(now, Haste::Limited),
            Reaction::Drain => self.ordered_stop(now, Haste::Patient),
            Reaction::StopNow => self.ordered_stop(now, Haste::Now),
            Reaction::Forward(signal) => {
                self.due.forward = self.workers.keys().map(|pid| (*pid, signal)).collect();
            }
            Reaction::Reload | Reaction::Upgrade | Reaction::Up | Reaction::Down => {}
            Reaction::Ignore => {}
        }
    }

    fn ordered_stop(&mut self, now: Millis, asked: Haste) {
        if self.finished {
            return;
        }
        let Some(stop) = &mut self.stop else { return self.begin_stop(now, asked, 0) };
        let twice = stop.haste == Haste::Limited && asked == Haste::Limited;
        let next = if twice { Haste::Now } else { asked };
        if next > stop.haste {
            stop.haste = next;
            self.hasten(now, next);
        }
    }

    pub(super) fn begin_stop(&mut self, now: Millis, haste: Haste, status: u8) {
        self.stop = Some(Stop { haste, status });
        self.due.close = true;
        for slot in &mut self.slots {
            slot.vacant = false;
            slot.wait = None;
            slot.rests = true;
        }
        self.hasten(now, haste);
    }

    fn hasten(&mut self, now: Millis, haste: Haste) {
        let limit = match haste {
            Haste::Patient => None,
            Haste::GaveUp | Haste::Limited => self.rules.stop_timeout.map(|t| now.plus(t)),
            Haste::Now => Some(now),
        };
        let pids: Vec<Pid> = self.workers.keys().copied().collect();
        for pid in pids {
            if haste == Haste::Now {
                self.kill(now, pid);
            } else {
                self.tell(pid, limit, true);
            }
            if let Some(worker) = self.workers.get_mut(&pid)
                && let Some(killed) = &mut worker.killed
            {
                killed.patience = killed.patience.or(Some(now.plus(KILL_PATIENCE)));
            }
        }
    }

    /// Told once; later only the limit may come nearer.
    fn tell(&mut self, pid: Pid, until: Option<Millis>, wanted: bool) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if worker.killed.is_some() {
            return;
        }
        let until = match worker.told {
            Some(told) => [told.until, until].into_iter().flatten().min(),
            None => {
                self.due.tell.push(pid);
                until
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

    /// A slot's worker makes room at once, unless the slot has two already.
    pub(super) fn replaced(&mut self, now: Millis) {
        if !self.running() {
            return;
        }
        let limit = self.rules.stop_timeout.map(|limit| now.plus(limit));
        let seated: Vec<(Pid, SlotId)> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.left)
            .map(|(pid, worker)| (*pid, worker.slot))
            .collect();
        for (pid, slot) in seated {
            self.tell(pid, limit, true);
            let two = self.workers.values().filter(|worker| worker.slot == slot).count() > 1;
            if let Some(worker) = self.workers.get_mut(&pid).filter(|_| !two) {
                worker.left = true;
                self.slot(slot).vacant = true;
            }
        }
    }

    pub(super) fn time_passed(&mut self, now: Millis) {
        let pids: Vec<Pid> = self.workers.keys().copied().collect();
        for pid in pids {
            self.start_is_due(now, pid);
            self.end_is_due(now, pid);
        }
        for slot in &mut self.slots {
            if slot.wait.as_ref().is_some_and(|wait| wait.until.is_some_and(|at| at <= now)) {
                slot.wait = None;
                slot.vacant = true;
            }
        }
    }

    fn start_is_due(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(&pid) else { return };
        let Phase::Starting { until: Some(until) } = worker.phase else { return };
        if now < until || worker.told.is_some() || worker.killed.is_some() {
            return;
        }
        match self.rules.readiness {
            Readiness::Alive(_) => self.ready(now, pid),
            Readiness::Notify(_) | Readiness::Signal(_) => {
                self.tell(pid, self.rules.stop_timeout.map(|limit| now.plus(limit)), false);
            }
        }
    }

    fn end_is_due(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if let Some(killed) = &mut worker.killed {
            if killed.patience.is_some_and(|patience| patience <= now) {
                killed.patience = None;
                if self.stop.is_some() {
                    self.workers.remove(&pid);
                    self.due.abandon.push(pid);
                }
            }
        } else if worker.told.is_some_and(|told| told.until.is_some_and(|at| at <= now)) {
            self.kill(now, pid);
        }
    }
}
