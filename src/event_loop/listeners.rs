//! The sockets that fd3 shares with its workers: opened all or none, and guarded.
//!
//! Whatever a worker does to a shared socket, it does to everybody: listen(2) with another backlog,
//! shutdown(2), unlink(2) of the path. `check` finds that, undoes it, and tells; who did it is for
//! the caller to know, who calls it at a worker's exit and when `watch` is readable.

mod slots;
#[cfg(test)]
mod tests;

use super::listen::{self, Fresh};
use crate::error::{Errno, Error};
use crate::protocol::address::{Address, Inherit, Listen, Options};
use crate::protocol::joined;
use crate::sys::inotify::Inotify;
use crate::sys::queue::{Queue, queue};
use crate::sys::socket::{self, Kind};
use crate::sys::unix_path::{BoundPath, State};
use crate::units::SlotId;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What sd_listen_fds_with_names(3) calls a descriptor that nobody named.
const UNNAMED: &str = "unknown";

/// A dead socket, a short backlog and a lost path, each at most once in one check: what comes back
/// at once is fought by somebody, and has to wait for the next.
const REPAIRS_MAX: usize = 3;

/// What fd3 itself was handed, from LISTEN_FDS and LISTEN_FDNAMES.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Inherited {
    pub names: Vec<(i32, String)>,
}

#[derive(Debug)]
pub struct Listener {
    pub fd: OwnedFd,
    /// Which `--listen` it is of, from 0 on: workers have it there, behind fd 3.
    pub place: usize,
    /// Whose it is, where each slot has its own.
    pub slot: Option<SlotId>,
    pub name: String,
    /// As bound: with the port that the kernel chose, or what an adopted socket is.
    pub address: Address,
    pub listen: Rc<Listen>,
    /// Whether it has a queue of connections (else it is a datagram socket).
    pub stream: bool,
    /// As the kernel has it; where it does not tell, as asked. 0 when not `stream`.
    pub backlog: i32,
    pub path: Option<BoundPath>,
    /// What could not be repaired and was told already.
    told: Option<What>,
    /// The backlog to which workers shrink it, told already: many do whenever they start.
    shrunk: Option<i32>,
    /// It is dead, and what is here only keeps its place.
    let_go: bool,
}

#[derive(Debug)]
pub struct Listeners {
    /// By place, and those of one place by slot.
    pub all: Vec<Listener>,
    /// Dead sockets that were replaced. Workers may still hold them, and what they hold an epoll does
    /// not forget by itself.
    pub replaced: Vec<OwnedFd>,
    watch: Option<Inotify>,
}

/// Whether workers accept from the same sockets of TCP and UDP, or so many slots each from its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slots {
    Together,
    Each(u32),
}

/// What somebody did to a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    BacklogShrunk { from: i32, to: i32 },
    ShutDown,
    PathMissing,
    PathReplaced,
}

/// Whether what could not be repaired is tried again. Not on news of it, which the try itself may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tries {
    Anew,
    News,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Its place in `Listeners::all`.
    pub listener: usize,
    pub what: What,
    pub repaired: Result<(), Error>,
    /// Workers still hold the old, dead socket: only new ones get the new one.
    pub replaced_socket: bool,
    /// The very same was told before.
    pub again: bool,
}

impl Listeners {
    /// All or nothing: an error leaves no path behind.
    #[inline(never)]
    pub fn open(
        plans: &[Rc<Listen>],
        inherited: &Inherited,
        slots: Slots,
    ) -> Result<Listeners, Error> {
        let mut all: Vec<Listener> = Vec::with_capacity(plans.len());
        let mut taken = Vec::new();
        for (place, plan) in plans.iter().enumerate() {
            let opened = match slots {
                Slots::Each(count) if slots::HERE && plan.address.is_spread() => {
                    slots::open(plan, place, count, &mut all)
                }
                Slots::Each(_) | Slots::Together => Listener::open(plan, inherited, &mut taken)
                    .map(|listener| all.push(Listener { place, ..listener })),
            };
            if let Err(error) = opened {
                Listeners { all, replaced: Vec::new(), watch: None }.close();
                return Err(error);
            }
        }
        Ok(Listeners::of(all))
    }

    /// Listeners that exist already, for example those handed over by the self before an upgrade.
    pub fn of(all: Vec<Listener>) -> Listeners {
        let watch = if all.iter().any(|one| one.path.is_some()) { Inotify::new() } else { None };
        let listeners = Listeners { all, replaced: Vec::new(), watch };
        for listener in &listeners.all {
            listeners.watch_path(listener.path.as_ref());
        }
        listeners
    }

    /// Readable when a path may have been touched: time for `check`. None where the kernel cannot
    /// tell.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Looks for damage, repairs it, and tells. What cannot be repaired is told once. `whose` is the slot
    /// whose worker may have done some: other slots' own it cannot have touched.
    pub fn check(&mut self, tries: Tries, whose: Option<SlotId>) -> Vec<Damage> {
        if let Some(watch) = &self.watch {
            watch.drain();
        }
        let mut damages = Vec::new();
        for index in 0..self.all.len() {
            let slot = self.all[index].slot;
            if slot.is_none() || whose.is_none() || slot == whose {
                self.check_one(index, tries, &mut damages);
            }
        }
        damages
    }

    /// One listener may be hurt in several ways: goes on until it is whole, or cannot be.
    #[inline(never)]
    fn check_one(&mut self, index: usize, tries: Tries, damages: &mut Vec<Damage>) {
        for _ in 0..REPAIRS_MAX {
            let listener = &mut self.all[index];
            let Some(what) = listener.damage() else {
                listener.told = None;
                return;
            };
            if tries == Tries::News && listener.told == Some(what) {
                return;
            }
            let repaired = listener.repair(what, &mut self.replaced);
            let news = repaired.is_ok() || listener.told != Some(what);
            listener.told = repaired.is_err().then_some(what);
            let (hopeless, replaced_socket) =
                (repaired.is_err(), what == What::ShutDown && repaired.is_ok());
            if replaced_socket {
                self.watch_path(self.all[index].path.as_ref());
            }
            if news {
                let again = self.all[index].shrunk_again(what);
                damages.push(Damage { listener: index, what, repaired, replaced_socket, again });
            }
            if hopeless {
                return;
            }
        }
    }

    /// The end: removes the paths that are still ours. Dropping removes none, for an upgrade.
    pub fn close(mut self) {
        for path in self.all.iter_mut().filter_map(|one| one.path.as_mut()) {
            path.remove();
        }
    }

    fn watch_path(&self, path: Option<&BoundPath>) {
        if let (Some(watch), Some(path)) = (&self.watch, path) {
            // Where there are no watches to be had, the check at a worker's exit remains.
            let _ = watch.watch(&path.path);
        }
    }
}

impl Listener {
    /// A listener from its parts, as an upgrade hands them over.
    pub fn from_parts(
        fd: OwnedFd,
        name: String,
        address: Address,
        listen: Rc<Listen>,
        path: Option<BoundPath>,
    ) -> Result<Listener, Error> {
        let cannot = |errno: Errno| Error::system("adopt", &address, errno);
        let seen = socket::inspect(fd.as_fd()).map_err(cannot)?;
        let stream = seen.kind != Kind::Datagram;
        let backlog = match queue(fd.as_fd()) {
            _ if !stream => 0,
            Some(queue) => clamp(queue.max),
            None => listen::backlog(&listen.options),
        };
        Ok(Listener {
            fd,
            place: 0,
            slot: None,
            name,
            address,
            listen,
            stream,
            backlog,
            path,
            told: None,
            shrunk: None,
            let_go: false,
        })
    }

    /// How full the queue is, where the kernel tells.
    pub fn queue(&self) -> Option<Queue> {
        if self.stream { queue(self.fd.as_fd()) } else { None }
    }

    /// Dead, and not replaced yet.
    pub fn is_dead(&self) -> bool {
        self.told == Some(What::ShutDown)
    }

    /// Dead, and fd3 can hope to replace it.
    pub fn is_down(&self) -> bool {
        self.is_dead() && !self.is_theirs()
    }

    /// It was inherited, and only who made it can make it anew.
    fn is_theirs(&self) -> bool {
        let adopted = matches!(self.listen.address, Address::Inherited(_));
        adopted && matches!(self.address, Address::Unix { .. } | Address::Inherited(_))
    }

    fn open(
        plan: &Rc<Listen>,
        inherited: &Inherited,
        taken: &mut Vec<i32>,
    ) -> Result<Listener, Error> {
        if let Address::Inherited(which) = &plan.address {
            return Listener::adopt(plan, which, inherited, taken);
        }
        let Fresh { fd, address, mut path } = listen::open(&plan.address, &plan.options)?;
        let name = plan.options.name.clone().unwrap_or_else(|| UNNAMED.to_string());
        let mut listener = Listener::from_parts(fd, name, address, plan.clone(), None);
        match (&mut listener, &mut path) {
            (Ok(listener), _) => listener.path = path,
            (Err(_), Some(path)) => path.remove(),
            (Err(_), None) => {}
        }
        listener
    }

    #[inline(never)]
    fn adopt(
        plan: &Listen,
        which: &Inherit,
        inherited: &Inherited,
        taken: &mut Vec<i32>,
    ) -> Result<Listener, Error> {
        let refused = |reason: &str| Err(Error::refused("adopt", &plan.address, reason));
        let cannot = |errno: Errno| Error::system("adopt", &plan.address, errno);
        let number = match which {
            Inherit::Number(number) => *number,
            Inherit::Name(name) => match inherited.number_of(name, taken) {
                Ok(number) => number,
                Err(reason) => return refused(&reason),
            },
        };
        if taken.contains(&number) {
            return refused("adopted already");
        }
        let fd = socket::adopt(number).map_err(cannot)?;
        let seen = socket::inspect(fd.as_fd()).map_err(cannot)?;
        if seen.kind != Kind::Datagram && !seen.listening {
            return refused("is not listening");
        }
        if let (Some(_), true) = (plan.options.backlog, seen.listening) {
            socket::listen(fd.as_fd(), listen::backlog(&plan.options)).map_err(cannot)?;
        }
        taken.push(number);
        let address = listen::address_of(fd.as_fd(), seen).unwrap_or_else(|| plan.address.clone());
        let named = plan.options.name.as_ref().or_else(|| inherited.name_of(number));
        let name = named.map_or_else(|| UNNAMED.to_string(), String::clone);
        // `fd:` takes no other option, but the name.
        let options =
            Options { v6only: seen.v6only, backlog: plan.options.backlog, ..Options::default() };
        let listen = Listen { text: String::new(), address: plan.address.clone(), options };
        Listener::from_parts(fd, name, address, Rc::new(listen), None)
    }

    #[inline(never)]
    fn damage(&self) -> Option<What> {
        if self.is_dead() {
            return Some(What::ShutDown);
        }
        let fd = self.fd.as_fd();
        let deaf = self.stream && !socket::inspect(fd).is_ok_and(|seen| seen.listening);
        if deaf || socket::is_shut(fd) {
            return Some(What::ShutDown);
        }
        match self.queue().map(|queue| clamp(queue.max)) {
            Some(to) if to < self.backlog => {
                return Some(What::BacklogShrunk { from: self.backlog, to });
            }
            Some(_) | None => {}
        }
        match self.path.as_ref().map(BoundPath::state) {
            Some(State::Missing) => Some(What::PathMissing),
            Some(State::Replaced) => Some(What::PathReplaced),
            Some(State::Intact) | None => None,
        }
    }

    #[inline(never)]
    fn repair(&mut self, what: What, replaced: &mut Vec<OwnedFd>) -> Result<(), Error> {
        match what {
            What::BacklogShrunk { from, .. } => self.listen_again(from),
            What::ShutDown => self.open_again(replaced),
            What::PathMissing | What::PathReplaced => match &mut self.path {
                Some(path) => path
                    .restore()
                    .map_err(|trouble| listen::trouble("restore", &self.address, trouble)),
                None => Ok(()),
            },
        }
    }

    fn listen_again(&mut self, backlog: i32) -> Result<(), Error> {
        socket::listen(self.fd.as_fd(), backlog)
            .map_err(|errno| Error::system("listen at", &self.address, errno))?;
        // Somebody may have lowered net.core.somaxconn meanwhile: then this is all there is.
        self.backlog = self.queue().map_or(backlog, |queue| clamp(queue.max));
        Ok(())
    }

    fn shrunk_again(&mut self, what: What) -> bool {
        let What::BacklogShrunk { to, .. } = what else { return false };
        self.shrunk.replace(to) == Some(to)
    }

    /// A socket that was shut down stays dead: listen(2) says 0 and nothing comes of it. At a TCP port
    /// and at a path it is not in the way of a new one. Everywhere else it holds the address for as long
    /// as anybody has it: fd3 lets go of it at once, and the workers have to.
    #[inline(never)]
    fn open_again(&mut self, replaced: &mut Vec<OwnedFd>) -> Result<(), Error> {
        if self.is_theirs() {
            let reason = "it was inherited; whoever made it must make it anew";
            return Err(Error::refused("replace", &self.address, reason));
        }
        match listen::open(&self.address, &self.listen.options) {
            Ok(fresh) => {
                replaced.push(core::mem::replace(&mut self.fd, fresh.fd));
                self.let_go = false;
                self.path = fresh.path;
                if let Some(queue) = self.queue() {
                    self.backlog = clamp(queue.max);
                }
                Ok(())
            }
            Err(error) => {
                if !self.let_go
                    && let Ok(placeholder) = socket::unbound()
                {
                    self.let_go = true;
                    replaced.push(core::mem::replace(&mut self.fd, placeholder));
                }
                Err(error)
            }
        }
    }
}

impl Inherited {
    /// The first of this name that is not taken yet: names may come more than once.
    fn number_of(&self, name: &str, taken: &[i32]) -> Result<i32, String> {
        let mut same = self.names.iter().filter(|(_, known)| known == name).peekable();
        if same.peek().is_some() {
            let free = same.find(|(number, _)| !taken.contains(number));
            return free.map(|(number, _)| *number).ok_or_else(|| "adopted already".to_string());
        }
        if self.names.is_empty() {
            return Err("fd3 inherited no sockets (LISTEN_FDS)".to_string());
        }
        let known = joined(self.names.iter().map(|(_, name)| name));
        Err(format!("no inherited socket has this name; there are: {known}"))
    }

    fn name_of(&self, number: i32) -> Option<&String> {
        self.names.iter().find(|(known, _)| *known == number).map(|(_, name)| name)
    }
}

fn clamp(max: u32) -> i32 {
    i32::try_from(max).unwrap_or(i32::MAX)
}
