//! The service manager above fd3, where there is one that wants to be told (NOTIFY_SOCKET): systemd, another fd3.
//! Without one none of this costs anything.

use super::{EventLoop, clock, now, process};
use crate::error::{Errno, Error};
use crate::protocol::manager::Briefing;
use crate::supervisor::Fact;
use crate::sys::environment;
use crate::sys::notify_send;
use crate::sys::socket::Name;
use crate::units::{Millis, sooner};

/// Whether this build of fd3 tells one.
pub(super) const HERE: bool = cfg!(feature = "manager");
/// How long it is left alone when its queue is full, or fd3 out of descriptors: nobody tells when that is over.
const WAIT: Millis = Millis::seconds(1);

pub(super) struct Manager {
    to: Name,
    briefing: Briefing,
    /// Something has happened since it was told last.
    news: bool,
    /// Tried again then.
    again: Option<Millis>,
    watchdog: Option<Watchdog>,
    /// That it cannot be told was told.
    lost: bool,
}

/// It wants to hear twice within its time that fd3 lives.
#[derive(Clone, Copy)]
struct Watchdog {
    interval: Millis,
    due: Millis,
}

impl Manager {
    /// From the environment that fd3 was started with.
    pub(super) fn above() -> Result<Option<Manager>, Error> {
        let Some(value) = environment::variable("NOTIFY_SOCKET") else { return Ok(None) };
        let to = notify_send::receiver(value)?;
        Ok(to.map(|to| Manager {
            to,
            briefing: Briefing::default(),
            news: true,
            again: None,
            watchdog: Watchdog::asked_for(),
            lost: false,
        }))
    }

    pub(super) fn note(&mut self, fact: &Fact) {
        self.news = true;
        self.briefing.note(fact, clock::monotonic_usec());
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        sooner(self.again, self.watchdog.map(|watchdog| watchdog.due))
    }

    /// Whether anything is to be said or looked at.
    fn is_due(&self, now: Millis) -> bool {
        self.news || self.deadline().is_some_and(|at| at <= now)
    }

    fn is_alive(&mut self, now: Millis) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now) {
            watchdog.due = now.plus(watchdog.interval);
            self.briefing.is_alive();
        }
    }

    /// As much as it takes. What cannot be told at all is an error, and then not tried again.
    fn tell(&mut self, now: Millis) -> Result<(), Errno> {
        self.again = None;
        while let Some(text) = self.briefing.next() {
            match notify_send::send_now(&self.to, text.as_bytes()) {
                Ok(()) => {
                    self.briefing.told();
                    self.lost = false;
                }
                Err(Errno(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
                | Err(Errno(libc::EMFILE | libc::ENFILE)) => {
                    self.again = Some(now.plus(WAIT));
                    break;
                }
                Err(errno) => {
                    self.briefing.forget();
                    return Err(errno);
                }
            }
        }
        Ok(())
    }
}

impl Watchdog {
    fn asked_for() -> Option<Watchdog> {
        let number = |name| {
            let value = environment::variable(name)?;
            Some(str::from_utf8(value).ok().and_then(|value| value.parse::<u64>().ok()))
        };
        let is_ours = match number("WATCHDOG_PID") {
            None => true,
            Some(pid) => pid == u64::try_from(process::own_pid()).ok(),
        };
        let usec = number("WATCHDOG_USEC").flatten().filter(|usec| *usec > 0 && is_ours)?;
        // Of less than two milliseconds nothing would be left to rest.
        Some(Watchdog { interval: Millis((usec / 2000).max(1)), due: now() })
    }
}

impl EventLoop {
    pub(super) fn find_manager(&mut self) {
        if HERE {
            match Manager::above() {
                Ok(manager) => self.manager = manager,
                Err(error) => self.log.no_manager(&error),
            }
        }
    }

    pub(super) fn manager_deadline(&self) -> Option<Millis> {
        if HERE { self.manager.as_ref().and_then(Manager::deadline) } else { None }
    }

    /// At the end of a turn: what it brought. Whatever happens here is no reason to end.
    #[inline(never)]
    pub(super) fn tell_manager(&mut self) {
        let Some(manager) = &mut self.manager else { return };
        let now = now();
        if !manager.is_due(now) {
            return;
        }
        if core::mem::take(&mut manager.news) {
            manager.briefing.look(&self.supervisor.overview());
        }
        manager.is_alive(now);
        if let (Err(errno), false) = (manager.tell(now), manager.lost) {
            manager.lost = true;
            self.log.cannot_tell_manager(errno);
        }
    }
}
