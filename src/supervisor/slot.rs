//! A numbered place that one worker fills.
//!
//! The seat: Vacant -> Spawning -> Held -> Resting -> Vacant, or Closed where the restart policy lets it
//! rest. Before Vacant comes Waiting where workers are started on demand. Everything -> Closed when fd3 stops; only a newcomer's takeover leaves Closed. One worker holds the
//! seat; beside it there is at most one more: a former holder on its way out (`leaving`), or, while a reload
//! runs, the newcomer that is to take over.
//!
//! The newcomer: Awaited -> Vacant -> Spawning -> Starting -> Ready -> it holds the seat. Awaited and Ceded
//! are for `--surge 0`: the holder goes before the newcomer comes. In Server::Starter's ways one that failed
//! is followed by another: it is Resting, then Vacant again, and a seat that nobody holds is Ceded.

use alloc::rc::Rc;

use super::backoff::Misery;
use super::steer::{Emptying, Steer};
use crate::plan::Rules;
use crate::units::{Generation, Millis, Pid};

/// What workers are started from: the loop keeps the command, this is for the decisions.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) generation: Generation,
    pub(super) rules: Rules,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seat: Seat,
    /// What the seat's next worker is started from.
    pub(super) load: Rc<Load>,
    pub(super) misery: Misery,
    /// The end that its holder was asked for is no fault of its load's: it is not counted.
    pub(super) blameless: bool,
    /// Its former worker, on its way out while another one holds the seat.
    pub(super) leaving: Option<Pid>,
    /// When a worker was last asked for.
    pub(super) tried: Millis,
    pub(super) newcomer: Newcomer,
    /// Where new connections go, if it has sockets of its own.
    pub(super) steer: Steer,
    /// It was taken away, and its worker is to be told so when nobody waits there any more.
    pub(super) emptying: Option<Emptying>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seat {
    /// To be filled as soon as possible.
    Vacant,
    /// A worker was asked for; the answer is to come.
    Spawning,
    Held(Pid),
    /// The wait before another start.
    Resting {
        until: Millis,
    },
    /// To be filled when somebody connects.
    Waiting,
    /// Its holder went to make room for the newcomer, who may be on its way out again.
    Ceded,
    /// Not to be filled again.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Newcomer {
    None,
    /// Comes when the seat's holder is gone.
    Awaited,
    /// To be spawned as soon as possible.
    Vacant,
    Spawning,
    /// The wait before another one is tried.
    Resting {
        until: Millis,
    },
    Starting(Pid),
    /// Takes over at `until`, or with all the others.
    Ready {
        pid: Pid,
        until: Option<Millis>,
    },
}

impl Slot {
    pub(super) fn new(load: Rc<Load>) -> Slot {
        let (misery, leaving, newcomer) = (Misery::default(), None, Newcomer::None);
        let (seat, tried) = (Seat::Vacant, Millis(0));
        let (steer, emptying) = (Steer::Past, None);
        Slot { seat, load, misery, blameless: false, leaving, tried, newcomer, steer, emptying }
    }

    /// What failed before was another load's; the past of one that is only renewed counts on.
    pub(super) fn take_load(&mut self, load: Rc<Load>) {
        if self.load.generation != load.generation {
            self.misery = Misery::default();
        }
        self.load = load;
    }
}

impl Seat {
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Seat::Resting { until } => Some(until),
            Seat::Vacant | Seat::Waiting | Seat::Spawning => None,
            Seat::Held(_) | Seat::Ceded | Seat::Closed => None,
        }
    }
}

impl Newcomer {
    pub(super) fn pid(self) -> Option<Pid> {
        match self {
            Newcomer::Starting(pid) | Newcomer::Ready { pid, .. } => Some(pid),
            Newcomer::None | Newcomer::Awaited | Newcomer::Vacant => None,
            Newcomer::Spawning | Newcomer::Resting { .. } => None,
        }
    }

    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Newcomer::Ready { until, .. } => until,
            Newcomer::Resting { until } => Some(until),
            Newcomer::None | Newcomer::Awaited | Newcomer::Vacant => None,
            Newcomer::Spawning | Newcomer::Starting(_) => None,
        }
    }
}
