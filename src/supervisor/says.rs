//! What a worker shows of itself: that it serves, stops, needs more time, is well or hangs; or nothing, for
//! too long.

use super::Supervisor;
use super::event::{Action, Actions, Fact, Failure, Target};
use super::stop::Mission;
use super::worker::{Cause, Phase};
use crate::plan::Readiness;
use crate::units::{Millis, Pid, Signal, SlotId};

/// Where a stop has no limit: how long a hung worker may take to end.
const ABORT_PATIENCE: Millis = Millis::seconds(8);

impl Supervisor {
    pub(super) fn ready(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let Phase::Starting { .. } = worker.phase else { return };
        let (slot, after) = (worker.slot, now.since(worker.started));
        let until = worker.watchdog.map(|limit| now.plus(limit));
        self.set_phase(pid, Phase::Ready { since: now, until });
        self.proven = true;
        let renewed_in = self.age_limit(pid);
        self.set_renewal(pid, renewed_in.map(|limit| now.plus(limit)));
        out.push_back(Action::Say(Fact::Ready { slot, pid, after, renewed_in }));
        if self.is_newcomer(slot, pid) {
            self.newcomer_ready(now, slot, pid);
        }
    }

    /// STOPPING=1: from now on it has as long as one that another worker replaces.
    pub(super) fn stops(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let (slot, phase) = (worker.slot, worker.phase);
        let (Phase::Starting { .. } | Phase::Ready { .. }) = phase else { return };
        let until = worker.load.rules.drain_timeout.map(|limit| now.plus(limit));
        if self.is_newcomer(slot, pid) {
            return self.newcomer_failed(now, slot, Failure::Stops { slot, pid }, out);
        }
        self.served(now, slot, phase);
        self.set_phase(pid, Phase::Draining { until, cause: Cause::Own });
    }

    /// EXTEND_TIMEOUT_USEC: a deadline of its start or its end only ever moves away. When fd3 itself stops,
    /// it is not for a worker to say how long that takes.
    pub(super) fn more_time(&mut self, now: Millis, pid: Pid, by: Millis) {
        let Some(worker) = self.workers.get(pid) else { return };
        if self.mission != Mission::Running {
            return;
        }
        let asked = now.plus(by);
        let phase = match (worker.phase, worker.load.rules.readiness) {
            // It is to be alive for a time, not to be ready within one.
            (Phase::Starting { .. }, Readiness::Alive(_)) => return,
            (Phase::Starting { until: Some(until) }, _) => {
                Phase::Starting { until: Some(until.max(asked)) }
            }
            (Phase::Draining { until: Some(until), cause }, _) => {
                Phase::Draining { until: Some(until.max(asked)), cause }
            }
            (Phase::Starting { .. } | Phase::Draining { .. }, _) => return,
            (Phase::Ready { .. } | Phase::Killed { .. }, _) => return,
        };
        self.set_phase(pid, phase);
    }

    /// WATCHDOG=1.
    pub(super) fn well(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(pid) else { return };
        if let Phase::Ready { since, until: Some(_) } = worker.phase {
            let until = worker.watchdog.map(|limit| now.plus(limit));
            self.set_phase(pid, Phase::Ready { since, until });
        }
    }

    /// WATCHDOG_USEC=: this counts from now on, whatever `--watchdog` said; for this worker alone.
    pub(super) fn set_watchdog(&mut self, now: Millis, pid: Pid, limit: Option<Millis>) {
        let Some(worker) = self.workers.get_mut(pid) else { return };
        worker.watchdog = limit;
        if let Phase::Ready { since, .. } = worker.phase {
            let until = limit.map(|limit| now.plus(limit));
            self.set_phase(pid, Phase::Ready { since, until });
        }
    }

    /// The watchdog missed it, or it said so itself (WATCHDOG=trigger): it is to leave a core, and to end.
    pub(super) fn hangs(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let (slot, phase) = (worker.slot, worker.phase);
        let (Phase::Starting { .. } | Phase::Ready { .. }) = phase else { return };
        let limit = worker.load.rules.stop_timeout.unwrap_or(ABORT_PATIENCE);
        let until = Some(now.plus(limit));
        out.push_back(Action::Say(Fact::Hung { slot, pid }));
        if self.is_newcomer(slot, pid) {
            return self.newcomer_failed(now, slot, Failure::Hung { slot, pid }, out);
        }
        self.served(now, slot, phase);
        self.steer_past(pid, out);
        let (signal, to) = (Signal(libc::SIGABRT), Target::Process);
        out.push_back(Action::Signal { pid, signal, to });
        // One that somebody stopped (SIGSTOP) could not die of it.
        let signal = Signal(libc::SIGCONT);
        out.push_back(Action::Signal { pid, signal, to });
        self.set_phase(pid, Phase::Draining { until, cause: Cause::Hung });
    }

    /// A start timeout: a newcomer's is the end of its reload, another's is a failure.
    pub(super) fn too_slow(
        &mut self,
        now: Millis,
        slot: SlotId,
        pid: Pid,
        after: Millis,
        out: &mut Actions,
    ) {
        if self.is_newcomer(slot, pid) {
            return self.newcomer_failed(now, slot, Failure::NotReady { slot, pid, after }, out);
        }
        let timeout = self.workers.get(pid).and_then(|worker| worker.load.rules.stop_timeout);
        self.retire(pid, timeout.map(|limit| now.plus(limit)), Cause::TooSlow, out);
    }
}
