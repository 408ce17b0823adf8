//! What the log tells of `fd3 init`. Nothing, as long as all is well and nobody asked for more.

use super::log::Log;
use crate::error::Error;
use crate::init::{Fact, Role};
use crate::plan::Level;
use crate::protocol::log_line::LogLine;
use crate::protocol::signal_name;
use crate::supervisor::Status;
use crate::units::{Pid, Signal};

impl Log {
    #[inline(never)]
    pub(super) fn tell_of_init(&self, fact: &Fact) {
        let (level, message) = message(fact);
        self.write_at(level, message, &|line| details(fact, line));
    }

    /// Something could not be started.
    pub(super) fn failed(&self, error: &Error) {
        self.write_at(Level::Error, &error.to_string(), &|_| {});
    }

    pub(super) fn reaped(&self, pid: Pid) {
        self.write_at(Level::Info, "orphan reaped", &|line| {
            line.number("pid", pid);
        });
    }
}

fn message(fact: &Fact) -> (Level, &'static str) {
    match fact {
        Fact::Started { .. } => (Level::Info, "started"),
        Fact::Ended { .. } => (Level::Info, "ended"),
        Fact::HookFailed { role: Role::PreStart(_), .. } => {
            (Level::Error, "a hook failed, the program is not started")
        }
        Fact::HookFailed { .. } => (Level::Warn, "a hook failed"),
        Fact::NotBegun { .. } => (Level::Notice, "told to stop before the program was started"),
        Fact::Delayed { .. } => (Level::Info, "draining"),
        Fact::Forwarded { .. } => (Level::Info, "forwarded"),
        Fact::TooSlow { .. } => (Level::Warn, "the program did not stop in time, killed"),
        Fact::LeftoversKilled => (Level::Warn, "what was left did not stop in time, killed"),
        Fact::LeftoversRemain => (Level::Warn, "what was left outlived SIGKILL"),
    }
}

fn details(fact: &Fact, line: &mut LogLine) {
    match fact {
        Fact::Started { role, pid } => {
            who(role, line).number("pid", pid);
        }
        Fact::Ended { role, pid, status } => {
            who(role, line).number("pid", pid);
            match status {
                Status::Exited(code) => line.number("status", code),
                Status::Killed(signal) => line.text("status", signal_name::name(*signal)),
            };
        }
        Fact::HookFailed { role, status } => {
            who(role, line).number("status", status);
        }
        Fact::NotBegun { signal } => {
            by(signal, line);
        }
        Fact::Delayed { signal, by: span } => {
            by(signal, line).span("for", *span);
        }
        Fact::Forwarded { signal, pid } => {
            by(signal, line).number("pid", pid);
        }
        Fact::TooSlow { pid } => {
            line.number("pid", pid);
        }
        Fact::LeftoversKilled | Fact::LeftoversRemain => {}
    }
}

fn who<'a>(role: &Role, line: &'a mut LogLine) -> &'a mut LogLine {
    line.text(
        "what",
        match role {
            Role::PreStart(_) => "pre-start",
            Role::Program => "program",
            Role::PostStop(_) => "post-stop",
        },
    )
}

fn by<'a>(signal: &Signal, line: &'a mut LogLine) -> &'a mut LogLine {
    line.text("signal", signal_name::name(*signal))
}
