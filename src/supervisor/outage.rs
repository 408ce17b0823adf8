//! A listener is dead and cannot be replaced: its address is taken, mostly by the workers themselves, who
//! still hold the dead socket. All workers are told to stop, none is started, and the listeners are tried
//! again and again, until they are whole; or until nobody is left who could hold the address.

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions, Fact, StopReason};
use super::stop::{Haste, Mission};
use crate::units::Millis;

/// The wait before the first try; it doubles with each.
const FIRST_WAIT: Millis = Millis(50);
/// Doublings: to 1.6 s.
const DOUBLINGS: u32 = 5;
/// So many tries in vain after the last worker is gone, and fd3 gives up: after some 10 s.
const TRIES_ALONE: u32 = 8;

/// No worker can be started before the listeners are whole.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Outage {
    tries: u32,
    /// Those since nobody was left.
    alone: u32,
    /// When to try again; `None` while a try is under way.
    pub(super) until: Option<Millis>,
}

impl Supervisor {
    pub(super) fn listener_dead(&mut self, now: Millis, out: &mut Actions) {
        if self.mission != Mission::Running {
            return;
        }
        let mut outage = match self.outage {
            // It was said unasked, by the check at some worker's exit.
            Some(Outage { until: Some(_), .. }) => return,
            Some(outage) => outage,
            None => {
                out.push_back(Action::Say(Fact::ListenersDown));
                self.replace_all(now, out);
                if self.mission != Mission::Running {
                    return;
                }
                Outage::default()
            }
        };
        if self.workers.is_empty() && self.leftovers.is_empty() {
            outage.alone += 1;
        }
        if outage.alone > TRIES_ALONE {
            self.begin_stop(
                now,
                StopReason::ListenerDead,
                super::EXIT_OWN_FAILURE,
                Haste::GaveUp,
                out,
            );
            return;
        }
        let wait = Millis(FIRST_WAIT.0 << outage.tries.min(DOUBLINGS));
        outage.tries += 1;
        outage.until = Some(now.plus(wait));
        self.set_outage(Some(outage));
    }

    pub(super) fn listener_replaced(&mut self, now: Millis, out: &mut Actions) {
        match self.outage {
            // Who holds a dead one was told already.
            Some(_) => self.set_outage(None),
            None => self.replace_all(now, out),
        }
    }

    pub(super) fn outage_due(&mut self, out: &mut Actions) {
        if let Some(outage) = self.outage {
            self.set_outage(Some(Outage { until: None, ..outage }));
            out.push_back(Action::MendListeners);
        }
    }

    /// The only place where it changes: the agenda follows.
    pub(super) fn set_outage(&mut self, after: Option<Outage>) {
        let before = core::mem::replace(&mut self.outage, after);
        let due = |outage: Option<Outage>| outage.and_then(|outage| outage.until);
        self.agenda.change(Due::Listeners, due(before), due(after));
    }
}
