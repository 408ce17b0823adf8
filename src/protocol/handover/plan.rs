//! What the operator asked for: the rules, what workers are started from, and what a reload cannot change.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Carrier, Carry, Wrong, group, kinds};
use crate::plan::{
    Backoff, Control, Counts, Files, Launch, Level, LogFormat, LogPlan, Patience, Reaction,
    Reactions, Readiness, RespawnLimit, Restart, Rules, SIGNALS, Settings, Start, Stdin, Surge,
    Ways, Workers,
};
use crate::protocol::activation::{PROTOCOLS, Protocol};
use crate::protocol::address::Listen;
use crate::protocol::control::{Order, Wait};
use crate::protocol::metrics;
use crate::protocol::status::Form;
use crate::units::{Millis, Signal, SlotId};

kinds!(Start, Start::AtOnce, 0 Start::AtOnce, 1 Start::OnDemand);
kinds!(Restart, Restart::Always, 0 Restart::Always, 1 Restart::OnFailure, 2 Restart::Never);
kinds!(Ways, Ways::Own, 0 Ways::Own, 1 Ways::Starter);
kinds!(Stdin, Stdin::Inherit, 0 Stdin::Inherit, 1 Stdin::Null);
kinds!(Patience, Patience::None, 0 Patience::None, 1 Patience::Some);
kinds!(Counts, Counts::Generations, 0 Counts::Generations, 1 Counts::Starts);
kinds!(LogFormat, LogFormat::Text, 0 LogFormat::Text, 1 LogFormat::Json);
kinds!(Form, Form::Table, 0 Form::Table, 1 Form::Json);
kinds!(Level, Level::Error, 0 Level::Error, 1 Level::Warn, 2 Level::Notice, 3 Level::Info);
kinds!(
    Wait,
    Wait::ForTheOutcome,
    0 Wait::ForTheOutcome,
    1 Wait::WithProgress,
    2 Wait::No,
);

group!(Backoff, Backoff { min: Millis(0), max: Millis(0) }, { needed 1 min, needed 2 max });
group!(RespawnLimit, RespawnLimit { count: 0, window: Millis(0) }, {
    needed 1 count,
    needed 2 window,
});
group!(LogPlan, LogPlan { format: LogFormat::Text, level: Level::Error }, {
    needed 1 format,
    needed 2 level,
});
group!(Files, Files::default(), {
    extra 1 pid,
    extra 2 status,
    extra 3 patience,
    extra 4 counts,
});

group!(Rules, blank_rules(), {
    needed 1 readiness,
    needed 2 start,
    needed 3 restart,
    needed 4 backoff,
    needed 5 respawn_limit,
    needed 6 stop_signal,
    needed 7 stop_timeout,
    needed 8 surge,
    needed 9 overlap,
    needed 10 drain_timeout,
    extra 11 max_age,
    extra 12 watchdog,
    extra 13 ways,
    needed 14 reactions,
});

fn blank_rules() -> Rules {
    Rules {
        readiness: Readiness::blank(),
        start: Start::AtOnce,
        restart: Restart::Always,
        backoff: Backoff::blank(),
        respawn_limit: None,
        stop_signal: Signal(0),
        stop_timeout: None,
        surge: Surge::All,
        overlap: Millis(0),
        drain_timeout: None,
        max_age: None,
        watchdog: None,
        ways: Ways::Own,
        reactions: Reactions::default(),
    }
}

/// What is unlike the others goes through a number and what belongs to it.
macro_rules! through {
    ($name:ty, $blank:expr, $to:expr, $from:expr) => {
        impl Carry for $name {
            fn blank() -> Self {
                $blank
            }

            fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
                let mut flat = $to(&*self);
                flat.carry(by)?;
                *self = $from(flat).ok_or_else(Wrong::odd)?;
                Ok(())
            }
        }
    };
}

through!(
    Readiness,
    Readiness::Alive(Millis(0)),
    |it: &Readiness| match it {
        Readiness::Alive(time) => (0_u32, Some(*time)),
        Readiness::Notify(limit) => (1, *limit),
        Readiness::Signal(limit) => (2, *limit),
    },
    |flat| match flat {
        (0, Some(time)) => Some(Readiness::Alive(time)),
        (1, limit) => Some(Readiness::Notify(limit)),
        (2, limit) => Some(Readiness::Signal(limit)),
        _ => None,
    }
);

through!(
    Surge,
    Surge::All,
    |it: &Surge| match it {
        Surge::All => None,
        Surge::AtMost(most) => Some(*most),
    },
    |flat: Option<u32>| Some(flat.map_or(Surge::All, Surge::AtMost))
);

through!(
    Workers,
    Workers::Auto,
    |it: &Workers| match it {
        Workers::Auto => None,
        Workers::Count(count) => Some(*count),
    },
    |flat: Option<u32>| Some(flat.map_or(Workers::Auto, Workers::Count))
);

through!(
    Control,
    Control::Automatic,
    |it: &Control| match it {
        Control::Automatic => (0_u32, None),
        Control::At(listen) => (1, Some(listen.clone())),
        Control::Nowhere => (2, None),
    },
    |flat: (u32, Option<Box<Listen>>)| match flat {
        (0, _) => Some(Control::Automatic),
        (1, Some(listen)) => Some(Control::At(listen)),
        (2, _) => Some(Control::Nowhere),
        _ => None,
    }
);

/// Three bytes for each signal: its number, what is done, and the signal that is passed on where one is. Many loads
/// have many of them: as fields they would be most of a handover.
impl Carry for Reactions {
    fn blank() -> Reactions {
        Reactions::default()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut bytes = Vec::new();
        for signal in 1..SIGNALS as u8 {
            let (kind, other) = number_of(self.to(Signal(i32::from(signal))));
            bytes.extend_from_slice(&[signal, kind, other.0 as u8]);
        }
        bytes.carry(by)?;
        for three in bytes.chunks(3) {
            let &[signal, kind, other] = three else { return Err(Wrong::odd()) };
            let reaction = of_number(kind, Signal(i32::from(other))).ok_or_else(Wrong::odd)?;
            self.set(Signal(i32::from(signal)), reaction);
        }
        Ok(())
    }
}

fn number_of(reaction: Reaction) -> (u8, Signal) {
    match reaction {
        Reaction::Ignore => (0, Signal(0)),
        Reaction::Reload => (1, Signal(0)),
        Reaction::Upgrade => (2, Signal(0)),
        Reaction::Stop => (3, Signal(0)),
        Reaction::Drain => (4, Signal(0)),
        Reaction::StopNow => (5, Signal(0)),
        Reaction::StopBy(by) => (6, by),
        Reaction::Up => (7, Signal(0)),
        Reaction::Down => (8, Signal(0)),
        Reaction::Forward(to) => (9, to),
    }
}

fn of_number(kind: u8, other: Signal) -> Option<Reaction> {
    Some(match kind {
        0 => Reaction::Ignore,
        1 => Reaction::Reload,
        2 => Reaction::Upgrade,
        3 => Reaction::Stop,
        4 => Reaction::Drain,
        5 => Reaction::StopNow,
        6 => Reaction::StopBy(other),
        7 => Reaction::Up,
        8 => Reaction::Down,
        9 => Reaction::Forward(other),
        _ => return None,
    })
}

through!(
    Protocol,
    Protocol::Listen,
    |it: &Protocol| {
        let name = PROTOCOLS.iter().find(|(_, known)| known == it).map(|(name, _)| *name);
        String::from(name.unwrap_or_default())
    },
    |word: String| PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, known)| *known)
);

/// Without its settings: by now they are what they came to.
impl Carry for Launch {
    fn blank() -> Launch {
        Launch {
            command: Vec::new(),
            settings: Settings::default(),
            protocols: Vec::new(),
            stdin: None,
            watchdog: None,
            parent_death: None,
        }
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.needed(1, &mut self.command)?;
        by.needed(2, &mut self.protocols)?;
        by.extra(3, &mut self.stdin)?;
        by.extra(4, &mut self.watchdog)?;
        by.extra(5, &mut self.parent_death)?;
        if self.command.is_empty() { Err(Wrong::odd()) } else { Ok(()) }
    }
}

through!(
    Order,
    Order::Reload,
    |it: &Order| match it {
        Order::Reload => (0_u32, SlotId(0)),
        Order::Stop => (1, SlotId(0)),
        Order::Scale => (2, SlotId(0)),
        Order::Restart(slot) => (3, *slot),
        Order::Upgrade => (4, SlotId(0)),
    },
    |(kind, slot)| match kind {
        0 => Some(Order::Reload),
        1 => Some(Order::Stop),
        2 => Some(Order::Scale),
        3 => Some(Order::Restart(slot)),
        4 => Some(Order::Upgrade),
        _ => None,
    }
);

group!(metrics::Counts, metrics::Counts::default(), {
    hint 1 starts,
    hint 2 start_failures,
    hint 3 exits,
    hint 4 restarts,
    hint 5 start_timeouts,
    hint 6 watchdog_misses,
    hint 7 kills,
    hint 8 reloads,
    hint 9 last_reload,
    hint 10 upgrades,
});
