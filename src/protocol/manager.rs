//! What fd3 tells the service manager above it (systemd, another fd3) by sd_notify(3), and when.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};

use super::metrics::readiness;
use super::notify_words::{self as words, STOPPING};
use crate::supervisor::{Course, Fact, Outcome, Overview};

/// How many datagrams wait at the most for a manager that takes none. The latest ones say how things stand.
const WAITING_MAX: usize = 8;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Stage {
    /// Not all workers have been ready together yet.
    #[default]
    Starting,
    Ready,
    Reloading,
    Stopping,
}

/// What was told, and what is to be.
#[derive(Clone, Default, Debug)]
pub struct Briefing {
    stage: Stage,
    status: String,
    /// What became of the latest reload, if it failed.
    failed: Option<String>,
    waiting: VecDeque<String>,
}

impl Briefing {
    /// A reload is told at once: it may be over before anybody looks how things stand.
    /// `usec` is the time by CLOCK_MONOTONIC.
    pub fn note(&mut self, fact: &Fact, usec: u64) {
        if let Fact::Reloading { .. } = fact {
            self.reloads(usec);
        } else if let Fact::ReloadEnded { outcome, .. } = fact {
            // Whoever asked the manager for a reload waits for both words, even of one that was refused.
            self.reloads(usec);
            if self.stage == Stage::Reloading {
                self.is_ready();
            }
            self.failed = match outcome {
                Outcome::Refused { error } => Some(format!("reload refused: {error}")),
                Outcome::RolledBack { why, .. } => Some(format!("reload rolled back: {why}")),
                Outcome::Done { .. } | Outcome::Stopped | Outcome::Scaled { .. } => None,
            };
        }
    }

    /// How things stand by now.
    pub fn look(&mut self, overview: &Overview) {
        let (ready, counts) = readiness(overview);
        if overview.course == Course::Stopping && self.stage != Stage::Stopping {
            self.stage = Stage::Stopping;
            self.failed = None;
            self.say(STOPPING.to_string());
        } else if ready && self.stage == Stage::Starting {
            self.is_ready();
        }
        let status = match &self.failed {
            Some(failed) => format!("{}; {failed}", counts.trim_end()),
            None => counts.trim_end().to_string(),
        };
        if status != self.status {
            self.say(words::status(&status));
            self.status = status;
        }
    }

    pub fn is_alive(&mut self) {
        if self.waiting.is_empty() {
            self.say(words::ALIVE.to_string());
        }
    }

    /// The datagram that is next.
    pub fn next(&self) -> Option<&str> {
        self.waiting.front().map(String::as_str)
    }

    pub fn told(&mut self) {
        self.waiting.pop_front();
    }

    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    fn reloads(&mut self, usec: u64) {
        if self.stage == Stage::Ready {
            self.stage = Stage::Reloading;
            self.say(words::reloading(usec));
        }
    }

    fn is_ready(&mut self) {
        self.stage = Stage::Ready;
        self.say(words::READY.to_string());
    }

    fn say(&mut self, text: String) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text);
    }
}
