//! Workers come and go: spawns them, hears what they say, finds them when they end, and reaps everyone
//! else's orphans on the way.

use super::launch::Started;
use super::{EventLoop, Token, Tries, now, process, signal};
use crate::error::Errno;
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
    pub(super) slot: SlotId,
    socket: NotifySocket,
    /// Who it was started as.
    user: u32,
    /// Its ERRNO=; 0 for none.
    pub(super) errno: Errno,
    /// Since when it has been doing what RELOADING=1 told of.
    reloading: Option<Millis>,
    /// Its STATUS=: one line of at most `STATUS_MAX` bytes, empty if there is none.
    pub(super) status: String,
    /// It wanted to store more than there is room for, and that was told.
    pub(super) told_full: bool,
}

impl EventLoop {
    #[inline(never)]
    pub(super) fn spawn(&mut self, slot: SlotId, generation: Generation) -> Event {
        if let Err(error) = self.open_slot(slot) {
            return Event::SpawnFailed { slot, error };
        }
        let listeners = self.listeners.as_ref().map(|listeners| listeners.of_slot(slot));
        let listeners = listeners.unwrap_or_default();
        let stored = self.store.of(slot).collect::<Vec<_>>();
        match self.launcher.start(slot, generation, &listeners, &stored) {
            Err(error) => Event::SpawnFailed { slot, error },
            Ok(Started { pid, user, socket }) => {
                let token = Token::Notify(pid).bits();
                if let Err(errno) = self.epoll.add(socket.fd(), token, Interest::IN) {
                    self.log.cannot_hear(slot, pid, errno);
                }
                let (status, errno, reloading) = (String::new(), Errno(0), None);
                let heard =
                    Heard { slot, socket, user, errno, reloading, status, told_full: false };
                self.notify.insert(pid, heard);
                self.record_start(pid, generation);
                Event::Spawned { slot, pid }
            }
        }
    }

    /// What children report that never became COMMAND.
    pub(super) fn read_reports(&mut self) {
        while let Some(report) = self.launcher.reports().next() {
            if let Some(error) = self.launcher.failure(report) {
                self.tell(Event::ExecFailed { pid: Pid(report.pid), error });
            }
        }
    }

    /// What a worker says, in the order in which it said it. A datagram's descriptors are closed before the
    /// next one is read, and whoever sent BARRIER=1 learns from this that all it said before was heeded.
    pub(super) fn read_notices(&mut self, pid: Pid, most: usize) {
        for _ in 0..most {
            let Some(heard) = self.notify.get(pid) else { return };
            let Some(datagram) = heard.socket.next() else { return };
            let Some(datagram) = datagram.filter(|datagram| counts(datagram, pid, heard.user))
            else {
                continue;
            };
            if let Some(notice) = notify::parse(&datagram.text) {
                self.heed(pid, notice, datagram.descriptors);
            }
        }
    }

    /// Each word has its place here.
    #[inline(never)]
    fn heed(&mut self, pid: Pid, notice: Notice<'_>, descriptors: Descriptors) {
        let Notice {
            ready,
            reloading,
            monotonic_usec,
            stopping,
            status,
            watchdog,
            watchdog_usec,
            extend_timeout_usec,
            errno,
            store,
        } = notice;
        match store {
            Some(wish) => self.store(pid, wish, descriptors),
            None => drop(descriptors),
        }
        if let Some(heard) = self.notify.get_mut(pid) {
            if let Some(raw) = status {
                notify::write_status(raw, &mut heard.status);
            }
            if let Some(errno) = errno {
                heard.errno = Errno(i32::from(errno));
            }
        }
        if reloading {
            self.reloading_itself(pid, monotonic_usec);
        }
        if ready {
            self.reloaded_itself(pid);
            self.tell(Event::Ready { pid });
        }
        if let Some(usec) = watchdog_usec {
            // As with systemd both mean that there is none.
            let limit = (usec != 0 && usec != u64::MAX).then(|| Millis(usec.div_ceil(1_000)));
            self.tell(Event::WatchdogSet { pid, limit });
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

    /// Nothing follows from it but that the log tells how long it took.
    fn reloading_itself(&mut self, pid: Pid, since_usec: Option<u64>) {
        let Some(heard) = self.notify.get_mut(pid) else { return };
        if heard.reloading.is_none() {
            let since = since_usec.map(|usec| Millis(usec / 1_000));
            heard.reloading = Some(since.unwrap_or_else(now));
            self.log.reloading_itself(heard.slot, pid);
        }
    }

    fn reloaded_itself(&mut self, pid: Pid) {
        let Some(heard) = self.notify.get_mut(pid) else { return };
        if let Some(since) = heard.reloading.take() {
            self.log.reloaded_itself(heard.slot, pid, now().since(since));
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
            let status = match ended.how {
                How::Exited(code) => Status::Exited(code),
                How::Killed(signal) => Status::Killed(Signal(signal)),
            };
            let damage = self.check_listeners(Some(pid), Tries::Anew);
            self.tell(Event::Exited { pid, status });
            self.record_end(pid);
            // Not before its end was told, with its last words.
            if let Some(heard) = self.notify.remove(pid) {
                // A child that hangs before its exec may still hold a copy, which epoll would go on watching.
                let _ = self.epoll.delete(heard.socket.fd());
            }
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
/// of a user namespace looks like the worker's, it has to be somebody of the worker's group.
fn counts(datagram: &Datagram, worker: Pid, user: u32) -> bool {
    let known = datagram.user != OVERFLOW_USER || process::group_of(datagram.pid) == Some(worker.0);
    let same_user = known && datagram.user == user;
    datagram.pid == worker.0 || datagram.user == 0 || same_user
}

/// What a user namespace shows for users that it does not know (user_namespaces(7)).
pub(super) const OVERFLOW_USER: u32 = 65_534;
