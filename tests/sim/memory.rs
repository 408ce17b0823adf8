//! What the laws remember of workers, of what they left behind, and of slots.

use std::collections::VecDeque;

use fd3::units::{Generation, Millis, SlotId};
use fd3::{Error, ErrorKind};

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
    /// The promises kept.
    pub kept: VecDeque<Millis>,
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
