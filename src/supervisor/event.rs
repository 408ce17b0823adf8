//! The whole vocabulary of the seam between the supervisor and the world: facts come in as [`Event`]s,
//! wishes go out as [`Action`]s, and what a reader of the log should know goes out as [`Fact`]s.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::fmt;

use super::steer::Steer;
use crate::error::Error;
use crate::plan::Rules;
use crate::protocol::signal_name;
use crate::units::{Asker, CommandId, Generation, Millis, Pid, Signal, SlotId};

/// A fact. Late, doubled and unknown facts are legal and change nothing.
#[derive(Clone, Debug)]
pub enum Event {
    /// Every listener is bound: workers may start.
    Begin,
    /// The answer to [`Action::Spawn`]: the worker exists.
    Spawned { slot: SlotId, pid: Pid },
    /// The answer to [`Action::Spawn`]: no worker came to be.
    SpawnFailed { slot: SlotId, error: Error },
    /// A worker reported, before its exit, that it never became COMMAND.
    ExecFailed { pid: Pid, error: Error },
    /// A worker has ended. It is reaped only after what this event asks for was carried out, so that
    /// its PID, and its group's, still are its own.
    Exited { pid: Pid, status: Status },
    /// A worker says that it serves.
    Ready { pid: Pid },
    /// Somebody asks for a reload, and perhaps waits for its `Answer`.
    ReloadAsked { asker: Option<Asker> },
    /// The same, by name and on terms.
    ReloadOrdered { asker: Option<Asker>, terms: Terms },
    /// Somebody wants fd3 to end.
    StopAsked { how: Ending },
    /// Somebody wants so many slots, and perhaps waits for its `Answer`.
    ScaleAsked { workers: u32, asker: Option<Asker> },
    /// Somebody wants this slot's worker replaced, and perhaps waits for its `Answer`.
    RestartAsked { slot: SlotId, asker: Option<Asker> },
    /// The answer to [`Action::Load`]: the new generation can be started, by these rules.
    Loaded { rules: Box<Rules> },
    /// The answer to [`Action::Load`]: something is wrong with it.
    LoadFailed { error: Error },
    /// A worker says that it stops by itself.
    Stops { pid: Pid },
    /// A worker asks for so much time from now on, to start or to stop.
    MoreTime { pid: Pid, by: Millis },
    /// A worker says that it is well.
    Well { pid: Pid },
    /// A worker says that it is not.
    Hangs { pid: Pid },
    /// A worker says how often it means to say that it is well, from now on; with `None` it no longer does.
    WatchdogSet { pid: Pid, limit: Option<Millis> },
    /// A signal was sent to fd3.
    Signalled { signal: Signal, sender: Sender },
    /// A worker is reaped, and nobody of its group is left that fd3 could know of. Follows every exit: at
    /// once, or when the last one of what it left behind is gone.
    GroupGone { group: Pid },
    /// A listener had to be replaced: what the workers hold is dead. All listeners are whole now.
    ListenerReplaced,
    /// A listener is dead and cannot be replaced, perhaps because workers still hold its address.
    ListenerDead,
    /// The answer to [`Action::LookAtQueue`].
    Queue { slot: SlotId, is_empty: bool },
    /// A connection waits, perhaps for a worker that is to be started on demand.
    Demanded,
    /// The deadline, or some other time, has come.
    TimePassed,
}

/// What is special about a reload.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Terms {
    /// Only if this one still serves, and nobody else reloads.
    pub if_generation: Option<Generation>,
    /// Another COMMAND, to be kept if it serves.
    pub command: Option<CommandId>,
}

/// How soon fd3 is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Within the stop timeout.
    Limited,
    /// However long it takes.
    Patient,
    Now,
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Exited(u8),
    Killed(Signal),
}

impl Status {
    /// As a shell tells it: the code, or 128 + signal.
    pub fn code(self) -> u8 {
        match self {
            Status::Exited(code) => code,
            Status::Killed(signal) => u8::try_from(128 + signal.0).unwrap_or(u8::MAX),
        }
    }
}

/// Who sent a signal, as far as the kernel told. Both are `None` for one from outside the PID
/// namespace or from a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    pub pid: Option<Pid>,
    /// Its process group: the worker's, if a child of the worker sent it.
    pub group: Option<Pid>,
}

/// A wish, carried out in order; what came of it returns as an [`Event`].
#[derive(Clone, Debug)]
pub enum Action {
    /// Answered by `Spawned` or `SpawnFailed` before any other event.
    Spawn {
        slot: SlotId,
        generation: Generation,
    },
    /// Read anew what the next generation is started from, and keep the former ones. Answered by `Loaded`
    /// or `LoadFailed` before any other event. `command` is the one that was asked for, if one was.
    Load {
        generation: Generation,
        command: Option<CommandId>,
    },
    /// No worker of this generation will be started any more.
    Forget {
        generation: Generation,
    },
    /// What somebody asked for has come to this.
    Answer {
        asker: Asker,
        outcome: Outcome,
    },
    Signal {
        pid: Pid,
        signal: Signal,
        to: Target,
    },
    /// To what is left of the group of a worker that is reaped.
    SignalLeftovers {
        group: Pid,
        signal: Signal,
    },
    /// Where new connections go, as to one slot of those that have sockets of their own.
    Steer {
        slot: SlotId,
        to: Steer,
    },
    /// Answered by `Queue` before any other event.
    LookAtQueue {
        slot: SlotId,
    },
    /// Try to replace the dead ones. Answered by `ListenerReplaced` or `ListenerDead`.
    MendListeners,
    /// Let go of the listeners, so that clients are refused instead of left waiting.
    CloseListeners,
    Say(Fact),
    /// Nothing is left to look after: end with this status.
    Finish {
        status: u8,
    },
}

/// Actions in the order in which they are to be carried out.
pub type Actions = VecDeque<Action>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Process,
    /// The process and its group, wherever the process itself has gone.
    Group,
}

/// What the log tells.
#[derive(Clone, Debug)]
pub enum Fact {
    Started {
        slot: SlotId,
        pid: Pid,
        generation: Generation,
    },
    Ready {
        slot: SlotId,
        pid: Pid,
        after: Millis,
        /// When its age will have it replaced.
        renewed_in: Option<Millis>,
    },
    NotStarted {
        slot: SlotId,
        error: Error,
        next: Next,
    },
    Exited {
        slot: SlotId,
        pid: Pid,
        status: Status,
        uptime: Millis,
        next: Next,
    },
    /// It did not get ready in time and was told to stop.
    StartTimedOut {
        slot: SlotId,
        pid: Pid,
        after: Millis,
    },
    /// Its watchdog missed it: it was told to abort.
    Hung {
        slot: SlotId,
        pid: Pid,
    },
    /// It did not stop in time and was killed.
    StopTimedOut {
        slot: SlotId,
        pid: Pid,
    },
    /// Even SIGKILL did not end it (it hangs in the kernel); fd3 goes on without it.
    Abandoned {
        slot: SlotId,
        pid: Pid,
    },
    /// What a worker left behind did not stop in time and was killed.
    LeftoversKilled {
        group: Pid,
    },
    /// No worker is started until listeners are whole again.
    ListenersDown,
    /// A stop began; fd3 is to end with this status.
    Stopping {
        why: StopReason,
        workers: usize,
        status: u8,
    },
    /// Everyone left is killed.
    StoppingNow {
        workers: usize,
    },
    /// A signal that is an order in other versions, or none of ours to obey.
    SignalIgnored {
        signal: Signal,
    },
    /// From now on there are so many slots.
    Scaled {
        workers: u32,
    },
    /// A worker is being replaced because of its age, or because somebody asked for that.
    Renewing {
        slot: SlotId,
    },
    /// That ended. If it failed the old worker goes on, for this time.
    RenewalEnded {
        slot: SlotId,
        outcome: Outcome,
        again_in: Option<Millis>,
    },
    /// A newcomer failed, and another one is tried after this time.
    TriedAgain {
        slot: SlotId,
        why: Failure,
        again_in: Millis,
    },
    /// A worker has reached the age at which all are replaced: a reload is to come.
    TooOld {
        slot: SlotId,
        pid: Pid,
        after: Millis,
    },
    /// A reload begins once so many former workers have finished.
    ReloadWaits {
        workers: usize,
    },
    /// A reload begins: the new generation is being started.
    Reloading {
        generation: Generation,
    },
    /// A reload ended.
    ReloadEnded {
        generation: Generation,
        outcome: Outcome,
    },
    /// A worker was told to stop because its listener is dead.
    Replaced {
        slot: SlotId,
        pid: Pid,
        next: Next,
    },
}

/// What came of a reload, or of another order. The log and everyone who asked get it: what is large is shared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The new generation serves.
    Done { generation: Generation, after: Millis },
    /// What it would have been started from is broken: nothing was changed.
    Refused { error: Rc<Error> },
    /// A new worker failed: the new ones are stopped, the old ones go on.
    /// With `--surge K` some slots may have theirs by then, and keep it.
    RolledBack { why: Rc<Failure>, replaced: u32 },
    /// A stop came first.
    Stopped,
    /// There are so many slots now.
    Scaled { workers: u32 },
}

/// Why a reload was rolled back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A new worker never came to be.
    NotStarted {
        slot: SlotId,
        error: Error,
    },
    /// A new worker ended, however it did, before it took over.
    Exited {
        slot: SlotId,
        pid: Pid,
        status: Status,
        uptime: Millis,
    },
    /// A new worker was not ready in time.
    NotReady {
        slot: SlotId,
        pid: Pid,
        after: Millis,
    },
    /// A new worker hung, or said that it stops, before it took over.
    Hung {
        slot: SlotId,
        pid: Pid,
    },
    Stops {
        slot: SlotId,
        pid: Pid,
    },
    /// With `--surge 0`: an old worker outlived SIGKILL, its slot stays taken.
    NotStopped {
        slot: SlotId,
        pid: Pid,
    },
    /// A listener died.
    Listener,
}

/// Why fd3 stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    Signal(Signal),
    /// By name.
    Asked,
    /// A slot's worker crashed more often than `--respawn-limit` allows.
    RespawnLimit(SlotId),
    /// COMMAND could not be started even once.
    CannotStart,
    /// A listener is dead, and nobody is left who could hold its address.
    ListenerDead,
}

/// What follows a worker's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It is started again after this time.
    Restart(Millis),
    /// Somebody asked for this end.
    Asked,
    /// It was to take over, and nobody had asked for its end: what follows is told of its reload.
    InVain,
    /// The restart policy lets it rest.
    Rest,
    /// It is filled when somebody connects.
    Wait,
    /// fd3 gives up.
    GiveUp(StopReason),
}

/// In one line, for the log and for who asked.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut worker = |slot: &SlotId, pid: &Pid, what: fmt::Arguments<'_>| {
            write!(f, "slot {slot}: worker {pid} {what}")
        };
        match self {
            Failure::NotStarted { slot, error } => write!(f, "slot {slot}: {error}"),
            Failure::Exited { slot, pid, status: Status::Exited(code), uptime } => {
                worker(slot, pid, format_args!("exited with status {code} after {uptime}"))
            }
            Failure::Exited { slot, pid, status: Status::Killed(signal), uptime } => {
                let name = signal_name::name(*signal);
                worker(slot, pid, format_args!("was killed by {name} after {uptime}"))
            }
            Failure::NotReady { slot, pid, after } => {
                worker(slot, pid, format_args!("was not ready within {after}"))
            }
            Failure::Hung { slot, pid } => worker(slot, pid, format_args!("hung")),
            Failure::Stops { slot, pid } => worker(slot, pid, format_args!("stopped by itself")),
            Failure::NotStopped { slot, pid } => {
                write!(f, "slot {slot}: the old worker {pid} outlives SIGKILL")
            }
            Failure::Listener => f.write_str("a listener died"),
        }
    }
}
