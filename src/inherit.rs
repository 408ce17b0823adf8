//! The sockets that were handed to this process, by fd3, systemd, systemfd or whoever else speaks
//! [`sd_listen_fds(3)`](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html).
//!
//! One line makes a server that runs under all of them, and by hand:
//!
//! ```
//! let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
//! # Ok::<(), fd3::Error>(())
//! ```
//!
//! More than one socket, or another kind, is taken from [`Listeners`], by position or by name.
//!
//! # What becomes of the environment
//!
//! It stays as it is. To change it would be unsound in a program with threads
//! ([`std::env::set_var`] says why), and a library cannot know whether there are some. Instead
//!
//! - what was taken is remembered here: each socket can be taken once;
//! - sockets are closed on exec from the moment they are looked at, all at once, so that no child gets them by
//!   accident;
//! - whoever handed them over said for which process they are (`LISTEN_PID`): a child that looks finds that they
//!   are none of its own. Where that is missing (`systemfd --no-pid`), and for `NOTIFY_SOCKET` and the like,
//!   [`scrub`] takes the variables out of one child's environment.
//!
//! # Blocking or not
//!
//! Sockets are as whoever handed them over left them; fd3 and systemd leave them blocking. `O_NONBLOCK` belongs to
//! the socket, not to a process: whoever sets it sets it for every process that shares it. Set what your server
//! needs: [`TcpListener::set_nonblocking`] with `true` for async runtimes.

use core::fmt;
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::error::{Errno, Error};
use crate::protocol::activation;
use crate::sys::socket::{self, Kind, Name};
use crate::sys::{fd, process};
use crate::units::Pid;

/// What was handed to this process and was not taken yet, or why it could not be had; `None` before anybody asked.
/// Looked for once, whatever comes of it: later those numbers may be somebody else's.
static LEFT: Mutex<Option<Result<Listeners, Error>>> = Mutex::new(None);

/// One inherited socket, or whatever else a supervisor passed on
/// (a descriptor of [its store](crate::ready::store), for example).
#[derive(Debug)]
pub struct Socket {
    name: String,
    fd: OwnedFd,
}

/// All that this process was handed and has not taken yet, in the order in which it was handed over.
///
/// A position never changes, whatever is taken. Of a name that several have, the first one that is left is meant.
///
/// ```no_run
/// use fd3::inherit::Listeners;
///
/// // fd3 run -l :80,name=http -l unix:/run/admin,name=admin -l udp://:53 -- THIS
/// let mut listeners = Listeners::take()?;
/// let http = listeners.tcp("http")?.expect("an http socket");
/// let admin = listeners.unix("admin")?.expect("an admin socket");
/// let dns = listeners.udp(2)?.expect("a third socket");
/// # Ok::<(), fd3::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Listeners(Vec<Option<Socket>>);

/// Which of the [`Listeners`] is meant: a position (`usize`, from 0), or a name (`&str`).
///
/// ```no_run
/// let mut listeners = fd3::inherit::Listeners::take()?;
/// let (by_position, by_name) = (listeners.tcp(0)?, listeners.tcp("http")?);
/// # Ok::<(), fd3::Error>(())
/// ```
pub trait Which: sealed::Which {}

impl Which for usize {}
impl Which for &str {}

mod sealed {
    pub trait Which {
        /// Its position among those that are left.
        fn find(&self, among: &[Option<super::Socket>]) -> Option<usize>;
    }
}

impl sealed::Which for usize {
    fn find(&self, _: &[Option<Socket>]) -> Option<usize> {
        Some(*self)
    }
}

impl sealed::Which for &str {
    fn find(&self, among: &[Option<Socket>]) -> Option<usize> {
        among.iter().position(|one| one.as_ref().is_some_and(|one| one.name == *self))
    }
}

impl Listeners {
    /// What was handed to this process and was not taken before. Empty if there is nothing, or if it was handed
    /// to another process (`LISTEN_PID`).
    ///
    /// # Errors
    /// When a descriptor that was promised is not open. Then none is taken, and every later call, of
    /// [`bind_or_inherit`] too, fails the same way.
    ///
    /// ```
    /// let listeners = fd3::inherit::Listeners::take()?;
    /// println!("{} sockets were handed over", listeners.len());
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn take() -> Result<Listeners, Error> {
        of_left(core::mem::take)
    }

    /// By the environment. By contract once.
    fn handed_over() -> Result<Listeners, Error> {
        let text = |name| std::env::var(name).ok();
        let (pid, fds, names) = (text("LISTEN_PID"), text("LISTEN_FDS"), text("LISTEN_FDNAMES"));
        // Where systemfd begins.
        let first = text("LISTEN_FDS_FIRST_FD").and_then(|first| first.parse::<i32>().ok());
        let shift = first.map_or(0, |first| first.saturating_sub(activation::FIRST_FD).max(0));
        let own = Pid(process::own_pid());
        let mut promised =
            activation::inherited(pid.as_deref(), fds.as_deref(), names.as_deref(), own);
        for (number, _) in &mut promised {
            *number = number.saturating_add(shift);
        }
        let failed = |number, errno| Error::system("take inherited", format!("fd {number}"), errno);
        // All or none: to drop some would close what this process may have opened itself.
        if let Some((number, _)) = promised.iter().find(|(number, _)| !fd::is_open(*number)) {
            return Err(failed(*number, Errno(libc::EBADF)));
        }
        let mut listeners = Vec::new();
        for (number, name) in promised {
            let fd = fd::take_inherited(number).map_err(|errno| failed(number, errno))?;
            listeners.push(Some(Socket { name, fd }));
        }
        Ok(Listeners(listeners))
    }

    /// How many there are.
    ///
    /// ```
    /// assert_eq!(fd3::inherit::Listeners::default().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether none is left.
    ///
    /// ```
    /// assert!(fd3::inherit::Listeners::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one that is meant, without taking it.
    ///
    /// ```
    /// let listeners = fd3::inherit::Listeners::take()?;
    /// if let Some(first) = listeners.get(0) {
    ///     println!("the first one is {first}");
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn get(&self, which: impl Which) -> Option<&Socket> {
        self.0.get(which.find(&self.0)?)?.as_ref()
    }

    /// Takes the one that is meant, whatever it is; `None` if it is not there.
    ///
    /// ```no_run
    /// let mut listeners = fd3::inherit::Listeners::take()?;
    /// if let Some(state) = listeners.socket("state") {
    ///     let file = std::fs::File::from(std::os::fd::OwnedFd::from(state));
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn socket(&mut self, which: impl Which) -> Option<Socket> {
        let index = which.find(&self.0)?;
        self.0.get_mut(index)?.take()
    }

    /// Takes the one that is meant as a TCP listener; `None` if it is not there.
    ///
    /// # Errors
    /// When it is something else. It is left where it is then.
    ///
    /// ```no_run
    /// let mut listeners = fd3::inherit::Listeners::take()?;
    /// let http = listeners.tcp("http")?.ok_or("start me with an http socket")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tcp(&mut self, which: impl Which) -> Result<Option<TcpListener>, Error> {
        self.taken(which, Wanted::Tcp)
    }

    /// Takes the one that is meant as a listening unix stream socket; `None` if it is not there.
    ///
    /// # Errors
    /// When it is something else. It is left where it is then.
    ///
    /// ```no_run
    /// let admin = fd3::inherit::Listeners::take()?.unix("admin")?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn unix(&mut self, which: impl Which) -> Result<Option<UnixListener>, Error> {
        self.taken(which, Wanted::Unix)
    }

    /// Takes the one that is meant as a UDP socket; `None` if it is not there.
    ///
    /// # Errors
    /// When it is something else. It is left where it is then.
    ///
    /// ```no_run
    /// let dns = fd3::inherit::Listeners::take()?.udp(0)?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn udp(&mut self, which: impl Which) -> Result<Option<UdpSocket>, Error> {
        self.taken(which, Wanted::Udp)
    }

    /// Takes the one that is meant as a unix datagram socket; `None` if it is not there.
    ///
    /// # Errors
    /// When it is something else. It is left where it is then.
    ///
    /// ```no_run
    /// let log = fd3::inherit::Listeners::take()?.unix_datagram("log")?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn unix_datagram(&mut self, which: impl Which) -> Result<Option<UnixDatagram>, Error> {
        self.taken(which, Wanted::UnixDatagram)
    }

    fn taken<T: From<OwnedFd>>(
        &mut self,
        which: impl Which,
        wanted: Wanted,
    ) -> Result<Option<T>, Error> {
        let Some(index) = which.find(&self.0) else { return Ok(None) };
        let Some(place) = self.0.get_mut(index) else { return Ok(None) };
        if let Some(socket) = &*place {
            wanted.check(socket)?;
        }
        Ok(place.take().map(|socket| T::from(socket.fd)))
    }
}

impl IntoIterator for Listeners {
    type Item = Socket;
    type IntoIter = IntoIter;

    /// Those that are left, in order.
    fn into_iter(self) -> IntoIter {
        IntoIter(self.0.into_iter().flatten())
    }
}

/// [`Listeners`], one after the other.
///
/// ```
/// for socket in fd3::inherit::Listeners::take()? {
///     println!("{socket}");
/// }
/// # Ok::<(), fd3::Error>(())
/// ```
#[derive(Debug)]
pub struct IntoIter(core::iter::Flatten<std::vec::IntoIter<Option<Socket>>>);

impl Iterator for IntoIter {
    type Item = Socket;

    fn next(&mut self) -> Option<Socket> {
        self.0.next()
    }
}

impl Socket {
    /// The name that it was handed over by: `--listen ...,name=`, `FileDescriptorName=`. `unknown` without one.
    ///
    /// ```
    /// for socket in fd3::inherit::Listeners::take()? {
    ///     println!("{}", socket.name());
    /// }
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What it is and its name, for messages.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {} ({})", fd::number(&self.fd), self.name)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.fd
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What std has a type for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Tcp,
    Unix,
    Udp,
    UnixDatagram,
}

impl Wanted {
    fn word(self) -> &'static str {
        match self {
            Wanted::Tcp => "a TCP listener",
            Wanted::Unix => "a unix listener",
            Wanted::Udp => "a UDP socket",
            Wanted::UnixDatagram => "a unix datagram socket",
        }
    }

    fn check(self, socket: &Socket) -> Result<(), Error> {
        let refused =
            |why: &str| Err(Error::refused("take", format!("{socket} as {}", self.word()), why));
        match What::of(socket.fd.as_fd()) {
            Ok(what) if what.is(self) => Ok(()),
            Ok(what) => refused(what.word()),
            Err(Errno(libc::ENOTSOCK)) => refused("it is no socket"),
            Err(errno) => Err(Error::system("look at", socket, errno)),
        }
    }
}

/// A socket as the kernel describes it.
struct What {
    kind: Kind,
    listening: bool,
    name: Name,
}

impl What {
    fn of(fd: BorrowedFd<'_>) -> Result<What, Errno> {
        let seen = socket::inspect(fd)?;
        Ok(What { kind: seen.kind, listening: seen.listening, name: socket::name(fd)? })
    }

    fn is_inet(&self) -> bool {
        matches!(self.name, Name::V4(_) | Name::V6(_))
    }

    fn is_unix(&self) -> bool {
        matches!(self.name, Name::Path(_) | Name::Abstract(_))
    }

    fn is(&self, wanted: Wanted) -> bool {
        match (wanted, self.kind) {
            (Wanted::Tcp, Kind::Stream) => self.is_inet() && self.listening,
            (Wanted::Unix, Kind::Stream) => self.is_unix() && self.listening,
            (Wanted::Udp, Kind::Datagram) => self.is_inet(),
            (Wanted::UnixDatagram, Kind::Datagram) => self.is_unix(),
            (_, Kind::Stream | Kind::Seqpacket | Kind::Datagram) => false,
        }
    }

    fn word(&self) -> &'static str {
        match (self.kind, self.is_inet(), self.is_unix()) {
            (Kind::Stream, true, _) if self.listening => "it is a TCP listener",
            (Kind::Stream, true, _) => "it is a TCP socket that does not listen",
            (Kind::Stream, _, true) if self.listening => "it is a unix listener",
            (Kind::Stream, _, true) => "it is a unix socket that does not listen",
            (Kind::Datagram, true, _) => "it is a UDP socket",
            (Kind::Datagram, _, true) => "it is a unix datagram socket",
            (Kind::Seqpacket, ..) => "it is a seqpacket socket",
            (Kind::Stream | Kind::Datagram, false, false) => {
                "it has no address, or one of another family"
            }
        }
    }
}

fn of_left<T>(do_it: impl FnOnce(&mut Listeners) -> T) -> Result<T, Error> {
    // Whoever panicked with it left it whole.
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    match left.get_or_insert_with(Listeners::handed_over) {
        Ok(listeners) => Ok(do_it(listeners)),
        Err(error) => Err(error.clone()),
    }
}

/// The next inherited TCP listener that nobody has taken; where there is none, one that is bound to `address`: the
/// same program runs under fd3, under systemd, and by hand.
///
/// The first call gets the first one, and so on: a program with several asks in the order in which they are handed
/// over, or goes by their names with [`Listeners::tcp`]. Of an inherited one the address is whatever it is.
///
/// # Errors
/// When a promised descriptor is not open (see [`Listeners::take`]), or the address cannot be resolved or bound.
///
/// ```
/// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
/// println!("at http://{}", listener.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bind_or_inherit(address: impl ToSocketAddrs) -> Result<TcpListener, Error> {
    if let Some(listener) = of_left(next_tcp)?? {
        return Ok(listener);
    }
    let failed = |doing, what: String, error: std::io::Error| match error.raw_os_error() {
        Some(errno) => Error::system(doing, what, Errno(errno)),
        None => Error::refused(doing, what, error),
    };
    let addresses: Vec<_> = address
        .to_socket_addrs()
        .map_err(|error| failed("resolve", "the address to listen at".to_string(), error))?
        .collect();
    let listener = TcpListener::bind(&*addresses).map_err(|error| {
        let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        failed("bind", all.join(", "), error)
    })?;
    // As many as the system allows may wait, as fd3 has it; std has a number of its own. That one stays where this
    // is refused.
    let _ = socket::listen(listener.as_fd(), i32::MAX);
    Ok(listener)
}

fn next_tcp(listeners: &mut Listeners) -> Result<Option<TcpListener>, Error> {
    let is_tcp = |one: &Option<Socket>| {
        let what = one.as_ref().and_then(|one| What::of(one.fd.as_fd()).ok());
        what.is_some_and(|what| what.is(Wanted::Tcp))
    };
    match listeners.0.iter().position(is_tcp) {
        Some(index) => listeners.tcp(index),
        None => Ok(None),
    }
}

/// Takes out of a child's environment what tells of sockets and of a supervisor, and is meant for this process alone:
/// `LISTEN_FDS`, `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `FD3_SLOT` and the like.
///
/// With most children nothing bad happens without: see [above](self#what-becomes-of-the-environment).
///
/// ```
/// let mut command = std::process::Command::new("true");
/// let status = fd3::inherit::scrub(&mut command).status()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn scrub(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if !activation::may_pass_on(name.as_encoded_bytes()) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests;
