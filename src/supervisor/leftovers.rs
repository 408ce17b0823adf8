//! What workers leave behind: processes of a dead worker's group. They were told to stop when the worker
//! ended, hold no seat, and are killed when they take longer than a worker may. Afterwards the end of a
//! stop waits for them only so long.

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions, Fact, Target};
use super::worker::{Phase, Worker};
use crate::plan::Ways;
use crate::sweep::KILL_PATIENCE;
use crate::units::{Millis, Pid, Signal, sooner};

/// The rest of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leftovers {
    /// Killed at `until`.
    Told { until: Option<Millis> },
    /// Sent SIGKILL; waited for until then.
    Killed { until: Millis },
}

impl Leftovers {
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Leftovers::Told { until } => until,
            Leftovers::Killed { until } => Some(until),
        }
    }
}

impl Supervisor {
    /// A worker has ended; whether it left anybody behind is not known yet. They have as long as it had.
    pub(super) fn left_behind(
        &mut self,
        now: Millis,
        group: Pid,
        worker: &Worker,
        out: &mut Actions,
    ) {
        if worker.load.rules.ways() == Ways::Starter {
            return;
        }
        let (signal, to) = (worker.load.rules.stop_signal, Target::Group);
        out.push_back(Action::Signal { pid: group, signal, to });
        let timeout = worker.load.rules.stop_timeout;
        let leftovers = match worker.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => {
                let limit = self.mission.worker_limit(now, timeout);
                let until = limit.unwrap_or_else(|| timeout.map(|limit| now.plus(limit)));
                Leftovers::Told { until }
            }
            Phase::Draining { until, .. } => Leftovers::Told { until },
            // With their whole group.
            Phase::Killed { until, .. } => Leftovers::Killed { until: until.unwrap_or(now) },
        };
        self.set_leftovers(group, Some(leftovers));
    }

    /// Nobody is left; or its number is another process's now.
    pub(super) fn group_gone(&mut self, group: Pid) {
        self.set_leftovers(group, None);
    }

    pub(super) fn leftovers_due(&mut self, now: Millis, group: Pid, out: &mut Actions) {
        match self.leftovers.get(group) {
            Some(Leftovers::Told { .. }) => self.kill_leftovers(now, group, out),
            // They hang in the kernel.
            Some(Leftovers::Killed { .. }) => self.set_leftovers(group, None),
            None => {}
        }
    }

    /// A stop that got hastier: `limit` is when it kills.
    pub(super) fn hasten_leftovers(&mut self, limit: Option<Millis>) {
        for group in self.leftovers.pids() {
            let Some(Leftovers::Told { until }) = self.leftovers.get(group).copied() else {
                continue;
            };
            let until = sooner(until, limit);
            self.set_leftovers(group, Some(Leftovers::Told { until }));
        }
    }

    fn kill_leftovers(&mut self, now: Millis, group: Pid, out: &mut Actions) {
        self.set_leftovers(group, Some(Leftovers::Killed { until: now.plus(KILL_PATIENCE) }));
        out.push_back(Action::Say(Fact::LeftoversKilled { group }));
        out.push_back(Action::SignalLeftovers { group, signal: Signal(libc::SIGKILL) });
    }

    /// The only place where they change: the agenda follows.
    fn set_leftovers(&mut self, group: Pid, after: Option<Leftovers>) {
        let before = match after {
            Some(leftovers) => self.leftovers.insert(group, leftovers),
            None => self.leftovers.remove(group),
        };
        let due = |leftovers: Option<Leftovers>| leftovers.and_then(Leftovers::deadline);
        self.agenda.change(Due::Group(group), due(before), due(after));
    }
}
