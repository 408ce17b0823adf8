//! Guards what is shared: when a worker has hurt a listener, it is mended and told who did it.

use super::listeners::{Listener, Listeners, Tries};
use super::{EventLoop, Token};
use crate::error::Errno;
use crate::supervisor::Event;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::fd;
use crate::units::Pid;

impl EventLoop {
    /// Waiting connections wake fd3 only while they are what workers are started for.
    pub(super) fn await_demand(&mut self) {
        let demand = if self.supervisor.awaits_demand() { Interest::IN } else { Interest::empty() };
        let is_news = core::mem::take(&mut self.demanded) || self.watched_for != demand;
        let Some(listeners) = self.listeners.as_mut().filter(|_| is_news) else { return };
        match watch(&self.epoll, listeners, self.loader.fixed.reserved(), demand) {
            Ok(()) => self.watched_for = demand,
            Err(errno) => self.log.cannot_watch(errno),
        }
    }

    /// The kernel said that something happened to a listener.
    pub(super) fn guard_listeners(&mut self) {
        if let Some(event) = self.check_listeners(None, Tries::News) {
            self.tell(event);
        }
    }

    /// Tries to replace what is dead.
    pub(super) fn mend_listeners(&mut self) -> Event {
        self.check_listeners(None, Tries::Anew).unwrap_or(Event::ListenerReplaced)
    }

    /// Mends what is damaged. An event: a socket is dead that the workers hold. `suspect` is the worker
    /// that has just done something, if one has.
    pub(super) fn check_listeners(&mut self, suspect: Option<Pid>, tries: Tries) -> Option<Event> {
        let whose = suspect.and_then(|pid| self.notify.get(pid)).map(|heard| heard.slot);
        let listeners = self.listeners.as_mut()?;
        let damages = listeners.check(tries, whose);
        let suspect = suspect.or_else(|| self.supervisor.suspect().map(|(_, pid)| pid));
        for damage in &damages {
            self.log.damage(damage, listeners, suspect);
        }
        let replaced = damages.iter().any(|damage| damage.replaced_socket);
        let watched = if damages.is_empty() {
            Ok(())
        } else {
            watch(&self.epoll, listeners, self.loader.fixed.reserved(), self.watched_for)
        };
        if let Err(errno) = watched {
            self.log.cannot_watch(errno);
        }
        if replaced {
            self.steer_anew();
        }
        let listeners = self.listeners.as_ref()?;
        // One that nobody here can replace is no reason to stop the others.
        let all = &listeners.all;
        if all.iter().any(Listener::is_down) || all.iter().all(Listener::is_dead) && !all.is_empty()
        {
            return Some(Event::ListenerDead);
        }
        replaced.then_some(Event::ListenerReplaced)
    }
}

/// The workers go on holding what fd3 lets go of, and what they do to it is no longer its business.
pub(super) fn unwatch(epoll: &Epoll, listeners: &Listeners) {
    for listener in &listeners.all {
        // One that was dead for good is not watched.
        let _ = epoll.delete(&listener.fd);
    }
    // A child that hangs before its exec has a copy, which would wake us for ever.
    if let Some(paths) = listeners.watch() {
        let _ = epoll.delete(paths);
    }
}

/// Puts the listeners out of the way of the numbers that workers get, and asks to be woken when one of
/// them dies (EPOLLHUP comes unasked; a unix socket shut for reading says RDHUP), and for what else is
/// asked for.
pub(super) fn watch(
    epoll: &Epoll,
    listeners: &mut Listeners,
    reserved: i32,
    for_what: Interest,
) -> Result<(), Errno> {
    for dead in listeners.replaced.drain(..) {
        // Else it would wake us for as long as a worker holds it.
        let _ = epoll.delete(&dead);
    }
    for (index, listener) in listeners.all.iter_mut().enumerate() {
        if fd::number(&listener.fd) < reserved {
            listener.fd = fd::copy_above(&listener.fd, reserved)?;
        }
        watch_one(epoll, listener, index, for_what)?;
    }
    Ok(())
}

pub(super) fn watch_one(
    epoll: &Epoll,
    listener: &Listener,
    index: usize,
    for_what: Interest,
) -> Result<(), Errno> {
    // A second time, or on one that is dead for good: it is watched already, or need not be.
    let _ = epoll.delete(&listener.fd);
    if listener.is_dead() {
        return Ok(());
    }
    let token = Token::Listener(index as u32).bits();
    epoll.add(&listener.fd, token, Interest::RDHUP | Interest::ET | for_what)
}
