//! What this fd3 hands over, written down. Changes nothing.

use super::super::listeners::Listener;
use super::super::records::Records;
use super::super::{EventLoop, launch, load, now};
use super::state::{self, Handed};
use crate::error::Error;
use crate::protocol::handover::{self, HANDOVER_MAX};
use crate::sys::fd;
use crate::units::{Asker, Millis, Pid};
use std::ffi::CString;

/// The part of it that is the upgrade's own.
pub(super) struct Order {
    pub(super) program: CString,
    pub(super) begun: Millis,
    pub(super) askers: Vec<Asker>,
    pub(super) again: bool,
}

/// As bytes, with the numbers of the descriptors that go along.
pub(super) type Given = (Vec<u8>, Vec<i32>);

impl EventLoop {
    pub(super) fn give(&mut self, order: &Order, words: &[CString]) -> Result<Given, Error> {
        let workers = self.workers();
        let blank = handover_blank();
        let supervisor = core::mem::replace(&mut self.supervisor, blank);
        let mut handed = Handed {
            version: env!("CARGO_PKG_VERSION").to_string(),
            words: words.to_vec(),
            program: order.program.clone(),
            begun: order.begun,
            left: now(),
            askers: order.askers.clone(),
            again: order.again,
            supervisor,
            fixed: fixed(&self.loader.fixed),
            kept: self.loader.anew.kept(),
            commands: self.loader.commands.clone(),
            starts: starts(&self.launcher.starts),
            launcher: launcher(&self.launcher),
            listeners: self.listeners.as_ref().map_or(Vec::new(), |it| listeners(&it.all)),
            workers,
            store: self.stored(),
            control: self.control.as_ref().map(super::super::door::Door::hand_over),
            metrics: self.metrics.as_ref().map(super::super::door::Door::hand_over),
            ledger: self.ledger.clone(),
            counts: self.counts,
            level: self.log.level(),
            lost: self.log.lost.get(),
            roll: self.roll.clone(),
            records: records(&self.records),
        };
        let written = handover::write(&mut handed);
        let numbers = handed.numbers();
        self.supervisor = handed.supervisor;
        let cannot = |why: &dyn core::fmt::Display| Error::refused("hand over", "the state", why);
        let bytes = written.map_err(|wrong| cannot(&wrong))?;
        if bytes.len() > HANDOVER_MAX {
            return Err(cannot(&"there is too much of it"));
        }
        Ok((bytes, numbers))
    }

    fn workers(&self) -> Vec<(Pid, state::Worker)> {
        let mut all = Vec::new();
        for (pid, heard) in self.notify.iter() {
            let origin = self.launcher.origins.get(pid);
            let worker = state::Worker {
                slot: heard.slot.0,
                socket: fd::number(heard.socket.fd()),
                user: heard.user,
                errno: heard.errno.0,
                reloading: heard.reloading,
                status: heard.status.clone(),
                told_full: heard.told_full,
                origin: origin.map(|origin| (origin.program.clone(), origin.folder.clone())),
            };
            all.push((pid, worker));
        }
        all
    }

    fn stored(&self) -> Vec<state::Stored> {
        let mut all = Vec::new();
        for one in &self.store.0 {
            let (slot, name, fd) = (one.slot, one.name.clone(), fd::number(&one.fd));
            all.push(state::Stored { slot, name, keep: one.keep, fd });
        }
        all
    }
}

/// Keeps the place of the one that is written down.
fn handover_blank() -> crate::supervisor::Supervisor {
    handover::Carry::blank()
}

fn fixed(fixed: &load::Fixed) -> state::Fixed {
    let mut listen = Vec::new();
    for one in &fixed.listen {
        listen.push((**one).clone());
    }
    state::Fixed {
        listen,
        workers: Some(fixed.workers),
        control: Some(fixed.control.clone()),
        metrics: fixed.metrics.clone(),
        fd_store: fixed.fd_store,
        log: Some(fixed.log),
        files: fixed.files.clone(),
    }
}

fn starts(starts: &launch::Starts) -> Vec<state::Start> {
    let mut all = Vec::new();
    for start in &starts.0 {
        all.push(state::Start {
            generation: start.generation,
            launch: start.launch.clone(),
            settings: start.prepared.settings.clone(),
            environment: start.prepared.environment.clone(),
            path: start.prepared.path.clone(),
            user: start.prepared.user,
            program: (*start.program).to_owned(),
        });
    }
    all
}

fn launcher(launcher: &launch::Launcher) -> state::Launcher {
    let [read, write] = launcher.reports().numbers();
    state::Launcher {
        workers: launcher.workers,
        serial: launcher.serial,
        limit: launcher.descriptor_limit.map(|limit| (limit.current, limit.maximum)),
        reports: (read, write),
    }
}

fn listeners(listeners: &[Listener]) -> Vec<state::Listener> {
    let mut all = Vec::new();
    for one in listeners {
        all.push(state::Listener {
            fd: fd::number(&one.fd),
            name: one.name.clone(),
            address: one.address.clone(),
            path: one.path.clone(),
            backlog: one.backlog,
            told: one.told,
            shrunk: one.shrunk,
            let_go: one.let_go,
        });
    }
    all
}

fn records(records: &Records) -> state::Records {
    let pid = records.pid.as_ref().map(|record| {
        let (path, fd, is_made) = record.parts();
        state::PidFile { path, fd, is_made }
    });
    let status = records.status.as_ref().map(|status| {
        let written = status.written.as_ref().map(|(file, text)| (fd::number(file), text.clone()));
        state::StatusFile { path: status.path.clone(), written, failed: status.failed }
    });
    state::Records { pid, status }
}
