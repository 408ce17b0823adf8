//! What the model remembers, and what it expects of the present event.

use std::collections::VecDeque;

use fd3::Error;
use fd3::plan::Ways;
use fd3::supervisor::StopReason;
use fd3::units::{Asker, Generation, Millis, Pid, Signal, SlotId};

use super::reload::{Came, Newcomer, Why};

pub(super) struct Worker {
    pub(super) slot: SlotId,
    pub(super) started: Millis,
    pub(super) phase: Phase,
    /// It was told to stop: killed at `until`.
    pub(super) told: Option<Told>,
    /// It said that it stops: killed at this time, if at all.
    pub(super) stops: Option<Option<Millis>>,
    pub(super) killed: Option<Killed>,
    pub(super) exec_failure: Option<Error>,
    /// When its age will have it replaced.
    pub(super) renewal: Option<Millis>,
    /// Its slot was given to another one, or it came in vain.
    pub(super) left: bool,
    /// The same, and nobody waits for its end.
    pub(super) gone: bool,
    /// It has not taken over yet.
    pub(super) newcomer: bool,
    /// How often it must say that it is well.
    pub(super) watchdog: Option<Millis>,
    /// How long it may take to finish when it is replaced.
    pub(super) drain: Option<Millis>,
    /// How long its slot is not looked at when it is taken away.
    pub(super) overlap: Millis,
}

pub(super) enum Phase {
    Starting {
        until: Option<Millis>,
    },
    /// It hangs at `until`.
    Ready {
        since: Millis,
        until: Option<Millis>,
    },
}

impl Worker {
    /// When its age will have it replaced. To Server::Starter one that is told has none.
    pub(super) fn age(&self, ways: Ways) -> Option<Millis> {
        self.renewal.filter(|_| ways == Ways::Own || self.is_untold())
    }

    /// Nobody told it to stop, and it did not say that it does.
    pub(super) fn is_untold(&self) -> bool {
        self.told.is_none() && self.stops.is_none() && self.killed.is_none()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) until: Option<Millis>,
    pub(super) wanted: bool,
}

/// Told to stop, and killed at `until`; or killed, and waited for until then.
pub(super) struct Group {
    pub(super) until: Option<Millis>,
    pub(super) killed: bool,
}

/// A listener is dead. Until it is whole nobody is started.
pub(super) struct Outage {
    pub(super) tries: u32,
    pub(super) alone: u32,
    pub(super) until: Option<Millis>,
}

pub(super) struct Killed {
    pub(super) patience: Option<Millis>,
}

pub(super) struct Slot {
    /// A worker must be started.
    pub(super) vacant: bool,
    /// One must be started when somebody connects.
    pub(super) waits: bool,
    /// One must be started at the end of this wait.
    pub(super) wait: Option<Wait>,
    /// The policy, or a stop, lets it rest for good.
    pub(super) rests: bool,
    /// What its next worker is of.
    pub(super) generation: Generation,
    pub(super) newcomer: Option<Newcomer>,
    /// Its holder went for the newcomer's sake.
    pub(super) ceded: bool,
    /// The end that its worker was asked for is not counted.
    pub(super) blameless: bool,
    /// When a worker was asked for last.
    pub(super) tried: Millis,
    pub(super) in_a_row: u32,
    pub(super) restarts: VecDeque<Millis>,
}

pub(super) struct Wait {
    pub(super) began: Millis,
    pub(super) until: Option<Millis>,
}

#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) haste: Haste,
    /// When it got so.
    pub(super) since: Millis,
    pub(super) status: u8,
    /// What it tells all, if not their own stop signal.
    pub(super) by: Option<Signal>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    Patient,
    GaveUp,
    /// By an order that is no signal.
    Named,
    Limited,
    Now,
}

/// What the present event asks for.
#[derive(Default)]
pub(super) struct Due {
    pub(super) tell: Vec<Pid>,
    pub(super) abort: Vec<Pid>,
    pub(super) say_hung: Vec<Pid>,
    pub(super) cont: Vec<Pid>,
    pub(super) kill: Vec<Pid>,
    pub(super) ready: Vec<Pid>,
    pub(super) abandon: Vec<Pid>,
    pub(super) forward: Vec<(Pid, Signal)>,
    /// The group of a dead worker is told to stop.
    pub(super) group: Vec<Pid>,
    pub(super) kill_group: Vec<Pid>,
    pub(super) say_killed: Vec<Pid>,
    pub(super) look: Vec<SlotId>,
    pub(super) mend: bool,
    pub(super) down: bool,
    pub(super) load: bool,
    pub(super) reloading: bool,
    pub(super) waits: Option<usize>,
    pub(super) scaled: bool,
    pub(super) came: Option<Came>,
    /// Another newcomer is tried.
    pub(super) again: Vec<(SlotId, Why, Millis)>,
    pub(super) too_old: Option<Pid>,
    pub(super) renewing: Vec<SlotId>,
    pub(super) renewed: Vec<(SlotId, Came, Option<Millis>)>,
    pub(super) answers: Vec<(Asker, Came)>,
    pub(super) forget: Vec<Generation>,
    /// In the order in which they are to be told.
    pub(super) ends: VecDeque<End>,
    pub(super) close: bool,
    pub(super) time_passed: bool,
}

/// Why a slot needs another worker, and what comes of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub(super) slot: SlotId,
    pub(super) of: Of,
    pub(super) follows: Follows,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// It never came to be.
    Failure,
    Exit(Pid),
    /// It makes room, and may still live.
    Replacement(Pid),
}

/// What follows an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Follows {
    Nothing,
    /// What follows is the reload's affair.
    InVain,
    Rest,
    /// The slot waits for somebody who connects, at once or from this time on.
    Wait {
        from: Option<Millis>,
    },
    Restart {
        least: Millis,
        most: Millis,
    },
    GiveUp(StopReason),
}

impl Slot {
    /// Its next worker is of this generation; the failures of another one are forgotten.
    pub(super) fn serves(&mut self, generation: Generation) {
        if self.generation != generation {
            (self.generation, self.in_a_row) = (generation, 0);
            self.restarts.clear();
        }
    }

    pub(super) fn new() -> Slot {
        Slot {
            vacant: false,
            waits: false,
            wait: None,
            rests: false,
            generation: Generation(1),
            newcomer: None,
            ceded: false,
            blameless: false,
            tried: Millis(0),
            in_a_row: 0,
            restarts: VecDeque::new(),
        }
    }
}
