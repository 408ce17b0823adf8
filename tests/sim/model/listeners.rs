//! Outages of the listeners, and what dead workers leave behind.

use fd3::plan::Ways;
use fd3::units::{Millis, Pid};

use super::{Group, Haste, KILL_PATIENCE, Model, OWN_FAILURE, Outage, Worker};

/// Tries in vain once nobody is left.
const TRIES: u32 = 8;

impl Model {
    pub fn outage(&self) -> bool {
        self.outage.is_some()
    }

    pub(super) fn listener_dead(&mut self, now: Millis) {
        if !self.running() {
            return;
        }
        match &self.outage {
            None => {
                self.due.down = true;
                self.replaced(now);
                if !self.running() {
                    return;
                }
                self.outage = Some(Outage { tries: 0, alone: 0, until: None });
            }
            // A try is to come anyway.
            Some(outage) if outage.until.is_some() => return,
            Some(_) => {}
        }
        let alone = self.workers.is_empty() && self.groups.is_empty();
        let Some(outage) = &mut self.outage else { return };
        outage.alone += u32::from(alone);
        if outage.alone > TRIES {
            return self.begin_stop(now, Haste::GaveUp, OWN_FAILURE);
        }
        outage.until =
            Some(now.plus(Millis([50, 100, 200, 400, 800, 1600][outage.tries.min(5) as usize])));
        outage.tries += 1;
    }

    pub(super) fn listener_replaced(&mut self, now: Millis) {
        if self.outage.take().is_none() {
            self.replaced(now);
        }
    }

    /// Processes of a dead worker's group have as long as it had itself.
    pub(super) fn left_behind(&mut self, now: Millis, pid: Pid, worker: &Worker) {
        if self.rules.ways() == Ways::Starter {
            return;
        }
        self.due.group.push(pid);
        let until = match (&worker.killed, worker.told, worker.stops) {
            (Some(killed), ..) => Some(killed.patience.unwrap_or(now)),
            (None, Some(told), _) => told.until,
            (None, None, Some(until)) => until,
            (None, None, None) => self.rules.stop_timeout.map(|limit| now.plus(limit)),
        };
        self.groups.insert(pid, Group { until, killed: worker.killed.is_some() });
    }

    pub(super) fn groups_hasten(&mut self, limit: Option<Millis>) {
        for group in self.groups.values_mut().filter(|group| !group.killed) {
            group.until = [group.until, limit].into_iter().flatten().min();
        }
    }

    pub(super) fn groups_due(&mut self, now: Millis) {
        for (pid, group) in &mut self.groups {
            if !group.killed && group.until.is_some_and(|until| until <= now) {
                *group = Group { until: Some(now.plus(KILL_PATIENCE)), killed: true };
                self.due.kill_group.push(*pid);
                self.due.say_killed.push(*pid);
            }
        }
        self.groups.retain(|_, group| !group.killed || group.until.is_none_or(|until| until > now));
        if let Some(outage) = &mut self.outage
            && outage.until.is_some_and(|until| until <= now)
        {
            outage.until = None;
            self.due.mend = true;
        }
    }
}
