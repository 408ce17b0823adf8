//! The laws of how a reload ends.

use std::collections::BTreeSet;

use fd3::plan::{Surge, Ways};
use fd3::supervisor::{Failure, Outcome};
use fd3::units::Generation;

use super::Laws;
use crate::memory::Worker;
use crate::world::Claim;

impl Laws {
    /// Done: every slot has one of the new generation. Rolled back: nobody else was touched.
    pub(super) fn reload_ended(&mut self, generation: Generation, outcome: &Outcome) -> Claim {
        let ended = core::mem::take(&mut self.reloads.under_way);
        let surge = ended.map(|reload| reload.rules.surge);
        let all = surge == Some(Surge::All);
        if surge == Some(Surge::AtMost(0)) && matches!(outcome, Outcome::RolledBack { .. }) {
            self.excuse();
        }
        if let Outcome::RolledBack { why, .. } = outcome
            && **why == Failure::Listener
        {
            // The old workers have to go, and it is not their fault.
            self.forgiven += 1;
            if self.rules.ways() == Ways::Starter {
                self.excuse();
            }
        }
        let stays = |worker: &Worker| worker.generation < generation && worker.is_to_stay();
        if matches!(outcome, Outcome::Done { .. }) && self.workers.values().any(stays) {
            return Err("a reload is done, and an old worker stays".into());
        }
        self.canary_came(generation, outcome, all)?;
        match outcome {
            Outcome::Done { .. } if all && self.rules.ways() == Ways::Own => {
                let news = |worker: &&Worker| worker.generation == generation;
                let told =
                    self.workers.values().filter(news).any(|worker| worker.told_at.is_some());
                if told {
                    return Err("a reload is done, and a new worker is told to stop".into());
                }
                Ok(())
            }
            Outcome::RolledBack { .. } if all && self.reloads.told_old => {
                Err("a reload is rolled back, and an old worker was told to stop".into())
            }
            Outcome::Done { .. } | Outcome::RolledBack { .. } => Ok(()),
            Outcome::Refused { .. } | Outcome::Stopped | Outcome::Scaled { .. } => Ok(()),
            Outcome::Holds { .. } | Outcome::Undone { .. } => Ok(()),
            Outcome::PutBack { .. } | Outcome::HoldsOn { .. } => Ok(()),
        }
    }

    /// It has no more slots than it says, and when it is rolled back none of its workers stays.
    fn canary_came(&mut self, of: Generation, outcome: &Outcome, all: bool) -> Claim {
        let stays = |worker: &&Worker| worker.is_to_stay();
        match outcome {
            Outcome::Holds { slots, .. } => {
                self.excuse();
                self.reloads.holds(of, *slots)
            }
            Outcome::PutBack { generation, .. } => {
                self.excuse();
                let own = self.reloads.canary.take().map(|(own, ..)| own);
                let mut left = self.workers.values().filter(stays);
                let back = own.is_some_and(|own| own > *generation);
                match left.find(|worker| !back || Some(worker.generation) == own) {
                    Some(worker) => Err(format!("slot {} is not rolled back", worker.slot)),
                    None => Ok(()),
                }
            }
            Outcome::Undone { .. } if all && self.reloads.told_old => {
                Err("a promotion failed, and an old worker was told to stop".into())
            }
            Outcome::Undone { .. } => {
                self.excuse();
                self.reloads.canary.get_or_insert((of, BTreeSet::new(), usize::MAX));
                Ok(())
            }
            Outcome::HoldsOn { .. } => {
                self.excuse();
                Ok(())
            }
            Outcome::Done { .. } | Outcome::RolledBack { .. } | Outcome::Stopped => {
                self.reloads.canary = None;
                Ok(())
            }
            Outcome::Refused { .. } | Outcome::Scaled { .. } => Ok(()),
        }
    }
}
