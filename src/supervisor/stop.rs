//! How fd3 comes to its end, and how a single worker does.
//!
//! NotBegun -> Running -> Stopping -> Finished. A stop only ever gets hastier: patient (no
//! limit), given up by fd3 itself, limited by name, limited by a signal, at once.

use alloc::rc::Rc;

use super::event::{Action, Actions, Fact, Failure, Next, StopReason, Target};
use super::slot::{Load, Newcomer, Seat};
use super::worker::{Cause, Phase};
use super::{Rest, Supervisor, take_out};
use crate::plan::{Reaction, Ways};
use crate::sweep::{KILL_PATIENCE, ONE_ORDER};
use crate::units::{Millis, Pid, Signal, SlotId, sooner};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mission {
    NotBegun,
    Running,
    Stopping {
        status: u8,
        haste: Haste,
        /// When it got that hasty.
        since: Millis,
    },
    Finished,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Haste {
    Patient,
    /// Nobody asked: fd3 gave up. Limited, too.
    GaveUp,
    /// Somebody asked by name: limited, and the first signal that comes is no second order.
    Named,
    Limited,
    Now,
}

impl Mission {
    pub(super) fn is_over(self) -> bool {
        matches!(self, Mission::Stopping { .. } | Mission::Finished)
    }

    /// Ends it, once: the status to exit with. `resting` is for slots that all came to rest.
    pub(super) fn finish(&mut self, resting: u8) -> Option<u8> {
        let status = match *self {
            Mission::NotBegun | Mission::Finished => return None,
            Mission::Running => resting,
            Mission::Stopping { status, .. } => status,
        };
        *self = Mission::Finished;
        Some(status)
    }

    /// `None` while running; else the deadline that a stop sets for a worker.
    pub(super) fn worker_limit(
        self,
        now: Millis,
        timeout: Option<Millis>,
    ) -> Option<Option<Millis>> {
        match self {
            Mission::NotBegun | Mission::Running => None,
            Mission::Stopping { haste: Haste::Patient, .. } => Some(None),
            Mission::Stopping { haste: Haste::Now, .. } => Some(Some(now)),
            Mission::Stopping { .. } | Mission::Finished => Some(timeout.map(|t| now.plus(t))),
        }
    }
}

impl Supervisor {
    pub(super) fn asked_to_stop(
        &mut self,
        now: Millis,
        why: StopReason,
        asked: Haste,
        out: &mut Actions,
    ) {
        match self.mission {
            Mission::NotBegun | Mission::Running => self.begin_stop(now, why, 0, asked, out),
            Mission::Stopping { status, haste, since } => {
                // A second signal to stop is an order to stop at once.
                let again = now.since(since) >= ONE_ORDER;
                let second = haste == Haste::Limited && asked == Haste::Limited && again;
                let next = if second { Haste::Now } else { asked.max(haste) };
                if next > haste {
                    self.mission = Mission::Stopping { status, haste: next, since: now };
                    self.hasten(now, next, out);
                }
            }
            Mission::Finished => {}
        }
    }

    /// Once it is finished: until when those may take who are left besides the workers and their groups;
    /// `None` if they are left alone.
    pub fn rest_of_stop(&self) -> Option<Rest> {
        self.time_left
    }

    /// Whether this signal, while they are waited for, asks for haste.
    pub fn is_order_to_stop(&self, signal: Signal) -> bool {
        match self.load.rules.reactions.to(signal) {
            Reaction::Stop | Reaction::StopNow => true,
            Reaction::StopBy(_)
            | Reaction::Drain
            | Reaction::Reload
            | Reaction::Upgrade
            | Reaction::Up
            | Reaction::Down
            | Reaction::Ignore
            | Reaction::Forward(_) => false,
        }
    }

    pub(super) fn time_left(&self, now: Millis) -> Option<Rest> {
        let rules = &self.load.rules;
        let until = match self.mission {
            Mission::Stopping { haste: Haste::Patient, .. } => None,
            Mission::Stopping { haste: Haste::Now, .. } => Some(now),
            Mission::Stopping { since, .. } => rules.stop_timeout.map(|limit| since.plus(limit)),
            Mission::NotBegun | Mission::Running | Mission::Finished => {
                rules.stop_timeout.map(|limit| now.plus(limit))
            }
        };
        Some(Rest { until }).filter(|_| rules.ways() == Ways::Own)
    }

    pub(super) fn give_up_if(
        &mut self,
        next: Next,
        slot: SlotId,
        status: u8,
        now: Millis,
        out: &mut Actions,
    ) {
        let Next::GiveUp(why) = next else { return };
        self.set_seat(slot, Seat::Closed);
        if self.mission == Mission::Running {
            self.begin_stop(now, why, status, Haste::GaveUp, out);
        }
    }

    pub(super) fn begin_stop(
        &mut self,
        now: Millis,
        why: StopReason,
        status: u8,
        haste: Haste,
        out: &mut Actions,
    ) {
        self.mission = Mission::Stopping { status, haste, since: now };
        out.push_back(Action::CloseListeners);
        let workers = self.workers.len();
        out.push_back(Action::Say(Fact::Stopping { why, workers, status }));
        self.vacant.clear();
        self.set_outage(None);
        self.stop_reload(now, out);
        for index in 0..self.slots.len() {
            let slot = SlotId(index as u32);
            match self.slots.get(index).map(|slot| slot.seat) {
                Some(Seat::Vacant | Seat::Resting { .. } | Seat::Waiting | Seat::Ceded) => {
                    self.set_seat(slot, Seat::Closed)
                }
                Some(Seat::Spawning | Seat::Held(_) | Seat::Closed) | None => {}
            }
        }
        self.hasten(now, haste, out);
    }

    fn hasten(&mut self, now: Millis, haste: Haste, out: &mut Actions) {
        let pids = self.workers.pids();
        if haste == Haste::Now {
            out.push_back(Action::Say(Fact::StoppingNow { workers: pids.len() }));
            for pid in pids {
                self.kill(now, pid, out);
            }
            self.hasten_leftovers(Some(now));
            return;
        }
        for pid in pids {
            let limit = self.stop_limit(now, self.workers.get(pid).map(|worker| &worker.load));
            self.retire(pid, limit, Cause::Wanted, out);
            self.keep_patience(now, pid);
        }
        self.hasten_leftovers(self.stop_limit(now, Some(&self.load)));
    }

    /// When the stop that runs kills who was started from this.
    fn stop_limit(&self, now: Millis, load: Option<&Rc<Load>>) -> Option<Millis> {
        let timeout = load.and_then(|load| load.rules.stop_timeout);
        self.mission.worker_limit(now, timeout).flatten()
    }

    /// One that outlived SIGKILL before this stop is waited for only so long.
    fn keep_patience(&mut self, now: Millis, pid: Pid) {
        if let Some(worker) = self.workers.get(pid)
            && let Phase::Killed { until: None, cause } = worker.phase
        {
            self.set_phase(pid, Phase::Killed { until: Some(now.plus(KILL_PATIENCE)), cause });
        }
    }

    /// Tells a worker to stop; one that was told before only gets the deadline, if it is
    /// sooner.
    pub(super) fn retire(
        &mut self,
        pid: Pid,
        until: Option<Millis>,
        cause: Cause,
        out: &mut Actions,
    ) {
        let Some(worker) = self.workers.get(pid) else { return };
        let before = worker.phase.deadline().filter(|_| worker.phase.cause().is_some());
        let until = sooner(before, until);
        let signal = match worker.phase {
            Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Draining { cause: Cause::Own, .. } => {
                Some(self.stop_by.unwrap_or(worker.load.rules.stop_signal))
            }
            // It was told, but perhaps by another signal.
            Phase::Draining { .. } => self.stop_by,
            Phase::Killed { .. } => return,
        };
        if let Some(signal) = signal {
            self.steer_past(pid, out);
            let to = Target::Process;
            out.push_back(Action::Signal { pid, signal, to });
            // A worker that somebody stopped (SIGSTOP) could not obey otherwise.
            out.push_back(Action::Signal { pid, signal: Signal(libc::SIGCONT), to });
        }
        self.set_phase(pid, Phase::Draining { until, cause });
    }

    pub(super) fn kill(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        if let Phase::Killed { .. } = worker.phase {
            self.keep_patience(now, pid);
            return;
        }
        let cause = worker.phase.cause().unwrap_or(Cause::Wanted);
        let until = Some(now.plus(KILL_PATIENCE));
        self.set_phase(pid, Phase::Killed { until, cause });
        let signal = Signal(libc::SIGKILL);
        out.push_back(Action::Signal { pid, signal, to: Target::Group });
    }

    /// SIGKILL was in vain so far. Where nothing waits for the worker's seat it is forgotten; otherwise
    /// its slot stays taken until it ends, or fd3 does.
    pub(super) fn outlived_kill(&mut self, now: Millis, pid: Pid, out: &mut Actions) {
        let Some(worker) = self.workers.get(pid) else { return };
        let (slot, cause) = (worker.slot, worker.phase.cause().unwrap_or(Cause::Wanted));
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        let (leaving, awaited) = (place.leaving == Some(pid), place.newcomer == Newcomer::Awaited);
        let seated = place.seat == Seat::Held(pid);
        if self.mission == Mission::Running && seated && !leaving {
            self.set_phase(pid, Phase::Killed { until: None, cause });
            if awaited {
                self.roll_back(now, Failure::NotStopped { slot, pid }, out);
            }
            return;
        }
        self.set_renewal(pid, None);
        take_out(&mut self.old, pid);
        self.workers.remove(pid);
        out.push_back(Action::Say(Fact::Abandoned { slot, pid }));
        if leaving {
            self.left(slot);
            self.make_room(now, slot, out);
            self.go_on(now, out);
        } else if seated {
            self.set_seat(slot, Seat::Closed);
        }
    }
}
