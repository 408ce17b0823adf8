//! What the operator asked of `fd3 init`, as far as it decides by it.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::plan::{Reaction, Reactions};
use crate::units::{Millis, Signal};

/// Valid by construction.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many hooks there are before the program, and after it.
    pub pre_start: usize,
    pub post_stop: usize,
    pub reactions: Reactions,
    pub to: To,
    pub drain_delay: Millis,
    pub leftovers: Leftovers,
    /// From which exit status to which.
    pub map_exit: Vec<(u8, u8)>,
    /// There is no program: nothing but waiting for an order to stop, as catatonit does it for pods.
    pub pauses: bool,
}

/// Who gets the signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    Process,
    Group,
}

/// What becomes of those who are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leftovers {
    /// Told to stop, waited for, and killed after so long; `None` is for ever.
    Sweep(Option<Millis>),
    /// Those of the program's group are told, and nobody is waited for.
    TellGroup,
    Leave,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Nothing,
    Pass { signal: Signal, limited: bool },
    KillNow,
}

impl Plan {
    pub(super) fn stop_timeout(&self) -> Option<Millis> {
        match self.leftovers {
            Leftovers::Sweep(timeout) => timeout,
            Leftovers::TellGroup | Leftovers::Leave => None,
        }
    }

    pub(super) fn order(&self, reaction: Reaction) -> Order {
        let term = Signal(libc::SIGTERM);
        match reaction {
            Reaction::Forward(signal) => Order::Pass { signal, limited: false },
            Reaction::Stop => Order::Pass { signal: term, limited: true },
            Reaction::StopNow => Order::KillNow,
            // Of these `fd3 init` knows none; the command line refuses them.
            Reaction::Drain
            | Reaction::StopBy(_)
            | Reaction::Reload
            | Reaction::Upgrade
            | Reaction::Up
            | Reaction::Down
            | Reaction::Ignore => Order::Nothing,
        }
    }

    /// The first one that is given counts.
    pub(super) fn mapped(&self, status: u8) -> u8 {
        let known = self.map_exit.iter().find(|(from, _)| *from == status);
        known.map_or(status, |(_, to)| *to)
    }
}
