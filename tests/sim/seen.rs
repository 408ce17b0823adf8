//! What came about in a world: claims about what never happens are worth nothing.

use fd3::supervisor::{Action, Fact, Next, Outcome, Steer, StopReason};

use crate::scene::BY;

#[derive(Clone, Copy, Debug)]
pub enum Sight {
    Ready,
    Restart,
    Rest,
    RespawnLimit,
    CannotStart,
    SpawnFailure,
    StartTimeout,
    StopTimeout,
    StopNow,
    Abandoned,
    Replaced,
    /// So many replacements that fd3 gave up.
    ReplacedTooOften,
    /// A worker made room only when the slot's former one was gone.
    MadeRoomLater,
    /// Two live workers of one slot.
    TwoInASlot,
    /// A PID came to a second worker.
    ReusedPid,
    /// SIGKILL was in vain, and no stop was under way.
    OutlivedKill,
    /// The same, and its slot goes on without it.
    LeftBehind,
    /// All came to rest, and nobody had asked for a stop.
    AllRest,
    LeftoversKilled,
    Outage,
    /// A listener stayed dead until fd3 gave up.
    OutageGivenUp,
    Reloaded,
    Refused,
    RolledBack,
    /// A reload ended by a stop.
    ReloadStopped,
    Hung,
    ScaledUp,
    ScaledDown,
    Renewed,
    NotRenewed,
    /// A newcomer failed, and another one was tried.
    TriedAgain,
    /// Two former workers of one slot.
    PiledUp,
    TooOld,
    /// Though former workers had not finished.
    TooOldByFar,
    ToldByAnother,
    /// A slot waits until somebody connects.
    WaitsAgain,
    /// A slot's connections go to others.
    SteeredOut,
    /// One that is taken away accepts first what waits there.
    EmptiedFirst,
    Healed,
}

impl Sight {
    pub const ALL: [Sight; 39] = [
        Sight::Ready,
        Sight::Restart,
        Sight::Rest,
        Sight::RespawnLimit,
        Sight::CannotStart,
        Sight::SpawnFailure,
        Sight::StartTimeout,
        Sight::StopTimeout,
        Sight::StopNow,
        Sight::Abandoned,
        Sight::Replaced,
        Sight::ReplacedTooOften,
        Sight::MadeRoomLater,
        Sight::TwoInASlot,
        Sight::ReusedPid,
        Sight::OutlivedKill,
        Sight::LeftBehind,
        Sight::AllRest,
        Sight::LeftoversKilled,
        Sight::Outage,
        Sight::OutageGivenUp,
        Sight::Reloaded,
        Sight::Refused,
        Sight::RolledBack,
        Sight::ReloadStopped,
        Sight::Hung,
        Sight::ScaledUp,
        Sight::ScaledDown,
        Sight::Renewed,
        Sight::NotRenewed,
        Sight::TriedAgain,
        Sight::PiledUp,
        Sight::TooOld,
        Sight::TooOldByFar,
        Sight::ToldByAnother,
        Sight::WaitsAgain,
        Sight::SteeredOut,
        Sight::EmptiedFirst,
        Sight::Healed,
    ];

    /// What only Server::Starter's ways bring about, where they are left out.
    pub fn is_not_built(self) -> bool {
        let starters = [Sight::TriedAgain, Sight::PiledUp, Sight::TooOld, Sight::TooOldByFar]
            .map(|one| one as u64);
        let steers = [Sight::SteeredOut, Sight::EmptiedFirst].map(|one| one as u64);
        !cfg!(feature = "starter") && starters.contains(&(self as u64))
            || !cfg!(feature = "spread") && steers.contains(&(self as u64))
    }
}

#[derive(Clone, Copy, Default)]
pub struct Seen(u64);

impl Seen {
    pub fn note(&mut self, sight: Sight) {
        self.0 |= 1 << sight as u64;
    }

    pub fn has(self, sight: Sight) -> bool {
        self.0 & (1 << sight as u64) != 0
    }

    pub fn action(&mut self, action: &Action) {
        if let Action::Signal { signal: BY, .. } = action {
            self.note(Sight::ToldByAnother);
        }
        if let Action::Steer { to: Steer::Out, .. } = action {
            self.note(Sight::SteeredOut);
        }
        if let Action::LookAtQueue { .. } = action {
            self.note(Sight::EmptiedFirst);
        }
        let Action::Say(fact) = action else { return };
        match fact {
            Fact::Ready { .. } => self.note(Sight::Ready),
            Fact::NotStarted { next, .. } => {
                self.note(Sight::SpawnFailure);
                self.next(*next);
            }
            Fact::Exited { next, .. } => self.next(*next),
            Fact::StartTimedOut { .. } => self.note(Sight::StartTimeout),
            Fact::Hung { .. } => self.note(Sight::Hung),
            Fact::StopTimedOut { .. } => self.note(Sight::StopTimeout),
            Fact::Abandoned { .. } => self.note(Sight::Abandoned),
            Fact::StoppingNow { .. } => self.note(Sight::StopNow),
            Fact::Replaced { next, .. } => {
                self.note(Sight::Replaced);
                if let Next::GiveUp(_) = next {
                    self.note(Sight::ReplacedTooOften);
                }
            }
            Fact::LeftoversKilled { .. } => self.note(Sight::LeftoversKilled),
            Fact::ListenersDown => self.note(Sight::Outage),
            Fact::Stopping { why: StopReason::ListenerDead, .. } => {
                self.note(Sight::OutageGivenUp);
            }
            Fact::ReloadEnded { outcome, .. } => self.note(match outcome {
                Outcome::Done { .. } => Sight::Reloaded,
                Outcome::Refused { .. } => Sight::Refused,
                Outcome::RolledBack { .. } => Sight::RolledBack,
                Outcome::Stopped | Outcome::Scaled { .. } => Sight::ReloadStopped,
            }),
            Fact::RenewalEnded { outcome: Outcome::Done { .. }, .. } => self.note(Sight::Renewed),
            Fact::RenewalEnded { .. } => self.note(Sight::NotRenewed),
            Fact::TriedAgain { .. } => self.note(Sight::TriedAgain),
            Fact::TooOld { .. } => self.note(Sight::TooOld),
            Fact::ReloadWaits { .. } => {}
            Fact::Reloading { .. } | Fact::Scaled { .. } | Fact::Renewing { .. } => {}
            Fact::Started { .. } | Fact::Stopping { .. } | Fact::SignalIgnored { .. } => {}
        }
    }

    fn next(&mut self, next: Next) {
        match next {
            Next::Restart(_) => self.note(Sight::Restart),
            Next::Rest => self.note(Sight::Rest),
            Next::Wait => self.note(Sight::WaitsAgain),
            Next::GiveUp(StopReason::RespawnLimit(_)) => self.note(Sight::RespawnLimit),
            Next::GiveUp(StopReason::CannotStart) => self.note(Sight::CannotStart),
            Next::Asked
            | Next::InVain
            | Next::GiveUp(StopReason::Signal(_) | StopReason::Asked) => {}
            Next::GiveUp(StopReason::ListenerDead) => {}
        }
    }
}
