//! Orders that no signal can give: to end in this or that way, to have so many slots, to replace one slot's
//! worker, to reload on terms. Who gives one, but to end, is answered when it is done, or cannot be.
//!
//! A slot is replaced as if its worker were too old (`renew`), from the load that it has: after a reload that runs
//! or waits, one after the other, and asked for twice before it begins it is done once. An order to end by name
//! is the same however often it comes; only a signal means "at once" when it comes again, but not the first one
//! behind an order by name: whoever sends that need not know of the order.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::Supervisor;
use super::event::{Action, Actions, Ending, Fact, Outcome, StopReason, Terms};
use super::slot::Seat;
use super::stop::{Haste, Mission};
use crate::error::Error;
use crate::plan::Ways;
use crate::units::{Asker, CommandId, Millis, SlotId};

/// Whether anybody can give such orders.
const HERE: bool = cfg!(feature = "control");

/// Those that are still to be carried out.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Who wants to know when there are as many slots as were asked for.
    scalers: Vec<Asker>,
    restarts: VecDeque<Restart>,
}

#[derive(Debug)]
struct Restart {
    slot: SlotId,
    askers: Vec<Asker>,
}

impl Supervisor {
    pub(super) fn stop_asked(&mut self, now: Millis, how: Ending, out: &mut Actions) {
        let asked = match how {
            Ending::Limited => Haste::Named,
            Ending::Patient => Haste::Patient,
            Ending::Now => Haste::Now,
        };
        if HERE {
            self.asked_to_stop(now, StopReason::Asked, asked, out);
        }
    }

    /// What is refused is so at once. Of several orders that wait for the same reload one may bring a COMMAND, and
    /// it is all of theirs.
    pub(super) fn reload_ordered(
        &mut self,
        now: Millis,
        asker: Option<Asker>,
        terms: Terms,
        out: &mut Actions,
    ) {
        if !HERE || self.too_late(asker, out) {
            return;
        }
        if let Some(why) = self.no_reload(terms) {
            return refuse("reload", "on these terms", &why, asker, out);
        }
        self.wanted.command = self.wanted.command.or(terms.command);
        self.reload_asked(now, asker, out);
    }

    fn no_reload(&self, terms: Terms) -> Option<String> {
        let serving = self.load.generation;
        let runs = self.reload.as_ref().is_some_and(|reload| !reload.is_renewal());
        let busy = runs || self.wanted.is_asked();
        match terms {
            Terms { if_generation: Some(generation), .. } if generation != serving => {
                Some(format!("generation {serving} serves by now, not {generation}"))
            }
            Terms { if_generation: Some(_), .. } if busy => {
                Some("somebody else reloads".to_owned())
            }
            Terms { command: Some(_), .. } if self.wanted.command.is_some() => {
                Some("another COMMAND waits for its turn".to_owned())
            }
            Terms { .. } => None,
        }
    }

    /// The COMMAND that waits for its turn.
    pub fn wanted_command(&self) -> Option<CommandId> {
        self.wanted.command
    }

    pub(super) fn scale_asked(&mut self, workers: u32, asker: Option<Asker>, out: &mut Actions) {
        if !HERE || self.too_late(asker, out) {
            return;
        }
        let most = self.most();
        if workers > most {
            let why = format!("there can be up to {most}");
            return refuse("scale", &format!("to {workers} workers"), &why, asker, out);
        }
        self.target = workers.max(1);
        self.orders.scalers.extend(asker);
    }

    /// There are as many slots as were asked for.
    pub(super) fn scale_is_done(&mut self, out: &mut Actions) {
        if HERE {
            let outcome = Outcome::Scaled { workers: self.size };
            for asker in core::mem::take(&mut self.orders.scalers) {
                out.push_back(Action::Answer { asker, outcome: outcome.clone() });
            }
        }
    }

    pub(super) fn restart_asked(&mut self, slot: SlotId, asker: Option<Asker>, out: &mut Actions) {
        if !HERE || self.too_late(asker, out) {
            return;
        }
        let slots = self.size.max(self.target);
        if let Some(why) = self.no_restart(slot, slots) {
            return refuse("restart", &format!("slot {slot}"), why, asker, out);
        }
        match self.orders.restarts.iter_mut().find(|restart| restart.slot == slot) {
            Some(restart) => restart.askers.extend(asker),
            None => {
                let askers = Vec::from_iter(asker);
                self.orders.restarts.push_back(Restart { slot, askers });
            }
        }
    }

    /// Begins with the first one that can still be carried out. Nothing is in its way.
    pub(super) fn restart(&mut self, now: Millis, out: &mut Actions) {
        // One that waits for somebody to connect has nobody to be replaced: that is done at once.
        while HERE
            && self.reload.is_none()
            && let Some(Restart { slot, askers }) = self.orders.restarts.pop_front()
        {
            match self.no_restart(slot, self.size) {
                Some(why) => refuse("restart", &format!("slot {slot}"), why, askers, out),
                None => {
                    out.push_back(Action::Say(Fact::Renewing { slot }));
                    self.renew_slot(now, slot, askers, out);
                }
            }
        }
    }

    /// Why one of so many slots cannot be replaced.
    fn no_restart(&self, slot: SlotId, slots: u32) -> Option<&'static str> {
        let seat = self.slots.get(slot.0 as usize).map(|place| place.seat);
        if self.load.rules.ways() == Ways::Starter {
            Some("start_server replaces all workers or none")
        } else if slot.0 >= slots {
            Some("there is no such slot")
        } else if slot.0 < self.size && seat == Some(Seat::Closed) {
            Some("it has ended, and --restart has it rest")
        } else {
            None
        }
    }

    fn too_late(&self, asker: Option<Asker>, out: &mut Actions) -> bool {
        match self.mission {
            Mission::NotBegun | Mission::Running => false,
            Mission::Stopping { .. } | Mission::Finished => {
                let answer = |asker| Action::Answer { asker, outcome: Outcome::Stopped };
                out.extend(asker.map(answer));
                true
            }
        }
    }

    /// A stop ends them all.
    pub(super) fn stop_orders(&mut self, out: &mut Actions) {
        if !HERE {
            return;
        }
        let Orders { mut scalers, restarts } = core::mem::take(&mut self.orders);
        for restart in restarts {
            scalers.extend(restart.askers);
        }
        for asker in scalers {
            out.push_back(Action::Answer { asker, outcome: Outcome::Stopped });
        }
    }
}

fn refuse(
    doing: &'static str,
    what: &str,
    why: &str,
    askers: impl IntoIterator<Item = Asker>,
    out: &mut Actions,
) {
    let error = Rc::new(Error::refused(doing, what, why));
    for asker in askers {
        out.push_back(Action::Answer { asker, outcome: Outcome::Refused { error: error.clone() } });
    }
}
