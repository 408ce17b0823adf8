//! What the world does with fd3's actions: the part of the kernel, and of the event loop.

use fd3::supervisor::{Action, Event, Fact, Status, Target};
use fd3::units::{Millis, Pid, Signal, SlotId};
use fd3::{Errno, Error, ErrorKind};

use crate::process::{Birth, Deed, Life, Process, Who};
use crate::scene::{BY, rules_of_reload};
use crate::seen::Sight;
use crate::world::{Happening, World};

const KILL: Signal = Signal(libc::SIGKILL);
const CONT: Signal = Signal(libc::SIGCONT);
const ABORT: Signal = Signal(libc::SIGABRT);

impl World {
    /// Returns the answer.
    pub fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { slot, generation: _ } => return Some(self.spawn(slot)),
            Action::Signal { pid, signal, to: Target::Process } => self.signal_process(pid, signal),
            Action::Signal { pid, signal: KILL, to: Target::Group } => self.kill(pid),
            Action::SignalLeftovers { group, .. } => return self.kill_leftovers(group),
            Action::MendListeners => {
                let whole = self.healed || self.now >= self.outage_until;
                return Some(if whole { Event::ListenerReplaced } else { Event::ListenerDead });
            }
            // The worker itself is dead; what it left behind is deaf.
            Action::Signal { .. } | Action::CloseListeners => {}
            Action::Load { .. } => return Some(self.load()),
            Action::Forget { .. } | Action::Answer { .. } | Action::Steer { .. } => {}
            // The answer may be late.
            Action::LookAtQueue { slot } => self.happens_in(Millis(0), Happening::Looked(slot)),
            Action::Say(Fact::Abandoned { pid, .. }) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.life = Life::Abandoned;
                }
                if !self.model.stopping() {
                    self.seen.note(Sight::LeftBehind);
                }
            }
            Action::Say(_) => {}
            Action::Finish { status } => {
                self.finished = Some(status);
                if !self.model.stopping() {
                    self.seen.note(Sight::AllRest);
                }
            }
        }
        None
    }

    fn load(&mut self) -> Event {
        if !self.healed && self.rng.percent(self.scene.moods.load_fails) {
            let error = Error::system("execute", "/app", Errno(libc::ENOENT));
            return Event::LoadFailed { error: error.of_kind(ErrorKind::NotFound) };
        }
        let rules = rules_of_reload(&mut self.rng, &self.scene.rules);
        Event::Loaded { rules: Box::new(rules) }
    }

    fn spawn(&mut self, slot: SlotId) -> Event {
        let Some(pid) = self.free_pid().filter(|_| !self.fork_fails()) else {
            let errno = self.rng.pick([libc::EAGAIN, libc::ENOMEM, libc::EMFILE]);
            let error = Error::system("fork", "worker", Errno(errno));
            return Event::SpawnFailed { slot, error };
        };
        self.born += 1;
        let birth = Birth { serial: self.born, slot, started: self.now };
        let (process, agenda) = if self.healed {
            Process::good(&mut self.rng, &self.scene, birth)
        } else {
            let proven = self.model.proven();
            Process::draw(&mut self.rng, &self.scene, proven, birth)
        };
        let who = Who { pid, serial: birth.serial };
        if self.processes.values().any(|other| other.slot == slot && other.lives()) {
            self.seen.note(Sight::TwoInASlot);
        }
        let told =
            |other: &&Process| other.slot == slot && other.lives() && other.told_at.is_some();
        if self.processes.values().filter(told).count() > 1 {
            self.seen.note(Sight::PiledUp);
        }
        if !self.used.insert(pid) {
            self.seen.note(Sight::ReusedPid);
        }
        self.processes.insert(pid, process);
        for (after, deed) in agenda {
            self.happens_in(after, Happening::Does(who, deed));
        }
        Event::Spawned { slot, pid }
    }

    fn fork_fails(&mut self) -> bool {
        let moods = self.scene.moods;
        if self.healed || (moods.calm_start && !self.model.proven()) {
            return false;
        }
        if self.rng.percent(moods.spawn_fails) {
            let phase = self.rng.pick([0, 0, 100, 5_000]);
            self.fork_fails_until = self.now.plus(Millis(phase));
            return true;
        }
        self.now < self.fork_fails_until
    }

    /// Mostly the one that was free first, so that PIDs are used again as soon as they can be.
    fn free_pid(&mut self) -> Option<Pid> {
        let pool = 8 + 4 * self.scene.workers.max(self.size) as i32;
        let from = if self.rng.percent(80) { 0 } else { self.rng.below(pool as u64) as i32 };
        let all = (from..pool).chain(0..from);
        all.map(|n| Pid(100 + n)).find(|pid| !self.processes.contains_key(pid))
    }

    /// A signal that a process may catch.
    fn signal_process(&mut self, pid: Pid, signal: Signal) {
        let process = self.processes.get_mut(&pid);
        let Some(process) = process.filter(|process| process.lives()) else { return };
        // It is to end, whether it hears or not.
        process.stops |= signal == ABORT;
        let who = Who { pid, serial: process.serial };
        if signal == ABORT && (self.healed || self.rng.percent(70)) {
            self.happens_in(Millis(1), Happening::Dies(who, Status::Killed(signal)));
        } else if signal == CONT {
            self.thaw(who);
        } else if signal == self.scene.rules.stop_signal || signal == BY {
            self.told_to_stop(who);
        } else if self.rng.percent(5) {
            self.happens_in(Millis(0), Happening::Dies(who, Status::Killed(signal)));
        }
    }

    fn told_to_stop(&mut self, who: Who) {
        let killed = self.rng.percent(30);
        let signal = self.scene.rules.stop_signal;
        let Some(process) = self.processes.get_mut(&who.pid) else { return };
        process.told_at = process.told_at.or(Some(self.now));
        let Some(drains) = process.drains else { return };
        let status = if killed { Status::Killed(signal) } else { Status::Exited(0) };
        if process.frozen {
            process.put_off.push(Deed::End(status));
        } else {
            self.happens_in(drains, Happening::Does(who, Deed::End(status)));
        }
    }

    pub fn thaw(&mut self, who: Who) {
        let Some(process) = self.processes.get_mut(&who.pid) else { return };
        process.frozen = false;
        for deed in core::mem::take(&mut process.put_off) {
            let soon = Millis(self.rng.below(20));
            self.happens_in(soon, Happening::Does(who, deed));
        }
    }

    fn kill_leftovers(&mut self, group: Pid) -> Option<Event> {
        let process = self.processes.get_mut(&group);
        let Some(process) = process.filter(|process| matches!(process.life, Life::Orphaned)) else {
            return Some(Event::GroupGone { group });
        };
        process.killed = true;
        let who = Who { pid: group, serial: process.serial };
        if let Some(after) = process.dies_after {
            self.happens_in(after, Happening::GroupGone(who));
        }
        None
    }

    fn kill(&mut self, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.killed = true;
        let who = Who { pid, serial: process.serial };
        if let Some(after) = process.dies_after.filter(|_| process.lives()) {
            self.happens_in(after, Happening::Dies(who, Status::Killed(KILL)));
        }
    }
}
