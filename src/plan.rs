//! What the operator asked for, valid by construction. Pure; `cli` makes it, everything else reads it.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::protocol::activation::Protocols;
use crate::protocol::address::Listen;
use crate::protocol::env_file::Environment;
use crate::protocol::limit::Limit;
use crate::protocol::passwd::Id;
use crate::units::{Millis, Signal};

/// Workers that one fd3 looks after at the most.
pub const WORKERS_MAX: u32 = 10_000;
/// Listeners that one fd3 holds at the most.
pub const LISTENERS_MAX: usize = 256;
/// Slots that have sockets of their own, at the most.
pub const SPREAD_MAX: u32 = 1_024;
/// What `--fd-store` takes at the most.
pub const FD_STORE_MAX: u32 = 4_096;
/// Restarts that `--respawn-limit` can count at the most.
pub const RESPAWN_COUNT_MAX: u32 = 1_000;
/// Signals are numbered 1 to 64 (127 on MIPS).
pub const SIGNALS: usize =
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 128 } else { 65 };

/// One `fd3 run`, whole.
#[derive(Clone, Debug)]
pub struct Plan {
    pub listen: Vec<Rc<Listen>>,
    pub workers: Workers,
    pub rules: Rules,
    pub launch: Launch,
    pub log: LogPlan,
    pub control: Control,
    /// Where metrics are told.
    pub metrics: Option<Box<Listen>>,
    pub files: Files,
    /// Descriptors above 2 that are fd3's own already, and no inheritance to be closed.
    pub own: Vec<i32>,
    /// Descriptors that each slot's workers may leave with fd3.
    pub fd_store: u32,
    pub spread: Spread,
}

/// Who accepts from which socket of a TCP or UDP listener.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Spread {
    /// All workers from one.
    #[default]
    Shared,
    /// Each slot's from its own.
    Worker,
}

/// Files that tell who runs.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Files {
    pub pid: Option<CString>,
    pub status: Option<CString>,
    pub patience: Patience,
    pub counts: Counts,
}

/// Whether another process's PID file is waited for until that process ends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Patience {
    #[default]
    None,
    Some,
}

/// By which number the status file calls a worker.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Counts {
    #[default]
    Generations,
    /// Server::Starter's generations: each start is one.
    Starts,
}

/// Where orders are heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// At an abstract name that clients find by themselves.
    Automatic,
    At(Box<Listen>),
    Nowhere,
}

/// How many slots there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    Count(u32),
    /// One for each CPU that this process may use.
    Auto,
}

/// What the supervisor decides by.
#[derive(Clone, Debug)]
pub struct Rules {
    pub readiness: Readiness,
    pub start: Start,
    pub restart: Restart,
    pub backoff: Backoff,
    pub respawn_limit: Option<RespawnLimit>,
    pub stop_signal: Signal,
    pub stop_timeout: Option<Millis>,
    pub surge: Surge,
    /// How long the old and the new worker both accept before the old one is told to stop.
    pub overlap: Millis,
    /// How long a replaced worker may take to finish.
    pub drain_timeout: Option<Millis>,
    /// A worker that was ready for so long is replaced.
    pub max_age: Option<Millis>,
    /// A ready worker that says nothing for so long hangs.
    pub watchdog: Option<Millis>,
    pub ways: Ways,
    pub reactions: Reactions,
}

/// Whose ways fd3 has with what fails, and with who was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ways {
    Own,
    /// Server::Starter's. A start that fails is tried again for ever, `backoff.min` after the one before: no
    /// reload is rolled back, and nobody gives up. Workers that were replaced hold up no other reload, what
    /// a worker leaves behind is left alone, and its signals are orders like everybody's. An age that
    /// has come has all reloaded, once nobody is on the way out, or at twice that age.
    Starter,
}

impl Rules {
    /// Where the program is built without Server::Starter's command line, nobody can ask for its ways.
    pub fn ways(&self) -> Ways {
        if cfg!(feature = "starter") { self.ways } else { Ways::Own }
    }
}

/// When a starting worker counts as ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Alive for so long; READY=1 counts at once.
    Alive(Millis),
    /// It says READY=1, within this time where one is set.
    Notify(Option<Millis>),
    /// It sends fd3 a signal, within this time where one is set; READY=1 counts as well.
    Signal(Option<Millis>),
}

/// How many workers above the number of slots may exist while a reload runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surge {
    /// A whole new generation beside the old one.
    All,
    /// Slot by slot; with 0 the old worker goes before the new one comes.
    AtMost(u32),
}

/// When a slot without a worker gets one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    AtOnce,
    /// When a connection waits.
    OnDemand,
}

/// Which exits that nobody asked for are followed by a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// The wait before a crashed worker is started again: from `min`, doubling, to `max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    pub min: Millis,
    pub max: Millis,
}

impl Backoff {
    /// What is left of the shortest wait this long after a start.
    pub fn rest_of_min(self, since: Millis) -> Millis {
        Millis(self.min.0.saturating_sub(since.0))
    }
}

/// More than `count` restarts of one slot within `window`: fd3 gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RespawnLimit {
    pub count: u32,
    pub window: Millis,
}

/// What fd3 does when a signal comes (`--on`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaction {
    Reload,
    Upgrade,
    /// Stop within the stop timeout; the second time at once.
    Stop,
    /// Stop without a time limit.
    Drain,
    StopNow,
    /// Stop without a time limit, and tell every worker by this signal, whatever it was told before.
    StopBy(Signal),
    Up,
    Down,
    Ignore,
    Forward(Signal),
}

/// The reaction to each signal, by its number.
#[derive(Clone, Debug)]
pub struct Reactions([Reaction; SIGNALS]);

impl Default for Reactions {
    fn default() -> Reactions {
        let mut table = [Reaction::Ignore; SIGNALS];
        for (number, reaction) in (0..).zip(&mut table).skip(1) {
            *reaction = match number {
                libc::SIGTERM | libc::SIGINT => Reaction::Stop,
                libc::SIGQUIT => Reaction::Drain,
                libc::SIGHUP | libc::SIGUSR1 => Reaction::Reload,
                libc::SIGUSR2 => Reaction::Upgrade,
                libc::SIGTTIN => Reaction::Up,
                libc::SIGTTOU => Reaction::Down,
                _ => Reaction::Forward(Signal(number)),
            };
        }
        Reactions(table)
    }
}

impl Reactions {
    pub fn to(&self, signal: Signal) -> Reaction {
        let index = usize::try_from(signal.0).unwrap_or(0);
        self.0.get(index).copied().unwrap_or(Reaction::Ignore)
    }

    pub fn set(&mut self, signal: Signal, reaction: Reaction) {
        let place = usize::try_from(signal.0).ok().and_then(|index| self.0.get_mut(index));
        if let Some(place) = place {
            *place = reaction;
        }
    }
}

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program and its arguments; never empty.
    pub command: Vec<CString>,
    pub settings: Settings,
    pub protocols: Protocols,
    /// `None`: inherited by a single worker, null for several.
    pub stdin: Option<Stdin>,
    /// How often a worker is to say WATCHDOG=1.
    pub watchdog: Option<Millis>,
    /// What a worker gets when fd3 dies.
    pub parent_death: Option<Signal>,
}

/// What a program is given before it is executed. What is left out is as fd3 has it.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    /// What `--env-file` and `--env` add to fd3's own environment.
    pub environment: Environment,
    pub inheritance: Inheritance,
    pub user: Option<Id>,
    pub group: Option<Id>,
    /// Absolute.
    pub folder: Option<CString>,
    pub umask: Option<u32>,
    pub limits: Vec<Limit>,
    pub nice: Option<i32>,
    /// Capabilities that it never has again, one bit each.
    pub dropped: u64,
    pub privileges: Privileges,
}

/// What of fd3's own environment is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Inheritance {
    #[default]
    All,
    Nothing,
}

/// Whether it may have more rights by executing what gives them (set-user-ID).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Privileges {
    #[default]
    AsInherited,
    NoNew,
}

/// What a worker finds on fd 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stdin {
    Inherit,
    Null,
}

/// How and how much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPlan {
    pub format: LogFormat,
    pub level: Level,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

/// How much a line matters; a log at one level shows what matters at least as much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Error,
    Warn,
    Notice,
    Info,
}
