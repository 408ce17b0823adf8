//! What the log tells. A full or closed stderr loses lines, nothing else.

use crate::balance::health::Change;
use crate::error::Error;
use crate::plan::{Level, LogPlan};
use crate::protocol::log_line::LogLine;
use crate::sys::clock;
use crate::sys::sink::Sink;

#[derive(Debug)]
pub(super) struct Log {
    plan: LogPlan,
    stderr: Sink,
}

impl Log {
    pub(super) fn new(plan: LogPlan) -> Log {
        Log { plan, stderr: Sink::stderr() }
    }

    fn write(&self, level: Level, message: &str, more: impl Fn(&mut LogLine)) {
        if level <= self.plan.level {
            let mut line = LogLine::new(self.plan.format, level, clock::realtime_ms());
            line.message(message);
            more(&mut line);
            self.stderr.write(line.finish().as_bytes());
        }
    }

    pub(super) fn failed(&self, error: &Error) {
        self.write(Level::Error, &error.to_string(), |_| {});
    }

    pub(super) fn listening(&self, address: &str) {
        self.write(Level::Notice, "listening", |line| {
            line.text("address", address);
        });
    }

    pub(super) fn serving(&self, backends: usize) {
        self.write(Level::Notice, "balancing", |line| {
            line.number("backends", backends);
        });
    }

    pub(super) fn draining(&self, clients: usize) {
        self.write(Level::Notice, "stopping", |line| {
            line.number("clients", clients);
        });
    }

    pub(super) fn changed(&self, backend: &str, change: Change, why: &str) {
        let (level, message) = match change {
            Change::Up => (Level::Notice, "backend up"),
            Change::Down => (Level::Warn, "backend down"),
            Change::LeftOut(_) => (Level::Warn, "backend left out"),
        };
        self.write(level, message, |line| {
            line.text("backend", backend);
            if !why.is_empty() {
                line.text("why", why);
            }
            if let Change::LeftOut(span) = change {
                line.span("next-try", span);
            }
        });
    }

    pub(super) fn bad_answer(&self, backend: &str, why: &str) {
        self.write(Level::Info, "bad answer", |line| {
            line.text("backend", backend).text("why", why);
        });
    }

    pub(super) fn added(&self, backend: &str) {
        self.write(Level::Notice, "backend added", |line| {
            line.text("backend", backend);
        });
    }

    pub(super) fn removed(&self, backend: &str) {
        self.write(Level::Notice, "backend removed", |line| {
            line.text("backend", backend);
        });
    }

    pub(super) fn not_found(&self, name: &str, why: &str) {
        self.write(Level::Warn, "cannot resolve", |line| {
            line.text("name", name).text("why", why);
        });
    }

    pub(super) fn not_accepting(&self, why: &Error) {
        self.write(Level::Warn, &why.to_string(), |line| {
            line.text("next", "again when a connection ends, or in 1s");
        });
    }
}
