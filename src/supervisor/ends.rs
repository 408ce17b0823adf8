//! What follows a worker's end, or its never having been.

use super::agenda::Due;
use super::event::{Action, Actions, Fact, Failure, Next, Status, StopReason};
use super::slot::{Newcomer, Seat};
use super::stop::Mission;
use super::worker::{Cause, Phase, Worker};
use super::{EXIT_OWN_FAILURE, EXIT_TOO_SLOW, Lane, Supervisor, take_out};
use crate::error::{Error, Kind};
use crate::plan::{Restart, Ways};
use crate::units::{Millis, Pid, SlotId};

impl Supervisor {
    pub(super) fn spawn_failed(
        &mut self,
        now: Millis,
        slot: SlotId,
        error: Error,
        out: &mut Actions,
    ) {
        match self.spawning {
            Some((spawning, lane)) if spawning == slot => {
                self.spawning = None;
                match lane {
                    Lane::Seat => self.seat_not_filled(now, slot, error, out),
                    Lane::Newcomer => {
                        self.newcomer_failed(now, slot, Failure::NotStarted { slot, error }, out);
                    }
                }
            }
            Some(_) | None => {}
        }
    }

    fn seat_not_filled(&mut self, now: Millis, slot: SlotId, error: Error, out: &mut Actions) {
        let status = error.exit_status();
        let next = self.after_failure(now, slot, &error);
        out.push_back(Action::Say(Fact::NotStarted { slot, error, next }));
        self.give_up_if(next, slot, status, now, out);
    }

    #[inline(never)]
    pub(super) fn exited(&mut self, now: Millis, pid: Pid, status: Status, out: &mut Actions) {
        self.steer_past(pid, out);
        let Some(worker) = self.workers.remove(pid) else { return };
        self.agenda.change(Due::Worker(pid), worker.phase.deadline(), None);
        self.agenda.change(Due::Age(pid), worker.renewal, None);
        take_out(&mut self.old, pid);
        self.left_behind(now, pid, &worker, out);
        let slot = worker.slot;
        self.touch(slot);
        let Some(place) = self.slots.get(slot.0 as usize) else { return };
        let (seated, newcomer) = (place.seat == Seat::Held(pid), place.newcomer);
        if place.leaving == Some(pid) {
            self.left(slot);
        }
        if seated {
            self.served(now, slot, worker.phase);
            self.set_emptying(slot, None);
        }
        let running = self.mission == Mission::Running;
        // Its slot may have been taken away while it was dying of something else.
        let wanted = worker.phase.cause() == Some(Cause::Wanted) || slot.0 >= self.size;
        let asked = wanted || newcomer == Newcomer::Awaited;
        if running && newcomer.pid() == Some(pid) {
            self.newcomer_exited(now, pid, status, worker, out);
        } else if running && seated && !asked {
            self.holder_failed(now, pid, status, worker, out);
        } else {
            let uptime = now.since(worker.started);
            let next = if seated { self.after_asked_end(now, slot) } else { Next::Asked };
            out.push_back(Action::Say(Fact::Exited { slot, pid, status, uptime, next }));
            self.give_up_if(next, slot, EXIT_OWN_FAILURE, now, out);
            self.make_room(now, slot, out);
        }
        self.go_on(now, out);
    }

    /// However it ended: before it has taken over, that is a failure.
    fn newcomer_exited(
        &mut self,
        now: Millis,
        pid: Pid,
        status: Status,
        worker: Worker,
        out: &mut Actions,
    ) {
        let (slot, uptime) = (worker.slot, now.since(worker.started));
        let why = match worker.exec_failure {
            Some(error) => Failure::NotStarted { slot, error },
            None => {
                let next = Next::InVain;
                out.push_back(Action::Say(Fact::Exited { slot, pid, status, uptime, next }));
                Failure::Exited { slot, pid, status, uptime }
            }
        };
        self.newcomer_failed(now, slot, why, out);
    }

    /// The seat's holder ended, and nobody had asked for that.
    #[inline(never)]
    fn holder_failed(
        &mut self,
        now: Millis,
        pid: Pid,
        status: Status,
        worker: Worker,
        out: &mut Actions,
    ) {
        let (slot, uptime) = (worker.slot, now.since(worker.started));
        if let Some(error) = worker.exec_failure {
            return self.seat_not_filled(now, slot, error, out);
        }
        let failed = matches!(worker.phase.cause(), Some(Cause::TooSlow | Cause::Hung));
        // It obeyed, but it had failed.
        let code = if failed && status.code() == 0 { EXIT_TOO_SLOW } else { status.code() };
        let idle = if code == 0 { self.wait_again(now, slot, worker.started) } else { None };
        let next = idle.unwrap_or_else(|| self.after_end(now, slot, code, code != 0));
        out.push_back(Action::Say(Fact::Exited { slot, pid, status, uptime, next }));
        self.give_up_if(next, slot, code, now, out);
    }

    /// A worker is no longer ready, or never was.
    pub(super) fn served(&mut self, now: Millis, slot: SlotId, phase: Phase) {
        if let (Phase::Ready { since, .. }, Some(place)) =
            (phase, self.slots.get_mut(slot.0 as usize))
        {
            place.misery.was_ready_for(now.since(since));
        }
    }

    /// The seat's holder ended as it was asked to. While fd3 runs it was replaced, and is gone before the
    /// slot's former one: the next one waits here as well, see `make_room`. Or it went for a newcomer.
    fn after_asked_end(&mut self, now: Millis, slot: SlotId) -> Next {
        if self.mission != Mission::Running || slot.0 >= self.size {
            self.set_seat(slot, Seat::Closed);
            return Next::Asked;
        }
        if self.newcomer_of(slot) == Newcomer::Awaited {
            self.set_seat(slot, Seat::Ceded);
            self.set_newcomer(slot, Newcomer::Vacant);
            return Next::Asked;
        }
        self.start_another(now, slot)
    }

    /// After an end that somebody asked for.
    pub(super) fn start_another(&mut self, now: Millis, slot: SlotId) -> Next {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Next::Rest };
        if core::mem::take(&mut place.blameless) {
            return self.rest(now, slot);
        }
        self.start_again(now, slot)
    }

    fn newcomer_of(&self, slot: SlotId) -> Newcomer {
        self.slots.get(slot.0 as usize).map_or(Newcomer::None, |slot| slot.newcomer)
    }

    /// A worker never came to be. Before COMMAND is proven this is the end. Later a shortage of the
    /// machine's (of processes, memory, descriptors) is waited out: it is no fault of COMMAND's.
    fn after_failure(&mut self, now: Millis, slot: SlotId, error: &Error) -> Next {
        if self.load.rules.ways() == Ways::Starter {
            return self.rest(now, slot);
        }
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
        let Some(place) = self.slots.get(slot.0 as usize) else { return Next::Rest };
        let rests = match place.load.rules.restart {
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

    /// After the wait that its past deserves, unless there were too many restarts already. While a reload
    /// runs nothing is given up: it may be what mends them.
    pub(super) fn start_again(&mut self, now: Millis, slot: SlotId) -> Next {
        let mending = self.reload.is_some();
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Next::Rest };
        if !place.misery.may_restart(now, place.load.rules.respawn_limit) && !mending {
            return Next::GiveUp(StopReason::RespawnLimit(slot));
        }
        self.rest(now, slot)
    }

    fn rest(&mut self, now: Millis, slot: SlotId) -> Next {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return Next::Rest };
        let rules = &place.load.rules;
        let wait = match rules.ways() {
            Ways::Own => place.misery.next_wait(rules.backoff, &mut self.chance),
            // Who comes anyway is this one's successor as well.
            Ways::Starter if place.newcomer != Newcomer::None => {
                self.set_seat(slot, Seat::Ceded);
                return Next::Asked;
            }
            Ways::Starter => rules.backoff.rest_of_min(now.since(place.tried)),
        };
        self.set_seat(slot, Seat::Resting { until: now.plus(wait) });
        Next::Restart(wait)
    }
}
