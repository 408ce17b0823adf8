//! A numbered place that one worker fills.
//!
//! Vacant -> Spawning -> Held -> Resting -> Vacant, or Closed where the restart policy lets it rest.
//! Everything -> Closed when fd3 stops; nothing leaves Closed. One worker holds the seat; at most one
//! more, which held it before, may still be on its way out.

use super::backoff::Misery;
use crate::units::{Millis, Pid};

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) seat: Seat,
    pub(super) misery: Misery,
    /// Its former worker, on its way out while another one holds the seat.
    pub(super) leaving: Option<Pid>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Seat {
    /// To be filled as soon as possible.
    #[default]
    Vacant,
    /// A worker was asked for; the answer is to come.
    Spawning,
    Held(Pid),
    /// The wait before another start.
    Resting {
        until: Millis,
    },
    /// Not to be filled again.
    Closed,
}

impl Seat {
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Seat::Resting { until } => Some(until),
            Seat::Vacant | Seat::Spawning | Seat::Held(_) | Seat::Closed => None,
        }
    }
}
