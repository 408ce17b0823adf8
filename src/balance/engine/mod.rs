//! The loop: one thread, one level-triggered epoll over the listeners, the clients, the connections to backends, the
//! checks and the lookups of names. What is to be done next is decided by the pure parts; here it is done.
//!
//! Each connection is read when it can be, sent to at once, and watched for room only after a send was short. Nothing is
//! read whose taker has not taken what came before: what waits in memory is at most one reading for each direction.
//! An idle client has a place in a table and no buffer.

mod check;
mod client;
mod flow;
mod json;
mod listen;
mod log;
mod names;
mod route;
mod slab;
mod upstream;
mod wire;

use std::os::fd::AsFd;

use self::check::Checks;
use self::flow::{Client, Flow, Upstream};
use self::listen::Listeners;
pub use self::listen::{Source, address_of};
use self::log::Log;
use self::names::Names;
use self::slab::{GENERATIONS, Slab};
use super::ConnId;
use super::backends::Backends;
use super::plan::Plan;
use super::random::Random;
use super::timers::Timers;
use crate::error::{Errno, Error};
use crate::ready;
use crate::sys::epoll::{Epoll, Event, Interest};
use crate::sys::signal::SignalFd;
use crate::sys::{clock, process};
use crate::units::{Millis, sooner};

/// Read at once.
const SCRATCH: usize = 64 << 10;
/// Whole exchanges kept for those who come next.
const SPARE_MAX: usize = 128;

/// What an event is about: the upper four bits of its token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Signals,
    Listener,
    Client,
    Upstream,
    Check,
    Lookup,
}

const KINDS: [Kind; 6] =
    [Kind::Signals, Kind::Listener, Kind::Client, Kind::Upstream, Kind::Check, Kind::Lookup];

fn token(kind: Kind, id: ConnId) -> u64 {
    let kind = KINDS.iter().position(|one| *one == kind).unwrap_or(0) as u64;
    kind << 60 | u64::from(id.generation % GENERATIONS) << 32 | u64::from(id.slot)
}

fn meant(token: u64) -> Option<(Kind, ConnId)> {
    let kind = KINDS.get((token >> 60) as usize)?;
    let generation = (token >> 32) as u32 % GENERATIONS;
    Some((*kind, ConnId { slot: token as u32, generation }))
}

/// Whether it takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Names are looked up, backends checked for the first time.
    Starting,
    Serving,
    /// It finishes what it has, until then.
    Draining(Millis),
}

pub struct Engine {
    plan: Plan,
    epoll: Epoll,
    signals: SignalFd,
    listeners: Listeners,
    backends: Backends,
    clients: Slab<Client>,
    upstreams: Slab<Upstream>,
    client_timers: Timers,
    upstream_timers: Timers,
    checks: Checks,
    names: Names,
    log: Log,
    phase: Phase,
    now: Millis,
    scratch: Vec<u8>,
    /// Boxed as a client has it: what is large is not moved.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Flow>>,
    /// Clients that have said more than one request.
    again: Vec<ConnId>,
    /// A place is free, or a backend has come back.
    is_line_moving: bool,
    /// Kept, so that a client's address allocates nothing.
    text: String,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Engine {
    /// Ready to run; nothing was accepted yet.
    pub fn set_up(plan: Plan, sources: Vec<Source>) -> Result<Engine, Error> {
        let set_up = |errno| Error::system("set up", "the event loop", errno);
        let mut epoll = Epoll::new().map_err(set_up)?;
        let signals = SignalFd::new().map_err(set_up)?;
        let own = ConnId { slot: 0, generation: 0 };
        signals.watched_by(&mut epoll, token(Kind::Signals, own)).map_err(set_up)?;
        let now = Millis(clock::monotonic_ms());
        let random = Random::new(process::seed());
        let is_checked = plan.check.is_some();
        let mut backends =
            Backends::new(plan.algorithm, plan.limits, plan.rules, is_checked, random);
        let names = Names::new(&plan.backends, &mut backends, now);
        let listeners = Listeners::new(sources, plan.max_clients)?;
        let log = Log::new(plan.log);
        Ok(Engine {
            plan,
            epoll,
            signals,
            listeners,
            backends,
            clients: Slab::new(),
            upstreams: Slab::new(),
            client_timers: Timers::default(),
            upstream_timers: Timers::default(),
            checks: Checks::default(),
            names,
            log,
            phase: Phase::Starting,
            now,
            scratch: vec![0; SCRATCH],
            spare: Vec::new(),
            again: Vec::new(),
            is_line_moving: false,
            text: String::new(),
        })
    }

    /// Until it is told to stop, and all is finished or its time is over. The exit status.
    pub fn run(mut self) -> u8 {
        for source in self.listeners.told() {
            self.log.listening(&source);
        }
        let mut events: Vec<Event> = Vec::new();
        loop {
            self.settle();
            if self.is_done() {
                return 0;
            }
            let wait = self.deadline().map(|at| at.since(self.now).0);
            events.clear();
            match self.epoll.wait(wait) {
                Ok(ready) => events.extend_from_slice(ready),
                Err(errno) => {
                    self.log.failed(&Error::system("wait for", "events", errno));
                    return 125;
                }
            }
            self.now = Millis(clock::monotonic_ms());
            for event in &events {
                if let Some((kind, id)) = meant(event.data.u64()) {
                    self.happened(kind, id, event.flags);
                }
            }
            self.ring();
        }
    }

    fn happened(&mut self, kind: Kind, id: ConnId, flags: Interest) {
        match kind {
            Kind::Signals => self.signalled(),
            Kind::Listener => self.accept(id.slot as usize),
            Kind::Client => self.client_ready(id, flags),
            Kind::Upstream => self.upstream_ready(id, flags),
            Kind::Check => self.check_ready(id),
            Kind::Lookup => self.lookup_ready(id.slot as usize),
        }
    }

    /// What follows from what has happened, until nothing more does.
    fn settle(&mut self) {
        self.look_up_names();
        self.begin_checks();
        if self.phase == Phase::Starting && self.names.all_known() && self.backends.all_known() {
            self.serve();
        }
        while !self.again.is_empty() || self.is_line_moving {
            for id in core::mem::take(&mut self.again) {
                self.hear(id, &[]);
                self.watch_client(id, false);
            }
            if core::mem::take(&mut self.is_line_moving) {
                self.move_line();
            }
        }
        self.resume_accepting();
    }

    fn serve(&mut self) {
        self.phase = Phase::Serving;
        self.watch_listeners();
        self.log.serving(self.backends.listed().count());
        if let Err(error) = ready::ready() {
            self.log.failed(&error);
        }
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Serving => false,
            Phase::Draining(until) => self.clients.len() == 0 || self.now >= until,
        }
    }

    pub(self) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining(_))
    }

    fn deadline(&self) -> Option<Millis> {
        let drained = match self.phase {
            Phase::Draining(until) => Some(until),
            Phase::Starting | Phase::Serving => None,
        };
        let timers = sooner(self.client_timers.next(), self.upstream_timers.next());
        let rest = sooner(self.checks.next(), self.names.next());
        sooner(sooner(drained, timers), sooner(rest, self.listeners.resume_at()))
    }

    fn signalled(&mut self) {
        let received = match self.signals.read() {
            Ok(received) => received,
            Err(errno) => {
                self.log.failed(&Error::system("read", "signals", errno));
                return;
            }
        };
        let stops = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
        if received.iter().any(|one| stops.contains(&one.signal)) && !self.is_draining() {
            self.drain();
        }
    }

    /// Takes the last ones that wait, if nobody else would, and then no more.
    fn drain(&mut self) {
        if let Err(error) = ready::stopping() {
            self.log.failed(&error);
        }
        self.accept_last_ones();
        self.phase = Phase::Draining(self.now.plus(self.plan.times.drain));
        self.listeners.close(&self.epoll);
        for id in self.clients.ids() {
            self.last_words(id);
        }
        self.log.draining(self.clients.len());
    }

    /// Those whose time is over.
    fn ring(&mut self) {
        while let Some((at, id)) = self.client_timers.ring(self.now) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            if self.client_timers.is_over(at, id, &mut client.due, self.now) {
                self.client_expired(id);
                self.watch_client(id, false);
            }
        }
        while let Some((at, id)) = self.upstream_timers.ring(self.now) {
            let Some(upstream) = self.upstreams.get_mut(id) else { continue };
            if self.upstream_timers.is_over(at, id, &mut upstream.due, self.now) {
                self.drop_upstream(id);
            }
        }
        self.checks_expired();
        let clients = &self.clients;
        self.client_timers.tidy(clients.len(), |at, id| {
            clients.get(id).is_some_and(|client| client.due.has_alarm(at))
        });
        let upstreams = &self.upstreams;
        self.upstream_timers.tidy(upstreams.len(), |at, id| {
            upstreams.get(id).is_some_and(|upstream| upstream.due.has_alarm(at))
        });
    }

    fn watch(&self, fd: impl AsFd, kind: Kind, id: ConnId, what: Interest) -> Result<(), Errno> {
        self.epoll.add(fd, token(kind, id), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_what_it_is_about() {
        for kind in KINDS {
            for id in [(0, 0), (u32::MAX, GENERATIONS - 1), (7, 9)] {
                let id = ConnId { slot: id.0, generation: id.1 };
                assert_eq!(meant(token(kind, id)), Some((kind, id)));
            }
        }
        assert_eq!(meant(u64::MAX), None);
    }
}
