//! A child that runs the new version: watched until it ends, and reaped last, so that its PID is its own.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::{STOP_WITHIN, failed, lock, named};
use crate::error::Error;
use crate::serve::Stop;
use crate::sys::event::{Event, wait_any};
use crate::sys::signal;
use crate::sys::wait::{self, How};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    /// Set once it has ended.
    ended: Event,
    how: Arc<Mutex<Option<How>>>,
}

/// Who will watch a child. Made before it is started: whoever is short of descriptors or threads has no child then,
/// rather than one that nobody knows.
pub(super) struct Watch {
    ended: Event,
    how: Arc<Mutex<Option<How>>>,
    started: SyncSender<i32>,
}

impl Watch {
    pub(super) fn new() -> Result<Watch, Error> {
        let (ended, how) = (Event::new().map_err(failed)?, Arc::default());
        let (started, pid) = sync_channel(1);
        let watch = Watch { ended, how, started };
        let (ended, how) = (watch.ended.try_clone().map_err(failed)?, watch.how.clone());
        // A thread waits on every kernel; a pidfd is as old as Linux 5.3.
        named("child", move |_| {
            // Or none was started.
            if let Ok(pid) = pid.recv() {
                *lock(&how) = wait::await_end(pid);
                ended.set();
            }
        })?;
        Ok(watch)
    }

    /// By contract it is a child of this process that nobody reaps.
    pub(super) fn over(self, pid: i32) -> Child {
        // It is there: it waits for just this.
        let _ = self.started.send(pid);
        Child { pid, ended: self.ended, how: self.how }
    }
}

impl Child {
    /// Readable once it has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// How it ended, in words.
    pub(super) fn end_in_words(&self) -> String {
        match *lock(&self.how) {
            Some(How::Exited(status)) => format!("exited with status {status}"),
            Some(How::Killed(signal)) => format!("was killed by signal {signal}"),
            None => "ended".to_string(),
        }
    }

    /// Tells it to stop, waits, and kills it when the time is over.
    pub(super) fn end(&self, limit: Duration) {
        self.tell();
        if !wait_any([self.ended()], Some(limit)).is_ok_and(|[ended]| ended) {
            let _ = signal::send(self.pid, libc::SIGKILL);
            if wait_any([self.ended()], None).is_err() {
                // Not even that can be waited for: this can.
                let _ = wait::await_end(self.pid);
            }
        }
        let _ = wait::reap(self.pid);
    }

    /// To stop. As long as it is not reaped nobody else has its PID; of one that has ended that is not certain, as a
    /// program that reaps every child has reaped it.
    fn tell(&self) {
        if !self.ended.is_set() {
            let _ = signal::send(self.pid, libc::SIGTERM);
        }
    }

    /// It serves until this process does, or until it is not to be served any more.
    pub(super) fn stands_in_until(self, ready: &Event, stop: &Stop) {
        match wait_any([stop.as_fd(), ready.as_fd()], None) {
            // It has as much time as its requests take, unless somebody waits for the end.
            Ok([false, true]) => {
                self.tell();
                let _ = wait_any([stop.as_fd(), self.ended()], None);
                self.end(STOP_WITHIN);
            }
            Ok(_) | Err(_) => self.end(STOP_WITHIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn who_has_the_pid_of_a_child_that_has_ended_is_left_alone() {
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let ended = Event::new().expect("there are descriptors");
        ended.set();
        let child = Child { pid: other.id() as i32, ended, how: Arc::default() };
        child.end(STOP_WITHIN);
        other.kill().expect("it is ours");
        assert_eq!(other.wait().expect("it is ours").signal(), Some(libc::SIGKILL));
    }
}
