//! What happens in a world of itself: processes act and end, and others interfere.

use fd3::plan::{Reaction, Readiness};
use fd3::supervisor::{Ending, Event, Sender, Status, Terms};
use fd3::units::{Asker, CommandId, Generation, Millis, Pid, Signal, SlotId};
use fd3::{Errno, Error};

use crate::process::{By, Deed, Life, Process, Who, some_status};
use crate::scene::{STOP_BY, STOP_NOW};
use crate::world::{Claim, Happening, World};

/// Whether anybody can order by name.
pub const ORDERED: bool = cfg!(feature = "control");
const ENDINGS: [Ending; 3] = [Ending::Limited, Ending::Patient, Ending::Now];

const OUTSIDE: Sender = Sender { pid: None, group: None };

impl World {
    /// Others interfere, sometimes.
    pub fn weather(&mut self) {
        let moods = self.scene.moods;
        let soon = Millis(self.rng.pick([0, 1, 100, 3_000]));
        if self.rng.percent(moods.noise) {
            self.happens_in(soon, Happening::Noise);
        }
        if self.rng.percent(moods.replaces) {
            let dead = self.rng.percent(30);
            let what = if dead { Happening::ListenerDead } else { Happening::ListenerReplaced };
            self.happens_in(soon, what);
        }
        if self.rng.percent(moods.reloads) {
            let hup = Happening::Signalled(Signal(libc::SIGHUP), OUTSIDE);
            let asks = self.rng.pick([Happening::Reload, hup]);
            self.happens_in(soon, asks);
        }
        if self.rng.percent(moods.orders) {
            let order = self.rng.pick([
                Happening::ScaleAsked,
                Happening::RestartAsked,
                Happening::ReloadOrdered,
            ]);
            self.happens_in(soon, order);
        }
        if self.rng.percent(moods.connects) {
            self.happens_in(soon, Happening::Demand);
        }
        let stranger = Sender { pid: Some(Pid(7)), group: Some(Pid(9)) };
        let sender = self.rng.pick([OUTSIDE, stranger]);
        if self.rng.percent(moods.stops) {
            let stop =
                [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, STOP_NOW.0, STOP_BY.0, STOP_BY.0];
            let signal = Signal(self.rng.pick(stop));
            let by_name = Happening::StopAsked(self.rng.pick(ENDINGS));
            let by_name = Some(by_name).filter(|_| ORDERED && self.rng.percent(30));
            self.happens_in(soon, by_name.unwrap_or(Happening::Signalled(signal, sender)));
        }
        if self.rng.percent(moods.signals / 2) {
            let signal = Signal(self.rng.between(1, 66) as i32);
            let stops = match self.scene.rules.reactions.to(signal) {
                Reaction::Stop | Reaction::Drain | Reaction::StopNow => true,
                Reaction::StopBy(_) => true,
                Reaction::Reload | Reaction::Upgrade | Reaction::Up | Reaction::Down => false,
                Reaction::Ignore | Reaction::Forward(_) => false,
            };
            if !stops {
                self.happens_in(soon, Happening::Signalled(signal, sender));
            }
        }
    }

    pub fn happen(&mut self, happening: Happening) -> Claim {
        match happening {
            Happening::Begin => self.deliver(Event::Begin),
            Happening::Does(who, deed) => self.does(who, deed),
            Happening::Dies(who, status) => {
                self.dies(who, status);
                Ok(())
            }
            Happening::Noticed(who) => self.is_noticed(who),
            Happening::GroupGone(who) => {
                if !self.is_there(who) {
                    return Ok(());
                }
                self.processes.remove(&who.pid);
                self.deliver(Event::GroupGone { group: who.pid })
            }
            Happening::SignalledByGroup(who, signal) => {
                let process = self.processes.get(&who.pid);
                if !self.is_there(who) || process.is_none_or(|process| process.killed) {
                    return Ok(());
                }
                let sender = sender(who.pid, By::ItsChild);
                self.deliver(Event::Signalled { signal, sender })
            }
            Happening::Signalled(signal, sender) => {
                self.deliver(Event::Signalled { signal, sender })
            }
            Happening::ListenerReplaced if self.model.outage() => Ok(()),
            Happening::ListenerReplaced => self.deliver(Event::ListenerReplaced),
            Happening::ListenerDead => {
                let lasts = self.rng.pick([0, 40, 1_000, 9_000, 60_000]);
                self.outage_until = self.outage_until.max(self.now.plus(Millis(lasts)));
                self.deliver(Event::ListenerDead)
            }
            Happening::ReloadOrdered => {
                self.asked += 1;
                let serving = self.model.serving();
                let other = Generation(self.rng.between(1, u64::from(serving.0) + 1) as u32);
                let if_generation = self.rng.pick([None, Some(serving), Some(other)]);
                let command = self.rng.percent(50).then_some(CommandId(self.asked));
                let terms = Terms { if_generation, command };
                self.deliver(Event::ReloadOrdered { asker: Some(Asker(self.asked)), terms })
            }
            Happening::StopAsked(how) => self.deliver(Event::StopAsked { how }),
            Happening::ScaleAsked => {
                self.asked += 1;
                let most = u64::from(self.scene.workers).max(8);
                let (workers, asker) = (self.rng.between(1, most) as u32, Some(Asker(self.asked)));
                self.deliver(Event::ScaleAsked { workers, asker })
            }
            Happening::RestartAsked => {
                self.asked += 1;
                let slot = SlotId(self.rng.below(u64::from(self.size) + 1) as u32);
                self.deliver(Event::RestartAsked { slot, asker: Some(Asker(self.asked)) })
            }
            Happening::Reload => {
                self.asked += 1;
                self.deliver(Event::ReloadAsked { asker: Some(Asker(self.asked)) })
            }
            // The loop looks only when it is asked to, but it may be late.
            Happening::Demand => self.deliver(Event::Demanded),
            Happening::Looked(slot) => {
                let is_empty = self.healed || self.rng.percent(40);
                self.deliver(Event::Queue { slot, is_empty })
            }
            Happening::Noise => {
                let event = self.noise();
                self.deliver(event)
            }
        }
    }

    pub fn is_there(&self, who: Who) -> bool {
        self.processes.get(&who.pid).is_some_and(|process| process.serial == who.serial)
    }

    fn does(&mut self, who: Who, deed: Deed) -> Claim {
        if !self.is_there(who) {
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(&who.pid) else { return Ok(()) };
        if !process.lives() {
            return Ok(());
        }
        if process.frozen && !matches!(deed, Deed::Thaw) {
            process.put_off.push(deed);
            return Ok(());
        }
        match deed {
            Deed::FailExec => return self.fails_exec(who),
            Deed::SayReady => return self.says_ready(who),
            Deed::Signal(signal, by) => {
                let sender = sender(who.pid, by);
                if matches!(self.scene.rules.readiness, Readiness::Signal(_)) {
                    process.said_ready = true;
                }
                return self.deliver(Event::Signalled { signal, sender });
            }
            Deed::Feed => {
                self.happens_in(Millis(2_000), Happening::Does(who, Deed::Feed));
                return self.deliver(Event::Well { pid: who.pid });
            }
            Deed::SayStops => {
                process.stops = true;
                let more = Millis(self.rng.pick([0, 1, 100, 5_000, 50_000]));
                let status = some_status(&mut self.rng);
                self.happens_in(more, Happening::Does(who, Deed::End(status)));
                return self.deliver(Event::Stops { pid: who.pid });
            }
            Deed::SayHangs => return self.deliver(Event::Hangs { pid: who.pid }),
            Deed::SetWatchdog(limit) => {
                return self.deliver(Event::WatchdogSet { pid: who.pid, limit });
            }
            Deed::AskTime(by) => return self.deliver(Event::MoreTime { pid: who.pid, by }),
            Deed::Freeze => process.frozen = true,
            Deed::Thaw => self.thaw(who),
            Deed::End(status) => self.dies(who, status),
        }
        Ok(())
    }

    fn fails_exec(&mut self, who: Who) -> Claim {
        let error = self.processes.get(&who.pid).and_then(|process| process.exec_error.clone());
        let Some(error) = error else { return Ok(()) };
        // The report always comes before the end, whatever the status of that is.
        self.deliver(Event::ExecFailed { pid: who.pid, error })?;
        let after = Millis(self.rng.pick([0, 0, 1]));
        let status = Status::Exited(self.rng.pick([0, 1, 127]));
        self.happens_in(after, Happening::Dies(who, status));
        Ok(())
    }

    fn says_ready(&mut self, who: Who) -> Claim {
        let by_signal = matches!(self.scene.rules.readiness, Readiness::Signal(_));
        if let Some(process) = self.processes.get_mut(&who.pid) {
            process.said_ready = true;
        }
        if by_signal && self.rng.percent(70) {
            let by = self.rng.pick([By::Itself, By::ItsChild]);
            let signal = Signal(self.rng.pick([1, 10, libc::SIGTERM, libc::SIGINT]));
            let sender = sender(who.pid, by);
            return self.deliver(Event::Signalled { signal, sender });
        }
        self.deliver(Event::Ready { pid: who.pid })
    }

    fn dies(&mut self, who: Who, status: Status) {
        if !self.is_there(who) {
            return;
        }
        let Some(process) = self.processes.get_mut(&who.pid) else { return };
        if process.lives() {
            process.life = Life::Zombie(status);
            let late = Millis(self.rng.pick([0, 0, 0, 1, 5, 100]));
            self.happens_in(late, Happening::Noticed(who));
        } else if matches!(process.life, Life::Abandoned) {
            self.processes.remove(&who.pid);
        }
    }

    /// fd3 learns of an end; the process is reaped after what fd3 then does.
    fn is_noticed(&mut self, who: Who) -> Claim {
        let Some(process) = self.processes.get_mut(&who.pid) else { return Ok(()) };
        let Life::Zombie(status) = process.life else { return Ok(()) };
        process.life = Life::Orphaned;
        self.noticed = Some(who.pid);
        let exited = Event::Exited { pid: who.pid, status };
        self.deliver(exited.clone())?;
        self.noticed = None;
        if self.finished.is_none() && self.rng.percent(self.scene.moods.noise / 4) {
            self.deliver(exited)?;
        }
        if self.rng.percent(self.scene.moods.leaves) && self.finished.is_none() {
            let lingers = Millis(self.rng.pick([1, 100, 10_000, 100_000]));
            self.happens_in(lingers, Happening::GroupGone(who));
            // fd3 is the parent of those who stay now, and some of them signal their parent.
            let signal = Signal(self.rng.pick([1, libc::SIGTERM, libc::SIGINT, 61]));
            let some_time = Millis(self.rng.below(lingers.0));
            self.happens_in(some_time, Happening::SignalledByGroup(who, signal));
            return Ok(());
        }
        self.processes.remove(&who.pid);
        self.deliver(Event::GroupGone { group: who.pid })
    }

    /// A fact that is late, doubled, unknown or unasked.
    pub fn noise(&mut self) -> Event {
        let pid = self.unknown_pid();
        let slot = SlotId(self.rng.below(u64::from(self.size) + 2) as u32);
        let error = Error::system("fork", "worker", Errno(libc::EAGAIN));
        let begun = self.model.begun();
        match self.rng.below(12) {
            0 if begun => Event::Begin,
            1 => Event::Spawned { slot, pid },
            2 => Event::SpawnFailed { slot, error },
            3 => Event::ExecFailed { pid, error },
            4 => Event::Exited { pid, status: some_status(&mut self.rng) },
            5 => match self.rng.below(6) {
                0 => Event::Stops { pid },
                1 => Event::MoreTime { pid, by: Millis(1_000) },
                2 => Event::Well { pid },
                3 => Event::Hangs { pid },
                4 => Event::WatchdogSet { pid, limit: Some(Millis(1)) },
                _ => Event::Ready { pid },
            },
            6 => Event::GroupGone { group: self.no_group() },
            7 => Event::LoadFailed { error },
            9 => Event::Demanded,
            8 => Event::Loaded { rules: Box::new(self.scene.rules.clone()) },
            _ => Event::TimePassed,
        }
    }

    /// One that fd3 does not wait for.
    fn no_group(&mut self) -> Pid {
        let pid = self.unknown_pid();
        if self.processes.contains_key(&pid) { Pid(2) } else { pid }
    }

    /// Of nobody, or of one whose end fd3 knows already.
    fn unknown_pid(&mut self) -> Pid {
        let past = Pid(100 + self.rng.below(8 + 4 * u64::from(self.size)) as i32);
        let pid = self.rng.pick([Pid(-1), Pid(0), Pid(1), Pid(i32::MAX), past, past, past, past]);
        if self.processes.get(&pid).is_some_and(Process::counts) { Pid(2) } else { pid }
    }
}

fn sender(pid: Pid, by: By) -> Sender {
    match by {
        By::Itself => Sender { pid: Some(pid), group: Some(pid) },
        By::ItsChild => Sender { pid: Some(Pid(5)), group: Some(pid) },
    }
}
