//! Files for scripts of old: whose PID this is (`--pid-file`), and whose the workers' are
//! (`--status-file`, a line `GENERATION:PID` for each that serves, or did and still lives).

use rustix::fd::OwnedFd;

use super::EventLoop;
use super::roll::Roll;
use crate::error::{Errno, Error, Kind};
use crate::plan::{Counts, Files, Patience};
use crate::sys::record::{self, Lock, Record};
use crate::units::{Generation, Pid};

/// Whether this build of fd3 has such files.
const HERE: bool = cfg!(feature = "records");

impl EventLoop {
    pub(super) fn open_records(&mut self) -> Result<(), Error> {
        if HERE {
            self.records = Records::open(&self.loader.fixed.files, self.own_pid)?;
        }
        Ok(())
    }

    pub(super) fn record_start(&mut self, pid: Pid, generation: Generation) {
        if HERE {
            let number = match self.loader.fixed.files.counts {
                Counts::Generations => u64::from(generation.0),
                Counts::Starts => self.launcher.starts(),
            };
            self.roll.started(pid, number);
        }
    }

    pub(super) fn record_ready(&mut self, pid: Pid) {
        if HERE {
            self.roll.ready(pid);
            self.write_down();
        }
    }

    pub(super) fn record_end(&mut self, pid: Pid) {
        if HERE {
            self.roll.ended(pid);
            self.write_down();
        }
    }

    fn write_down(&mut self) {
        if let Some(error) = self.records.write(&self.roll) {
            self.log.cannot_write_down(&error);
        }
    }

    pub(super) fn remove_records(&mut self) {
        if HERE {
            self.records.remove();
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) pid: Option<Record>,
    pub(super) status: Option<Status>,
}

#[derive(Debug)]
pub(super) struct Status {
    pub(super) path: Vec<u8>,
    /// What was written last, and what it says.
    pub(super) written: Option<(OwnedFd, String)>,
    /// The latest try to write it failed, which was told.
    pub(super) failed: bool,
}

impl Records {
    /// Both can be written, or none is.
    pub(super) fn open(files: &Files, own: Pid) -> Result<Records, Error> {
        let cannot = |option: &'static str, path: &[u8], errno: Errno| {
            let what = format!("{option} \"{}\"", String::from_utf8_lossy(path));
            if errno.0 == libc::EAGAIN {
                return Error::refused("write", what, "another process holds it");
            }
            Error::system("write", what, errno).of_kind(Kind::Own)
        };
        let mut records = Records::default();
        if let Some(path) = &files.status {
            let path = path.to_bytes();
            record::can_replace(path).map_err(|errno| cannot("--status-file", path, errno))?;
            records.status = Some(Status { path: path.to_vec(), written: None, failed: false });
        }
        if let Some(path) = &files.pid {
            let path = path.to_bytes();
            let lock = match files.patience {
                Patience::None => Lock::Refuse,
                Patience::Some => Lock::Await,
            };
            let record = Record::locked(path, format!("{own}\n").as_bytes(), lock);
            records.pid = Some(record.map_err(|errno| cannot("--pid-file", path, errno))?);
        }
        Ok(records)
    }

    /// Writes down who serves, where that has changed; an error is told once.
    pub(super) fn write(&mut self, roll: &Roll) -> Option<Error> {
        let status = self.status.as_mut()?;
        let text = roll.lines()?;
        if status.written.as_ref().is_some_and(|(_, written)| *written == text) {
            return None;
        }
        match record::replace(&status.path, text.as_bytes()) {
            Ok(file) => {
                (status.written, status.failed) = (Some((file, text)), false);
                None
            }
            Err(errno) => {
                let news = !core::mem::replace(&mut status.failed, true);
                let what = format!("--status-file \"{}\"", String::from_utf8_lossy(&status.path));
                news.then(|| Error::system("write", what, errno))
            }
        }
    }

    /// The end.
    pub(super) fn remove(&mut self) {
        if let Some(Status { path, written: Some((file, _)), .. }) = self.status.take() {
            record::remove_if(&path, &file);
        }
        if let Some(record) = self.pid.take() {
            record.remove();
        }
    }
}
