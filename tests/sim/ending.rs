//! How a world ends: perhaps healed first, then stopped; fd3 must be done in time.

use fd3::plan::{Readiness, Ways};
use fd3::supervisor::{Action, Actions, Ending, Event, Outcome, Sender, Status};
use fd3::units::{Asker, Millis, Signal, SlotId};

use crate::happen::ORDERED;
use crate::process::{Deed, Life, Process, Who};
use crate::scene::{DRAIN, Ends, STOP, STOP_BY, STOP_NOW};
use crate::seen::Sight;
use crate::world::{Claim, Happening, World};

/// How long fd3 waits for what SIGKILL does not end (DESIGN leaves it to us).
const KILL_PATIENCE: Millis = Millis(5_000);

impl World {
    pub fn end(&mut self) -> Claim {
        // From here on fd3 sleeps well, so that bounds are exact.
        self.scene.moods.oversleeps = 0;
        self.oversleep.0 = None;
        if self.scene.ends == Ends::Healing {
            self.heal();
            self.must_be_well()?;
        }
        self.must_stop()?;
        self.must_stay_finished()
    }

    /// From now on all processes behave and all forks succeed; nobody interferes.
    fn heal(&mut self) {
        self.healed = true;
        self.scene.moods.leaves = 0;
        self.queue.retain(|_, happening| match happening {
            Happening::Begin | Happening::Dies(..) | Happening::Looked(_) => true,
            Happening::Noticed(_) | Happening::GroupGone(_) => true,
            Happening::SignalledByGroup(..) => false,
            Happening::Does(..) | Happening::Signalled(..) => false,
            Happening::ListenerReplaced | Happening::ListenerDead | Happening::Noise => false,
            Happening::Reload | Happening::Demand | Happening::StopAsked(_) => false,
            Happening::ScaleAsked | Happening::RestartAsked => false,
            Happening::ReloadOrdered => false,
        });
        let all: Vec<_> =
            self.processes.iter().map(|(pid, process)| (*pid, process.serial)).collect();
        for (pid, serial) in all {
            let who = Who { pid, serial };
            let Some(process) = self.processes.get_mut(&pid) else { continue };
            process.drains = Some(Millis(10));
            process.dies_after = Some(Millis(0));
            process.frozen = false;
            process.put_off.clear();
            if matches!(process.life, Life::Orphaned) {
                self.happens_in(Millis(10), Happening::GroupGone(who));
                continue;
            }
            let told = process.told_at.is_some() || process.stops;
            let (lives, killed) = (process.lives(), process.killed);
            if lives && (told || killed) {
                self.happens_in(Millis(10), Happening::Dies(who, Status::Exited(0)));
            } else if lives {
                self.happens_in(Millis(10), Happening::Does(who, Deed::SayReady));
                self.happens_in(Millis(10), Happening::Does(who, Deed::SetWatchdog(None)));
                if self.scene.rules.watchdog.is_some() {
                    self.happens_in(Millis(11), Happening::Does(who, Deed::Feed));
                }
            }
        }
    }

    /// Every slot that the policy does not let rest gets a worker that serves.
    fn must_be_well(&mut self) -> Claim {
        // Where they show it by a signal, one starts after the other.
        let in_turn = match self.scene.rules.readiness {
            Readiness::Signal(limit) => limit.map_or(1_000, |limit| limit.0),
            Readiness::Alive(_) | Readiness::Notify(_) => 0,
        };
        let starts = Millis(in_turn * u64::from(self.size));
        // One more reload, slot by slot with its overlaps, and one that was pending.
        let start = match self.scene.rules.readiness {
            Readiness::Alive(time) => time.0,
            Readiness::Notify(limit) | Readiness::Signal(limit) => limit.map_or(1_000, |l| l.0),
        };
        let turns = Millis(2 * (start + 3_000) * u64::from(self.size));
        let patience = self.scene.rules.backoff.max.plus(Millis(35_000)).plus(starts).plus(turns);
        let until = self.now.plus(patience);
        self.connects()?;
        while self.finished.is_none() && self.advance(Some(until))? {
            self.connects()?;
        }
        if self.finished.is_some() {
            return Ok(());
        }
        self.now = until;
        if self.model.stopping() {
            return Err(format!("a stop did not end in {patience} though all obey"));
        }
        for slot in (0..self.size).map(SlotId) {
            let serves = self.processes.values().any(|process| {
                process.slot == slot && process.told_at.is_none() && self.serves(process)
            });
            if !serves && !self.model.rests(slot) && !self.model.renews(slot) {
                return Err(format!("slot {slot} is forgotten"));
            }
        }
        // In Server::Starter's ways an age has everybody reloaded, again and again.
        let ages = self.scene.rules.ways() == Ways::Starter && self.scene.rules.max_age.is_some();
        if self.model.reloading() && !ages {
            return Err("a reload does not end though all behave".into());
        }
        self.seen.note(Sight::Healed);
        Ok(())
    }

    /// Somebody always waits.
    fn connects(&mut self) -> Claim {
        if self.subject.awaits_demand() { self.deliver(Event::Demanded) } else { Ok(()) }
    }

    fn serves(&self, process: &Process) -> bool {
        let ready = match self.scene.rules.readiness {
            Readiness::Alive(time) => self.now.since(process.started) >= time,
            Readiness::Notify(_) | Readiness::Signal(_) => false,
        };
        matches!(process.life, Life::Lives) && !process.killed && (ready || process.said_ready)
    }

    fn must_stop(&mut self) -> Claim {
        let soon = Millis(1_000).plus(KILL_PATIENCE);
        let limit = self.scene.rules.stop_timeout;
        let how = self.rng.below(3);
        if how == 0 {
            return self.must_finish_within(STOP_NOW, KILL_PATIENCE);
        }
        if let Some(limit) = limit.filter(|_| how == 1 || !self.healed) {
            return self.must_finish_within(STOP, limit.plus(KILL_PATIENCE));
        }
        if self.healed {
            let patient = self.rng.pick([DRAIN, STOP_BY]);
            return self.must_finish_within(if how == 1 { STOP } else { patient }, soon);
        }
        // Without a limit a deaf worker is waited for, until somebody has had enough.
        let until = self.now.plus(Millis(30_000));
        self.ask(if how == 1 { STOP } else { DRAIN })?;
        while self.finished.is_none() && self.advance(Some(until))? {}
        self.now = self.now.max(until);
        self.must_finish_within(STOP_NOW, KILL_PATIENCE)
    }

    fn must_finish_within(&mut self, signal: Signal, span: Millis) -> Claim {
        let until = self.now.plus(span);
        self.ask(signal)?;
        // Second thoughts only make a stop hastier.
        while self.rng.percent(30) {
            let signal = Signal(self.rng.pick([STOP.0, STOP.0, DRAIN.0, STOP_NOW.0, libc::SIGHUP]));
            let sender = Sender { pid: None, group: None };
            let later = Millis(self.rng.pick([0, 1, 50, 3_000]));
            self.happens_in(later, Happening::Signalled(signal, sender));
        }
        while self.finished.is_none() && self.advance(Some(until))? {}
        match self.finished {
            Some(_) => Ok(()),
            None => Err(format!("fd3 did not finish within {span} of signal {}", signal.0)),
        }
    }

    fn ask(&mut self, signal: Signal) -> Claim {
        if self.finished.is_some() {
            return Ok(());
        }
        let by_name = match signal {
            STOP_NOW => Some(Ending::Now),
            DRAIN => Some(Ending::Patient),
            STOP => Some(Ending::Limited),
            _ => None,
        };
        if let Some(how) = by_name.filter(|_| ORDERED && self.rng.percent(30)) {
            return self.deliver(Event::StopAsked { how });
        }
        self.deliver(Event::Signalled { signal, sender: Sender { pid: None, group: None } })
    }

    /// What is late finds nobody.
    fn must_stay_finished(&mut self) -> Claim {
        let mut actions = Actions::new();
        for _ in 0..3 {
            let event = self.noise();
            self.subject.handle(self.now, event, &mut actions);
        }
        let (asker, slot, workers) = (Some(Asker(0)), SlotId(0), 1);
        let (scale, restart) =
            (Event::ScaleAsked { workers, asker }, Event::RestartAsked { slot, asker });
        let orders = if ORDERED { vec![scale, restart] } else { Vec::new() };
        for event in orders.into_iter().chain([Event::ReloadAsked { asker }]) {
            self.subject.handle(self.now, event, &mut actions);
            let answer = actions.pop_back();
            if !matches!(answer, Some(Action::Answer { outcome: Outcome::Stopped, .. })) {
                return Err("who asks after the end gets no answer".into());
            }
        }
        let stop = Event::Signalled { signal: STOP, sender: Sender { pid: None, group: None } };
        self.subject.handle(self.now, stop, &mut actions);
        self.subject.handle(self.now, Event::ListenerReplaced, &mut actions);
        self.subject.handle(self.now, Event::ListenerDead, &mut actions);
        match actions.iter().find(|action| !matches!(action, Action::Say(_))) {
            Some(action) => Err(format!("after the end: {action:?}")),
            None => Ok(()),
        }
    }
}
