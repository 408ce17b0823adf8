//! Planted faults: a supervisor that hears wrongly or acts wrongly. The claims must catch each of them,
//! or they are worth nothing. The faults sit at the seam; the supervisor itself is the true one.

#![allow(clippy::wildcard_enum_match_arm, reason = "a mutant tells only what it distorts")]

mod says;

use fd3::plan::{Reaction, Reactions, Ways};
use fd3::supervisor::{
    Action, Actions, Ending, Event, Fact, Sender, Status, Steer, Supervisor, Target,
};
use fd3::units::{CommandId, Generation, Millis, Pid, Signal, SlotId};

use crate::happen::ORDERED;
use crate::scene::{BY, STOP, Scene};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    ForgetsExit,
    ForgetsReady,
    ForgetsExecFailure,
    ForgetsSender,
    ForgetsSenderGroup,
    ForgetsSecondOrder,
    ForgetsReplacement,
    SleepsForEver,
    SleepsTooLong,
    WakesForNothing,
    ClockIsLate,
    TakesFailureForSuccess,
    SignalsTheWrongOne,
    SignalsTheDead,
    NeverKills,
    NeverTellsToStop,
    NeverWakesTheFrozen,
    TellsTwice,
    TellsTheGroup,
    KillsAtOnce,
    KillsWithoutGroup,
    ForgetsOrphans,
    ForgetsOneForward,
    SpawnsTwice,
    NeverSpawnsLast,
    SpawnsInOtherSlot,
    ActsBackwards,
    KeepsListeners,
    ClosesTwice,
    NeverFinishes,
    FinishesEarly,
    FinishesTwice,
    FinishesWrongly,
    NeverAbandons,
    HidesReplacement,
    ReplacesTheWrongOne,
    ReplacesUnasked,
    ReplacesInAnyOrder,
    PromisesOtherWait,
    HidesGivingUp,
    StartsInAWhirl,
    AbandonsAtOnce,
    AbandonsTheWrongOne,
    TakesTooSlowForSuccess,
    ForgetsGroupGone,
    NeverKillsLeftovers,
    KillsLeftoversAtOnce,
    ForgetsDeadListener,
    NeverMends,
    HidesOutage,
    ForgetsTheRestOfABurst,
    ForgetsReloadAsked,
    NeverLoads,
    LoadsTheOldOne,
    NeverForgets,
    ForgetsTheNewest,
    NeverAnswers,
    AnswersTwice,
    HidesReloadEnd,
    TakesRollbackForDone,
    StartsNewcomersOfOld,
    ForgetsLoadFailure,
    ForgetsStops,
    ForgetsWell,
    ForgetsOwnWatchdog,
    ForgetsHang,
    ForgetsMoreTime,
    NeverAborts,
    HidesScaling,
    ForgetsWays,
    HidesTrying,
    HidesAge,
    TellsByOwnSignal,
    TellsByNoOther,
    ForgetsDemand,
    NeverAwaitsDemand,
    AlwaysAwaitsDemand,
    NeverSteersPast,
    NeverSteersOut,
    SteersTheWrongOne,
    ForgetsQueue,
    NeverLooksAtQueue,
    ForgetsStopAsked,
    ForgetsScaleAsked,
    ForgetsRestartAsked,
    ScalesToAnother,
    RestartsAnother,
    TakesNameForSignal,
    ForgetsCommand,
    LoadsItAgain,
    ForgetsTerms,
}

impl Mutant {
    pub const ALL: [Mutant; 91] = [
        Mutant::ForgetsExit,
        Mutant::ForgetsReady,
        Mutant::ForgetsExecFailure,
        Mutant::ForgetsSender,
        Mutant::ForgetsSenderGroup,
        Mutant::ForgetsSecondOrder,
        Mutant::ForgetsReplacement,
        Mutant::SleepsForEver,
        Mutant::SleepsTooLong,
        Mutant::WakesForNothing,
        Mutant::ClockIsLate,
        Mutant::TakesFailureForSuccess,
        Mutant::SignalsTheWrongOne,
        Mutant::SignalsTheDead,
        Mutant::NeverKills,
        Mutant::NeverTellsToStop,
        Mutant::NeverWakesTheFrozen,
        Mutant::TellsTwice,
        Mutant::TellsTheGroup,
        Mutant::KillsAtOnce,
        Mutant::KillsWithoutGroup,
        Mutant::ForgetsOrphans,
        Mutant::ForgetsOneForward,
        Mutant::SpawnsTwice,
        Mutant::NeverSpawnsLast,
        Mutant::SpawnsInOtherSlot,
        Mutant::ActsBackwards,
        Mutant::KeepsListeners,
        Mutant::ClosesTwice,
        Mutant::NeverFinishes,
        Mutant::FinishesEarly,
        Mutant::FinishesTwice,
        Mutant::FinishesWrongly,
        Mutant::NeverAbandons,
        Mutant::HidesReplacement,
        Mutant::ReplacesTheWrongOne,
        Mutant::ReplacesUnasked,
        Mutant::ReplacesInAnyOrder,
        Mutant::PromisesOtherWait,
        Mutant::HidesGivingUp,
        Mutant::StartsInAWhirl,
        Mutant::AbandonsAtOnce,
        Mutant::AbandonsTheWrongOne,
        Mutant::TakesTooSlowForSuccess,
        Mutant::ForgetsGroupGone,
        Mutant::NeverKillsLeftovers,
        Mutant::KillsLeftoversAtOnce,
        Mutant::ForgetsDeadListener,
        Mutant::NeverMends,
        Mutant::HidesOutage,
        Mutant::ForgetsTheRestOfABurst,
        Mutant::ForgetsReloadAsked,
        Mutant::NeverLoads,
        Mutant::LoadsTheOldOne,
        Mutant::NeverForgets,
        Mutant::ForgetsTheNewest,
        Mutant::NeverAnswers,
        Mutant::AnswersTwice,
        Mutant::HidesReloadEnd,
        Mutant::TakesRollbackForDone,
        Mutant::StartsNewcomersOfOld,
        Mutant::ForgetsLoadFailure,
        Mutant::ForgetsStops,
        Mutant::ForgetsWell,
        Mutant::ForgetsOwnWatchdog,
        Mutant::ForgetsHang,
        Mutant::ForgetsMoreTime,
        Mutant::NeverAborts,
        Mutant::HidesScaling,
        Mutant::ForgetsWays,
        Mutant::HidesTrying,
        Mutant::HidesAge,
        Mutant::TellsByOwnSignal,
        Mutant::TellsByNoOther,
        Mutant::ForgetsDemand,
        Mutant::NeverAwaitsDemand,
        Mutant::AlwaysAwaitsDemand,
        Mutant::NeverSteersPast,
        Mutant::NeverSteersOut,
        Mutant::SteersTheWrongOne,
        Mutant::ForgetsQueue,
        Mutant::NeverLooksAtQueue,
        Mutant::ForgetsStopAsked,
        Mutant::ForgetsScaleAsked,
        Mutant::ForgetsRestartAsked,
        Mutant::ScalesToAnother,
        Mutant::RestartsAnother,
        Mutant::TakesNameForSignal,
        Mutant::ForgetsCommand,
        Mutant::LoadsItAgain,
        Mutant::ForgetsTerms,
    ];

    /// Whether what it distorts is there.
    pub fn is_built(self) -> bool {
        let starters = [Mutant::ForgetsWays, Mutant::HidesTrying, Mutant::HidesAge];
        let orders = self as u32 >= Mutant::ForgetsStopAsked as u32;
        let (first, last) = (Mutant::NeverSteersPast as u32, Mutant::NeverLooksAtQueue as u32);
        let steers = (first..=last).contains(&(self as u32));
        (cfg!(feature = "starter") || !starters.contains(&self))
            && (ORDERED || !orders)
            && (cfg!(feature = "spread") || !steers)
    }
}

/// The supervisor under test, perhaps with a fault.
pub struct Subject {
    supervisor: Supervisor,
    mutant: Option<Mutant>,
    workers: u32,
    stop_signal: Signal,
    stops: Reactions,
    orders: u32,
    signalled: Option<Pid>,
    /// The COMMAND that was loaded last.
    loaded: Option<CommandId>,
}

impl Subject {
    pub fn new(scene: &Scene, mutant: Option<Mutant>) -> Subject {
        let mut rules = scene.rules.clone();
        if mutant == Some(Mutant::ForgetsWays) {
            rules.ways = Ways::Own;
        }
        let mut supervisor = Supervisor::new(rules, scene.workers, scene.seed);
        supervisor.spread(scene.queues);
        Subject {
            supervisor,
            mutant,
            workers: scene.workers,
            stop_signal: scene.rules.stop_signal,
            stops: scene.rules.reactions.clone(),
            orders: 0,
            signalled: None,
            loaded: None,
        }
    }

    pub fn handle(&mut self, now: Millis, event: Event, out: &mut Actions) {
        let Some(mutant) = self.mutant else { return self.supervisor.handle(now, event, out) };
        let late = mutant == Mutant::ClockIsLate && matches!(event, Event::Exited { .. });
        let now = if late { Millis(now.0.saturating_sub(1_000)) } else { now };
        if let Some(event) = self.hear(mutant, event) {
            let mut actions = Actions::new();
            let ready = matches!(event, Event::Ready { .. });
            self.supervisor.handle(now, event, &mut actions);
            if mutant == Mutant::ReplacesUnasked && ready {
                self.supervisor.handle(now, Event::ListenerReplaced, &mut actions);
            }
            if mutant == Mutant::ReplacesInAnyOrder {
                turn_replacements(&mut actions);
            }
            if mutant == Mutant::ActsBackwards {
                actions = actions.into_iter().rev().collect();
            }
            for action in actions {
                self.act(mutant, action, out);
            }
        }
    }

    pub fn awaits_demand(&self) -> bool {
        match self.mutant {
            Some(Mutant::NeverAwaitsDemand) => false,
            Some(Mutant::AlwaysAwaitsDemand) => true,
            Some(_) | None => self.supervisor.awaits_demand(),
        }
    }

    pub fn deadline(&self) -> Option<Millis> {
        let deadline = self.supervisor.deadline();
        match self.mutant {
            Some(Mutant::SleepsForEver) => None,
            Some(Mutant::SleepsTooLong) => deadline.map(|at| at.plus(Millis(1))),
            Some(Mutant::ForgetsTheRestOfABurst) => deadline.filter(|at| at.0 > 0),
            Some(Mutant::WakesForNothing) => deadline.or(Some(Millis(1_000_000))),
            Some(_) | None => deadline,
        }
    }

    pub fn check(&self) -> Result<(), String> {
        self.supervisor.check()
    }

    fn hear(&mut self, mutant: Mutant, event: Event) -> Option<Event> {
        let event = match event {
            Event::Exited { .. } if mutant == Mutant::ForgetsExit => return None,
            Event::Ready { .. } if mutant == Mutant::ForgetsReady => return None,
            Event::ExecFailed { .. } if mutant == Mutant::ForgetsExecFailure => return None,
            Event::ListenerReplaced if mutant == Mutant::ForgetsReplacement => return None,
            Event::Stops { .. } if mutant == Mutant::ForgetsStops => return None,
            Event::Well { .. } if mutant == Mutant::ForgetsWell => return None,
            Event::WatchdogSet { .. } if mutant == Mutant::ForgetsOwnWatchdog => return None,
            Event::Hangs { .. } if mutant == Mutant::ForgetsHang => return None,
            Event::MoreTime { .. } if mutant == Mutant::ForgetsMoreTime => return None,
            Event::ReloadAsked { .. } if mutant == Mutant::ForgetsReloadAsked => return None,
            Event::StopAsked { .. } if mutant == Mutant::ForgetsStopAsked => return None,
            Event::ReloadOrdered { asker, mut terms } if mutant == Mutant::ForgetsTerms => {
                terms.if_generation = None;
                Event::ReloadOrdered { asker, terms }
            }
            Event::ScaleAsked { .. } if mutant == Mutant::ForgetsScaleAsked => return None,
            Event::RestartAsked { .. } if mutant == Mutant::ForgetsRestartAsked => return None,
            Event::ScaleAsked { workers, asker } if mutant == Mutant::ScalesToAnother => {
                Event::ScaleAsked { workers: workers + 1, asker }
            }
            Event::RestartAsked { slot, asker } if mutant == Mutant::RestartsAnother => {
                Event::RestartAsked { slot: SlotId(slot.0 + 1), asker }
            }
            Event::StopAsked { how: Ending::Limited } if mutant == Mutant::TakesNameForSignal => {
                let sender = Sender { pid: None, group: None };
                Event::Signalled { signal: STOP, sender }
            }
            Event::LoadFailed { .. } if mutant == Mutant::ForgetsLoadFailure => return None,
            Event::ListenerDead if mutant == Mutant::ForgetsDeadListener => return None,
            Event::Demanded if mutant == Mutant::ForgetsDemand => return None,
            Event::Queue { .. } if mutant == Mutant::ForgetsQueue => return None,
            Event::GroupGone { .. } if mutant == Mutant::ForgetsGroupGone => return None,
            Event::Exited { pid, .. } if mutant == Mutant::TakesFailureForSuccess => {
                Event::Exited { pid, status: Status::Exited(0) }
            }
            Event::Signalled { signal, mut sender } => {
                if mutant == Mutant::ForgetsSender {
                    (sender.pid, sender.group) = (None, None);
                }
                if mutant == Mutant::ForgetsSenderGroup {
                    sender.group = None;
                }
                let stops = self.stops.to(signal) == Reaction::Stop;
                self.orders += u32::from(stops && sender.group.is_none());
                if mutant == Mutant::ForgetsSecondOrder && stops && self.orders > 1 {
                    return None;
                }
                Event::Signalled { signal, sender }
            }
            other => other,
        };
        Some(event)
    }

    fn act(&mut self, mutant: Mutant, action: Action, out: &mut Actions) {
        match action {
            Action::Spawn { slot, generation } => match mutant {
                Mutant::StartsNewcomersOfOld => {
                    out.push_back(Action::Spawn { slot, generation: Generation(1) });
                }
                Mutant::NeverSpawnsLast if slot.0 + 1 == self.workers => {}
                Mutant::SpawnsInOtherSlot => {
                    out.push_back(Action::Spawn { slot: SlotId(slot.0 + 1), generation });
                }
                _ => {
                    let twice = usize::from(mutant == Mutant::SpawnsTwice) + 1;
                    out.extend(core::iter::repeat_n(action, twice));
                }
            },
            Action::Signal { pid, signal, to } => self.signals(mutant, pid, signal, to, out),
            Action::SignalLeftovers { .. } if mutant == Mutant::NeverKillsLeftovers => {}
            Action::MendListeners if mutant == Mutant::NeverMends => {}
            Action::Steer { to: Steer::Past, .. } if mutant == Mutant::NeverSteersPast => {}
            Action::Steer { to: Steer::Out, .. } if mutant == Mutant::NeverSteersOut => {}
            Action::Steer { slot, to } if mutant == Mutant::SteersTheWrongOne => {
                out.push_back(Action::Steer { slot: SlotId(slot.0 + 1), to });
            }
            Action::LookAtQueue { .. } if mutant == Mutant::NeverLooksAtQueue => {}
            Action::Steer { .. } | Action::LookAtQueue { .. } => out.push_back(action),
            Action::Load { generation, command } => {
                let before = self.loaded;
                self.loaded = command.or(before);
                match mutant {
                    Mutant::NeverLoads => {}
                    Mutant::LoadsTheOldOne => {
                        let generation = Generation(generation.0 - 1);
                        out.push_back(Action::Load { generation, command });
                    }
                    Mutant::ForgetsCommand => {
                        out.push_back(Action::Load { generation, command: None });
                    }
                    Mutant::LoadsItAgain => {
                        let command = command.or(before);
                        out.push_back(Action::Load { generation, command });
                    }
                    _ => out.push_back(action),
                }
            }
            Action::Forget { generation } => match mutant {
                Mutant::NeverForgets => {}
                Mutant::ForgetsTheNewest => {
                    out.push_back(Action::Forget { generation: Generation(generation.0 + 1) });
                }
                _ => out.push_back(action),
            },
            Action::Answer { .. } => match mutant {
                Mutant::NeverAnswers => {}
                Mutant::AnswersTwice => out.extend([action.clone(), action]),
                _ => out.push_back(action),
            },
            Action::SignalLeftovers { .. } | Action::MendListeners => out.push_back(action),
            Action::CloseListeners => match mutant {
                Mutant::KeepsListeners => {}
                Mutant::ClosesTwice => out.extend([action.clone(), action]),
                Mutant::FinishesEarly => out.extend([action, Action::Finish { status: 0 }]),
                _ => out.push_back(action),
            },
            Action::Say(fact) => self.say(mutant, fact, out),
            Action::Finish { status } => match mutant {
                Mutant::NeverFinishes => {}
                Mutant::TakesTooSlowForSuccess if status == 1 => {
                    out.push_back(Action::Finish { status: 0 });
                }
                Mutant::FinishesTwice => out.extend([action.clone(), action]),
                Mutant::FinishesWrongly => {
                    out.push_back(Action::Finish { status: status.wrapping_add(1) });
                }
                _ => out.push_back(action),
            },
        }
    }

    fn signals(&mut self, mutant: Mutant, pid: Pid, signal: Signal, to: Target, out: &mut Actions) {
        let before = self.signalled.replace(pid);
        let (stops, kills) = (signal == self.stop_signal, signal.0 == libc::SIGKILL);
        let single = to == Target::Process;
        let kill = Signal(libc::SIGKILL);
        let (signal, to, times) = match mutant {
            Mutant::NeverKills if kills => return,
            Mutant::TellsByNoOther if signal == BY => return,
            Mutant::TellsByOwnSignal if signal == BY => (self.stop_signal, to, 1),
            Mutant::NeverAborts if signal.0 == libc::SIGABRT => return,
            Mutant::NeverTellsToStop if stops && single => return,
            Mutant::NeverWakesTheFrozen if signal.0 == libc::SIGCONT => return,
            Mutant::ForgetsOrphans if stops && !single => return,
            Mutant::ForgetsOneForward if signal.0 == 10 && pid.0 % 2 == 0 => return,
            Mutant::TellsTwice if stops && single => (signal, to, 2),
            Mutant::TellsTheGroup if stops => (signal, Target::Group, 1),
            Mutant::KillsAtOnce if stops && single => (kill, Target::Group, 1),
            Mutant::KillsLeftoversAtOnce if stops && !single => {
                out.push_back(Action::SignalLeftovers { group: pid, signal: kill });
                (signal, to, 1)
            }
            Mutant::KillsWithoutGroup if kills => (signal, Target::Process, 1),
            _ => (signal, to, 1),
        };
        let pid = match mutant {
            Mutant::SignalsTheWrongOne => Pid(pid.0 + 1),
            Mutant::SignalsTheDead => before.unwrap_or(pid),
            _ => pid,
        };
        out.extend(core::iter::repeat_n(Action::Signal { pid, signal, to }, times));
        if mutant == Mutant::AbandonsAtOnce && kills {
            out.push_back(Action::Say(Fact::Abandoned { slot: SlotId(0), pid }));
        }
    }
}

/// Tells the replacements of one event in the opposite order.
fn turn_replacements(actions: &mut Actions) {
    let replaces = |action: &Action| matches!(action, Action::Say(Fact::Replaced { .. }));
    let turned: Vec<Action> = actions.iter().rev().filter(|one| replaces(one)).cloned().collect();
    let places = actions.iter_mut().filter(|one| replaces(one));
    places.zip(turned).for_each(|(place, action)| *place = action);
}
