//! The words for reloads: what they wait for, and what came of them.

use super::span;
use crate::protocol::log_line::LogLine;
use crate::supervisor::Outcome;
use crate::units::Millis;

/// Whether there can be any.
const CANARIES: bool = cfg!(feature = "control");

pub(super) fn waits(workers: usize, line: &mut LogLine) -> &mut LogLine {
    line.message("reload waits until former workers have finished").number("workers", workers)
}

pub(super) fn waits_for_the_canary(line: &mut LogLine) -> &mut LogLine {
    if CANARIES {
        line.message("reload waits until the canary is promoted or rolled back");
    }
    line
}

pub(super) fn ended<'a>(outcome: &Outcome, line: &'a mut LogLine) -> &'a mut LogLine {
    match outcome {
        Outcome::Done { after, .. } => line.message("reloaded").span("after", *after),
        Outcome::Refused { error } => {
            line.message("reload refused, nothing is changed").text("error", error)
        }
        Outcome::RolledBack { why, replaced: 0 } => {
            line.message("reload rolled back, the old generation goes on").text("why", why)
        }
        Outcome::RolledBack { why, replaced } => line
            .message("reload ended, slots that had no turn keep their workers")
            .number("replaced", replaced)
            .text("why", why),
        Outcome::Holds { slots, after, .. } if CANARIES => {
            line.message("canary holds").number("slots", slots).span("after", *after)
        }
        Outcome::Undone { why } if CANARIES => {
            line.message("canary failed, the old generation is put back").text("why", why)
        }
        Outcome::PutBack { after, .. } if CANARIES => {
            line.message("canary rolled back").span("after", *after)
        }
        Outcome::HoldsOn { why } if CANARIES => {
            line.message("canary not rolled back, its workers go on").text("why", why)
        }
        Outcome::Holds { .. } | Outcome::Undone { .. } => line,
        Outcome::PutBack { .. } | Outcome::HoldsOn { .. } => line,
        Outcome::Stopped | Outcome::Scaled { .. } => line.message("reload ended by a stop"),
    }
}

pub(super) fn renewed<'a>(
    outcome: &Outcome,
    again_in: Option<Millis>,
    line: &'a mut LogLine,
) -> &'a mut LogLine {
    match outcome {
        Outcome::Done { after, .. } => line.message("worker renewed").span("after", *after),
        Outcome::RolledBack { why, .. } => {
            let line = line.message("worker not renewed, the old one goes on");
            span(line.text("why", why), "again-in", again_in)
        }
        Outcome::Refused { .. } | Outcome::Stopped | Outcome::Scaled { .. } => {
            line.message("renewal ended by a stop")
        }
        // They come of a canary's reloads.
        Outcome::Holds { .. } | Outcome::Undone { .. } => line,
        Outcome::PutBack { .. } | Outcome::HoldsOn { .. } => line,
    }
}
