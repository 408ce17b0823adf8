//! What one world is like: the operator's rules, and how well its processes and its kernel behave.

use fd3::plan::{
    Backoff, Reaction, Reactions, Readiness, RespawnLimit, Restart, Rules, Start, Surge, Ways,
};
use fd3::supervisor::Queues;
use fd3::units::{Millis, Signal};

use crate::happen::ORDERED;
use crate::rng::Rng;

/// Signals with a fixed meaning in every world, so that each can be brought to its end.
pub const STOP: Signal = Signal(60);
pub const STOP_NOW: Signal = Signal(61);
pub const DRAIN: Signal = Signal(62);
/// Stops by another signal than the workers' own.
pub const STOP_BY: Signal = Signal(63);
pub const BY: Signal = Signal(59);

/// Whether slots can have sockets of their own.
const SPREAD: bool = cfg!(feature = "spread");

pub struct Scene {
    pub rules: Rules,
    /// What becomes of connections that wait at a slot.
    pub queues: Queues,
    pub workers: u32,
    pub seed: u64,
    /// What happens before the world is brought to its end.
    pub steps: u64,
    pub ends: Ends,
    pub moods: Moods,
}

/// How a world is brought to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Stopped as hostile as it is.
    Hostile,
    /// First all processes behave, and all must be well again.
    Healing,
}

/// Chances in percent.
#[derive(Clone, Copy)]
pub struct Moods {
    /// No start fails before the first worker was ready, so that the world gets somewhere.
    pub calm_start: bool,
    pub exec_fails: u64,
    pub spawn_fails: u64,
    pub ends_early: u64,
    pub never_ready: u64,
    pub deaf: u64,
    pub hangs: u64,
    pub freezes: u64,
    /// Workers that say more than that they are ready.
    pub talks: u64,
    pub signals: u64,
    pub oversleeps: u64,
    pub replaces: u64,
    pub reloads: u64,
    /// Orders by name to scale, and to restart one slot.
    pub orders: u64,
    /// Somebody connects.
    pub connects: u64,
    /// Of reloads: what they would be started from is broken.
    pub load_fails: u64,
    /// Ends that leave processes behind.
    pub leaves: u64,
    pub stops: u64,
    pub noise: u64,
}

impl Scene {
    pub fn draw(rng: &mut Rng) -> Scene {
        let workers = match rng.below(100) {
            0 => 50,
            30 => 20,
            1..30 => 1,
            _ => rng.between(2, 8) as u32,
        };
        let rules = rules(rng);
        let queues = match rng.below(2) {
            0 if rules.ways() == Ways::Own && SPREAD => rng.pick([Queues::Move, Queues::Stay]),
            _ => Queues::Shared,
        };
        Scene {
            rules,
            queues,
            workers,
            seed: rng.next(),
            steps: rng.pick([5, 40, 100, 200, 300]),
            ends: if rng.percent(50) { Ends::Healing } else { Ends::Hostile },
            moods: Moods::draw(rng),
        }
    }
}

impl Moods {
    fn draw(rng: &mut Rng) -> Moods {
        Moods {
            calm_start: rng.percent(85),
            exec_fails: rng.pick([0, 0, 0, 5, 20]),
            spawn_fails: rng.pick([0, 0, 0, 5, 40]),
            ends_early: rng.pick([0, 10, 40, 80]),
            never_ready: rng.pick([0, 0, 10, 40]),
            deaf: rng.pick([0, 0, 20, 60]),
            hangs: rng.pick([0, 0, 0, 10, 30]),
            freezes: rng.pick([0, 0, 10, 30]),
            talks: rng.pick([0, 0, 20, 60]),
            signals: rng.pick([0, 0, 10, 40]),
            oversleeps: rng.pick([0, 0, 10, 50]),
            replaces: rng.pick([0, 0, 0, 2, 20]),
            reloads: rng.pick([0, 0, 5, 20]),
            orders: if ORDERED { rng.pick([0, 0, 3, 10]) } else { 0 },
            connects: rng.pick([1, 10, 40]),
            load_fails: rng.pick([0, 0, 20]),
            leaves: rng.pick([0, 10, 40]),
            stops: rng.pick([0, 0, 0, 1, 10]),
            noise: rng.pick([0, 10, 50]),
        }
    }
}

fn rules(rng: &mut Rng) -> Rules {
    let min = rng.pick([1, 10, 100, 1000]);
    let limit = RespawnLimit {
        count: rng.pick([0, 1, 2, 5, 8]),
        // A multiple of the backoff, so that restarts fall on the edge of the window.
        window: Millis(min * rng.pick([1, 3, 10, 60])),
    };
    let ways = if rng.percent(25) { Ways::Starter } else { Ways::Own };
    Rules {
        readiness: readiness(rng, ways),
        start: if ways == Ways::Own && rng.percent(25) { Start::OnDemand } else { Start::AtOnce },
        restart: match rng.below(10) {
            0 => Restart::Never,
            1 | 2 => Restart::OnFailure,
            _ => Restart::Always,
        },
        backoff: Backoff { min: Millis(min), max: Millis(min * rng.pick([1, 3, 10, 100])) },
        respawn_limit: rng.percent(35).then_some(limit),
        stop_signal: Signal(rng.pick([libc::SIGTERM, libc::SIGTERM, libc::SIGINT, libc::SIGUSR2])),
        stop_timeout: rng.pick([None, Some(0), Some(1), Some(100), Some(8_000)]).map(Millis),
        surge: Surge::All,
        overlap: Millis(0),
        drain_timeout: rng.pick([None, Some(0), Some(100), Some(8_000)]).map(Millis),
        max_age: rng.pick([None, None, None, Some(2_000), Some(30_000)]).map(Millis),
        watchdog: rng.percent(15).then_some(Millis(5_000)),
        ways,
        reactions: reactions(rng),
    }
}

/// The rules of another generation: what decides how it takes over may differ each time.
pub fn rules_of_reload(rng: &mut Rng, rules: &Rules) -> Rules {
    Rules {
        surge: match rng.below(6) {
            _ if rules.ways() == Ways::Starter => Surge::All,
            0..3 => Surge::All,
            most => Surge::AtMost(most as u32 - 3),
        },
        overlap: Millis(rng.pick([0, 0, 1, 100, 2_000])),
        drain_timeout: rng.pick([None, Some(0), Some(100), Some(8_000)]).map(Millis),
        ..rules.clone()
    }
}

fn readiness(rng: &mut Rng, ways: Ways) -> Readiness {
    let limit = rng.pick([None, Some(50), Some(1_000), Some(5_000)]).map(Millis);
    match rng.below(4) {
        // A worker's signal is no word to Server::Starter.
        0 if ways == Ways::Own => Readiness::Signal(limit),
        0 => Readiness::Notify(limit),
        1 | 2 => Readiness::Notify(limit),
        _ => Readiness::Alive(Millis(rng.pick([0, 1, 100, 1_000, 20_000]))),
    }
}

fn reactions(rng: &mut Rng) -> Reactions {
    let mut reactions = Reactions::default();
    for _ in 0..rng.below(4) {
        let signal = Signal(rng.between(1, 40) as i32);
        let reaction = match rng.below(9) {
            0 => Reaction::Reload,
            1 => Reaction::Stop,
            2 => Reaction::Drain,
            3 => Reaction::StopNow,
            7 => Reaction::StopBy(BY),
            4 => Reaction::Up,
            5 => Reaction::Ignore,
            _ => Reaction::Forward(Signal(rng.pick([libc::SIGTERM, libc::SIGINT, 10, 34]))),
        };
        reactions.set(signal, reaction);
    }
    reactions.set(STOP, Reaction::Stop);
    reactions.set(STOP_NOW, Reaction::StopNow);
    reactions.set(DRAIN, Reaction::Drain);
    reactions.set(STOP_BY, Reaction::StopBy(BY));
    reactions
}
