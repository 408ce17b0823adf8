//! Nothing may be missing after an event.

use fd3::units::Millis;

use super::reload::Newcomer;
use super::{Model, Phase, Slot, Worker};
use crate::world::Claim;

impl Model {
    pub fn after(&mut self, deadline: Option<Millis>, awaits_demand: bool) -> Claim {
        self.nothing_is_missing()?;
        self.is_steered()?;
        if self.may_spawn()
            && self.burst > 0
            && let Some(slot) = self.slots.iter().position(Slot::is_due)
        {
            return Err(format!("slot {slot} is vacant, and nobody is started"));
        }
        if !self.finished && self.is_over().is_some() {
            return Err("nothing is left to look after, and fd3 does not finish".into());
        }
        if !self.finished && awaits_demand != self.awaits_demand() {
            return Err(format!("fd3 looks for connections: {awaits_demand}"));
        }
        let needed = self.deadline();
        if !self.finished && deadline != needed {
            return Err(format!("the deadline is {deadline:?} instead of {needed:?}"));
        }
        Ok(())
    }

    fn nothing_is_missing(&self) -> Claim {
        let due = &self.due;
        let pids = [
            (&due.tell, "not told to stop"),
            (&due.cont, "told to stop and not woken"),
            (&due.abort, "not told to abort"),
            (&due.say_hung, "hung in silence"),
            (&due.kill, "not killed"),
            (&due.ready, "not taken for ready"),
            (&due.abandon, "not abandoned"),
            (&due.group, "dead and its group not told to stop"),
            (&due.kill_group, "left alive"),
            (&due.say_killed, "killed in silence"),
        ];
        if let Some((pids, what)) = pids.iter().find(|(pids, _)| !pids.is_empty()) {
            return Err(format!("{pids:?}: {what}"));
        }
        if let Some((pid, signal)) = due.forward.first() {
            return Err(format!("signal {} is not forwarded to {pid}", signal.0));
        }
        if due.close {
            return Err("a stop began, and the listeners are still open".into());
        }
        if let Some(slot) = due.look.first() {
            return Err(format!("slot {slot} is not looked at"));
        }
        if due.mend || due.down {
            return Err("a dead listener is left to itself".into());
        }
        if !due.renewing.is_empty() || !due.renewed.is_empty() {
            return Err(format!("a renewal is not told: {:?}", due.renewed));
        }
        if due.scaled || due.waits.is_some() {
            return Err("a change of scale is not told".into());
        }
        if due.load || due.reloading || due.came.is_some() || !due.forget.is_empty() {
            return Err(format!("a reload is not told or not begun: {:?}", due.came));
        }
        if due.too_old.is_some() || !due.again.is_empty() {
            return Err(format!("not told: {:?} is old, or {:?}", due.too_old, due.again));
        }
        if let Some((asker, came)) = due.answers.first() {
            return Err(format!("{asker:?} is not told {came:?}"));
        }
        match due.ends.front() {
            Some(end) => Err(format!("not told: {end:?}")),
            None => Ok(()),
        }
    }

    /// The status to exit with once nothing is left.
    pub(super) fn is_over(&self) -> Option<u8> {
        if !self.workers.is_empty() || self.spawning.is_some() || !self.groups.is_empty() {
            return None;
        }
        match self.stop {
            Some(stop) => Some(stop.status),
            None if self.reload.is_some() => None,
            None => self.slots.iter().all(|slot| slot.rests).then_some(self.last_failure),
        }
    }

    /// When fd3 has to wake up: never later, and never for nothing.
    fn deadline(&self) -> Option<Millis> {
        let workers = self.workers.values().filter_map(Worker::deadline);
        let waits = self.slots.iter().filter_map(|slot| slot.wait.as_ref()?.until);
        let groups = self.groups.values().filter_map(|group| group.until);
        let outage = self.outage.as_ref().and_then(|outage| outage.until);
        let at_once = self.may_spawn() && self.slots.iter().any(Slot::is_due);
        let at_once = at_once.then_some(Millis(0));
        let takeover = self.takeovers().into_iter().map(|(at, _)| at).min();
        let ages = self.workers.values().filter_map(|worker| worker.age(self.rules.ways()));
        let again = self.slots.iter().filter_map(|slot| match slot.newcomer {
            Some(Newcomer::Waits(until)) => Some(until),
            _ => None,
        });
        let groups = groups.chain(ages).chain(again).chain(self.looks());
        let others = groups.chain(outage).chain(at_once).chain(takeover);
        workers.chain(waits).chain(others).min()
    }
}

impl Slot {
    /// A worker has to be started.
    fn is_due(&self) -> bool {
        self.vacant || self.newcomer == Some(Newcomer::Due)
    }
}

impl Worker {
    pub(super) fn deadline(&self) -> Option<Millis> {
        if let Some(killed) = &self.killed {
            return killed.patience;
        }
        match (self.told, self.stops, &self.phase) {
            (Some(told), ..) => told.until,
            (None, Some(until), _) => until,
            (None, None, Phase::Starting { until } | Phase::Ready { until, .. }) => *until,
        }
    }
}
