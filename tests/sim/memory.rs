//! What the laws remember of workers, of what they left behind, and of slots.

use std::collections::VecDeque;

use fd3::plan::RespawnLimit;
use fd3::units::{Generation, Millis, SlotId};
use fd3::{Error, ErrorKind};

use crate::world::Claim;

pub struct Worker {
    pub slot: SlotId,
    pub generation: Generation,
    pub told_at: Option<Millis>,
    pub killed_at: Option<Millis>,
    /// It said that it stops.
    pub stops_at: Option<Millis>,
    /// It was told to abort.
    pub aborts_at: Option<Millis>,
    /// It never became COMMAND, and COMMAND is not to blame.
    pub shortage: bool,
}

pub struct Group {
    /// When it was told to stop.
    pub since: Millis,
    pub killed_at: Option<Millis>,
}

impl Worker {
    pub fn new(slot: SlotId, generation: Generation) -> Worker {
        let (told_at, killed_at, stops_at, aborts_at) = (None, None, None, None);
        Worker { slot, generation, told_at, killed_at, stops_at, aborts_at, shortage: false }
    }

    /// Since when it is to end.
    pub fn since(&self) -> Option<Millis> {
        [self.told_at, self.stops_at, self.aborts_at].into_iter().flatten().min()
    }

    pub fn is_to_stay(&self) -> bool {
        self.since().is_none() && self.killed_at.is_none()
    }
}

#[derive(Clone, Default)]
pub struct Slot {
    /// When its latest worker ended, or did not come to be, though nobody had asked for that; and whether
    /// COMMAND is to blame.
    pub ended: Option<(Millis, Blame)>,
    /// Such ends that were followed by a restart.
    pub restarted: VecDeque<Millis>,
    /// When its latest worker was asked for.
    pub spawned: Option<Millis>,
    /// When the log told how long to wait for the next one, and that wait.
    pub promise: Option<(Millis, Millis, Blame)>,
    /// It made room for a newcomer in vain (`--surge 0`), and comes back at once.
    pub excused: bool,
    /// Its worker ended with 0: the next one comes when somebody connects.
    pub waits: bool,
    /// The promises kept.
    pub kept: VecDeque<Millis>,
}

impl Slot {
    /// Its next worker was promised, is started no sooner, and not more often than is allowed.
    pub fn keeps_promise(
        &mut self,
        now: Millis,
        limit: Option<RespawnLimit>,
        forgiven: usize,
    ) -> Claim {
        let Some((told, wait, blame)) = self.promise.take() else {
            return Err("is started again, and nobody was told".into());
        };
        if now < told.plus(wait) {
            return Err(format!("is started sooner than after {wait}"));
        }
        if let Some(limit) = limit.filter(|_| blame == Blame::Command) {
            self.kept.push_back(told);
            self.kept.retain(|at| told.since(*at) < limit.window);
            if self.kept.len() > limit.count as usize + forgiven {
                return Err("is started more often than its limit".into());
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Command,
    /// The machine is short of something, or a reload runs, which may mend it.
    Nobody,
}

pub fn blame(error: &Error) -> Blame {
    match error.kind() {
        ErrorKind::Own => Blame::Nobody,
        ErrorKind::Usage | ErrorKind::NotExecutable | ErrorKind::NotFound => Blame::Command,
    }
}
