//! Descriptors that workers leave with fd3 (FDSTORE=1 of sd_notify(3)): kept for their slot and passed to each
//! further worker of it, by name, after the listeners. Until one asks for their removal, nobody is at their
//! other end any more, or the slot gets no further worker.

use super::{EventLoop, Token};
use crate::error::Errno;
use crate::protocol::notify::{self, Keep};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::fd;
use crate::sys::notify::{Descriptors, Sent};
use crate::units::{Pid, SlotId};

/// Bytes of one slot's names: with those of the listeners they are one variable, and execve(2) takes 128 KiB of one
/// string (MAX_ARG_STRLEN).
const NAMES_MAX: usize = 60 << 10;

/// Without it nothing here has anything to do.
const HERE: bool = cfg!(feature = "fd-store");

/// In the order in which they came.
#[derive(Default)]
pub(super) struct Store(pub(super) Vec<Stored>);

pub(super) struct Stored {
    pub(super) slot: SlotId,
    pub(super) name: String,
    pub(super) keep: Keep,
    pub(super) fd: Sent,
}

impl EventLoop {
    /// What a worker wants done with its slot's descriptors.
    #[inline(never)]
    pub(super) fn store(&mut self, pid: Pid, wish: notify::Store<'_>, came: Descriptors) {
        let Some(slot) = self.notify.get(pid).map(|heard| heard.slot).filter(|_| HERE) else {
            return;
        };
        match wish {
            notify::Store::Add { name, keep } => {
                for fd in came.0 {
                    self.store_one(pid, Stored { slot, name: String::from(name), keep, fd });
                }
            }
            notify::Store::Remove { name } => {
                self.store.remove(&self.epoll, &|one| one.slot == slot && one.name == name);
            }
        }
    }

    /// What is stored already is not stored twice. Who was not given a store is not told that there is none, as
    /// with systemd.
    fn store_one(&mut self, pid: Pid, mut new: Stored) {
        let fixed = &self.loader.fixed;
        if fixed.fd_store == 0 || !self.supervisor.goes_on(new.slot) {
            return;
        }
        let (most, reserved) = (fixed.fd_store, fixed.reserved());
        let (mut held, mut names) = (0, new.name.len() + 1);
        for one in self.store.of(new.slot) {
            held += 1;
            names += one.name.len() + 1;
        }
        let full = held >= most || names > NAMES_MAX;
        // It is told once: who goes on must fill neither the log nor fd3's time.
        if full && self.notify.get(pid).is_none_or(|heard| heard.told_full) {
            return;
        }
        if self.store.of(new.slot).any(|one| fd::is_same(&one.fd, &new.fd)) {
            return;
        }
        if let Some(heard) = self.notify.get_mut(pid) {
            heard.told_full = full;
        }
        let kept = if full { Err(Errno(libc::EDQUOT)) } else { new.fd.move_above(reserved) };
        self.log.stored(new.slot, pid, &new.name, kept);
        if kept.is_ok() {
            self.store.add(&self.epoll, new);
        }
    }

    /// Nobody is at its other end any more. To be told before any other event of the same turn: its number may
    /// be another one's then.
    pub(super) fn hung_up(&mut self, number: i32) {
        if !HERE {
            return;
        }
        self.store.remove(&self.epoll, &|one| fd::number(&one.fd) == number);
    }

    /// Lets go of what no worker will ask for.
    pub(super) fn tidy_store(&mut self) {
        if !HERE {
            return;
        }
        let supervisor = &self.supervisor;
        self.store.remove(&self.epoll, &|one| !supervisor.goes_on(one.slot));
    }
}

impl Store {
    pub(super) fn of(&self, slot: SlotId) -> impl Iterator<Item = &Stored> {
        self.0.iter().filter(move |one| HERE && one.slot == slot)
    }

    pub(super) fn add(&mut self, epoll: &Epoll, new: Stored) {
        if new.keep == Keep::UntilHangup {
            // A file has no other end that could hang up, and no epoll takes it (EPERM); where there is no room for
            // a watch, it is the same: it stays until it is asked for.
            let token = Token::Stored(fd::number(&new.fd)).bits();
            let _ = epoll.add(&new.fd, token, Interest::empty());
        }
        self.0.push(new);
    }

    fn remove(&mut self, epoll: &Epoll, which: &dyn Fn(&Stored) -> bool) {
        self.0.retain(|one| {
            let goes = which(one);
            if goes {
                // A worker holds it as well, so it would wake us for ever. Not all were added.
                let _ = epoll.delete(&one.fd);
            }
            !goes
        });
    }
}
