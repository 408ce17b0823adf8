//! `--spread worker`: which slots new connections go to, each of which has sockets of its own.
//!
//! A slot is In while a worker of it is ready and was not told to stop; it is Past before that worker is told.
//! Where no slot is In connections go to any, and wait: none is refused. What else follows depends on what
//! can be done about the queue that a slot is left with.
//!
//! Move: the queue of a socket that closes goes to those that are In. A slot of which nobody accepts any more
//! (no worker starts or is ready there) is Out as soon as some other one is In: fd3 lets go of its sockets,
//! and a worker that finishes is the last to have them. A Spawn there begins with new ones. While no
//! slot is In none goes Out, so that there always is a socket that somebody waits at.
//!
//! Stay: the queue waits for the slot's next worker. One that is taken away for good is Past first, and its
//! worker is told to stop when its queue was seen empty (`emptying`), or after as long as it may drain: the
//! kernel tells nobody when that is, so it is looked at now and then, only meanwhile. First after the
//! overlap: handshakes that had begun end within that time. A slot that is Closed, and has nobody any more, is
//! Out: the kernel's hash, which does not know who is ready, must not choose it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Supervisor;
use super::agenda::Due;
use super::event::{Action, Actions};
use super::slot::{Newcomer, Seat};
use super::stop::Mission;
use super::worker::Phase;
use crate::plan::{SPREAD_MAX, WORKERS_MAX};
use crate::units::{Millis, Pid, SlotId};

const HERE: bool = cfg!(feature = "spread");

/// The wait after a queue was first seen not to be empty; it doubles with each look.
const FIRST_WAIT: Millis = Millis(50);
/// Doublings: to 1.6 s.
const DOUBLINGS: u32 = 5;

/// What becomes of connections that wait at a slot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Queues {
    /// All slots have the same sockets.
    #[default]
    Shared,
    /// They go to other slots when nobody has the socket any more.
    Move,
    /// They wait for the slot's next worker.
    Stay,
}

/// Where new connections go, as to one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steer {
    /// To it, as to all that are in.
    In,
    /// Past it, unless there is no other one.
    Past,
    /// Those that wait there go to the others as well. Follows `Past` only.
    Out,
}

#[derive(Debug, Default)]
pub(super) struct Steering {
    queues: Queues,
    /// Slots that may be steered otherwise now.
    touched: Vec<SlotId>,
    /// How many slots are In.
    favoured: usize,
    /// How many are being emptied.
    pub(super) emptying: usize,
}

/// A slot that was taken away, and whose worker accepts what still waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Emptying {
    looks: u32,
    /// When to look; `None` while that is being done.
    until: Option<Millis>,
    /// How long the worker is given.
    limit: Option<Millis>,
}

impl Emptying {
    pub(super) fn deadline(self) -> Option<Millis> {
        self.until
    }
}

impl Supervisor {
    /// Before the beginning: the slots have sockets of their own.
    pub fn spread(&mut self, queues: Queues) {
        if HERE {
            self.steering.queues = queues;
        }
    }

    /// How many slots there may be.
    pub(super) fn most(&self) -> u32 {
        if self.is_spread() { SPREAD_MAX } else { WORKERS_MAX }
    }

    fn is_spread(&self) -> bool {
        HERE && self.steering.queues != Queues::Shared
    }

    /// Something about this slot has changed.
    pub(super) fn touch(&mut self, slot: SlotId) {
        if self.is_spread() {
            self.steering.touched.push(slot);
        }
    }

    /// Only whoever is ready is waited for to accept what is left.
    pub(super) fn phase_changed(&mut self, slot: SlotId, pid: Pid) {
        if !self.is_spread() {
            return;
        }
        self.touch(slot);
        let phase = self.workers.get(pid).map(|worker| worker.phase);
        let place = self.slots.get(slot.0 as usize);
        let is_its = place.is_some_and(|it| it.emptying.is_some() && it.seat == Seat::Held(pid));
        if is_its && !matches!(phase, Some(Phase::Ready { .. })) {
            self.set_emptying(slot, None);
        }
    }

    /// After each event. The cost grows with the slots only where the first one is In.
    #[inline(never)]
    pub(super) fn steer(&mut self, out: &mut Actions) {
        if !self.is_spread() {
            return;
        }
        let touched = core::mem::take(&mut self.steering.touched);
        if self.mission != Mission::Running {
            return;
        }
        let before = self.steering.favoured;
        for slot in &touched {
            let wanted = if self.serves(*slot, None) { Steer::In } else { Steer::Past };
            self.steer_slot(*slot, wanted, out);
        }
        if before == 0 {
            (0..self.slots.len() as u32).for_each(|slot| self.pass_on(SlotId(slot), out));
        } else {
            touched.iter().for_each(|slot| self.pass_on(*slot, out));
        }
    }

    /// A worker is about to be told to stop: connections go elsewhere first.
    pub(super) fn steer_past(&mut self, pid: Pid, out: &mut Actions) {
        if !self.is_spread() || self.mission != Mission::Running {
            return;
        }
        if let Some(slot) = self.workers.get(pid).map(|worker| worker.slot)
            && !self.serves(slot, Some(pid))
        {
            self.steer_slot(slot, Steer::Past, out);
        }
    }

    /// A worker is about to be spawned: its slot has sockets from then on.
    pub(super) fn has_sockets(&mut self, slot: SlotId) {
        if HERE
            && let Some(place) = self.slots.get_mut(slot.0 as usize)
            && place.steer == Steer::Out
        {
            place.steer = Steer::Past;
        }
    }

    fn steer_slot(&mut self, slot: SlotId, to: Steer, out: &mut Actions) {
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        // Who is Out stays so until another worker comes.
        if place.steer == to || place.steer == Steer::Out {
            return;
        }
        place.steer = to;
        if to == Steer::In {
            self.steering.favoured += 1;
        } else {
            self.steering.favoured -= 1;
        }
        out.push_back(Action::Steer { slot, to });
    }

    fn pass_on(&mut self, slot: SlotId, out: &mut Actions) {
        let accepts = self.accepts(slot);
        let Some(place) = self.slots.get_mut(slot.0 as usize) else { return };
        let nobody = place.leaving.is_none() && place.newcomer == Newcomer::None;
        let goes = match self.steering.queues {
            Queues::Shared => false,
            Queues::Move => self.steering.favoured > 0 && !accepts,
            Queues::Stay => place.seat == Seat::Closed && nobody,
        };
        if goes && place.steer == Steer::Past {
            place.steer = Steer::Out;
            out.push_back(Action::Steer { slot, to: Steer::Out });
        }
    }

    /// Whether somebody other than `except` is ready there, and goes on.
    fn serves(&self, slot: SlotId, except: Option<Pid>) -> bool {
        let Some(place) = self.slots.get(slot.0 as usize) else { return false };
        let is_ready = |pid: &Pid| {
            let worker = self.workers.get(*pid).filter(|_| except != Some(*pid));
            worker.is_some_and(|worker| matches!(worker.phase, Phase::Ready { .. }))
        };
        let holder = if let Seat::Held(pid) = place.seat { Some(pid) } else { None };
        let mut all = holder.into_iter().chain(place.newcomer.pid());
        place.emptying.is_none() && all.any(|pid| is_ready(&pid))
    }

    /// Whether somebody accepts there, or soon will.
    fn accepts(&self, slot: SlotId) -> bool {
        let Some(place) = self.slots.get(slot.0 as usize) else { return false };
        let goes_on =
            |pid: Pid| self.workers.get(pid).is_some_and(|worker| worker.phase.cause().is_none());
        let holder = match place.seat {
            Seat::Held(pid) => goes_on(pid),
            Seat::Spawning => true,
            Seat::Vacant | Seat::Resting { .. } | Seat::Waiting => false,
            Seat::Ceded | Seat::Closed => false,
        };
        holder || place.newcomer == Newcomer::Spawning || place.newcomer.pid().is_some_and(goes_on)
    }

    /// A slot is taken away: whether its worker is to accept first what waits there, as nobody else will.
    pub(super) fn empties_first(
        &mut self,
        now: Millis,
        slot: SlotId,
        pid: Pid,
        out: &mut Actions,
    ) -> bool {
        if !HERE || self.steering.queues != Queues::Stay {
            return false;
        }
        let Some(worker) = self.workers.get(pid) else { return false };
        if !matches!(worker.phase, Phase::Ready { .. }) {
            return false;
        }
        let rules = &worker.load.rules;
        let limit = rules.drain_timeout.map(|limit| now.plus(limit));
        let until = Some(now.plus(rules.overlap));
        self.set_emptying(slot, Some(Emptying { looks: 0, until, limit }));
        self.steer_slot(slot, Steer::Past, out);
        true
    }

    pub(super) fn emptying_due(&mut self, slot: SlotId, out: &mut Actions) {
        if !HERE {
            return;
        }
        let emptying = self.slots.get(slot.0 as usize).and_then(|place| place.emptying);
        if let Some(emptying) = emptying {
            self.set_emptying(slot, Some(Emptying { until: None, ..emptying }));
            out.push_back(Action::LookAtQueue { slot });
        }
    }

    pub(super) fn queue_seen(
        &mut self,
        now: Millis,
        slot: SlotId,
        is_empty: bool,
        out: &mut Actions,
    ) {
        let Some(place) = self.slots.get(slot.0 as usize).filter(|_| HERE) else { return };
        let (Some(emptying), Seat::Held(pid)) = (place.emptying, place.seat) else { return };
        let Emptying { looks, until: None, limit } = emptying else { return };
        if is_empty || limit.is_some_and(|limit| limit <= now) {
            self.set_emptying(slot, None);
            return self.take_worker_away(now, slot, pid, out);
        }
        let wait = Millis(FIRST_WAIT.0 << looks.min(DOUBLINGS));
        let until = Some(now.plus(wait));
        self.set_emptying(slot, Some(Emptying { looks: looks + 1, until, limit }));
    }

    /// For the invariants: what is In has somebody who serves, and who is emptied waits for that.
    pub(super) fn check_steering(&self) -> Result<(), String> {
        let (mut favoured, mut emptying) = (0, 0);
        for (id, place) in (0..).map(SlotId).zip(&self.slots) {
            favoured += usize::from(place.steer == Steer::In);
            emptying += usize::from(place.emptying.is_some());
            let is_in = place.steer == Steer::In;
            let runs = self.is_spread() && self.mission == Mission::Running;
            if runs && is_in != self.serves(id, None) {
                return Err(format!("slot {id} is steered {:?}: {place:?}", place.steer));
            }
            if place.emptying.is_some() && !(runs && matches!(place.seat, Seat::Held(_))) {
                return Err(format!("slot {id} is emptied, and nobody is there"));
            }
        }
        if favoured != self.steering.favoured || emptying != self.steering.emptying {
            return Err(format!("{favoured} slots are in, {emptying} emptied: counted wrongly"));
        }
        Ok(())
    }

    /// The only place where it changes: agenda and count follow.
    pub(super) fn set_emptying(&mut self, slot: SlotId, after: Option<Emptying>) {
        let Some(place) = self.slots.get_mut(slot.0 as usize).filter(|_| HERE) else { return };
        let before = core::mem::replace(&mut place.emptying, after);
        self.steering.emptying += usize::from(after.is_some());
        self.steering.emptying -= usize::from(before.is_some());
        let due = |emptying: Option<Emptying>| emptying.and_then(Emptying::deadline);
        self.agenda.change(Due::Queue(slot), due(before), due(after));
        self.touch(slot);
    }
}
