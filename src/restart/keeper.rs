//! The thread that restarts: starts the new version, waits for its word, gives way or goes on.

use core::time::Duration;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex};

use super::place::{Handed, place};
use super::{Child, SIGNAL, STOP_WITHIN, Strategy, Watch, failed, lock};
use crate::error::{Errno, Error};
use crate::protocol::activation::FIRST_FD;
use crate::protocol::succession::{self, Role};
use crate::ready;
use crate::serve::{CAUGHT, Stop};
use crate::sys::caught::{self, Mask};
use crate::sys::event::{Event, wait_any};
use crate::sys::settings::Settings;
use crate::sys::signal::{self, Manners};
use crate::sys::spawn::{self, Reports};
use crate::sys::{exec, fd};

/// The new version, to be started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: CString,
    pub(super) folder: Option<CString>,
    pub(super) listeners: Vec<(String, OwnedFd)>,
}

pub(super) struct Keeper {
    pub(super) strategy: Strategy,
    /// Given up when the program is told to stop, for nobody is to hold the sockets then.
    pub(super) launch: Arc<Mutex<Option<Launch>>>,
    pub(super) ready_within: Duration,
    pub(super) overlap: Duration,
    pub(super) on_failure: Box<dyn FnMut(&Error) + Send>,
    pub(super) asked: Event,
    pub(super) stop: Stop,
}

impl Keeper {
    /// `own` is the program's mask.
    pub(super) fn run(mut self, own: Mask) {
        while let Ok([false, true]) = wait_any([self.stop.as_fd(), self.asked.as_fd()], None) {
            // However often it was asked, it is done once.
            self.asked.clear();
            match self.restart() {
                Ok(None) => break,
                Ok(Some(child)) => return self.hand_over(child),
                Err(error) => own.during(|| (self.on_failure)(&error)),
            }
        }
        drop(lock(&self.launch).take());
    }

    /// A child that serves; `None` when the program was told to stop meanwhile.
    fn restart(&self) -> Result<Option<Child>, Error> {
        let starting = match &*lock(&self.launch) {
            Some(launch) => launch.start(self.strategy)?,
            None => return Ok(None),
        };
        let Starting { child, word, program, reports } = starting;
        let fds = [self.stop.as_fd(), word.as_fd(), child.ended()];
        let waited = wait_any(fds, Some(self.ready_within));
        let refused = |why: String| {
            let what = program.to_string_lossy();
            Err(Error::refused("restart", what, format!("the new process {} {why}", child.pid)))
        };
        let said = matches!(waited, Ok([false, true, _]))
            && matches!(rustix::io::read(&word, &mut [0; 1]), Ok(1));
        if !said {
            // To the end of one that has closed what it should have spoken through, too.
            child.end(STOP_WITHIN);
            let [stopped, spoke, ended] = waited.map_err(failed)?;
            return match (reports.next(), spoke || ended) {
                _ if stopped => Ok(None),
                (Some(report), _) => Err(exec::error(&program, report.errno)),
                (None, true) => refused(format!("{} before it was ready", child.end_in_words())),
                (None, false) => refused(format!("was not ready within {:?}", self.ready_within)),
            };
        }
        let waited = wait_any([self.stop.as_fd(), child.ended()], Some(self.overlap));
        if waited != Ok([false, false]) {
            child.end(STOP_WITHIN);
            place().take_pid_file_back()?;
        }
        let [stopped, ended] = waited.map_err(failed)?;
        match (stopped, ended) {
            (true, _) => Ok(None),
            (false, true) => refused(format!("{} when it had become ready", child.end_in_words())),
            (false, false) => Ok(Some(child)),
        }
    }

    fn hand_over(self, child: Child) {
        let handed = match self.strategy {
            Strategy::Single => {
                // For systemd, which goes by the PID.
                let _ = ready::notify(&format!("MAINPID={}", child.pid));
                Handed::Single
            }
            Strategy::Double => Handed::Double(child),
        };
        place().hand_over(handed);
        self.stop.tell();
    }
}

/// A child that is not ready yet.
struct Starting {
    child: Child,
    /// What it speaks through.
    word: OwnedFd,
    program: CString,
    reports: Reports,
}

impl Launch {
    fn start(&self, strategy: Strategy) -> Result<Starting, Error> {
        let program = self.find()?;
        let count = i32::try_from(self.listeners.len()).map_err(|_| failed(Errno(libc::E2BIG)))?;
        // 3 and up are the listeners, and then what it speaks through.
        let ready = FIRST_FD + count;
        let above = |fd: &OwnedFd| fd::copy_above(fd, ready + 1).map_err(failed);
        let mut passed = Vec::new();
        for (_, listener) in &self.listeners {
            passed.push(above(listener)?);
        }
        let (word, end) = fd::pipe().map_err(failed)?;
        passed.push(above(&end)?);
        drop(end);
        let role = match strategy {
            Strategy::Single => Role::Successor { ready },
            Strategy::Double => Role::StandIn { ready },
        };
        let reports = Reports::new(ready + 1).map_err(failed)?;
        let descriptors: Vec<_> = passed.iter().map(AsFd::as_fd).collect();
        let mut own_pid = vec![succession::OWN_PID];
        own_pid.extend((count > 0).then_some("LISTEN_PID"));
        own_pid.extend(std::env::var_os("WATCHDOG_PID").map(|_| "WATCHDOG_PID"));
        let child = spawn::Child {
            program: &program,
            arguments: &arguments()?,
            inherited: &carried()?,
            added: &self.told(role, FIRST_FD)?,
            own_pid: &own_pid,
            descriptors: &descriptors,
            standard: [None; 3],
            parent_death: None,
            descriptor_limit: None,
            settings: &Settings::default(),
            // An order that comes before it listens to it is none: its default would kill it.
            manners: Manners::for_children(SIGNAL),
            first: Some(signal::forget_handlers),
            instead: None,
        };
        // After the fork nothing may fail.
        let watch = Watch::new()?;
        let pid = spawn::fork_beside(&child, &reports)
            .map_err(|errno| Error::system("start", program.to_string_lossy(), errno))?;
        Ok(Starting { child: watch.over(pid), word, program, reports })
    }

    /// Anew each time: it may be another file by now.
    fn find(&self) -> Result<CString, Error> {
        let path = std::env::var_os("PATH");
        exec::find(&self.program, path.as_deref().map(OsStrExt::as_bytes), self.folder.as_deref())
    }

    /// What the new version is told besides its PIDs.
    fn told(&self, role: Role, first: i32) -> Result<Vec<CString>, Error> {
        let mut told = succession::variables(role, place().generation.saturating_add(1));
        if !self.listeners.is_empty() {
            let names: Vec<_> = self.listeners.iter().map(|(name, _)| name.as_str()).collect();
            told.push(format!("LISTEN_FDS={}", names.len()));
            told.push(format!("LISTEN_FDNAMES={}", names.join(":")));
            told.push(format!("LISTEN_FDS_FIRST_FD={first}"));
        }
        told.into_iter().map(|one| variable(one.into_bytes())).collect()
    }

    /// Returns if a signal to stop has come, or with an error. Where the file is gone by now, there still is the one that
    /// the child runs.
    pub(super) fn become_program(self, stand_in: &Child) -> Result<(), Error> {
        let own = std::process::id();
        let listeners: Vec<_> = self.listeners.iter().map(|(_, fd)| fd.as_fd()).collect();
        // Not on 3 and up: other threads may use those until the very end.
        let passed = fd::copy_in_a_row(&listeners, FIRST_FD).map_err(failed)?;
        let first = passed.first().map_or(FIRST_FD, fd::number);
        let mut environment = carried()?;
        environment.extend(self.told(Role::Heir { stand_in: stand_in.pid }, first)?);
        for name in [succession::OWN_PID, "LISTEN_PID", "WATCHDOG_PID"] {
            let is_told = name != "WATCHDOG_PID" || std::env::var_os(name).is_some();
            environment
                .extend(is_told.then(|| variable(format!("{name}={own}").into())).transpose()?);
        }
        let arguments = arguments()?;
        let running = variable(format!("/proc/{}/exe", stand_in.pid).into())?;
        let become_it = || {
            if Stop::came_by_signal() {
                return Ok(());
            }
            let failed = match self.find() {
                Ok(program) => {
                    let why = spawn::become_program(&program, &arguments, &environment, &passed);
                    exec::error(&program, why)
                }
                Err(error) => error,
            };
            spawn::become_program(&running, &arguments, &environment, &passed);
            Err(failed)
        };
        caught::keep_for_heir(&CAUGHT, become_it).map_err(failed)?
    }
}

fn arguments() -> Result<Vec<CString>, Error> {
    std::env::args_os().map(|one| variable(one.into_vec())).collect()
}

/// The environment, but for what is told anew.
fn carried() -> Result<Vec<CString>, Error> {
    let all = std::env::vars_os();
    let kept = all.filter(|(name, _)| !succession::is_told_anew(name.as_encoded_bytes()));
    kept.map(|(name, value)| variable([name.into_vec(), value.into_vec()].join(&b'='))).collect()
}

fn variable(bytes: Vec<u8>) -> Result<CString, Error> {
    CString::new(bytes).map_err(|error| Error::refused("restart", "a word with a NUL", error))
}
