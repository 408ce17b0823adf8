//! The laws of how a reload ends.

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
        }
    }
}
