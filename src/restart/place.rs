//! The place of this process in a row of restarts: what it was told at its start, whether it is ready, whether another
//! one has taken over, and its PID file. There is one in a program, as there is one environment.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::{Child, lock};
use crate::error::{Errno, Error};
use crate::protocol::succession::{self, Role};
use crate::sys::event::Event;
use crate::sys::record::{self, Lock, Record};
use crate::sys::{fd, process};
use crate::units::Pid;

pub(super) struct Place {
    role: Role,
    pub(super) generation: u64,
    /// Where the parent waits for the word.
    parent: Option<OwnedFd>,
    is_begun: bool,
    is_ready: bool,
    /// Set once it is, for whoever waits for it here.
    ready: Option<Event>,
    pid_file: PidFile,
    handed: Handed,
}

/// Who took over.
#[derive(Debug)]
pub(super) enum Handed {
    No,
    Single,
    Double(Child),
}

enum PidFile {
    None,
    /// Somebody else's, until this process is ready.
    Later(PathBuf),
    Held(Record),
    /// It has taken the place of another one's.
    Taken(PathBuf, OwnedFd),
}

static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();

pub(super) fn place() -> MutexGuard<'static, Place> {
    lock(PLACE.get_or_init(|| Mutex::new(Place::told())))
}

impl Place {
    fn told() -> Place {
        let variable = |name: &str| std::env::var(name).ok();
        let (role, generation) = succession::told(variable, Pid(process::own_pid()));
        let parent = match role {
            Role::Successor { ready } | Role::StandIn { ready } => fd::take_inherited(ready).ok(),
            Role::First | Role::Heir { .. } => None,
        };
        Place {
            role,
            generation,
            parent,
            is_begun: false,
            is_ready: false,
            ready: None,
            pid_file: PidFile::None,
            handed: Handed::No,
        }
    }

    /// Once.
    pub(super) fn begin(&mut self, pid_file: Option<PathBuf>) -> Result<Role, Error> {
        if self.is_begun {
            let why = "it was started before, and can be once in a program";
            return Err(Error::refused("prepare", "a restart", why));
        }
        self.is_begun = true;
        match (self.role, pid_file) {
            // It is the parent's, and stays so.
            (Role::StandIn { .. }, _) | (_, None) => {}
            (Role::Successor { .. }, Some(path)) if !self.is_ready => {
                self.pid_file = PidFile::Later(path);
            }
            (Role::Successor { .. }, Some(path)) => self.take_pid_file(path)?,
            (Role::First | Role::Heir { .. }, Some(path)) => {
                let made = Record::locked(path.as_os_str().as_bytes(), &own_line(), Lock::Refuse);
                self.pid_file = PidFile::Held(made.map_err(|errno| cannot_write(&path, errno))?);
            }
        }
        Ok(self.role)
    }

    /// In place of whatever is there: this process is the one that serves.
    fn take_pid_file(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = record::replace(path.as_os_str().as_bytes(), &own_line())
            .map_err(|errno| cannot_write(&path, errno))?;
        self.pid_file = PidFile::Taken(path, file);
        Ok(())
    }

    /// After a new version that had become ready and ended: it may have put its own PID there.
    pub(super) fn take_pid_file_back(&mut self) -> Result<(), Error> {
        match core::mem::replace(&mut self.pid_file, PidFile::None) {
            PidFile::None => Ok(()),
            PidFile::Held(record) => self.take_pid_file(record.path()),
            PidFile::Later(path) | PidFile::Taken(path, _) => self.take_pid_file(path),
        }
    }

    pub(super) fn is_ready(&mut self) -> Result<(), Error> {
        if self.is_ready {
            return Ok(());
        }
        self.is_ready = true;
        if let PidFile::Later(path) = &self.pid_file {
            self.take_pid_file(path.clone())?;
        }
        if let Some(parent) = self.parent.take() {
            // A parent that has gone does not wait.
            let _ = rustix::io::write(parent, b"R");
        }
        if let Some(ready) = &self.ready {
            ready.set();
        }
        Ok(())
    }

    /// Set as soon as this process is ready.
    pub(super) fn ready_event(&mut self) -> Result<Event, Error> {
        let ready = Event::new().map_err(super::failed)?;
        if self.is_ready {
            ready.set();
        }
        self.ready = Some(ready.try_clone().map_err(super::failed)?);
        Ok(ready)
    }

    pub(super) fn hand_over(&mut self, handed: Handed) {
        self.handed = handed;
    }

    pub(super) fn has_successor(&self) -> bool {
        !matches!(self.handed, Handed::No)
    }

    pub(super) fn take_handed(&mut self) -> Handed {
        match &self.handed {
            Handed::No => Handed::No,
            // For whoever asks further on.
            Handed::Single | Handed::Double(_) => {
                core::mem::replace(&mut self.handed, Handed::Single)
            }
        }
    }

    /// The PID file goes, if it still is this process's.
    pub(super) fn leave(&mut self) {
        match core::mem::replace(&mut self.pid_file, PidFile::None) {
            PidFile::None | PidFile::Later(_) => {}
            PidFile::Held(record) => record.remove(),
            PidFile::Taken(path, file) => record::remove_if(path.as_os_str().as_bytes(), &file),
        }
    }
}

fn own_line() -> Vec<u8> {
    format!("{}\n", process::own_pid()).into_bytes()
}

fn cannot_write(path: &std::path::Path, errno: Errno) -> Error {
    match errno.0 {
        libc::EAGAIN => {
            Error::refused("write", path.display(), "a process that lives has it locked")
        }
        _ => Error::system("write", path.display(), errno),
    }
}
