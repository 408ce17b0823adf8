//! `--spread worker`: carries out who of a group's sockets gets new connections, as the supervisor wants it and as
//! far as the kernel lets us. Decides nothing.
//!
//! By turns: an eBPF program, of which the kernel also asks where the queue of a socket goes that closes. At
//! random: a classic program, which needs no rights and answers with a place in the group; the kernel keeps
//! the places in the order in which sockets came, and gives the place of one that leaves to the last one. By
//! hash: the kernel alone chooses, among
//! all. Datagrams always go by the sender's hash, so that they stay together.

use super::EventLoop;
use super::guard::watch_one;
use super::listeners::{Listener, Listeners, Slots};
use super::log::Log;
use crate::error::{Errno, Error};
use crate::plan::Level;
use crate::plan::{SPREAD_MAX, Spread};
use crate::protocol::spread::SpreadLine;
use crate::supervisor::{Event, Queues, Steer};
use crate::sys::bpf::{self, Chooser, Refusal, Row};
use crate::sys::{fd, socket};
use crate::units::SlotId;
use alloc::string::String;
use alloc::vec::Vec;
use std::os::fd::AsFd;

const HERE: bool = cfg!(feature = "spread");
// What the program has room for.
const _: () = assert!(SPREAD_MAX == bpf::SLOTS_MAX);

#[derive(Default)]
pub(super) struct Steering {
    way: Way,
    /// Why it is no better way.
    why: Option<String>,
    /// The slots that new connections go to, in order.
    ready: Vec<u32>,
    groups: Vec<Group>,
}

#[derive(Default)]
enum Way {
    /// There are no groups.
    #[default]
    Shared,
    Turns(Row),
    Random,
    Hash,
}

/// The sockets of one `--listen`.
struct Group {
    place: usize,
    chooser: Option<Chooser>,
    /// Without one: whose they are, in the kernel's order.
    order: Vec<u32>,
}

impl Steering {
    /// What is told of it.
    pub(super) fn line(&self) -> SpreadLine<'_> {
        let steering = match self.way {
            Way::Shared => None,
            Way::Turns(_) => Some("ebpf"),
            Way::Random => Some("cbpf"),
            Way::Hash => Some("hash"),
        };
        SpreadLine { steering, why: self.why.as_deref() }
    }
}

/// How many slots get sockets of their own.
pub(super) fn slots(spread: Spread, count: u32) -> Slots {
    match spread {
        Spread::Worker if HERE => Slots::Each(count),
        Spread::Worker | Spread::Shared => Slots::Together,
    }
}

impl EventLoop {
    /// Before the first worker: nobody is ready, and whoever connects waits.
    pub(super) fn begin_to_steer(&mut self, listeners: &Listeners) {
        if !HERE || !listeners.all.iter().any(|listener| listener.slot.is_some()) {
            return;
        }
        self.steering = match by_turns(listeners) {
            Ok(steering) => {
                self.supervisor.spread(Queues::Move);
                steering
            }
            Err(refusal) => {
                self.supervisor.spread(Queues::Stay);
                without_rights(listeners, refusal)
            }
        };
        self.log.steering(&self.steering.line());
    }

    pub(super) fn steer(&mut self, slot: SlotId, to: Steer) {
        if !HERE {
            return;
        }
        let place = self.steering.ready.binary_search(&slot.0);
        match (to, place) {
            (Steer::In, Err(place)) => self.steering.ready.insert(place, slot.0),
            (Steer::Past, Ok(place)) => drop(self.steering.ready.remove(place)),
            // Places may have changed.
            (Steer::Out, _) => self.take_out(slot),
            (Steer::In, Ok(_)) | (Steer::Past, Err(_)) => return,
        }
        let Some(listeners) = &self.listeners else { return };
        if let Err(errno) = self.steering.tell_kernel(listeners) {
            self.log.cannot_steer(errno);
        }
    }

    /// By turns, the slot's connections go to others as soon as nobody holds their socket: from now on fd3 does
    /// not. Datagrams would be lost, and are not sent there any more. Else nobody will accept there, and its
    /// sockets leave their groups at once, as the kernel's hash would still choose them.
    fn take_out(&mut self, slot: SlotId) {
        let Some(listeners) = &mut self.listeners else { return };
        let moves = matches!(self.steering.way, Way::Turns(_));
        for listener in listeners.take_out(slot, if moves { |one| one.stream } else { |_| true }) {
            // A worker that is on its way out may still hold it, which epoll would go on watching.
            let _ = self.epoll.delete(&listener.fd);
            if !moves {
                // A datagram socket leaves when it is closed.
                let _ = socket::shut(listener.fd.as_fd());
                self.steering.went(&listener);
            }
        }
    }

    /// A worker is to be started: what its slot lacks is opened.
    pub(super) fn open_slot(&mut self, slot: SlotId) -> Result<(), Error> {
        if !HERE {
            return Ok(());
        }
        let Some(listeners) = self.listeners.as_mut() else { return Ok(()) };
        let fresh = listeners.open_missing(slot)?;
        let reserved = self.loader.fixed.reserved();
        for index in fresh {
            let Some(listener) = listeners.all.get_mut(index) else { continue };
            let cannot = |errno| Error::system("bind", &listener.address, errno);
            if fd::number(&listener.fd) < reserved {
                listener.fd = fd::copy_above(&listener.fd, reserved).map_err(cannot)?;
            }
            watch_one(&self.epoll, listener, index, self.watched_for).map_err(cannot)?;
            self.steering.came(listener);
        }
        Ok(())
    }

    /// Sockets were replaced: dead ones have left their groups.
    pub(super) fn steer_anew(&mut self) {
        if !HERE {
            return;
        }
        let Some(listeners) = &self.listeners else { return };
        match self.steering.way {
            Way::Shared | Way::Hash => {}
            Way::Turns(_) => listeners.all.iter().for_each(|one| self.steering.came(one)),
            // Which of them left first nobody knows, and so no place is certain.
            Way::Random => {
                for first in listeners.places().filter(|one| one.slot.is_some()) {
                    let _ = bpf::choose_by_hash(first.fd.as_fd());
                }
                self.steering.way = Way::Hash;
                self.steering.why = Some("a worker shut its listener down".into());
                self.log.steering(&self.steering.line());
            }
        }
    }

    /// Whether somebody waits at a slot of whom no other one would take care.
    pub(super) fn look_at_queue(&self, slot: SlotId) -> Event {
        let waits =
            |one: &Listener| HERE && one.slot == Some(slot) && socket::is_readable(one.fd.as_fd());
        let all = self.listeners.as_ref().map_or(&[][..], |listeners| &listeners.all);
        Event::Queue { slot, is_empty: !all.iter().any(waits) }
    }
}

fn by_turns(listeners: &Listeners) -> Result<Steering, Refusal> {
    let plain = |errno| Refusal { errno, verdict: String::new() };
    let row = Row::new().map_err(plain)?;
    row.set(&[]).map_err(plain)?;
    let mut groups = Vec::new();
    for first in listeners.places().filter(|one| one.slot.is_some()) {
        let chooser = Chooser::new(&row)?;
        for (slot, one) in of_place(listeners, first.place) {
            chooser.set(slot, one.fd.as_fd()).map_err(plain)?;
        }
        chooser.attach(first.fd.as_fd()).map_err(plain)?;
        let (place, order) = (first.place, Vec::new());
        groups.push(Group { place, chooser: Some(chooser), order });
    }
    Ok(Steering { way: Way::Turns(row), why: None, ready: Vec::new(), groups })
}

fn without_rights(listeners: &Listeners, refusal: Refusal) -> Steering {
    let Refusal { errno, verdict } = refusal;
    let mut why = errno.to_string();
    if !verdict.is_empty() {
        why.push_str(": ");
        why.push_str(&verdict);
    }
    let mut groups = Vec::new();
    for first in listeners.places().filter(|one| one.slot.is_some()) {
        let order = of_place(listeners, first.place).map(|(slot, _)| slot).collect();
        groups.push(Group { place: first.place, chooser: None, order });
    }
    let mut steering = Steering { way: Way::Random, why: Some(why), ready: Vec::new(), groups };
    if let Err(errno) = steering.tell_kernel(listeners) {
        steering.way = Way::Hash;
        steering.why = Some(errno.to_string());
    }
    steering
}

fn of_place(listeners: &Listeners, place: usize) -> impl Iterator<Item = (u32, &Listener)> {
    let same = listeners.all.iter().filter(move |one| one.place == place);
    same.filter_map(|one| Some((one.slot?.0, one)))
}

impl Steering {
    /// What is ready has changed.
    fn tell_kernel(&self, listeners: &Listeners) -> Result<(), Errno> {
        match &self.way {
            Way::Shared | Way::Hash => return Ok(()),
            Way::Turns(row) => return row.set(&self.ready),
            Way::Random => {}
        }
        for group in &self.groups {
            let Some((_, any)) = of_place(listeners, group.place).next() else { continue };
            let mut places = Vec::new();
            for (nth, slot) in (0..).zip(&group.order) {
                if self.ready.binary_search(slot).is_ok() {
                    places.push(nth);
                }
            }
            if any.stream {
                bpf::choose_at_random(any.fd.as_fd(), &places)?;
            }
        }
        Ok(())
    }

    /// A slot's socket has left its group: the kernel gives its place to the last one.
    fn went(&mut self, listener: &Listener) {
        let Some(slot) = listener.slot.map(|slot| slot.0) else { return };
        for group in self.groups.iter_mut().filter(|group| group.place == listener.place) {
            if let Some(place) = group.order.iter().position(|other| *other == slot) {
                group.order.swap_remove(place);
            }
        }
    }

    /// A slot's socket has come to its group.
    fn came(&mut self, listener: &Listener) {
        let Some(slot) = listener.slot.map(|slot| slot.0) else { return };
        for group in self.groups.iter_mut().filter(|group| group.place == listener.place) {
            match &group.chooser {
                // Where it fails its turn goes to another one.
                Some(chooser) => drop(chooser.set(slot, listener.fd.as_fd())),
                None => group.order.push(slot),
            }
        }
    }
}

impl Log {
    /// That it is not as good as it could be matters to whoever asked for it.
    fn steering(&self, line: &SpreadLine<'_>) {
        let level = if line.why.is_some() { Level::Notice } else { Level::Info };
        self.write_at(level, "spread", &|out| {
            out.text("steering", line.steering.unwrap_or("none"));
            if let Some(why) = line.why {
                out.text("why", why);
            }
        });
    }

    fn cannot_steer(&self, errno: Errno) {
        self.trouble("cannot steer connections", errno);
    }
}
