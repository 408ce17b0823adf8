//! Faults in what is told.

use fd3::supervisor::{Action, Actions, Fact, Next, Outcome};
use fd3::units::{Generation, Millis, Pid};

use super::{Mutant, Subject};

impl Subject {
    pub(super) fn say(&mut self, mutant: Mutant, fact: Fact, out: &mut Actions) {
        let fact = match fact {
            Fact::ListenersDown if mutant == Mutant::HidesOutage => return,
            Fact::Scaled { .. } if mutant == Mutant::HidesScaling => return,
            Fact::TriedAgain { .. } if mutant == Mutant::HidesTrying => return,
            Fact::TooOld { .. } if mutant == Mutant::HidesAge => return,
            Fact::ReloadEnded { .. } if mutant == Mutant::HidesReloadEnd => return,
            Fact::ReloadEnded { generation, outcome: Outcome::RolledBack { .. } }
                if mutant == Mutant::TakesRollbackForDone =>
            {
                let after = Millis(0);
                let outcome = Outcome::Done { generation, after };
                Fact::ReloadEnded { generation, outcome }
            }
            Fact::Abandoned { slot, pid } => match mutant {
                Mutant::NeverAbandons => return,
                Mutant::AbandonsTheWrongOne => Fact::Abandoned { slot, pid: Pid(pid.0 + 1) },
                _ => fact,
            },
            Fact::Replaced { slot, pid, next } => match (mutant, next) {
                (Mutant::HidesReplacement, _) => return,
                (Mutant::ReplacesTheWrongOne, _) => {
                    Fact::Replaced { slot, pid: Pid(pid.0 + 1), next }
                }
                (Mutant::PromisesOtherWait, Next::Restart(wait)) => {
                    let next = Next::Restart(wait.plus(Millis(1)));
                    Fact::Replaced { slot, pid, next }
                }
                (Mutant::HidesGivingUp, Next::GiveUp(_)) => {
                    Fact::Replaced { slot, pid, next: Next::Asked }
                }
                (Mutant::StartsInAWhirl, _) => {
                    out.push_back(Action::Say(fact));
                    return out.push_back(Action::Spawn { slot, generation: Generation(1) });
                }
                _ => fact,
            },
            _ => fact,
        };
        out.push_back(Action::Say(fact));
    }
}
