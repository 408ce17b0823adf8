//! What workers say of themselves.

use fd3::plan::Readiness;
use fd3::units::{Millis, Pid};

use super::reload::Why;
use super::{Model, Phase, Told};

impl Model {
    pub(super) fn stops(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(&pid).filter(|worker| worker.is_untold()) else {
            return;
        };
        if worker.newcomer {
            let slot = worker.slot;
            return self.newcomer_failed(now, slot, Why::Stops(pid));
        }
        self.served(now, pid);
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.stops = Some(worker.drain.map(|limit| now.plus(limit)));
        }
    }

    /// It only ever gets later.
    pub(super) fn more_time(&mut self, now: Millis, pid: Pid, by: Millis) {
        let alive = matches!(self.rules.readiness, Readiness::Alive(_));
        let running = self.running();
        let Some(worker) = self.workers.get_mut(&pid).filter(|_| running) else { return };
        let until = match (&mut worker.told, &mut worker.stops, &mut worker.phase) {
            _ if worker.killed.is_some() => return,
            (Some(told), ..) => &mut told.until,
            (None, Some(until), _) => until,
            (None, None, Phase::Starting { until }) if !alive => until,
            (None, None, _) => return,
        };
        *until = until.map(|until| until.max(now.plus(by)));
    }

    pub(super) fn well(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        if let (Phase::Ready { until, .. }, Some(limit)) = (&mut worker.phase, worker.watchdog)
            && worker.told.is_none()
        {
            *until = Some(now.plus(limit));
        }
    }

    pub(super) fn watchdog_set(&mut self, now: Millis, pid: Pid, limit: Option<Millis>) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        worker.watchdog = limit;
        if let Phase::Ready { until, .. } = &mut worker.phase
            && worker.told.is_none()
        {
            *until = limit.map(|limit| now.plus(limit));
        }
    }

    pub(super) fn hangs(&mut self, now: Millis, pid: Pid) {
        let Some(worker) = self.workers.get(&pid).filter(|worker| worker.is_untold()) else {
            return;
        };
        let slot = worker.slot;
        self.due.say_hung.push(pid);
        if worker.newcomer {
            return self.newcomer_failed(now, slot, Why::Hung(pid));
        }
        self.served(now, pid);
        let until = Some(now.plus(self.rules.stop_timeout.unwrap_or(Millis(8_000))));
        self.due.abort.push(pid);
        self.due.cont.push(pid);
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.told = Some(Told { until, wanted: false });
            worker.hung = true;
        }
    }
}
