//! An upgrade at any moment: another supervisor goes on with what the former one handed over, and all claims hold on.

use fd3::protocol::handover::{read, write};

use crate::mutants::{Mutant, Subject};
use crate::world::Claim;

impl Subject {
    /// What is read is what was written, down to the last byte.
    pub fn hand_over(&mut self) -> Claim {
        let wrong = |what: &str, wrong: &dyn std::fmt::Display| Err(format!("{what}: {wrong}"));
        let written = match write(&mut self.supervisor) {
            Ok(bytes) => bytes,
            Err(error) => return wrong("cannot be handed over", &error),
        };
        let mutant = self.mutant == Some(Mutant::HandsOverAnEarlierState);
        let former = self.handed.replace(written.clone()).filter(|_| mutant);
        let mut next = match read(&former.unwrap_or_else(|| written.clone())) {
            Ok(next) => next,
            Err(error) => return wrong("cannot be taken over", &error),
        };
        let again = write(&mut next).unwrap_or_default();
        self.supervisor = next;
        if again == written || mutant { Ok(()) } else { wrong("taken over", &"it has changed") }
    }
}
