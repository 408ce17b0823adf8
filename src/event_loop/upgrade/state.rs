//! All that an upgrade hands over, as plain data: descriptors are numbers. A new field is one line here, `extra` or
//! `hint` (see `protocol::handover`), one where it is given and one where it is taken (`give`, `take`).

use alloc::rc::Rc;
use core::ffi::CStr;
use std::ffi::CString;

use super::super::control::Stage as ControlStage;
use super::super::door;
use super::super::listeners::What;
use super::super::load::Commands;
use super::super::metrics::Stage as MetricsStage;
use super::super::roll::Roll;
use super::super::status::{Ledger, Tale};
use crate::plan::{Control, Files, Launch, Level, LogPlan, Workers};
use crate::protocol::address::{Address, Listen};
use crate::protocol::control::{Order, Wait};
use crate::protocol::handover::{Carrier, Carry, Wrong, group, kinds};
use crate::protocol::metrics::Counts;
use crate::protocol::notify::Keep;
use crate::supervisor::Supervisor;
use crate::sys::settings::{Identity, Settings};
use crate::sys::unix_path::BoundPath;
use crate::units::{Asker, Generation, Millis, Pid, SlotId};

pub(crate) struct Handed {
    /// Of who hands over.
    pub(super) version: String,
    /// What it was called with, and the file that it was called by.
    pub(crate) words: Vec<CString>,
    pub(super) program: CString,
    /// When the upgrade was asked for, and when it came to exec.
    pub(super) begun: Millis,
    pub(super) left: Millis,
    pub(super) askers: Vec<Asker>,
    /// It was asked for once more.
    pub(super) again: bool,
    pub(super) supervisor: Supervisor,
    pub(super) fixed: Fixed,
    pub(crate) kept: Vec<(CString, Vec<u8>)>,
    pub(super) commands: Commands,
    pub(super) starts: Vec<Start>,
    pub(super) launcher: Launcher,
    pub(super) listeners: Vec<Listener>,
    pub(super) workers: Vec<(Pid, Worker)>,
    pub(super) store: Vec<Stored>,
    pub(super) control: Option<door::Handed<ControlStage>>,
    pub(super) metrics: Option<door::Handed<MetricsStage>>,
    pub(super) ledger: Ledger,
    pub(super) counts: Counts,
    pub(super) level: Level,
    pub(super) lost: u64,
    pub(super) roll: Roll,
    pub(super) records: Records,
}

impl Carry for Handed {
    fn blank() -> Handed {
        Handed {
            version: String::new(),
            words: Vec::new(),
            program: CString::default(),
            begun: Millis(0),
            left: Millis(0),
            askers: Vec::new(),
            again: false,
            supervisor: Supervisor::blank(),
            fixed: Fixed::blank(),
            kept: Vec::new(),
            commands: Commands::default(),
            starts: Vec::new(),
            launcher: Launcher::blank(),
            listeners: Vec::new(),
            workers: Vec::new(),
            store: Vec::new(),
            control: None,
            metrics: None,
            ledger: Ledger::blank(),
            counts: Counts::default(),
            level: Level::Error,
            lost: 0,
            roll: Roll::default(),
            records: Records::default(),
        }
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.needed(1, &mut self.version)?;
        by.needed(2, &mut self.words)?;
        by.needed(3, &mut self.program)?;
        by.hint(4, &mut self.begun)?;
        by.hint(5, &mut self.left)?;
        by.hint(6, &mut self.askers)?;
        by.hint(7, &mut self.again)?;
        by.needed(8, &mut self.supervisor)?;
        by.needed(9, &mut self.fixed)?;
        by.extra(10, &mut self.kept)?;
        by.extra(11, &mut self.commands)?;
        by.needed(12, &mut self.starts)?;
        by.needed(13, &mut self.launcher)?;
        by.needed(14, &mut self.listeners)?;
        by.needed(15, &mut self.workers)?;
        by.extra(16, &mut self.store)?;
        by.extra(17, &mut self.control)?;
        by.extra(18, &mut self.metrics)?;
        by.needed(19, &mut self.ledger)?;
        by.hint(20, &mut self.counts)?;
        by.needed(21, &mut self.level)?;
        by.hint(22, &mut self.lost)?;
        by.extra(23, &mut self.roll)?;
        by.extra(24, &mut self.records)?;
        let whole = !self.starts.is_empty() && self.listeners.len() == self.fixed.listen.len();
        if whole { Ok(()) } else { Err(Wrong::odd()) }
    }
}

impl Handed {
    /// Every descriptor, once.
    pub(super) fn numbers(&self) -> Vec<i32> {
        let mut all = vec![self.launcher.reports.0, self.launcher.reports.1];
        all.extend(self.listeners.iter().map(|one| one.fd));
        all.extend(self.workers.iter().map(|(_, one)| one.socket));
        all.extend(self.store.iter().map(|one| one.fd));
        all.extend(self.records.pid.iter().map(|one| one.fd));
        let written = self.records.status.iter().filter_map(|one| one.written.as_ref());
        all.extend(written.map(|(fd, _)| *fd));
        if let Some(door) = &self.control {
            all.push(door.fd);
            all.extend(door.clients.iter().map(|(_, fd, _)| *fd));
        }
        if let Some(door) = &self.metrics {
            all.push(door.fd);
            all.extend(door.clients.iter().map(|(_, fd, _)| *fd));
        }
        all
    }
}

#[derive(Default)]
pub(super) struct Fixed {
    pub(super) listen: Vec<Listen>,
    pub(super) workers: Option<Workers>,
    pub(super) control: Option<Control>,
    pub(super) metrics: Option<Box<Listen>>,
    pub(super) fd_store: u32,
    pub(super) log: Option<LogPlan>,
    pub(super) files: Files,
}

group!(Fixed, Fixed::default(), {
    needed 1 listen,
    needed 2 workers,
    needed 3 control,
    extra 4 metrics,
    extra 5 fd_store,
    needed 6 log,
    extra 7 files,
});

pub(super) struct Start {
    pub(super) generation: Generation,
    pub(super) launch: Launch,
    pub(super) settings: Settings,
    pub(super) environment: Vec<CString>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) user: u32,
    pub(super) program: CString,
}

group!(Start, blank_start(), {
    needed 1 generation,
    needed 2 launch,
    extra 3 settings,
    needed 4 environment,
    extra 5 path,
    needed 6 user,
    needed 7 program,
});

fn blank_start() -> Start {
    Start {
        generation: Generation(0),
        launch: Launch::blank(),
        settings: Settings::default(),
        environment: Vec::new(),
        path: None,
        user: 0,
        program: CString::default(),
    }
}

group!(Settings, Settings::default(), {
    extra 1 nice,
    extra 2 limits,
    extra 3 umask,
    extra 4 identity,
    extra 5 dropped,
    extra 6 folder,
    extra 7 no_new_privs,
});
group!(Identity, Identity { user: None, group: 0, groups: Vec::new() }, {
    extra 1 user,
    needed 2 group,
    extra 3 groups,
});

/// How workers report, and what they get back of fd3's limit of descriptors: soft and hard; none is none.
#[derive(Default)]
pub(super) struct Launcher {
    pub(super) workers: u32,
    pub(super) serial: u64,
    pub(super) limit: Option<(Option<u64>, Option<u64>)>,
    pub(super) reports: (i32, i32),
}

group!(Launcher, Launcher::default(), {
    needed 1 workers,
    needed 2 serial,
    extra 3 limit,
    needed 4 reports,
});

pub(super) struct Listener {
    pub(super) fd: i32,
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) path: Option<BoundPath>,
    pub(super) backlog: i32,
    pub(super) told: Option<What>,
    pub(super) shrunk: Option<i32>,
    pub(super) let_go: bool,
}

group!(Listener, blank_listener(), {
    needed 1 fd,
    needed 2 name,
    needed 3 address,
    extra 4 path,
    needed 5 backlog,
    extra 6 told,
    extra 7 shrunk,
    extra 8 let_go,
});

fn blank_listener() -> Listener {
    Listener {
        fd: -1,
        name: String::new(),
        address: Address::blank(),
        path: None,
        backlog: 0,
        told: None,
        shrunk: None,
        let_go: false,
    }
}

group!(BoundPath, BoundPath { path: CString::default(), guard: None, dev: 0, ino: 0, public: false }, {
    needed 1 path,
    extra 2 guard,
    needed 3 dev,
    needed 4 ino,
    extra 5 public,
});

impl Carry for What {
    fn blank() -> What {
        What::ShutDown
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut flat = match *self {
            What::ShutDown => (0_u32, 0, 0),
            What::BacklogShrunk { from, to } => (1, from, to),
            What::PathMissing => (2, 0, 0),
            What::PathReplaced => (3, 0, 0),
        };
        flat.carry(by)?;
        *self = match flat {
            (0, ..) => What::ShutDown,
            (1, from, to) => What::BacklogShrunk { from, to },
            (2, ..) => What::PathMissing,
            (3, ..) => What::PathReplaced,
            _ => return Err(Wrong::odd()),
        };
        Ok(())
    }
}

/// What the loop knows of one, besides what the supervisor does.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) slot: u32,
    pub(super) socket: i32,
    pub(super) user: u32,
    pub(super) errno: i32,
    pub(super) reloading: Option<Millis>,
    pub(super) status: String,
    pub(super) told_full: bool,
    /// What it was to become, and where, while it may report that it did not.
    pub(super) origin: Option<(Program, Option<Program>)>,
}

group!(Worker, Worker::default(), {
    needed 1 slot,
    needed 2 socket,
    needed 3 user,
    hint 4 errno,
    hint 5 reloading,
    hint 6 status,
    hint 7 told_full,
    extra 8 origin,
});

/// Shared by many.
pub(super) type Program = Rc<CStr>;

pub(super) struct Stored {
    pub(super) slot: SlotId,
    pub(super) name: String,
    pub(super) keep: Keep,
    pub(super) fd: i32,
}

kinds!(Keep, Keep::UntilHangup, 0 Keep::UntilHangup, 1 Keep::Always);
group!(Stored, Stored { slot: SlotId(0), name: String::new(), keep: Keep::Always, fd: -1 }, {
    needed 1 slot,
    needed 2 name,
    needed 3 keep,
    needed 4 fd,
});

impl<S: Carry> Carry for door::Handed<S> {
    fn blank() -> door::Handed<S> {
        door::Handed { fd: -1, path: None, serial: 0, clients: Vec::new() }
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.needed(1, &mut self.fd)?;
        by.extra(2, &mut self.path)?;
        by.needed(3, &mut self.serial)?;
        by.extra(4, &mut self.clients)
    }
}

impl Carry for ControlStage {
    fn blank() -> ControlStage {
        ControlStage::Asking(Vec::new())
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        type Flat = (Option<Vec<u8>>, Option<(Order, Wait)>, Option<Box<Tale>>);
        let mut flat: Flat = match self {
            ControlStage::Asking(line) => (Some(core::mem::take(line)), None, None),
            ControlStage::Waiting(order, wait) => (None, Some((*order, *wait)), None),
            ControlStage::Listening(tale) => (None, None, Some(tale.clone())),
        };
        flat.carry(by)?;
        *self = match flat {
            (Some(line), None, None) => ControlStage::Asking(line),
            (None, Some((order, wait)), None) => ControlStage::Waiting(order, wait),
            (None, None, Some(tale)) => ControlStage::Listening(tale),
            _ => return Err(Wrong::odd()),
        };
        Ok(())
    }
}

impl Carry for MetricsStage {
    fn blank() -> MetricsStage {
        MetricsStage::Asking(Vec::new())
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let (mut answered, mut bytes) = match self {
            MetricsStage::Asking(bytes) => (false, core::mem::take(bytes)),
            MetricsStage::Answered(bytes) => (true, core::mem::take(bytes)),
        };
        by.extra(1, &mut answered)?;
        by.extra(2, &mut bytes)?;
        *self = if answered { MetricsStage::Answered(bytes) } else { MetricsStage::Asking(bytes) };
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Records {
    pub(super) pid: Option<PidFile>,
    pub(super) status: Option<StatusFile>,
}

group!(Records, Records::default(), { extra 1 pid, extra 2 status });

#[derive(Default)]
pub(super) struct PidFile {
    pub(super) path: Vec<u8>,
    pub(super) fd: i32,
    pub(super) is_made: bool,
}

group!(PidFile, PidFile::default(), { needed 1 path, needed 2 fd, extra 3 is_made });

#[derive(Default)]
pub(super) struct StatusFile {
    pub(super) path: Vec<u8>,
    pub(super) written: Option<(i32, String)>,
    pub(super) failed: bool,
}

group!(StatusFile, StatusFile::default(), { needed 1 path, extra 2 written, extra 3 failed });
