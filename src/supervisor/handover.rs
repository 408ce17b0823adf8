//! The whole state as plain data, and back: for another fd3 that goes on with it.
//!
//! What follows from the rest (the agenda, all that is counted) is not carried but made anew. What is read has to
//! hold what `check` claims. How versions get along is told in `protocol::handover`.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::agenda::Agenda;
use super::backoff::{Chance, Misery};
use super::leftovers::Leftovers;
use super::orders::{Orders, Restart};
use super::outage::Outage;
use super::reload::{Phase as ReloadPhase, Reload, Wanted};
use super::slot::{Load, Newcomer, Seat, Slot};
use super::stop::{Haste, Mission};
use super::worker::{Cause, Phase, Worker};
use super::{Lane, Rest, Status, Supervisor};
use crate::error::{Error, Kind};
use crate::plan::{Readiness, Rules};
use crate::protocol::handover::{Carrier, Carry, Wrong, group, kinds};
use crate::units::{Generation, Millis, Pid, Signal, SlotId};

kinds!(Cause, Cause::Wanted, 0 Cause::Wanted, 1 Cause::TooSlow, 2 Cause::Hung, 3 Cause::Own);
kinds!(Lane, Lane::Seat, 0 Lane::Seat, 1 Lane::Newcomer);
kinds!(
    Haste,
    Haste::Patient,
    0 Haste::Patient,
    1 Haste::GaveUp,
    2 Haste::Named,
    3 Haste::Limited,
    4 Haste::Now,
);
kinds!(
    Kind,
    Kind::Own,
    0 Kind::Own,
    1 Kind::Usage,
    2 Kind::NotExecutable,
    3 Kind::NotFound,
);

group!(Misery, Misery::default(), { extra 1 in_a_row, extra 2 restarts });
group!(Wanted, Wanted::default(), { extra 1 since, extra 2 askers, extra 3 command });
group!(Orders, Orders::default(), { extra 1 scalers, extra 2 restarts });
group!(Restart, Restart { slot: SlotId(0), askers: Vec::new() }, { needed 1 slot, extra 2 askers });
group!(Outage, Outage::default(), { extra 1 tries, extra 2 alone, extra 3 until });
group!(Rest, Rest { until: None }, { extra 1 until });

impl Carry for Supervisor {
    fn blank() -> Supervisor {
        Supervisor::new(Rules::blank(), 0, 0)
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let loads = self.carry_loads(by)?;
        carry_load(2, &mut self.load, &loads, by)?;
        let blank = self.load.clone();
        let make = || Slot::new(blank.clone());
        by.list(3, &mut self.slots, &make, &mut |slot, by| carry_slot(slot, &loads, by))?;
        let make = || (Pid(0), blank_worker(&blank));
        by.list(4, self.workers.entries_mut(), &make, &mut |worker, by| {
            carry_worker(worker, &loads, by)
        })?;
        by.extra(5, self.leftovers.entries_mut())?;
        by.needed(6, &mut self.mission)?;
        by.extra(7, &mut self.stop_by)?;
        by.extra(8, &mut self.outage)?;
        by.extra(9, &mut self.vacant)?;
        by.extra(10, &mut self.spawning)?;
        self.carry_reload(&loads, by)?;
        by.extra(13, &mut self.wanted)?;
        by.extra(14, &mut self.orders)?;
        by.extra(15, &mut self.newcomers)?;
        by.extra(16, &mut self.old)?;
        by.extra(17, &mut self.kept)?;
        by.hint(18, &mut self.burst)?;
        by.needed(19, &mut self.size)?;
        by.needed(20, &mut self.target)?;
        by.needed(21, &mut self.generation)?;
        by.needed(22, &mut self.proven)?;
        let mut last_failure = u32::from(self.last_failure);
        by.extra(23, &mut last_failure)?;
        self.last_failure = u8::try_from(last_failure).map_err(|_| Wrong::odd())?;
        by.hint(24, &mut self.chance)?;
        by.extra(25, &mut self.time_left)?;
        match by {
            Carrier::Out(_) => Ok(()),
            Carrier::In { .. } => self.complete(),
        }
    }
}

impl Supervisor {
    /// Each that anybody refers to, once.
    fn carry_loads(&self, by: &mut Carrier<'_>) -> Result<Vec<Rc<Load>>, Wrong> {
        let mut all: Vec<Rc<Load>> = Vec::new();
        let mut add = |load: &Rc<Load>| {
            if all.iter().all(|known| known.generation != load.generation) {
                all.push(load.clone());
            }
        };
        add(&self.load);
        self.slots.iter().for_each(|slot| add(&slot.load));
        self.workers.iter().for_each(|(_, worker)| add(&worker.load));
        if let Some(Reload { phase: ReloadPhase::Starting { load, .. }, .. }) = &self.reload {
            add(load);
        }
        let mut flat = Vec::new();
        for load in &all {
            flat.push((load.generation, load.rules.clone()));
        }
        by.needed(1, &mut flat)?;
        if let Carrier::In { .. } = by {
            all.clear();
            for (generation, rules) in flat {
                all.push(Rc::new(Load { generation, rules }));
            }
        }
        Ok(all)
    }

    /// The reload that runs, in two fields: itself, and what it starts from.
    fn carry_reload(&mut self, loads: &[Rc<Load>], by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut of = match &self.reload {
            Some(Reload { phase: ReloadPhase::Starting { load, .. }, .. }) => Some(load.generation),
            Some(_) | None => None,
        };
        by.extra(11, &mut of)?;
        by.extra(12, &mut self.reload)?;
        if let (Some(generation), Some(Reload { phase, .. })) = (of, &mut self.reload)
            && let ReloadPhase::Starting { load, .. } = phase
        {
            *load = find(generation, loads)?;
        }
        Ok(())
    }

    /// What follows from what was read.
    fn complete(&mut self) -> Result<(), Wrong> {
        let sorted = |pids: Vec<Pid>| pids.windows(2).all(|two| two[0] < two[1]);
        if !sorted(self.workers.pids()) || !sorted(self.leftovers.pids()) {
            return Err(Wrong::odd());
        }
        let slots = || self.slots.iter();
        self.open = slots().filter(|slot| slot.seat != Seat::Closed).count();
        self.waiting = slots().filter(|slot| slot.seat == Seat::Waiting).count();
        self.arriving = slots().filter(|slot| slot.newcomer != Newcomer::None).count();
        self.leaving = slots().filter(|slot| slot.leaving.is_some()).count();
        let signals = |worker: &Worker| matches!(worker.load.rules.readiness, Readiness::Signal(_));
        self.has_signallers = self.workers.iter().any(|(_, worker)| signals(worker));
        self.agenda = Agenda::default();
        for (at, due) in self.dues() {
            self.agenda.change(due, None, Some(at));
        }
        self.check().map_err(|_| Wrong::odd())
    }
}

fn find(generation: Generation, loads: &[Rc<Load>]) -> Result<Rc<Load>, Wrong> {
    let found = loads.iter().find(|load| load.generation == generation);
    found.cloned().ok_or_else(Wrong::odd)
}

fn carry_load(
    tag: u16,
    load: &mut Rc<Load>,
    loads: &[Rc<Load>],
    by: &mut Carrier<'_>,
) -> Result<(), Wrong> {
    let mut generation = load.generation;
    by.needed(tag, &mut generation)?;
    *load = find(generation, loads)?;
    Ok(())
}

fn carry_slot(slot: &mut Slot, loads: &[Rc<Load>], by: &mut Carrier<'_>) -> Result<(), Wrong> {
    by.needed(1, &mut slot.seat)?;
    carry_load(2, &mut slot.load, loads, by)?;
    by.extra(3, &mut slot.misery)?;
    by.extra(4, &mut slot.blameless)?;
    by.extra(5, &mut slot.leaving)?;
    by.extra(6, &mut slot.tried)?;
    by.extra(7, &mut slot.newcomer)
}

fn blank_worker(load: &Rc<Load>) -> Worker {
    Worker {
        slot: SlotId(0),
        load: load.clone(),
        started: Millis(0),
        phase: Phase::blank(),
        watchdog: None,
        renewal: None,
        exec_failure: None,
    }
}

fn carry_worker(
    (pid, worker): &mut (Pid, Worker),
    loads: &[Rc<Load>],
    by: &mut Carrier<'_>,
) -> Result<(), Wrong> {
    by.needed(1, pid)?;
    by.needed(2, &mut worker.slot)?;
    carry_load(3, &mut worker.load, loads, by)?;
    by.needed(4, &mut worker.started)?;
    by.needed(5, &mut worker.phase)?;
    by.extra(6, &mut worker.watchdog)?;
    by.extra(7, &mut worker.renewal)?;
    by.extra(8, &mut worker.exec_failure)
}

/// What some states have besides their name.
#[derive(Default)]
struct Flat {
    kind: u32,
    until: Option<Millis>,
    since: Millis,
    pid: Option<Pid>,
    status: u32,
    cause: Option<Cause>,
    haste: Option<Haste>,
}

group!(Flat, Flat::default(), {
    needed 1 kind,
    extra 2 until,
    extra 3 since,
    extra 4 pid,
    extra 5 status,
    extra 6 cause,
    extra 7 haste,
});

/// A type that is carried as another one.
macro_rules! flat {
    ($name:ty, $blank:expr, $to:expr, $from:expr) => {
        impl Carry for $name {
            fn blank() -> Self {
                $blank
            }

            fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
                let mut flat = $to(&mut *self);
                flat.carry(by)?;
                *self = $from(flat).ok_or_else(Wrong::odd)?;
                Ok(())
            }
        }
    };
}

fn kind(kind: u32) -> Flat {
    Flat { kind, ..Flat::default() }
}

flat!(
    Mission,
    Mission::NotBegun,
    |it: &mut Mission| match *it {
        Mission::NotBegun => kind(0),
        Mission::Running => kind(1),
        Mission::Stopping { status, haste, since } => {
            Flat { status: u32::from(status), haste: Some(haste), since, ..kind(2) }
        }
        Mission::Finished => kind(3),
    },
    |flat: Flat| Some(match (flat.kind, flat.haste) {
        (0, _) => Mission::NotBegun,
        (1, _) => Mission::Running,
        (2, Some(haste)) => {
            let status = u8::try_from(flat.status).ok()?;
            Mission::Stopping { status, haste, since: flat.since }
        }
        (3, _) => Mission::Finished,
        _ => return None,
    })
);

flat!(
    Seat,
    Seat::Closed,
    |it: &mut Seat| match *it {
        Seat::Vacant => kind(0),
        Seat::Spawning => kind(1),
        Seat::Held(pid) => Flat { pid: Some(pid), ..kind(2) },
        Seat::Resting { until } => Flat { until: Some(until), ..kind(3) },
        Seat::Waiting => kind(4),
        Seat::Ceded => kind(5),
        Seat::Closed => kind(6),
    },
    |flat: Flat| Some(match (flat.kind, flat.pid, flat.until) {
        (0, ..) => Seat::Vacant,
        (1, ..) => Seat::Spawning,
        (2, Some(pid), _) => Seat::Held(pid),
        (3, _, Some(until)) => Seat::Resting { until },
        (4, ..) => Seat::Waiting,
        (5, ..) => Seat::Ceded,
        (6, ..) => Seat::Closed,
        _ => return None,
    })
);

/// Empty where there is none.
impl Carry for Newcomer {
    fn blank() -> Newcomer {
        Newcomer::None
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut flat = match *self {
            Newcomer::None => None,
            Newcomer::Awaited => Some(kind(0)),
            Newcomer::Vacant => Some(kind(1)),
            Newcomer::Spawning => Some(kind(2)),
            Newcomer::Resting { until } => Some(Flat { until: Some(until), ..kind(3) }),
            Newcomer::Starting(pid) => Some(Flat { pid: Some(pid), ..kind(4) }),
            Newcomer::Ready { pid, until } => Some(Flat { pid: Some(pid), until, ..kind(5) }),
        };
        flat.carry(by)?;
        *self = match flat {
            None => Newcomer::None,
            Some(Flat { kind: 0, .. }) => Newcomer::Awaited,
            Some(Flat { kind: 1, .. }) => Newcomer::Vacant,
            Some(Flat { kind: 2, .. }) => Newcomer::Spawning,
            Some(Flat { kind: 3, until: Some(until), .. }) => Newcomer::Resting { until },
            Some(Flat { kind: 4, pid: Some(pid), .. }) => Newcomer::Starting(pid),
            Some(Flat { kind: 5, pid: Some(pid), until, .. }) => Newcomer::Ready { pid, until },
            Some(_) => return Err(Wrong::odd()),
        };
        Ok(())
    }
}

flat!(
    Phase,
    Phase::Starting { until: None },
    |it: &mut Phase| match *it {
        Phase::Starting { until } => Flat { until, ..kind(0) },
        Phase::Ready { since, until } => Flat { since, until, ..kind(1) },
        Phase::Draining { until, cause } => Flat { until, cause: Some(cause), ..kind(2) },
        Phase::Killed { until, cause } => Flat { until, cause: Some(cause), ..kind(3) },
    },
    |Flat { kind, until, since, cause, .. }: Flat| Some(match (kind, cause) {
        (0, _) => Phase::Starting { until },
        (1, _) => Phase::Ready { since, until },
        (2, Some(cause)) => Phase::Draining { until, cause },
        (3, Some(cause)) => Phase::Killed { until, cause },
        _ => return None,
    })
);

flat!(
    Leftovers,
    Leftovers::Told { until: None },
    |it: &mut Leftovers| match *it {
        Leftovers::Told { until } => Flat { until, ..kind(0) },
        Leftovers::Killed { until } => Flat { until: Some(until), ..kind(1) },
    },
    |flat: Flat| Some(match (flat.kind, flat.until) {
        (0, until) => Leftovers::Told { until },
        (1, Some(until)) => Leftovers::Killed { until },
        _ => return None,
    })
);

flat!(Chance, Chance::new(0), |it: &mut Chance| it.0, |state: u64| Some(Chance(state.max(1))));

flat!(
    Status,
    Status::Exited(0),
    |it: &mut Status| match *it {
        Status::Exited(code) => (i32::from(code), Signal(0)),
        Status::Killed(by) => (0, by),
    },
    |(code, by)| match by {
        Signal(0) => u8::try_from(code).ok().map(Status::Exited),
        by => Some(Status::Killed(by)),
    }
);

/// The load is told beside it.
impl Carry for Reload {
    fn blank() -> Reload {
        let (begun, askers, phase) = (Millis(0), Vec::new(), ReloadPhase::Loading);
        Reload { begun, askers, renewal: None, replaced: 0, phase }
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.needed(1, &mut self.begun)?;
        by.extra(2, &mut self.askers)?;
        by.extra(3, &mut self.renewal)?;
        by.extra(4, &mut self.replaced)?;
        let mut starts = matches!(self.phase, ReloadPhase::Starting { .. });
        by.needed(5, &mut starts)?;
        if let (Carrier::In { .. }, true) = (&by, starts) {
            let load = Rc::new(Load { generation: Generation(0), rules: Rules::blank() });
            let todo = VecDeque::new();
            self.phase = ReloadPhase::Starting { load, todo, unready: 0, until: None };
        }
        if let ReloadPhase::Starting { todo, unready, until, .. } = &mut self.phase {
            by.needed(6, todo)?;
            by.needed(7, unready)?;
            by.extra(8, until)?;
        }
        Ok(())
    }
}

impl Carry for Error {
    fn blank() -> Error {
        Error::refused("", "", "")
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut kind = self.kind();
        let (doing, what, mut errno, why) = self.parts();
        let (mut doing, mut what, mut why) = (doing.to_owned(), what.to_owned(), why.to_owned());
        by.needed(1, &mut kind)?;
        by.needed(2, &mut doing)?;
        by.needed(3, &mut what)?;
        by.extra(4, &mut errno)?;
        by.needed(5, &mut why)?;
        if let Carrier::In { .. } = by {
            // Once in a process's life, and a few bytes.
            *self = Error::of_parts(kind, String::leak(doing), what, errno, why);
        }
        Ok(())
    }
}
