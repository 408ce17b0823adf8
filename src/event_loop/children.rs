//! Workers come and go: spawns them, hears what they say, finds them when they end, and reaps everyone
//! else's orphans on the way.

use super::{EventLoop, Token, Tries, process, signal};
use crate::protocol::notify::{self, Notice, Watchdog};
use crate::supervisor::{Event, Status};
use crate::sys::epoll::Interest;
use crate::sys::notify::{Datagram, Descriptors, NotifySocket};
use crate::sys::wait::{self, Ended, How};
use crate::units::{Generation, Millis, Pid, Signal, SlotId};

/// Children looked after in one turn; a flood of orphans must not keep signals waiting.
const REAPED_AT_ONCE: usize = 64;
/// Datagrams of one worker read in one turn.
pub(super) const HEARD_AT_ONCE: usize = 16;
/// Datagrams of a worker that has ended: more than its socket holds (net.unix.max_dgram_qlen, to which
/// systemd gives 512), so that its last words are among them.
const HEARD_AT_LAST: usize = 1024;

/// How a worker is heard, and what it last said of itself.
pub(super) struct Heard {
    socket: NotifySocket,
    /// Its STATUS=: one line of at most `STATUS_MAX` bytes, empty if there is none.
    pub(super) status: String,
}

impl EventLoop {
    #[inline(never)]
    pub(super) fn spawn(&mut self, slot: SlotId, generation: Generation) -> Event {
        let listeners = self.listeners.as_ref().map_or(&[][..], |listeners| &listeners.all);
        match self.launcher.start(slot, generation, listeners) {
            Err(error) => Event::SpawnFailed { slot, error },
            Ok((pid, socket)) => {
                let token = Token::Notify(pid).bits();
                if let Err(errno) = self.epoll.add(socket.fd(), token, Interest::IN) {
                    self.log.cannot_hear(slot, pid, errno);
                }
                self.notify.insert(pid, Heard { socket, status: String::new() });
                Event::Spawned { slot, pid }
            }
        }
    }

    /// What children report that never became COMMAND.
    pub(super) fn read_reports(&mut self) {
        while let Some(report) = self.launcher.reports().next() {
            let error = self.launcher.failure(report);
            self.tell(Event::ExecFailed { pid: Pid(report.pid), error });
        }
    }

    /// What a worker says, in the order in which it said it. A datagram's descriptors are closed before the
    /// next one is read, and whoever sent BARRIER=1 learns from this that all it said before was heeded.
    pub(super) fn read_notices(&mut self, pid: Pid, most: usize) {
        for _ in 0..most {
            let Some(datagram) = self.notify.get(pid).and_then(|heard| heard.socket.next()) else {
                return;
            };
            let Some(datagram) = datagram.filter(|datagram| counts(datagram, pid)) else {
                continue;
            };
            if let Some(notice) = notify::parse(&datagram.text) {
                self.heed(pid, notice, datagram.descriptors);
            }
        }
    }

    /// Each word has its place here. RELOADING=1 and ERRNO= are for those who look at the worker, of whom this
    /// version knows none; and it stores no descriptors: what a worker sends to be kept is closed, as with
    /// a systemd that was not told to.
    #[inline(never)]
    fn heed(&mut self, pid: Pid, notice: Notice<'_>, descriptors: Descriptors) {
        let Notice {
            ready,
            reloading: _,
            monotonic_usec: _,
            stopping,
            status,
            watchdog,
            watchdog_usec: _,
            extend_timeout_usec,
            errno: _,
            store: _,
        } = notice;
        drop(descriptors);
        if let (Some(raw), Some(heard)) = (status, self.notify.get_mut(pid)) {
            notify::write_status(raw, &mut heard.status);
        }
        if ready {
            self.tell(Event::Ready { pid });
        }
        if let Some(usec) = extend_timeout_usec {
            self.tell(Event::MoreTime { pid, by: Millis(usec.div_ceil(1_000)) });
        }
        match watchdog {
            Some(Watchdog::Alive) => self.tell(Event::Well { pid }),
            Some(Watchdog::Trigger) => self.tell(Event::Hangs { pid }),
            None => {}
        }
        if stopping {
            self.tell(Event::Stops { pid });
        }
    }

    /// A bounded round; what is left over is for the next turn.
    #[inline(never)]
    pub(super) fn look_after_children(&mut self) {
        for _ in 0..REAPED_AT_ONCE {
            match wait::peek() {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) => {
                    self.children_ended = false;
                    return;
                }
                Err(errno) => {
                    self.children_ended = false;
                    return self.log.cannot_reap(errno);
                }
            }
        }
    }

    /// It is reaped last: until then its PID is its own, and signals to its group reach nobody else.
    #[inline(never)]
    fn ended(&mut self, ended: Ended) {
        let pid = Pid(ended.pid);
        if self.notify.get(pid).is_some() {
            self.read_reports();
            self.launcher.ended(pid);
            self.read_notices(pid, HEARD_AT_LAST);
            if let Some(heard) = self.notify.remove(pid) {
                // A child that hangs before its exec may still hold a copy, which epoll would go on watching.
                let _ = self.epoll.delete(heard.socket.fd());
            }
            let status = match ended.how {
                How::Exited(code) => Status::Exited(code),
                How::Killed(signal) => Status::Killed(Signal(signal)),
            };
            let damage = self.check_listeners(Some(pid), Tries::Anew);
            self.tell(Event::Exited { pid, status });
            if let Some(event) = damage {
                self.tell(event);
            }
        }
        let group = process::group_of(ended.pid);
        if let Err(errno) = wait::reap(ended.pid) {
            self.log.cannot_reap(errno);
        }
        // A worker's own group, or the one where a worker's orphan stayed.
        for group in [Some(ended.pid), group.filter(|group| *group != ended.pid)] {
            if let Some(group) = group.filter(|group| !wait::has_child_in_group(*group)) {
                self.tell(Event::GroupGone { group: Pid(group) });
            }
        }
    }

    /// Only as long as a child of ours is in the group: its number could be another's by now.
    pub(super) fn signal_leftovers(&self, group: Pid, signal: Signal) -> Option<Event> {
        if !wait::has_child_in_group(group.0) {
            return Some(Event::GroupGone { group });
        }
        if let Err(errno) = signal::send_to_group(group.0, signal.0) {
            self.log.cannot_signal(group, signal, errno);
        }
        None
    }
}

/// Only the worker itself, whoever it has become, its user and root are heard. Where every unknown user
/// of a user namespace looks like ours, it has to be somebody of the worker's group.
fn counts(datagram: &Datagram, worker: Pid) -> bool {
    let known = datagram.user != OVERFLOW_USER || process::group_of(datagram.pid) == Some(worker.0);
    let same_user = known && datagram.user == process::own_user();
    datagram.pid == worker.0 || datagram.user == 0 || same_user
}

/// What a user namespace shows for users that it does not know (user_namespaces(7)).
pub(super) const OVERFLOW_USER: u32 = 65_534;
