//! One process of a world: what it will do of itself, and how it takes signals. Knows no fd3.

use fd3::plan::Readiness;
use fd3::supervisor::Status;
use fd3::units::{Millis, Pid, Signal, SlotId};
use fd3::{Errno, Error, ErrorKind};

use crate::rng::Rng;
use crate::scene::{Moods, Scene};

/// Which process; a PID alone may mean another one by the time that something happens to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Who {
    pub pid: Pid,
    pub serial: u64,
}

/// What a process does, or what happens to it.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    FailExec,
    SayReady,
    /// It, or a child of its group, signals fd3.
    Signal(Signal, By),
    /// It says that it is well, again and again.
    Feed,
    SayStops,
    SayHangs,
    AskTime(Millis),
    SetWatchdog(Option<Millis>),
    Freeze,
    Thaw,
    End(Status),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Itself,
    ItsChild,
}

#[derive(Debug)]
pub struct Process {
    pub serial: u64,
    pub slot: SlotId,
    pub life: Life,
    pub exec_error: Option<Error>,
    /// How it takes the stop signal: it drains for so long, or does not hear.
    pub drains: Option<Millis>,
    /// How long SIGKILL takes; `None`: for ever.
    pub dies_after: Option<Millis>,
    pub frozen: bool,
    /// What waits for its thaw.
    pub put_off: Vec<Deed>,
    pub told_at: Option<Millis>,
    pub killed: bool,
    /// It said that it stops.
    pub stops: bool,
    /// Whether fd3 may know that it is ready.
    pub said_ready: bool,
    pub started: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Lives,
    /// Dead, and fd3 was not told yet.
    Zombie(Status),
    /// fd3 gave it up.
    Abandoned,
    /// Only children of its group live, which keeps its PID from being used again.
    Orphaned,
}

pub type Agenda = Vec<(Millis, Deed)>;

impl Process {
    /// One of a bad world.
    pub fn draw(rng: &mut Rng, scene: &Scene, proven: bool, at: Birth) -> (Process, Agenda) {
        let moods = &scene.moods;
        let mut process = Process::plain(at);
        let mut agenda = Agenda::new();
        if (proven || !moods.calm_start) && rng.percent(moods.exec_fails) {
            process.exec_error = Some(exec_error(rng));
            agenda.push((Millis(rng.pick([0, 1, 3_000])), Deed::FailExec));
        } else {
            process.serve(rng, scene, &mut agenda);
        }
        if rng.percent(moods.deaf) {
            process.drains = None;
        } else {
            process.drains = Some(Millis(rng.pick([0, 1, 50, 3_000, 20_000])));
        }
        if rng.percent(moods.hangs) {
            process.drains = None;
            process.dies_after =
                rng.pick([None, Some(1_000), Some(4_999), Some(20_000)]).map(Millis);
        } else {
            process.dies_after = Some(Millis(rng.pick([0, 0, 1, 10])));
        }
        (process, agenda)
    }

    /// One that behaves: it starts in time and serves until it is told to stop.
    pub fn good(rng: &mut Rng, scene: &Scene, at: Birth) -> (Process, Agenda) {
        let mut agenda = Agenda::new();
        let in_time = match scene.rules.readiness {
            Readiness::Alive(_) => None,
            Readiness::Notify(limit) | Readiness::Signal(limit) => {
                Some(limit.map_or(1_000, |l| l.0 / 2))
            }
        };
        agenda.extend(in_time.map(|span| (Millis(rng.below(span + 1)), Deed::SayReady)));
        if scene.rules.watchdog.is_some() {
            agenda.push((Millis(0), Deed::Feed));
        }
        (Process::plain(at), agenda)
    }

    fn plain(at: Birth) -> Process {
        Process {
            serial: at.serial,
            slot: at.slot,
            life: Life::Lives,
            exec_error: None,
            drains: Some(Millis(10)),
            dies_after: Some(Millis(0)),
            frozen: false,
            put_off: Vec::new(),
            told_at: None,
            killed: false,
            stops: false,
            said_ready: false,
            started: at.started,
        }
    }

    fn serve(&mut self, rng: &mut Rng, scene: &Scene, agenda: &mut Agenda) {
        let Moods { never_ready, ends_early, freezes, signals, .. } = scene.moods;
        let ready = Millis(rng.pick([0, 1, 49, 50, 51, 900, 4_000, 7_000]));
        if !rng.percent(never_ready) {
            agenda.push((ready, Deed::SayReady));
            if rng.percent(10) {
                agenda.push((ready.plus(Millis(rng.below(500))), Deed::SayReady));
            }
        }
        if rng.percent(ends_early) {
            let after = rng.pick([0, 0, 1, 50, 800, 5_000, 12_000]);
            let base = if rng.percent(50) { ready } else { Millis(0) };
            agenda.push((base.plus(Millis(after)), Deed::End(some_status(rng))));
        }
        if scene.rules.watchdog.is_some() && !rng.percent(scene.moods.hangs) {
            agenda.push((ready, Deed::Feed));
        }
        if rng.percent(scene.moods.talks) {
            let at = Millis(rng.pick([0, 1, 50, 900, 5_000, 7_000]));
            let more = Millis(rng.pick([0, 100, 3_000, 30_000]));
            let watchdog = rng.pick([None, Some(1), Some(100), Some(2_001), Some(30_000)]);
            let own = Deed::SetWatchdog(watchdog.map(Millis));
            agenda.push((at, rng.pick([Deed::SayStops, Deed::SayHangs, Deed::AskTime(more), own])));
        }
        if rng.percent(freezes) {
            let at = Millis(rng.below(3_000));
            agenda.push((at, Deed::Freeze));
            if rng.percent(50) {
                agenda.push((at.plus(Millis(rng.below(10_000))), Deed::Thaw));
            }
        }
        if rng.percent(signals) {
            let signal = Signal(rng.pick([1, 10, 12, libc::SIGTERM, libc::SIGINT, 60, 61, 62]));
            let by = rng.pick([By::Itself, By::ItsChild]);
            agenda.push((Millis(rng.below(4_000)), Deed::Signal(signal, by)));
        }
    }

    pub fn lives(&self) -> bool {
        matches!(self.life, Life::Lives)
    }

    /// Whether fd3 has to look after it.
    pub fn counts(&self) -> bool {
        matches!(self.life, Life::Lives | Life::Zombie(_))
    }
}

/// What a new process is told of itself.
#[derive(Clone, Copy)]
pub struct Birth {
    pub serial: u64,
    pub slot: SlotId,
    pub started: Millis,
}

pub fn some_status(rng: &mut Rng) -> Status {
    match rng.below(5) {
        0 | 1 => Status::Exited(0),
        2 => Status::Exited(rng.between(1, 255) as u8),
        3 => Status::Killed(Signal(libc::SIGSEGV)),
        _ => Status::Exited(1),
    }
}

fn exec_error(rng: &mut Rng) -> Error {
    let (errno, kind) = rng.pick([
        (libc::ENOENT, ErrorKind::NotFound),
        (libc::EACCES, ErrorKind::NotExecutable),
        (libc::ENOMEM, ErrorKind::Own),
    ]);
    Error::system("execute", "/app", Errno(errno)).of_kind(kind)
}
