//! One running process of COMMAND.
//!
//! Starting -> Ready -> Draining -> Killed; each may be skipped, none is entered twice. Draining and
//! Killed are never left but by the process's end.

use alloc::rc::Rc;

use super::slot::Load;
use crate::error::Error;
use crate::units::{Millis, SlotId};

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: SlotId,
    pub(super) load: Rc<Load>,
    pub(super) started: Millis,
    pub(super) phase: Phase,
    /// How often it must say that it is well.
    pub(super) watchdog: Option<Millis>,
    /// When its age will have it replaced.
    pub(super) renewal: Option<Millis>,
    /// What it reported if it never became COMMAND.
    pub(super) exec_failure: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Ready, or too slow, at `until`: the plan's readiness tells which.
    Starting { until: Option<Millis> },
    /// Hangs at `until`, unless it says before that it is well.
    Ready { since: Millis, until: Option<Millis> },
    /// Told to stop, or stopping by itself; killed at `until`.
    Draining { until: Option<Millis>, cause: Cause },
    /// Sent SIGKILL; waited for in vain at `until`.
    Killed { until: Option<Millis>, cause: Cause },
}

/// Why a worker was told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// Its end is wanted and no failure, whatever its status.
    Wanted,
    /// It was not ready in time: a failure.
    TooSlow,
    /// The watchdog missed it: a failure.
    Hung,
    /// Nobody told it: it said that it stops.
    Own,
}

impl Phase {
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Phase::Starting { until }
            | Phase::Ready { until, .. }
            | Phase::Draining { until, .. }
            | Phase::Killed { until, .. } => until,
        }
    }

    /// Why it was told to stop, if it was.
    pub(super) fn cause(self) -> Option<Cause> {
        match self {
            Phase::Starting { .. } | Phase::Ready { .. } => None,
            Phase::Draining { cause, .. } | Phase::Killed { cause, .. } => Some(cause),
        }
    }
}
