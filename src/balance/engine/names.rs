//! Names of backends: looked up at the start and every so often, by a child each, so that nothing waits for it.

use std::ffi::CString;

use super::{Engine, Kind, token};
use crate::balance::ConnId;
use crate::balance::backends::{BackendId, Backends, Target};
use crate::balance::origin::{Host, Origin, Place};
use crate::sys::epoll::Interest;
use crate::sys::resolve::{Found, Lookup};
use crate::units::Millis;

/// How long one lookup may take.
const PATIENCE: Millis = Millis::seconds(10);

#[derive(Debug)]
pub(super) struct Names {
    all: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    /// The `number`th `--backend`.
    number: u32,
    origin: Origin,
    name: CString,
    port: u16,
    next: Millis,
    lookup: Option<Lookup>,
    /// Whether there was an answer, of whatever kind.
    is_known: bool,
    /// Why it was not found, as the log was told.
    told: Option<String>,
}

impl Names {
    /// Backends that need not be looked up are there at once.
    pub(super) fn new(origins: &[Origin], backends: &mut Backends, now: Millis) -> Names {
        let mut all = Vec::new();
        for (number, origin) in (0..).zip(origins) {
            match &origin.host {
                Host::Known(place) => drop(backends.add(origin.target(place.clone(), number))),
                Host::Named { name, port } => all.push(Name {
                    number,
                    origin: origin.clone(),
                    // It has no NUL: it was looked at.
                    name: CString::new(name.as_str()).unwrap_or_default(),
                    port: *port,
                    next: now,
                    lookup: None,
                    is_known: false,
                    told: None,
                }),
            }
        }
        Names { all }
    }

    pub(super) fn all_known(&self) -> bool {
        self.all.iter().all(|name| name.is_known)
    }

    pub(super) fn next(&self) -> Option<Millis> {
        self.all.iter().map(|name| name.next).min()
    }
}

impl Engine {
    /// Those whose time has come: to begin, or to be given up.
    pub(super) fn look_up_names(&mut self) {
        if self.is_draining() {
            self.names.all.clear();
        }
        for index in 0..self.names.all.len() {
            let Some(name) = self.names.all.get_mut(index) else { return };
            if name.next > self.now {
                continue;
            }
            if name.lookup.take().is_some() {
                name.next = self.now.plus(self.plan.resolve);
                self.found(index, Found::Nothing("no answer in time".into()));
                continue;
            }
            name.next = self.now.plus(PATIENCE);
            let id = ConnId { slot: index as u32, generation: 0 };
            let begun = Lookup::begin(&name.name).and_then(|lookup| {
                self.epoll.add(&lookup, token(Kind::Lookup, id), Interest::IN)?;
                Ok(lookup)
            });
            match begun {
                Ok(lookup) => name.lookup = Some(lookup),
                Err(errno) => {
                    name.next = self.now.plus(self.plan.resolve);
                    self.found(index, Found::Nothing(errno.to_string()));
                }
            }
        }
    }

    pub(super) fn lookup_ready(&mut self, index: usize) {
        let Some(name) = self.names.all.get_mut(index) else { return };
        let Some(lookup) = &mut name.lookup else { return };
        let found = match lookup.read() {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(errno) => Found::Nothing(errno.to_string()),
        };
        name.lookup = None;
        name.next = self.now.plus(self.plan.resolve);
        self.found(index, found);
    }

    /// What is no longer found stays as it was: a name server that fails is no reason to stop serving.
    fn found(&mut self, index: usize, found: Found) {
        let Some(name) = self.names.all.get_mut(index) else { return };
        name.is_known = true;
        let addresses = match found {
            Found::Addresses(addresses) => addresses,
            Found::Nothing(why) => {
                if name.told.as_ref() != Some(&why) {
                    self.log.not_found(&name.name.to_string_lossy(), &why);
                    name.told = Some(why);
                }
                return;
            }
        };
        name.told = None;
        let place = |ip| Place::Inet(core::net::SocketAddr::new(ip, name.port));
        let targets: Vec<Target> =
            addresses.into_iter().map(|ip| name.origin.target(place(ip), name.number)).collect();
        let number = name.number;
        self.replace(number, targets);
    }

    /// These are what the `number`th `--backend` stands for from now on.
    fn replace(&mut self, number: u32, targets: Vec<Target>) {
        let own = |one: &Target| one.origin == number;
        let listed: Vec<(BackendId, Target)> = self
            .backends
            .listed()
            .filter(|(_, one)| own(&one.target))
            .map(|(id, one)| (id, one.target.clone()))
            .collect();
        for target in &targets {
            if !listed.iter().any(|(_, known)| known == target) {
                self.log.added(&target.name);
                self.backends.add(target.clone());
                self.is_line_moving = true;
            }
        }
        for (id, known) in listed {
            if !targets.contains(&known) {
                self.log.removed(&known.name);
                for conn in self.backends.retire(id) {
                    self.remove_upstream(conn);
                }
            }
        }
    }
}
