//! Signals everybody who is left, or who comes later: orphans whose parent ends become our children. Decides
//! nothing.

use super::log::Log;
use super::outputs::{self, Outputs};
use super::token::Token;
use super::{now, process, signal};
use crate::error::Errno;
use crate::plan::Level;
use crate::sweep::{Due, Sweep};
use crate::sys::epoll::Epoll;
use crate::sys::signal::SignalFd;
use crate::sys::wait;
use crate::units::{Millis, Pid, sooner};

/// `fd3 run` without it leaves at its end what is left.
const HERE: bool = cfg!(feature = "init");

/// The end of `fd3 run`, after that of its workers: everybody else is told to stop, waited for until then, and
/// killed. `hastens` is a signal that means at once. What they write goes on meanwhile.
#[inline(never)]
pub(super) fn sweep_up(
    signals: &SignalFd,
    log: &Log,
    mut outputs: Option<&mut Outputs>,
    until: Option<Millis>,
    hastens: impl Fn(i32) -> bool,
) {
    if !HERE {
        return;
    }
    reap();
    if !wait::has_child() {
        return;
    }
    let mut sweep = Sweep::Told { since: now(), until };
    let mut broom = Broom::default();
    broom.sweep(libc::SIGTERM, None);
    // Nothing else concerns fd3 any more.
    let Ok(mut epoll) = Epoll::new() else { return };
    if signals.watched_by(&mut epoll, Token::Signals.bits()).is_err() {
        return;
    }
    if let Some(outputs) = outputs.as_mut().filter(|_| outputs::HERE) {
        // Who cannot be heard here is heard at the end.
        let _ = outputs.watched_by(&epoll);
    }
    let mut written = Vec::new();
    loop {
        let more = reap();
        if !broom.is_anybody_left() {
            return;
        }
        match sweep.due(now()) {
            Some(Due::Kill) => {
                log.write_at(Level::Warn, "what was left did not stop in time, killed", &|_| {});
                broom.sweep(libc::SIGKILL, None);
            }
            Some(Due::GiveUp) => return,
            None => {}
        }
        let busy = outputs.as_ref().filter(|_| outputs::HERE).and_then(|all| all.deadline());
        let timeout = match sooner(sweep.deadline(), busy) {
            _ if more => Some(0),
            deadline => deadline.map(|at| at.since(now()).0),
        };
        let Ok(ready) = epoll.wait(timeout) else { return };
        if let Some(outputs) = outputs.as_mut().filter(|_| outputs::HERE) {
            written.clear();
            written.extend(ready.iter().map(Token::of));
            outputs.pass_all(&written, &epoll, log);
        }
        for one in signals.read().unwrap_or_default() {
            if hastens(one.signal) {
                sweep.hasten(now());
            }
        }
    }
}

/// Children reaped at once: whoever forks and forks must not keep the time waiting.
const REAPED_AT_ONCE: usize = 256;

/// Whether there may be more.
fn reap() -> bool {
    for _ in 0..REAPED_AT_ONCE {
        match wait::peek() {
            Ok(Some(ended)) if wait::reap(ended.pid).is_ok() => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// Whom the signal was sent to.
#[derive(Default)]
pub(super) struct Broom {
    signal: i32,
    /// It went to all there are, whoever is their parent.
    is_done: bool,
    groups: Vec<i32>,
    children: Vec<i32>,
    /// Without /proc nobody is to be seen but this group.
    only: Option<Pid>,
    is_blind: bool,
}

impl Broom {
    /// SIGTERM or SIGKILL, to those who are stopped as well. `group` is one that is known for its own.
    #[inline(never)]
    pub(super) fn sweep(&mut self, signal: i32, group: Option<Pid>) {
        *self = Broom { signal, only: group, ..Broom::default() };
        if process::own_pid() == 1 {
            self.is_done = true;
            self.send(signal::send_to_all);
        } else if let Some(group) = group.filter(|group| wait::has_child_in_group(group.0)) {
            self.groups.push(group.0);
            self.send(|signal| signal::send_to_group(group.0, signal));
        }
        self.again();
    }

    /// Whether anybody is left who was told. Whoever came since is told now.
    pub(super) fn is_anybody_left(&mut self) -> bool {
        if !wait::has_child() {
            return false;
        }
        self.again();
        !self.is_blind || self.only.is_some_and(|group| wait::has_child_in_group(group.0))
    }

    #[inline(never)]
    fn again(&mut self) {
        if self.is_done || self.signal == 0 {
            return;
        }
        let Some(children) = process::children() else {
            self.is_blind = true;
            return;
        };
        for pid in &children {
            let group = process::group_of(*pid).unwrap_or(0);
            if self.groups.contains(&group) || self.children.contains(pid) {
                continue;
            }
            // A group that a child of ours leads is nobody else's.
            if group == *pid {
                self.groups.push(group);
                self.send(|signal| signal::send_to_group(group, signal));
            } else {
                self.send(|signal| signal::send(*pid, signal));
            }
        }
        // The number of one that has gone may be another's next time.
        self.children = children;
    }

    /// Whoever it cannot be sent to has gone, or has become somebody whom we may not signal.
    fn send(&self, send: impl Fn(i32) -> Result<(), Errno>) {
        let _ = send(self.signal);
        let _ = send(libc::SIGCONT);
    }
}
