//! For programs that nobody supervises: on `USR2` a program starts its new version beside itself, on the same sockets,
//! and gives way to it once it is ready. If the new one does not come, the old one goes on.
//!
//! ```no_run
//! use fd3::restart::{Restart, Strategy};
//! use fd3::serve::{Server, Stop};
//!
//! let stop = Stop::on_signals()?;
//! let listener = fd3::inherit::bind_or_inherit("127.0.0.1:8080")?;
//! let restart = Restart::new(Strategy::Single).listener("http", &listener).start(&stop)?;
//! Server::new(listener).stop(stop).run(|client| drop(client))?;
//! restart.finish()?;
//! # Ok::<(), fd3::Error>(())
//! ```
//!
//! The new version is the file that the program's own name (`argv[0]`) leads to by then, looked up as the shell did:
//! a replaced file, and a link that points to another release now, are the new ones. It gets the same arguments,
//! environment, folder and standard streams, is one [`generation`] further, finds the listeners by
//! [`inherit`](crate::inherit), and says that it serves with [`ready()`](crate::ready::ready), as it would to fd3 or
//! systemd. Until then, and for a while after it, the old one serves as well; then its [`Stop`] is told.
//!
//! | | [`Single`](Strategy::Single) | [`Double`](Strategy::Double) |
//! | --- | --- | --- |
//! | who serves in the end | a child of the old process, with another PID | the old process, with the same PID |
//! | how | the child is ready, the old one drains and ends | the child stands in, the old one drains, becomes the new program, and ends the child as soon as it is ready itself |
//! | for | programs that are found by a [PID file](Restart::pid_file) | programs whose PID somebody watches: a shell, runit, a container |
//!
//! A signal that comes while the old process becomes the new program is the new one's. Only a thread of the program's
//! own that does not block it can lose it, if it has just taken it when the program changes: where that must not be,
//! such threads are over before [`finish`](Running::finish), or block `TERM`, `INT`, `QUIT` and `USR2`.
//!
//! Under fd3 use `fd3 reload` instead, which does the same for any program.

use core::time::Duration;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Errno, Error};
use crate::protocol::address::is_fd_name;
use crate::protocol::succession::Role;
use crate::serve::{self, Stop};
use crate::sys::caught::{self, Mask};
use crate::sys::event::Event;

mod child;
mod keeper;
mod place;

use child::{Child, Watch};
use keeper::Keeper;
use place::{Handed, place};

/// What programs restart on.
const SIGNAL: i32 = libc::SIGUSR2;
const READY_WITHIN: Duration = Duration::from_secs(30);
/// As `fd3 run --overlap` has it.
const OVERLAP: Duration = Duration::from_secs(2);
/// What is told to stop is killed after this time.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Who serves after a restart.
///
/// ```
/// use fd3::restart::{Restart, Strategy};
///
/// let by_pid_file = Restart::new(Strategy::Single).pid_file("/run/app.pid");
/// let by_pid = Restart::new(Strategy::Double);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// A child; this process ends.
    Single,
    /// This process, which becomes the new program; a child serves meanwhile.
    Double,
}

/// How a program restarts itself. [`start`](Restart::start) makes it so.
///
/// ```no_run
/// use fd3::restart::{Restart, Strategy};
/// use std::time::Duration;
///
/// let stop = fd3::serve::Stop::on_signals()?;
/// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:8080")?;
/// let restart = Restart::new(Strategy::Single)
///     .listener("http", &listener)
///     .pid_file("/run/app.pid")
///     .ready_within(Duration::from_secs(10))
///     .on_failure(|error| eprintln!("{error}"))
///     .start(&stop)?;
/// # Ok::<(), fd3::Error>(())
/// ```
#[must_use = "it is in force once it is started"]
pub struct Restart {
    strategy: Strategy,
    program: Result<CString, Error>,
    /// Where relative names begin.
    folder: Option<CString>,
    listeners: Vec<(String, Result<OwnedFd, Error>)>,
    pid_file: Option<PathBuf>,
    ready_within: Duration,
    overlap: Duration,
    on_failure: Box<dyn FnMut(&Error) + Send>,
}

impl core::fmt::Debug for Restart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Restart")
            .field("strategy", &self.strategy)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Restart {
    /// Ready within 30 s, an overlap of 2 s, failures untold. To be called before the program changes its folder, where
    /// its name may begin.
    ///
    /// ```
    /// use fd3::restart::{Restart, Strategy};
    ///
    /// let restart = Restart::new(Strategy::Single);
    /// ```
    pub fn new(strategy: Strategy) -> Restart {
        let name = std::env::args_os().next().unwrap_or_default();
        let folder = std::env::current_dir().ok();
        Restart {
            strategy,
            program: text(name),
            folder: folder.and_then(|folder| text(folder.into()).ok()),
            listeners: Vec::new(),
            pid_file: None,
            ready_within: READY_WITHIN,
            overlap: OVERLAP,
            on_failure: Box::new(|_| {}),
        }
    }

    /// A socket that the new version is handed, by this name and in the order of these calls. A copy is kept until the
    /// program is told to stop.
    ///
    /// ```
    /// use fd3::restart::{Restart, Strategy};
    ///
    /// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
    /// let restart = Restart::new(Strategy::Single).listener("http", &listener);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn listener(mut self, name: &str, socket: &impl AsFd) -> Restart {
        let copy = match socket.as_fd().try_clone_to_owned() {
            _ if !is_fd_name(name) => {
                let wrong =
                    "not a name; accepted: 1 to 255 printable characters of ASCII, no colon";
                Err(Error::usage(format_args!("{name:?}"), wrong))
            }
            Ok(copy) => Ok(copy),
            Err(error) => {
                let errno = Errno(error.raw_os_error().unwrap_or(libc::EMFILE));
                Err(Error::system("copy", format_args!("the listener {name}"), errno))
            }
        };
        self.listeners.push((name.to_string(), copy));
        self
    }

    /// The file to start, where it is not the one that the program's own name leads to: a path, or a name to be found in
    /// `PATH`. Looked up at each restart.
    ///
    /// ```
    /// use fd3::restart::{Restart, Strategy};
    ///
    /// let restart = Restart::new(Strategy::Single).program("/opt/app/current/bin/app");
    /// ```
    pub fn program(mut self, name: impl Into<OsString>) -> Restart {
        self.program = text(name.into());
        self
    }

    /// Where the PID stands of the process that serves. It is locked while that one lives, is replaced as a whole when
    /// the next one is ready, and goes with the last one.
    ///
    /// ```
    /// use fd3::restart::{Restart, Strategy};
    ///
    /// let restart = Restart::new(Strategy::Single).pid_file("/run/app.pid");
    /// ```
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Restart {
        self.pid_file = Some(path.into());
        self
    }

    /// A new version that is not ready by then is stopped, and the old one goes on.
    ///
    /// ```
    /// # use fd3::restart::{Restart, Strategy};
    /// let restart = Restart::new(Strategy::Single).ready_within(std::time::Duration::from_secs(5));
    /// ```
    pub fn ready_within(mut self, limit: Duration) -> Restart {
        self.ready_within = limit;
        self
    }

    /// How long both serve before the old one gives way; a new one that ends within that time has failed.
    ///
    /// ```
    /// # use fd3::restart::{Restart, Strategy};
    /// let restart = Restart::new(Strategy::Single).overlap(std::time::Duration::from_millis(500));
    /// ```
    pub fn overlap(mut self, time: Duration) -> Restart {
        self.overlap = time;
        self
    }

    /// What to do about a restart that failed, besides going on: to log it. It runs in a thread of its own.
    ///
    /// ```
    /// # use fd3::restart::{Restart, Strategy};
    /// let restart = Restart::new(Strategy::Single).on_failure(|error| eprintln!("{error}"));
    /// ```
    pub fn on_failure(mut self, tell: impl FnMut(&Error) + Send + 'static) -> Restart {
        self.on_failure = Box::new(tell);
        self
    }

    /// From now on `USR2` restarts this program; `stop` is told when a new version has taken over. Before the program
    /// says that it is [ready](crate::ready::ready), and once in a program.
    ///
    /// # Errors
    /// When a listener could not be copied, the PID file belongs to somebody who lives, or there are no descriptors or
    /// threads left.
    ///
    /// ```no_run
    /// # use fd3::restart::{Restart, Strategy};
    /// let stop = fd3::serve::Stop::on_signals()?;
    /// let running = Restart::new(Strategy::Double).start(&stop)?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn start(self, stop: &Stop) -> Result<Running, Error> {
        let Restart { strategy, program, folder, listeners, ready_within, overlap, .. } = self;
        let mut held = Vec::new();
        for (name, copy) in listeners {
            held.push((name, copy?));
        }
        let role = place().begin(self.pid_file)?;
        let launch = keeper::Launch { program: program?, folder, listeners: held };
        let launch = Arc::new(Mutex::new(Some(launch)));
        let mut threads = Vec::new();
        match role {
            // Its parent is about to do the same.
            Role::StandIn { .. } => {}
            Role::First | Role::Successor { .. } | Role::Heir { .. } => {
                let asked = Event::new().map_err(failed)?;
                let end = asked.try_clone().map_err(failed)?;
                caught::write_to(end.into(), &[SIGNAL]).map_err(failed)?;
                let (stop, on_failure) = (stop.try_clone()?, self.on_failure);
                let launch = launch.clone();
                let keeper =
                    Keeper { strategy, launch, ready_within, overlap, on_failure, asked, stop };
                threads.push(named("restart", move |own| keeper.run(own))?);
            }
        }
        if let Role::Heir { stand_in } = role {
            let child = Watch::new()?.over(stand_in);
            let (stop, ready) = (stop.try_clone()?, place().ready_event()?);
            threads.push(named("stand-in", move |_| child.stands_in_until(&ready, &stop))?);
        }
        Ok(Running { launch, stop: stop.try_clone()?, threads })
    }
}

/// A program that restarts itself: to be [finished](Running::finish) at its end.
///
/// ```no_run
/// # use fd3::restart::{Restart, Running, Strategy};
/// let stop = fd3::serve::Stop::on_signals()?;
/// let running: Running = Restart::new(Strategy::Double).start(&stop)?;
/// stop.wait(None);
/// running.finish()?;
/// # Ok::<(), fd3::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "with Double, its end is where the program becomes the new one"]
pub struct Running {
    launch: Arc<Mutex<Option<keeper::Launch>>>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The end of the program: to be called last, when all that was in flight is done.
    ///
    /// After a restart with [`Strategy::Double`] this process becomes the new program here: the call does not return. Else
    /// a new version that is not ready yet is stopped, and the PID file goes.
    ///
    /// # Errors
    /// When this process cannot become the new program. The child that stands in for it goes on serving.
    ///
    /// ```no_run
    /// # use fd3::restart::{Restart, Strategy};
    /// # let stop = fd3::serve::Stop::on_signals()?;
    /// let running = Restart::new(Strategy::Single).start(&stop)?;
    /// // ... serves until it is told to stop, and drains ...
    /// running.finish()?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn finish(self) -> Result<(), Error> {
        self.stop.tell();
        for thread in self.threads {
            // A panic was told by whoever had it.
            let _ = thread.join();
        }
        let handed = place().take_handed();
        match handed {
            Handed::No | Handed::Single => {}
            Handed::Double(child) => {
                let launch = lock(&self.launch).take();
                let failed = match launch {
                    Some(launch) => launch.become_program(&child),
                    None => Ok(()),
                };
                // It was told to stop meanwhile, and so is whoever stands in. Or it cannot: then that one serves.
                if failed.is_ok() {
                    child.end(STOP_WITHIN);
                }
                failed?;
            }
        }
        place().leave();
        Ok(())
    }
}

/// How often this program was restarted, and once more: 1 for the first one. Under fd3 it is what fd3 says.
///
/// ```
/// println!("generation {}", fd3::restart::generation());
/// ```
pub fn generation() -> u64 {
    place().generation
}

/// The program says that it is ready.
pub(crate) fn is_ready() -> Result<(), Error> {
    place().is_ready()
}

/// The program ends, and the service goes on.
pub(crate) fn has_successor() -> bool {
    place().has_successor()
}

fn text(name: OsString) -> Result<CString, Error> {
    CString::new(name.into_vec())
        .map_err(|error| Error::refused("restart", "a name with a NUL", error))
}

fn named(name: &str, run: impl FnOnce(Mask) + Send + 'static) -> Result<JoinHandle<()>, Error> {
    serve::thread(name, run).map_err(failed)
}

fn failed(errno: Errno) -> Error {
    Error::system("prepare", "a restart", errno)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
