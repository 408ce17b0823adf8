//! How things stand, for whoever asks. Changes nothing.

use alloc::vec::Vec;

use super::Supervisor;
use super::reload::Phase as ReloadPhase;
use super::slot::{Seat, Slot};
use super::stop::Mission;
use super::worker::Phase;
use crate::units::{Generation, Millis, Pid, SlotId};

/// All of it, in a few words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overview {
    pub course: Course,
    /// The one that serves.
    pub generation: Generation,
    /// How many slots there are.
    pub workers: u32,
    /// How many of them have a worker that is ready.
    pub ready: u32,
    /// How many have none, and want none until somebody connects.
    pub waiting: u32,
    pub canary: Option<Holding>,
}

/// A canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    pub generation: Generation,
    /// How many slots are its own.
    pub slots: u32,
    /// One of its workers failed.
    pub failed: bool,
}

/// How many workers are in which state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Population {
    pub starting: u32,
    pub ready: u32,
    pub draining: u32,
    pub killed: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Course {
    Running,
    /// To this generation; so many slots are still to be taken over.
    Reloading {
        generation: Generation,
        left: u32,
    },
    Stopping,
}

/// One slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotView {
    pub state: SlotState,
    pub workers: Vec<WorkerView>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    Held,
    /// Its worker is about to be started.
    Vacant,
    /// It is started again after this time.
    Resting(Millis),
    /// Until somebody connects.
    Waiting,
    /// The restart policy lets it rest.
    Ended,
    /// It was taken away, or fd3 stops; somebody may still be on the way out.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerView {
    pub pid: Pid,
    pub role: Role,
    pub state: WorkerState,
    pub generation: Generation,
    pub age: Millis,
}

/// What it is to its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Holder,
    /// It is to take over.
    Newcomer,
    /// It was replaced, or came in vain.
    Leaving,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerState {
    Starting,
    Ready,
    Draining,
    Killed,
}

impl Supervisor {
    pub fn overview(&self) -> Overview {
        let is_ready = |slot: &&Slot| match slot.seat {
            Seat::Held(pid) => {
                self.workers.get(pid).is_some_and(|it| matches!(it.phase, Phase::Ready { .. }))
            }
            Seat::Vacant | Seat::Spawning | Seat::Resting { .. } => false,
            Seat::Waiting | Seat::Ceded | Seat::Closed => false,
        };
        let ready = self.slots.iter().take(self.size as usize).filter(is_ready).count();
        Overview {
            course: self.course(),
            generation: self.load.generation,
            workers: self.size,
            ready: ready as u32,
            waiting: self.waiting as u32,
            canary: self.holding(),
        }
    }

    pub fn population(&self) -> Population {
        let mut all = Population::default();
        for (_, worker) in self.workers.iter() {
            match worker.phase {
                Phase::Starting { .. } => all.starting += 1,
                Phase::Ready { .. } => all.ready += 1,
                Phase::Draining { .. } => all.draining += 1,
                Phase::Killed { .. } => all.killed += 1,
            }
        }
        all
    }

    fn course(&self) -> Course {
        match (&self.reload, self.mission) {
            (_, Mission::Stopping { .. } | Mission::Finished) => Course::Stopping,
            (Some(reload), _) if !reload.is_renewal() => match &reload.phase {
                ReloadPhase::Starting { load, todo, .. } => {
                    let left = (todo.len() + self.arriving) as u32;
                    Course::Reloading { generation: load.generation, left }
                }
                ReloadPhase::Loading => Course::Running,
            },
            (Some(_) | None, Mission::NotBegun | Mission::Running) => Course::Running,
        }
    }

    /// One after the other, from 0 on, until there is none.
    pub fn slot(&self, now: Millis, id: SlotId) -> Option<SlotView> {
        let slot = self.slots.get(id.0 as usize)?;
        let gone = id.0 >= self.size || self.mission != Mission::Running;
        let (mut workers, mut held) = (Vec::new(), None);
        let state = match slot.seat {
            Seat::Held(pid) => {
                held = Some(pid);
                SlotState::Held
            }
            Seat::Vacant | Seat::Spawning | Seat::Ceded => SlotState::Vacant,
            Seat::Resting { until } => SlotState::Resting(until.since(now)),
            Seat::Waiting => SlotState::Waiting,
            Seat::Closed if gone => SlotState::Gone,
            Seat::Closed => SlotState::Ended,
        };
        let all = [
            (held, Role::Holder),
            (slot.newcomer.pid(), Role::Newcomer),
            (slot.leaving.filter(|pid| held != Some(*pid)), Role::Leaving),
        ];
        for (pid, role) in all {
            if let Some(view) = pid.and_then(|pid| self.worker(now, pid, role)) {
                workers.push(view);
            }
        }
        Some(SlotView { state, workers })
    }

    fn worker(&self, now: Millis, pid: Pid, role: Role) -> Option<WorkerView> {
        let worker = self.workers.get(pid)?;
        let state = match worker.phase {
            Phase::Starting { .. } => WorkerState::Starting,
            Phase::Ready { .. } => WorkerState::Ready,
            Phase::Draining { .. } => WorkerState::Draining,
            Phase::Killed { .. } => WorkerState::Killed,
        };
        let (generation, age) = (worker.load.generation, now.since(worker.started));
        Some(WorkerView { pid, role, state, generation, age })
    }
}
