//! What a program tells whoever supervises it, in the words of
//! [`sd_notify(3)`](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html): fd3, systemd, or
//! nobody.
//!
//! ```
//! // All is set up: from now on requests are answered.
//! fd3::ready::ready()?;
//! # Ok::<(), fd3::Error>(())
//! ```
//!
//! Where nobody listens (no `NOTIFY_SOCKET`) every function here does nothing and succeeds, so that the same program
//! runs by hand. Where somebody should and cannot be reached, it fails. Each call is one datagram, and waits if the
//! supervisor is so busy that its queue is full.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Errno, Error};
use crate::protocol::address::is_fd_name;
use crate::protocol::notify_words as words;
use crate::restart;
use crate::sys::event::wait_any;
use crate::sys::socket::Name;
use crate::sys::{clock, fd, notify_send, process};

pub use crate::protocol::notify::Keep;

const DOING: &str = "tell the supervisor";

/// Whether somebody wants to be told.
///
/// ```
/// if !fd3::ready::is_supervised() {
///     println!("started by hand");
/// }
/// ```
pub fn is_supervised() -> bool {
    supervisor().is_ok_and(|name| name.is_some())
}

/// From now on this program serves (`READY=1`); also after [`reloading`]. The process that it replaces in a
/// [restart] is told as well.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
/// fd3::ready::ready()?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn ready() -> Result<(), Error> {
    let told = notify(words::READY);
    restart::is_ready()?;
    told
}

/// It reads its configuration anew (`RELOADING=1`, with the time), until it says [`ready`] again: what systemd's
/// `Type=notify-reload` waits for.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::reloading()?;
/// // ...
/// fd3::ready::ready()?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn reloading() -> Result<(), Error> {
    notify(&words::reloading(clock::monotonic_usec()))
}

/// It stops, by itself or because it was told to (`STOPPING=1`). Says nothing if it stops because it has restarted
/// itself: the service goes on.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::stopping()?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn stopping() -> Result<(), Error> {
    if restart::has_successor() { Ok(()) } else { notify(words::STOPPING) }
}

/// One line about what it does, for people (`STATUS=`). Line breaks become blanks; an empty one takes back what was
/// said before.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::status("loading 3 of 7 indexes")?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn status(text: &str) -> Result<(), Error> {
    notify(&words::status(text))
}

/// What it does just now, starting or stopping, takes so much longer from now on (`EXTEND_TIMEOUT_USEC=`).
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::extend_timeout(std::time::Duration::from_secs(30))?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn extend_timeout(by: Duration) -> Result<(), Error> {
    notify(&words::extend_timeout(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}

/// Why it is about to fail (`ERRNO=`), as a number of `errno(3)`.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::failing(fd3::Errno(28))?; // no space left on device
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn failing(why: Errno) -> Result<(), Error> {
    notify(&words::errno(u16::try_from(why.0).unwrap_or(0)))
}

/// Any other words: lines of `NAME=VALUE`.
///
/// # Errors
/// When a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::notify("X_DEPLOYED_BY=ci")?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn notify(words: &str) -> Result<(), Error> {
    send(words, &[])
}

/// Leaves copies of descriptors with the supervisor (`FDSTORE=1`; `fd3 run --fd-store`, `FileDescriptorStoreMax=`):
/// whoever is started in this program's place finds them under this name among its
/// [`Listeners`](crate::inherit::Listeners).
///
/// # Errors
/// When the name is none (1 to 255 printable characters of ASCII, no colon), or when a supervisor should be told and
/// cannot be. Where it stores nothing, it says nothing of it.
///
/// ```
/// use fd3::ready::{self, Keep};
/// use std::os::fd::AsFd;
///
/// let state = std::fs::File::open("/dev/null")?;
/// ready::store("state", &[state.as_fd()], Keep::Always)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn store(name: &str, descriptors: &[BorrowedFd<'_>], keep: Keep) -> Result<(), Error> {
    send(&words::store(named(name)?, keep), descriptors)
}

/// Has the supervisor close all descriptors that it stores under this name (`FDSTOREREMOVE=1`).
///
/// # Errors
/// When the name is none, or when a supervisor should be told and cannot be.
///
/// ```
/// fd3::ready::remove("state")?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn remove(name: &str) -> Result<(), Error> {
    notify(&words::remove(named(name)?))
}

/// Waits until the supervisor has read all that it was told before (`BARRIER=1`).
///
/// # Errors
/// When a supervisor should be told and cannot be, or has not read it within the limit.
///
/// ```
/// fd3::ready::status("done")?;
/// fd3::ready::barrier(std::time::Duration::from_secs(5))?;
/// # Ok::<(), fd3::Error>(())
/// ```
pub fn barrier(limit: Duration) -> Result<(), Error> {
    let Some(to) = supervisor()? else { return Ok(()) };
    let failed = |errno| Error::system(DOING, words::BARRIER, errno);
    let (end, sent) = fd::pipe().map_err(failed)?;
    notify_send::send(&to, words::BARRIER.as_bytes(), &[sent.as_fd()]).map_err(failed)?;
    // The supervisor's is the only one now.
    drop(sent);
    match wait_any([end.as_fd()], Some(limit)).map_err(failed)? {
        [true] => Ok(()),
        [false] => Err(failed(Errno(libc::ETIMEDOUT))),
    }
}

/// A supervisor that wants to hear regularly that this program is well (`WATCHDOG_USEC`; `fd3 run --watchdog`,
/// `WatchdogSec=`), and replaces it when it does not.
///
/// In a loop of your own [`tick`](Watchdog::tick) tells how long it may wait:
///
/// ```
/// use fd3::ready::Watchdog;
///
/// let mut watchdog = Watchdog::from_env();
/// # for _ in 0..1 {
/// let wait = match &mut watchdog {
///     Some(watchdog) => Some(watchdog.tick()?),
///     None => None,
/// };
/// // poll(&mut fds, wait), and what comes of it
/// # }
/// # Ok::<(), fd3::Error>(())
/// ```
///
/// In an async program a task does it:
///
/// ```no_run
/// # async fn run() -> Result<(), fd3::Error> {
/// if let Some(watchdog) = fd3::ready::Watchdog::from_env() {
///     let mut due = tokio::time::interval(watchdog.interval());
///     loop {
///         due.tick().await;
///         watchdog.alive()?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Watchdog {
    timeout: Duration,
    /// In milliseconds of the monotonic clock; it was never told before.
    due: u64,
}

impl Watchdog {
    /// `None` where nobody asks for it, or asks another process (`WATCHDOG_PID`).
    ///
    /// ```
    /// let watchdog = fd3::ready::Watchdog::from_env();
    /// ```
    pub fn from_env() -> Option<Watchdog> {
        let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().ok());
        let is_ours = match number("WATCHDOG_PID") {
            None => true,
            Some(pid) => pid == u64::try_from(process::own_pid()).ok(),
        };
        let usec = number("WATCHDOG_USEC")?.filter(|usec| *usec > 0 && is_ours)?;
        Some(Watchdog { timeout: Duration::from_micros(usec), due: 0 })
    }

    /// How long the supervisor waits at the most.
    ///
    /// ```
    /// let timeout = fd3::ready::Watchdog::from_env().map(|watchdog| watchdog.timeout());
    /// ```
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How often to say it: twice within that time.
    ///
    /// ```
    /// let interval = fd3::ready::Watchdog::from_env().map(|watchdog| watchdog.interval());
    /// ```
    pub fn interval(&self) -> Duration {
        self.timeout / 2
    }

    /// This program is well (`WATCHDOG=1`).
    ///
    /// # Errors
    /// When the supervisor cannot be told.
    ///
    /// ```
    /// if let Some(watchdog) = fd3::ready::Watchdog::from_env() {
    ///     watchdog.alive()?;
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn alive(&self) -> Result<(), Error> {
        notify(words::ALIVE)
    }

    /// This program is not well, and knows it: the supervisor is to do at once what it does when the time is over
    /// (`WATCHDOG=trigger`).
    ///
    /// # Errors
    /// When the supervisor cannot be told.
    ///
    /// ```
    /// # fn is_consistent() -> bool { true }
    /// if let (false, Some(watchdog)) = (is_consistent(), fd3::ready::Watchdog::from_env()) {
    ///     watchdog.trigger()?;
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn trigger(&self) -> Result<(), Error> {
        notify(words::TRIGGER)
    }

    /// Says [`alive`](Watchdog::alive) if it is due; to be called as often as one likes. Returns how long until it is due
    /// again: call it by then.
    ///
    /// # Errors
    /// When the supervisor cannot be told.
    ///
    /// ```
    /// if let Some(mut watchdog) = fd3::ready::Watchdog::from_env() {
    ///     let at_the_latest_in = watchdog.tick()?;
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn tick(&mut self) -> Result<Duration, Error> {
        let (now, said) = (clock::monotonic_ms(), self.due);
        // Of less than a millisecond nothing is left, and whoever waits for nothing never rests.
        let interval = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX).max(1);
        if now >= said {
            self.alive()?;
            self.due = now.saturating_add(interval);
        }
        Ok(Duration::from_millis(self.due.saturating_sub(now)))
    }
}

fn named(name: &str) -> Result<&str, Error> {
    let wrong = "not a name; accepted: 1 to 255 printable characters of ASCII, no colon";
    if is_fd_name(name) { Ok(name) } else { Err(Error::usage(format_args!("{name:?}"), wrong)) }
}

fn send(words: &str, with: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let Some(to) = supervisor()? else { return Ok(()) };
    let what = || words.replace('\n', " ");
    notify_send::send(&to, words.as_bytes(), with)
        .map_err(|errno| Error::system(DOING, what(), errno))
}

/// Who is to be told.
fn supervisor() -> Result<Option<Name>, Error> {
    let value = std::env::var_os("NOTIFY_SOCKET");
    value.map_or(Ok(None), |value| notify_send::receiver(value.as_encoded_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_refused_before_anybody_is_told() {
        for name in ["", "a:b", "a\nREADY=1", "ü"] {
            let error = store(name, &[], Keep::UntilHangup).expect_err("it is none").to_string();
            assert!(error.ends_with("no colon"), "{error}");
            assert!(remove(name).is_err());
        }
    }

    #[test]
    fn however_short_the_time_is_a_tick_leaves_a_wait() {
        for usec in [1, 1999, 2000] {
            let mut watchdog = Watchdog { timeout: Duration::from_micros(usec), due: 0 };
            let wait = watchdog.tick().expect("nobody listens");
            assert_eq!(wait, Duration::from_millis(1), "{usec}");
        }
    }
}
