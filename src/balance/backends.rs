//! The backends: which one a request goes to, how many it has at once, which idle connections it keeps, and who waits
//! for a place.
//!
//! A request holds a place of its backend from `choose` to `leave`. Who finds no place waits in one line for all
//! backends; whoever frees a place calls the first one of the line, who chooses again.
#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::ConnId;
use super::health::{Change, Health, Rules, State, Verdict};
use super::origin::Place;
use super::random::Random;
use crate::units::Millis;

/// Idle connections kept for each backend.
const IDLE_MAX: usize = 1024;

/// A backend's place in the list; it is given to another one only when nobody refers to the former any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BackendId(pub u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Of two by chance the one with fewer requests.
    RandomTwo,
    Least,
    RoundRobin,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once for each backend.
    pub places: Option<u32>,
    /// Requests that wait for one.
    pub queue: usize,
}

/// One address that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// As it is told: `http://10.0.0.1:80/api`.
    pub name: String,
    pub place: Place,
    /// What Host says where the client says none.
    pub authority: String,
    /// What is put before each target's path.
    pub prefix: String,
    /// Which `--backend` it belongs to: a name may have several addresses.
    pub origin: u32,
}

#[derive(Debug)]
pub struct Backend {
    pub target: Target,
    health: Health,
    requests: u32,
    idle: Vec<ConnId>,
    /// Taken out of the list, as soon as what it does is done.
    is_retired: bool,
    /// A check of it is under way.
    pub is_asked: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// There it has a place from now on.
    Go(BackendId),
    /// All that serve have enough to do.
    Wait,
    /// Nobody serves, or nobody is left who was not tried.
    Nobody,
}

#[derive(Debug)]
pub struct Backends {
    all: Vec<Option<Backend>>,
    algorithm: Algorithm,
    limits: Limits,
    rules: Rules,
    is_checked: bool,
    random: Random,
    /// Where the last choice fell.
    cursor: usize,
    line: VecDeque<ConnId>,
    /// Kept, so that a choice allocates nothing.
    candidates: Vec<u32>,
}

impl Backends {
    pub fn new(
        algorithm: Algorithm,
        limits: Limits,
        rules: Rules,
        is_checked: bool,
        random: Random,
    ) -> Backends {
        Backends {
            all: Vec::new(),
            algorithm,
            limits,
            rules,
            is_checked,
            random,
            cursor: 0,
            line: VecDeque::new(),
            candidates: Vec::new(),
        }
    }

    pub fn get(&self, id: BackendId) -> Option<&Backend> {
        self.all.get(id.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: BackendId) -> Option<&mut Backend> {
        self.all.get_mut(id.0 as usize)?.as_mut()
    }

    /// Those that are in the list.
    pub fn listed(&self) -> impl Iterator<Item = (BackendId, &Backend)> {
        let all = (0..).zip(&self.all);
        all.filter_map(|(id, one)| Some((BackendId(id), one.as_ref()?)))
            .filter(|(_, one)| !one.is_retired)
    }

    pub fn add(&mut self, target: Target) -> BackendId {
        let backend = Backend {
            target,
            health: Health::new(self.is_checked),
            requests: 0,
            idle: Vec::new(),
            is_retired: false,
            is_asked: false,
        };
        let free = self.all.iter().position(Option::is_none);
        let index = free.unwrap_or(self.all.len());
        match free.and_then(|free| self.all.get_mut(free)) {
            Some(free) => *free = Some(backend),
            None => self.all.push(Some(backend)),
        }
        BackendId(index as u32)
    }

    /// Gets no request any more. Returns its idle connections, which are to be closed.
    pub fn retire(&mut self, id: BackendId) -> Vec<ConnId> {
        let Some(backend) = self.get_mut(id) else { return Vec::new() };
        backend.is_retired = true;
        let idle = core::mem::take(&mut backend.idle);
        self.forget(id);
        idle
    }

    /// Frees the place of one that is retired, once nobody refers to it.
    fn forget(&mut self, id: BackendId) {
        let is_done = |one: &Backend| one.is_retired && one.requests == 0 && !one.is_asked;
        if let Some(slot) = self.all.get_mut(id.0 as usize)
            && slot.as_ref().is_some_and(is_done)
        {
            *slot = None;
        }
    }

    /// For a request that has failed at those of `tried`.
    pub fn choose(&mut self, tried: &[BackendId], now: Millis) -> Choice {
        let mut candidates = core::mem::take(&mut self.candidates);
        candidates.clear();
        let mut left_out = Vec::new();
        let mut serves = false;
        for (id, one) in self.listed() {
            if !one.health.is_up() || tried.contains(&id) {
                continue;
            }
            if one.health.is_left_out(now) {
                left_out.push(id.0);
                continue;
            }
            serves = true;
            if self.has_place(one) {
                candidates.push(id.0);
            }
        }
        // Rather one that may be dead than none.
        if !serves {
            serves = !left_out.is_empty();
            let with_place = |id: &u32| self.get(BackendId(*id)).is_some_and(|b| self.has_place(b));
            candidates.extend(left_out.into_iter().filter(with_place));
        }
        let chosen = self.pick(&candidates);
        self.candidates = candidates;
        match chosen.and_then(|id| self.get_mut(id).map(|one| (id, one))) {
            Some((id, one)) => {
                one.requests = one.requests.saturating_add(1);
                self.cursor = id.0 as usize;
                Choice::Go(id)
            }
            None if serves => Choice::Wait,
            None => Choice::Nobody,
        }
    }

    fn has_place(&self, one: &Backend) -> bool {
        self.limits.places.is_none_or(|most| one.requests < most)
    }

    fn pick(&mut self, candidates: &[u32]) -> Option<BackendId> {
        let all = &self.all;
        let load = |id: &u32| {
            all.get(*id as usize).and_then(Option::as_ref).map_or(u32::MAX, |one| one.requests)
        };
        let after = |id: &u32| (*id as usize) > self.cursor;
        let next = candidates.iter().position(after).unwrap_or(0);
        let in_turn = || candidates.iter().cycle().skip(next).take(candidates.len());
        let chosen = match self.algorithm {
            Algorithm::RoundRobin => in_turn().next(),
            Algorithm::Least => in_turn().min_by_key(|id| load(id)),
            Algorithm::RandomTwo => {
                let count = candidates.len();
                let one = self.random.below(count);
                // Another one than the first.
                let other = self.random.below(count.saturating_sub(1));
                let other = if other >= one { other + 1 } else { other };
                let two = [candidates.get(one), candidates.get(other)];
                two.into_iter().flatten().min_by_key(|id| load(id))
            }
        };
        chosen.map(|id| BackendId(*id))
    }

    /// A request gives its place back.
    pub fn leave(&mut self, id: BackendId) {
        if let Some(one) = self.get_mut(id) {
            one.requests = one.requests.saturating_sub(1);
        }
        self.forget(id);
    }

    /// Joins the line; `false` where it is as long as it may be.
    pub fn wait(&mut self, who: ConnId) -> bool {
        let has_room = self.line.len() < self.limits.queue;
        if has_room {
            self.line.push_back(who);
        }
        has_room
    }

    pub fn waits(&self) -> bool {
        !self.line.is_empty()
    }

    /// The first of the line, who chooses again.
    pub fn call(&mut self) -> Option<ConnId> {
        self.line.pop_front()
    }

    /// Was called in vain: it is the first one again.
    pub fn call_later(&mut self, who: ConnId) {
        self.line.push_front(who);
    }

    /// Goes without having been called.
    pub fn leave_line(&mut self, who: ConnId) {
        if let Some(at) = self.line.iter().position(|one| *one == who) {
            self.line.remove(at);
        }
    }

    /// The connection that was used last.
    pub fn take_idle(&mut self, id: BackendId) -> Option<ConnId> {
        self.get_mut(id)?.idle.pop()
    }

    /// Keeps a connection; `false` where it is to be closed.
    pub fn keep_idle(&mut self, id: BackendId, conn: ConnId) -> bool {
        let Some(one) = self.get_mut(id) else { return false };
        let keep = !one.is_retired && one.idle.len() < IDLE_MAX;
        if keep {
            one.idle.push(conn);
        }
        keep
    }

    /// An idle connection has ended.
    pub fn drop_idle(&mut self, id: BackendId, conn: ConnId) {
        if let Some(one) = self.get_mut(id)
            && let Some(at) = one.idle.iter().rposition(|idle| *idle == conn)
        {
            one.idle.remove(at);
        }
    }

    pub fn connected(&mut self, id: BackendId) -> Option<Change> {
        self.get_mut(id)?.health.connected()
    }

    pub fn not_connected(&mut self, id: BackendId, now: Millis) -> Option<Change> {
        let rules = self.rules;
        self.get_mut(id)?.health.not_connected(now, rules)
    }

    /// What a check has found; it is over then.
    pub fn checked(&mut self, id: BackendId, verdict: Verdict) -> Option<Change> {
        let rules = self.rules;
        let one = self.get_mut(id)?;
        one.is_asked = false;
        let change = one.health.checked(verdict, rules);
        let is_retired = one.is_retired;
        self.forget(id);
        change.filter(|_| !is_retired)
    }

    /// Whether every backend has had its first check.
    pub fn all_known(&self) -> bool {
        self.listed().all(|(_, one)| one.health.state() != State::Unknown)
    }
}

impl Backend {
    pub fn state(&self) -> State {
        self.health.state()
    }

    pub fn is_retired(&self) -> bool {
        self.is_retired
    }

    pub fn requests(&self) -> u32 {
        self.requests
    }
}

#[cfg(test)]
#[path = "backends/tests.rs"]
mod tests;
