//! The seam: events in, actions out.

use fd3::plan::{Readiness, Ways};
use fd3::supervisor::{Action, Event, Fact, Next, Sender, Target};
use fd3::units::{Generation, Millis, Pid, Signal, SlotId};

use super::reload::{Newcomer, Why};
use super::{BURST, Due, End, Follows, Model, Of};
use crate::world::Claim;

impl Model {
    /// Reckons what the event asks for.
    pub fn before(&mut self, now: Millis, event: &Event) -> Claim {
        self.due = Due::default();
        if !matches!(event, Event::Spawned { .. } | Event::SpawnFailed { .. }) {
            self.burst = BURST;
        }
        match event {
            Event::Begin => {
                if !self.begun && self.stop.is_none() {
                    self.begun = true;
                    (0..self.size).for_each(|slot| self.fill(SlotId(slot)));
                }
            }
            Event::Spawned { slot, pid } => self.started(now, *slot, *pid),
            Event::SpawnFailed { slot, error } => {
                self.spawn_failed(now, *slot, error);
            }
            Event::ExecFailed { pid, error } => {
                if let Some(worker) = self.workers.get_mut(pid) {
                    worker.exec_failure = Some(error.clone());
                }
            }
            Event::Exited { pid, status } => self.exited(now, *pid, *status),
            Event::Ready { pid } => self.ready(now, *pid),
            Event::Stops { pid } => self.stops(now, *pid),
            Event::MoreTime { pid, by } => self.more_time(now, *pid, *by),
            Event::Well { pid } => self.well(now, *pid),
            Event::Hangs { pid } => self.hangs(now, *pid),
            Event::WatchdogSet { pid, limit } => self.watchdog_set(now, *pid, *limit),
            Event::Signalled { signal, sender } => self.signalled(now, *signal, *sender),
            Event::GroupGone { group } => drop(self.groups.remove(group)),
            Event::ListenerReplaced => self.listener_replaced(now),
            Event::ListenerDead => self.listener_dead(now),
            Event::ReloadAsked { asker } => self.reload_asked(*asker),
            Event::ReloadOrdered { asker: Some(asker), terms } => {
                self.reload_ordered(*asker, *terms);
            }
            Event::ReloadOrdered { asker: None, .. } => {}
            Event::StopAsked { how } => self.stop_asked(now, *how),
            Event::ScaleAsked { workers, asker: Some(asker) } => self.scale_asked(*workers, *asker),
            Event::RestartAsked { slot, asker: Some(asker) } => self.restart_asked(*slot, *asker),
            Event::ScaleAsked { asker: None, .. } | Event::RestartAsked { asker: None, .. } => {}
            Event::Loaded { rules } => self.loaded(now, rules),
            Event::LoadFailed { .. } => self.load_failed(),
            Event::Queue { slot, is_empty } => self.looked(now, *slot, *is_empty),
            Event::Demanded => self.demanded(),
            Event::TimePassed => {
                self.due.time_passed = true;
                self.time_passed(now);
            }
        }
        self.no_longer_emptied();
        self.go_on(now);
        self.scale(now);
        self.age_tells(now);
        self.reload_begins();
        self.renew(now);
        Ok(())
    }

    /// A signal of a worker is never an order.
    fn signalled(&mut self, now: Millis, signal: Signal, sender: Sender) {
        let by = [sender.pid, sender.group].into_iter().flatten();
        if self.rules.ways() == Ways::Starter {
            return self.ordered(now, signal);
        }
        if by.clone().any(|pid| self.groups.contains_key(&pid)) {
            return;
        }
        let Some(pid) = by.into_iter().find(|pid| self.workers.contains_key(pid)) else {
            return self.ordered(now, signal);
        };
        if let Readiness::Signal(_) = self.rules.readiness {
            self.ready(now, pid);
        }
    }

    /// Every action must have been asked for.
    pub fn action(&mut self, now: Millis, action: &Action) -> Claim {
        self.may_steer(action)?;
        let asked = match action {
            Action::Spawn { slot, generation } => self.spawn(now, *slot, *generation),
            Action::Signal { pid, signal, to } => self.signal(*pid, *signal, *to),
            Action::Load { generation, command } => {
                let right = *command == self.wanted_command.take();
                right && core::mem::take(&mut self.due.load) && generation.0 == self.newest.0 + 1
            }
            Action::Forget { generation } => take(&mut self.due.forget, generation),
            Action::Answer { asker, outcome } => {
                let mut answers = self.due.answers.iter();
                let place = answers.position(|(who, came)| who == asker && came.is(outcome));
                place.map(|place| self.due.answers.swap_remove(place)).is_some()
            }
            Action::SignalLeftovers { group, signal } => {
                signal.0 == libc::SIGKILL && take(&mut self.due.kill_group, group)
            }
            Action::Steer { .. } => true,
            Action::LookAtQueue { slot } => take(&mut self.due.look, slot),
            Action::MendListeners => core::mem::take(&mut self.due.mend),
            Action::CloseListeners => core::mem::take(&mut self.due.close),
            Action::Say(fact) => self.said(now, fact),
            Action::Finish { status } => {
                let right = self.is_over() == Some(*status);
                self.finished = true;
                right
            }
        };
        if asked { Ok(()) } else { Err(format!("not asked for: {action:?}")) }
    }

    /// Those that serve come before newcomers.
    fn spawn(&mut self, now: Millis, slot: SlotId, generation: Generation) -> bool {
        let free = self.may_spawn() && self.burst > 0;
        self.burst = self.burst.saturating_sub(1);
        let recovers = self.slots.iter().any(|slot| slot.vacant);
        let newest = self.reload.as_ref().map(|reload| reload.generation);
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return false };
        self.spawning = Some(slot);
        place.tried = now;
        if recovers {
            return free && core::mem::take(&mut place.vacant) && generation == place.generation;
        }
        let due = place.newcomer.replace(Newcomer::Spawning) == Some(Newcomer::Due);
        free && due && Some(generation) == newest
    }

    fn signal(&mut self, pid: Pid, signal: Signal, to: Target) -> bool {
        if take(&mut self.due.forward, &(pid, signal)) {
            return to == Target::Process;
        }
        let by = self.stop.and_then(|stop| stop.by);
        let stops = signal == by.unwrap_or(self.rules.stop_signal);
        let group = signal == self.rules.stop_signal;
        match (to, signal.0) {
            (Target::Process, libc::SIGABRT) if self.due.abort.contains(&pid) => {
                take(&mut self.due.abort, &pid)
            }
            (Target::Process, libc::SIGCONT) => take(&mut self.due.cont, &pid),
            (Target::Process, _) => {
                self.due.cont.push(pid);
                stops && take(&mut self.due.tell, &pid)
            }
            (Target::Group, libc::SIGKILL) => {
                !self.due.tell.contains(&pid) && take(&mut self.due.kill, &pid)
            }
            (Target::Group, _) => group && take(&mut self.due.group, &pid),
        }
    }

    /// What the log tells is what happened.
    fn said(&mut self, now: Millis, fact: &Fact) -> bool {
        match fact {
            Fact::Ready { pid, renewed_in, .. } => {
                take(&mut self.due.ready, pid) && self.ages(now, *pid, *renewed_in)
            }
            Fact::Renewing { slot } => take(&mut self.due.renewing, slot),
            Fact::RenewalEnded { slot, outcome, again_in } => {
                let mut all = self.due.renewed.iter();
                let place = all.position(|(due, came, again)| {
                    due == slot && came.is(outcome) && again == again_in
                });
                place.map(|place| self.due.renewed.remove(place)).is_some()
            }
            Fact::Abandoned { pid, .. } => take(&mut self.due.abandon, pid),
            Fact::NotStarted { slot, next, .. } => self.follows(*slot, Of::Failure, *next),
            Fact::Exited { slot, pid, next, .. } => self.follows(*slot, Of::Exit(*pid), *next),
            Fact::Replaced { slot, pid, next } => {
                // It is told to stop first.
                let told = !self.due.tell.contains(pid) && !self.due.cont.contains(pid);
                told && self.follows(*slot, Of::Replacement(*pid), *next)
            }
            Fact::Started { pid, .. } => self.workers.contains_key(pid),
            Fact::Hung { pid, .. } => take(&mut self.due.say_hung, pid),
            Fact::StartTimedOut { pid, .. } => self.due.tell.contains(pid),
            Fact::StopTimedOut { pid, .. } => self.due.kill.contains(pid),
            Fact::LeftoversKilled { group } => take(&mut self.due.say_killed, group),
            Fact::ReloadWaits { workers } => self.due.waits.take() == Some(*workers),
            Fact::Scaled { workers } => {
                core::mem::take(&mut self.due.scaled) && *workers == self.size
            }
            Fact::TriedAgain { slot, why, again_in } => {
                take(&mut self.due.again, &(*slot, Why::of(why), *again_in))
            }
            Fact::TooOld { pid, .. } => self.due.too_old.take() == Some(*pid),
            Fact::Reloading { .. } => core::mem::take(&mut self.due.reloading),
            Fact::ReloadEnded { outcome, .. } => {
                self.due.came.take().is_some_and(|came| came.is(outcome))
            }
            Fact::ListenersDown => core::mem::take(&mut self.due.down),
            Fact::Stopping { status, .. } => self.stop.is_some_and(|stop| stop.status == *status),
            Fact::StoppingNow { .. } => self.stop.is_some(),
            Fact::SignalIgnored { .. } => true,
        }
    }

    /// Up to a tenth sooner than at its full age.
    fn ages(&mut self, now: Millis, pid: Pid, renewed_in: Option<Millis>) -> bool {
        let Some(worker) = self.workers.get_mut(&pid) else { return false };
        worker.renewal = renewed_in.map(|wait| now.plus(wait));
        match (self.rules.max_age, renewed_in) {
            (Some(age), Some(wait)) if self.rules.ways() == Ways::Starter => wait == age,
            (Some(age), Some(wait)) => Millis(age.0 - age.0 / 10) <= wait && wait <= age,
            (age, wait) => age.is_none() && wait.is_none(),
        }
    }

    fn follows(&mut self, slot: SlotId, of: Of, next: Next) -> bool {
        let due = self.due.ends.pop_front().filter(|end| end.slot == slot && end.of == of);
        let Some(End { follows, .. }) = due else { return false };
        if let (Follows::Restart { least, most }, Next::Restart(wait)) = (follows, next) {
            let passing = self.due.time_passed;
            let place = self.slot(slot);
            if let Some(waits) = &mut place.wait {
                waits.until = Some(waits.began.plus(wait));
                if passing && wait == Millis(0) {
                    // Due at once, while it is looked what is due.
                    (place.wait, place.vacant) = (None, true);
                }
            }
            return least <= wait && wait <= most;
        }
        let expected = match follows {
            Follows::Nothing => Some(Next::Asked),
            Follows::InVain => Some(Next::InVain),
            Follows::Rest => Some(Next::Rest),
            Follows::Wait { .. } => Some(Next::Wait),
            Follows::GiveUp(why) => Some(Next::GiveUp(why)),
            Follows::Restart { .. } => None,
        };
        expected == Some(next)
    }
}

fn take<T: PartialEq>(list: &mut Vec<T>, one: &T) -> bool {
    let place = list.iter().position(|other| other == one);
    place.map(|place| list.swap_remove(place)).is_some()
}
