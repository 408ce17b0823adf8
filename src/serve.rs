//! Serving until told to stop, and then letting what is in flight finish.
//!
//! A blocking server with a thread for each connection is three lines:
//!
//! ```no_run
//! use std::io::Write;
//!
//! let listener = fd3::inherit::bind_or_inherit("127.0.0.1:9000")?;
//! let server = fd3::serve::Server::new(listener);
//! server.run(|mut client| drop(client.write_all(b"hello\n")))?;
//! # Ok::<(), fd3::Error>(())
//! ```
//!
//! It runs until `TERM`, `INT` or `QUIT` comes, takes no more connections then, and returns when those that it has
//! are done, or when its patience is over.
//!
//! Programs with a loop or a runtime of their own use the two parts that this is made of: [`Stop`], a descriptor that
//! becomes readable, and [`InFlight`], which knows whether anybody is still at work. With tokio and axum:
//!
//! ```no_run
//! use tokio::net::{TcpListener, UnixStream};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = fd3::inherit::bind_or_inherit("127.0.0.1:9000")?;
//! listener.set_nonblocking(true)?;
//! let stop = UnixStream::from_std(fd3::serve::Stop::on_signals()?.into())?;
//! let app = axum::Router::new();
//! fd3::ready::ready()?;
//! axum::serve(TcpListener::from_std(listener)?, app)
//!     .with_graceful_shutdown(async move { drop(stop.readable().await) })
//!     .await?;
//! # Ok(())
//! # }
//! ```

use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Errno, Error};
use crate::sys::caught::{self, Mask};
use crate::sys::event::{Event, wait_any};
use crate::sys::stream;

mod server;

pub use server::{Listener, Server};

/// What ends a program, by convention.
pub(crate) const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
/// All that the library catches: that on which programs restart as well.
pub(crate) const CAUGHT: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR2];
/// What those tell; made once, as handlers can tell one alone.
static SIGNALLED: Mutex<Option<Stop>> = Mutex::new(None);

/// Whether this program was told to stop: a descriptor that is readable from then on, for ever. Nobody has to read
/// it, so that everybody sees it.
///
/// It can be waited for with poll(2), epoll(7) and in any reactor, each with a copy of its own
/// ([`try_clone`](Stop::try_clone)). Where nobody is left who could tell it, it counts as told. It is one end of a pair of unix sockets, and can be converted to a
/// [`UnixStream`] for runtimes that want to know what it is:
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let stop = fd3::serve::Stop::on_signals()?;
/// let stop = tokio::net::UnixStream::from_std(stop.into())?;
/// stop.readable().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stop {
    end: UnixStream,
    /// Where it is told.
    other: OwnedFd,
}

impl Stop {
    /// Told by nobody but [`tell`](Stop::tell).
    ///
    /// # Errors
    /// When there are no descriptors left.
    ///
    /// ```
    /// let stop = fd3::serve::Stop::new()?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn new() -> Result<Stop, Error> {
        let (end, other) = stream::pair().map_err(no_event)?;
        Ok(Stop { end: end.into(), other })
    }

    /// Told by `TERM`, `INT` and `QUIT` as well. All that come from here are one and the same.
    ///
    /// From the first call on these signals have a handler, whatever they had before, so that they no longer end the
    /// program; as it is a handler, it does not matter which threads there are already. `INT` and `QUIT` stay ignored
    /// if they are: so a shell starts what is not to be ended from its terminal. A second signal does nothing: a
    /// supervisor may well send one to the program after somebody else sent one to its group.
    ///
    /// # Errors
    /// When there are no descriptors left.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let stop = fd3::serve::Stop::on_signals()?;
    /// while !stop.wait(Some(Duration::from_millis(10))) {
    ///     // ...
    /// #   stop.tell();
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn on_signals() -> Result<Stop, Error> {
        let mut signalled = lock(&SIGNALLED);
        if let Some(stop) = &*signalled {
            return stop.try_clone();
        }
        let stop = Stop::new()?;
        let same = stop.try_clone()?;
        caught::write_to(stop.try_clone()?.other, &SIGNALS).map_err(no_event)?;
        *signalled = Some(stop);
        Ok(same)
    }

    /// The same one, by a descriptor of its own.
    ///
    /// # Errors
    /// When there are no descriptors left.
    ///
    /// ```
    /// let stop = fd3::serve::Stop::new()?;
    /// let for_another_reactor = stop.try_clone()?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Stop, Error> {
        let other = self.other.try_clone().map_err(no_copy)?;
        Ok(Stop { end: self.end.try_clone().map_err(no_copy)?, other })
    }

    /// As a signal would. It cannot be taken back.
    ///
    /// ```
    /// let stop = fd3::serve::Stop::new()?;
    /// let for_a_thread = stop.try_clone()?;
    /// let thread = std::thread::spawn(move || for_a_thread.tell());
    /// assert!(stop.wait(None));
    /// # thread.join().unwrap();
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn tell(&self) {
        // Where there is no room it was told before.
        let _ = stream::send(&self.other, &[0]);
    }

    /// Whether it was told by now.
    ///
    /// ```
    /// let stop = fd3::serve::Stop::new()?;
    /// assert!(!stop.is_told());
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn is_told(&self) -> bool {
        self.wait(Some(Duration::ZERO))
    }

    /// Whether a signal has come, whatever else told it.
    pub(crate) fn came_by_signal() -> bool {
        SIGNALS.iter().any(|signal| caught::has_come(*signal))
    }

    /// Waits until it is told, for at most this long; whether it was. `None` is for ever.
    ///
    /// ```
    /// let stop = fd3::serve::Stop::new()?;
    /// assert!(!stop.wait(Some(std::time::Duration::from_millis(1))));
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        wait_any([self.as_fd()], limit).is_ok_and(|[told]| told)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// To wait for it, in a runtime that wants a type of std's. Not blocking.
impl From<Stop> for UnixStream {
    fn from(stop: Stop) -> UnixStream {
        stop.end
    }
}

impl AsRawFd for Stop {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What is being worked at: connections, requests, jobs. A stopping program waits until nothing is.
///
/// Its descriptor is readable while nothing is in flight.
///
/// ```
/// use fd3::serve::InFlight;
/// use std::time::Duration;
///
/// let in_flight = InFlight::new()?;
/// let guard = in_flight.enter();
/// let thread = std::thread::spawn(move || {
///     // ... answer a request ...
///     drop(guard);
/// });
/// assert_eq!(in_flight.wait(Duration::from_secs(10)), 0);
/// # thread.join().unwrap();
/// # Ok::<(), fd3::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    count: Mutex<usize>,
    most: usize,
    /// Set while nothing is in flight.
    none: Event,
    /// Set while there is less than `most`.
    room: Event,
}

/// One thing in flight, until it is dropped.
///
/// ```
/// let in_flight = fd3::serve::InFlight::new()?;
/// {
///     let _guard = in_flight.enter();
///     assert_eq!(in_flight.count(), 1);
/// }
/// assert_eq!(in_flight.count(), 0);
/// # Ok::<(), fd3::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub struct Guard(Arc<Counter>);

impl InFlight {
    /// Nothing is.
    ///
    /// # Errors
    /// When there are no descriptors left.
    ///
    /// ```
    /// let in_flight = fd3::serve::InFlight::new()?;
    /// assert_eq!(in_flight.count(), 0);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn new() -> Result<InFlight, Error> {
        InFlight::at_most(usize::MAX)
    }

    fn at_most(most: usize) -> Result<InFlight, Error> {
        let event = || Event::new().map_err(no_event);
        let counter = Counter { count: Mutex::new(0), most, none: event()?, room: event()? };
        counter.none.set();
        counter.room.set();
        Ok(InFlight(Arc::new(counter)))
    }

    /// One more, until the guard is dropped.
    ///
    /// ```
    /// let in_flight = fd3::serve::InFlight::new()?;
    /// let guard = in_flight.enter();
    /// # drop(guard);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn enter(&self) -> Guard {
        let mut count = lock(&self.0.count);
        if *count == 0 {
            self.0.none.clear();
        }
        *count = count.saturating_add(1);
        if *count == self.0.most {
            self.0.room.clear();
        }
        Guard(self.0.clone())
    }

    /// How many there are.
    ///
    /// ```
    /// let in_flight = fd3::serve::InFlight::new()?;
    /// let (_one, _two) = (in_flight.enter(), in_flight.enter());
    /// assert_eq!(in_flight.count(), 2);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn count(&self) -> usize {
        *lock(&self.0.count)
    }

    /// Waits until nothing is in flight, for at most this long. Returns how many still are.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let in_flight = fd3::serve::InFlight::new()?;
    /// let stuck = in_flight.enter();
    /// assert_eq!(in_flight.wait(Duration::from_millis(1)), 1);
    /// # drop(stuck);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn wait(&self, limit: Duration) -> usize {
        let _ = wait_any([self.as_fd()], Some(limit));
        self.count()
    }
}

impl AsFd for InFlight {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.none.as_fd()
    }
}

impl AsRawFd for InFlight {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut count = lock(&self.0.count);
        if *count == self.0.most {
            self.0.room.set();
        }
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.0.none.set();
        }
    }
}

/// A thread of the library's. It takes no signal that is caught: where the program is about to become another one, the
/// signal would be lost with the thread. Code of the program's, and what that starts, is to have its own mask.
pub(crate) fn thread(
    name: &str,
    run: impl FnOnce(Mask) + Send + 'static,
) -> Result<JoinHandle<()>, Errno> {
    let own = Mask::block(&CAUGHT)?;
    let started = std::thread::Builder::new().name(name.to_string()).spawn(move || run(own));
    own.put_back();
    started.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EAGAIN)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_event(errno: Errno) -> Error {
    Error::system("make", "an event", errno)
}

fn no_copy(error: std::io::Error) -> Error {
    no_event(Errno(error.raw_os_error().unwrap_or(libc::EMFILE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_shows_when_nothing_is_and_when_there_is_room() {
        let in_flight = InFlight::at_most(2).expect("there are descriptors");
        let now = || {
            let fds = [in_flight.as_fd(), in_flight.0.room.as_fd()];
            wait_any(fds, Some(Duration::ZERO)).expect("it can be polled")
        };
        assert_eq!(now(), [true, true]);
        let one = in_flight.enter();
        assert_eq!(now(), [false, true]);
        let two = in_flight.clone().enter();
        assert_eq!(now(), [false, false]);
        assert_eq!(in_flight.wait(Duration::from_millis(1)), 2);
        drop(one);
        assert_eq!(now(), [false, true]);
        drop(two);
        assert_eq!(now(), [true, true]);
        assert_eq!(in_flight.wait(Duration::from_secs(100)), 0);
    }

    #[test]
    fn a_guard_counts_until_its_thread_ends_by_a_panic_too() {
        let in_flight = InFlight::new().expect("there are descriptors");
        let guard = in_flight.enter();
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(in_flight.count(), 0);
    }
}
