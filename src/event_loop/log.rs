//! What the log tells, and how much it matters. A full or closed stderr loses lines, nothing else; how
//! many were lost is told when there is room again.

use core::cell::Cell;

use super::children::Heard;
use super::listeners::{Damage, Listeners, What};
use super::roll::Roll;
use crate::error::{Errno, Error};
use crate::plan::{Level, LogFormat, LogPlan};
use crate::protocol::address::Address;
use crate::protocol::log_line::{LogLine, level_name};
use crate::protocol::signal_name;
use crate::supervisor::{Fact, Next, Outcome, Status, StopReason};
use crate::sys::clock;
use crate::sys::stderr::Stderr;
use crate::units::{Millis, Pid, Signal, SlotId};

pub(super) struct Log {
    plan: LogPlan,
    stderr: Stderr,
    lost: Cell<u64>,
    voice: Option<Voice>,
}

/// Says a fact in other words than fd3's, with those who were started: nothing if fd3 is to say it.
pub(crate) type Voice = Box<dyn Fn(&Fact, &Roll) -> Option<String>>;

impl Log {
    pub(super) fn new(plan: LogPlan) -> Log {
        Log { plan, stderr: Stderr::new(), lost: Cell::new(0), voice: None }
    }

    /// From now on, and the one before it.
    pub(super) fn set_level(&mut self, level: Level) -> Level {
        let before = core::mem::replace(&mut self.plan.level, level);
        if level != before {
            self.write_at(Level::Notice, "log level changed", &|line| {
                line.text("level", level_name(level));
            });
        }
        before
    }

    pub(super) fn level(&self) -> Level {
        self.plan.level
    }

    /// From now on it goes to what stderr is now, as far as that goes in these words.
    #[cfg(feature = "starter")]
    pub(super) fn speak(&mut self, voice: Voice) {
        (self.stderr, self.voice) = (Stderr::new(), Some(voice));
    }

    /// A descriptor of its own, if it has one.
    #[cfg(feature = "init")]
    pub(super) fn descriptor(&self) -> Option<i32> {
        self.stderr.descriptor()
    }

    /// `heard` is what the worker, if it is about one, said of itself.
    #[inline(never)]
    pub(super) fn tell(&self, fact: &Fact, heard: Option<&Heard>, roll: &Roll) {
        if cfg!(feature = "starter")
            && let Some(said) = self.voice.as_ref().and_then(|voice| voice(fact, roll))
        {
            self.stderr.write(said.as_bytes());
            return;
        }
        let level = level(fact);
        if level <= self.plan.level {
            let mut line = self.line(level);
            words(fact, &mut line);
            own_words(heard, &mut line);
            self.write(line);
        }
    }

    /// RELOADING=1, and what follows it.
    pub(super) fn reloading_itself(&self, slot: SlotId, pid: Pid) {
        self.write_at(Level::Info, "worker reloading itself", &|line| {
            line.number("slot", slot).number("pid", pid);
        });
    }

    pub(super) fn reloaded_itself(&self, slot: SlotId, pid: Pid, after: Millis) {
        self.write_at(Level::Info, "worker reloaded itself", &|line| {
            line.number("slot", slot).number("pid", pid).span("after", after);
        });
    }

    /// Where clients can come from. A port that nobody could know is told without -v.
    pub(super) fn listening(&self, listeners: &Listeners) {
        for listener in listeners.places() {
            let fd = 3 + listener.place;
            let chosen = is_port_zero(&listener.listen.address);
            self.write_at(if chosen { Level::Notice } else { Level::Info }, "listening", &|line| {
                line.text("address", &listener.address)
                    .text("name", &listener.name)
                    .number("fd", fd);
            });
            if listener.path.as_ref().is_some_and(|path| !path.public) {
                self.write_at(Level::Warn, "socket has a hidden name", &|line| {
                    line.text("address", &listener.address)
                        .text("why", "a stale socket was replaced without the right to chroot");
                });
            }
        }
    }

    /// Where orders are heard.
    pub(super) fn control(&self, address: &Address) {
        self.write_at(Level::Info, "control socket", &|line| {
            line.text("address", address);
        });
    }

    /// Where metrics are told.
    pub(super) fn metrics(&self, address: &Address) {
        self.write_at(Level::Info, "metrics", &|line| {
            line.text("address", address);
        });
    }

    /// Nobody asked for one.
    pub(super) fn no_control(&self, error: &Error) {
        self.write_at(Level::Info, "no control socket", &|line| {
            line.text("error", error);
        });
    }

    pub(super) fn cannot_accept(&self, errno: Errno) {
        self.trouble("cannot accept a client of the control socket", errno);
    }

    pub(super) fn cannot_tell_manager(&self, errno: Errno) {
        self.trouble("cannot tell the service manager", errno);
    }

    /// It wants to be told where nothing can be told.
    pub(super) fn no_manager(&self, error: &Error) {
        self.write_at(Level::Warn, "no service manager is told", &|line| {
            line.text("error", error);
        });
    }

    pub(super) fn cannot_accept_scraper(&self, errno: Errno) {
        self.trouble("cannot accept a client of the metrics", errno);
    }

    pub(super) fn damage(&self, damage: &Damage, listeners: &Listeners, suspect: Option<Pid>) {
        let message = match damage.what {
            What::BacklogShrunk { .. } => "a listener's backlog was shrunk",
            What::ShutDown => "a listener was shut down",
            What::PathMissing => "a listener's path was removed",
            What::PathReplaced => "a listener's path was replaced",
        };
        let level = if damage.again { Level::Info } else { Level::Warn };
        self.write_at(level, message, &|line| {
            if let Some(listener) = listeners.all.get(damage.listener) {
                line.text("address", &listener.address);
            }
            if let What::BacklogShrunk { from, to } = damage.what {
                line.number("from", from).number("to", to);
            }
            match suspect {
                Some(pid) => line.number("suspect", pid),
                None => line.text("suspect", "unknown"),
            };
            match &damage.repaired {
                Ok(()) => line.text("repaired", "yes"),
                Err(error) => line.text("repaired", "no").text("error", error),
            };
        });
    }

    pub(super) fn cannot_signal(&self, pid: Pid, signal: Signal, errno: Errno) {
        self.write_at(Level::Warn, "cannot signal a worker", &|line| {
            line.number("pid", pid).text("signal", signal_name::name(signal)).text("error", errno);
        });
    }

    pub(super) fn cannot_hear(&self, slot: SlotId, pid: Pid, errno: Errno) {
        self.write_at(Level::Warn, "cannot hear a worker's notifications", &|line| {
            line.number("slot", slot).number("pid", pid).text("error", errno);
        });
    }

    /// A descriptor that a worker left with us, or too many of them.
    pub(super) fn stored(&self, slot: SlotId, pid: Pid, name: &str, kept: Result<(), Errno>) {
        let (level, message) = match kept {
            Ok(()) => (Level::Info, "descriptor stored"),
            Err(_) => (Level::Warn, "cannot store a descriptor, closed"),
        };
        self.write_at(level, message, &|line| {
            line.number("slot", slot).number("pid", pid).text("name", name);
            match kept {
                Ok(()) => line,
                Err(Errno(libc::EDQUOT)) => line.text("why", "--fd-store allows no more"),
                Err(errno) => line.text("error", errno),
            };
        });
    }

    pub(super) fn cannot_write_down(&self, error: &Error) {
        self.write_at(Level::Error, "the status file is not up to date", &|line| {
            line.text("error", error);
        });
    }

    pub(super) fn cannot_watch(&self, errno: Errno) {
        self.trouble("cannot watch the listeners", errno);
    }

    pub(super) fn cannot_reap(&self, errno: Errno) {
        self.trouble("cannot reap a child", errno);
    }

    pub(super) fn cannot_read_signals(&self, errno: Errno) {
        self.trouble("cannot read signals", errno);
    }

    pub(super) fn cannot_wait(&self, errno: Errno) {
        self.trouble("cannot wait for events", errno);
    }

    pub(super) fn trouble(&self, message: &str, errno: Errno) {
        self.write_at(Level::Error, message, &|line| {
            line.text("error", errno);
        });
    }

    fn line(&self, level: Level) -> LogLine {
        LogLine::new(self.plan.format, level, clock::realtime_ms())
    }

    pub(super) fn write_at(&self, level: Level, message: &str, rest: &dyn Fn(&mut LogLine)) {
        if level <= self.plan.level {
            let mut line = self.line(level);
            rest(line.message(message));
            self.write(line);
        }
    }

    fn write(&self, line: LogLine) {
        let lost = self.lost.get();
        if lost > 0 {
            let mut told = self.line(Level::Warn);
            told.message("log lines were lost").number("count", lost);
            if !self.stderr.write(told.finish().as_bytes()) {
                self.lost.set(lost + 1);
                return;
            }
            self.lost.set(0);
        }
        if !self.stderr.write(line.finish().as_bytes()) {
            self.lost.set(self.lost.get() + 1);
        }
    }
}

/// The same for who waits on the control socket.
pub(super) fn text(fact: &Fact, heard: Option<&Heard>) -> String {
    let mut line = LogLine::new(LogFormat::Text, Level::Info, 0);
    words(fact, &mut line);
    own_words(heard, &mut line);
    line.finish()
}

fn is_port_zero(address: &Address) -> bool {
    match address {
        Address::Tcp { port, .. } | Address::Udp { port, .. } => *port == 0,
        Address::Unix { .. } | Address::Vsock { .. } | Address::Inherited(_) => false,
    }
}

#[inline(never)]
fn level(fact: &Fact) -> Level {
    match fact {
        Fact::Started { .. } | Fact::Ready { .. } => Level::Info,
        // What ends fd3, and tells the status that it ends with.
        Fact::NotStarted { next: Next::GiveUp(_), .. }
        | Fact::Exited { next: Next::GiveUp(_), .. }
        | Fact::Replaced { next: Next::GiveUp(_), .. } => Level::Error,
        Fact::Exited { next: Next::Asked | Next::InVain | Next::Wait, .. } => Level::Info,
        Fact::Exited { next: Next::Rest, status: Status::Exited(0), .. } => Level::Info,
        Fact::NotStarted { .. } | Fact::Exited { .. } => Level::Warn,
        Fact::StartTimedOut { .. } | Fact::StopTimedOut { .. } | Fact::Hung { .. } => Level::Warn,
        Fact::LeftoversKilled { .. } => Level::Warn,
        Fact::Abandoned { .. } | Fact::ListenersDown => Level::Error,
        Fact::Stopping { why: StopReason::RespawnLimit(_) | StopReason::ListenerDead, .. } => {
            Level::Error
        }
        Fact::Stopping { .. } => Level::Info,
        Fact::ReloadWaits { .. } | Fact::TooOld { .. } => Level::Notice,
        Fact::TriedAgain { .. } => Level::Warn,
        Fact::Reloading { .. } | Fact::Scaled { .. } | Fact::Renewing { .. } => Level::Info,
        Fact::RenewalEnded { again_in: Some(_), .. } => Level::Warn,
        Fact::RenewalEnded { .. } => Level::Info,
        Fact::ReloadEnded { outcome: Outcome::Done { .. } | Outcome::Stopped, .. } => Level::Notice,
        Fact::ReloadEnded { .. } => Level::Error,
        Fact::StoppingNow { .. } | Fact::SignalIgnored { .. } | Fact::Replaced { .. } => {
            Level::Warn
        }
    }
}

#[inline(never)]
fn words<'a>(fact: &Fact, line: &'a mut LogLine) -> &'a mut LogLine {
    match fact {
        Fact::Started { slot, pid, generation } => {
            worker(line, "worker started", *slot, *pid).number("generation", generation)
        }
        Fact::Ready { slot, pid, after, renewed_in } => {
            let line = worker(line, "worker ready", *slot, *pid);
            span(line.span("after", *after), "renewed-in", *renewed_in)
        }
        Fact::NotStarted { slot, error, next } => not_started(*slot, error, *next, line),
        Fact::Exited { slot, pid, status, uptime, next } => {
            let line = worker(line, "worker exited", *slot, *pid);
            next_words(status_words(line, *status).span("uptime", *uptime), *next)
        }
        Fact::StartTimedOut { slot, pid, after } => {
            let message = "worker not ready in time, told to stop";
            worker(line, message, *slot, *pid).span("after", *after)
        }
        Fact::Hung { slot, pid } => worker(line, "worker hangs, told to abort", *slot, *pid),
        Fact::StopTimedOut { slot, pid } => {
            worker(line, "worker did not stop in time, killed", *slot, *pid)
        }
        Fact::Abandoned { slot, pid } => {
            worker(line, "worker outlives SIGKILL, left behind", *slot, *pid)
        }
        Fact::Renewing { slot } => line.message("renewing a worker").number("slot", slot),
        Fact::RenewalEnded { slot, outcome, again_in } => {
            renewed(outcome, *again_in, line).number("slot", slot)
        }
        Fact::Scaled { workers } => line.message("scaled").number("workers", workers),
        Fact::TriedAgain { slot, why, again_in } => {
            let line = line.message("reload goes on with another worker");
            line.number("slot", slot).text("why", why).span("again-in", *again_in)
        }
        Fact::TooOld { slot, pid, .. } => worker(line, "worker is old: reload", *slot, *pid),
        Fact::ReloadWaits { workers } => line
            .message("reload waits until former workers have finished")
            .number("workers", workers),
        Fact::Reloading { generation } => {
            line.message("reloading").number("generation", generation)
        }
        Fact::ReloadEnded { generation, outcome } => {
            ended(outcome, line).number("generation", generation)
        }
        Fact::LeftoversKilled { group } => line
            .message("what a worker left behind did not stop in time, killed")
            .number("group", group),
        Fact::ListenersDown => line.message("no worker is started until listeners are whole again"),
        Fact::Stopping { why, workers, status } => stopping(*why, *workers, *status, line),
        Fact::StoppingNow { workers } => {
            line.message("stopping at once, workers are killed").number("workers", workers)
        }
        Fact::SignalIgnored { signal } => line
            .message("signal ignored: this version cannot do that yet")
            .text("signal", signal_name::name(*signal)),
        Fact::Replaced { slot, pid, next } => {
            next_words(worker(line, "worker's listener is dead, replacing it", *slot, *pid), *next)
        }
    }
}

/// STATUS= and ERRNO=: a worker knows best what is wrong with it.
#[inline(never)]
fn own_words(heard: Option<&Heard>, line: &mut LogLine) {
    let Some(heard) = heard else { return };
    if !heard.status.is_empty() {
        line.text("said", &heard.status);
    }
    if heard.errno.0 != 0 {
        line.text("error", heard.errno);
    }
}

fn not_started<'a>(
    slot: SlotId,
    error: &Error,
    next: Next,
    line: &'a mut LogLine,
) -> &'a mut LogLine {
    if let Next::GiveUp(StopReason::CannotStart) = next {
        // This one ends fd3, and is the only line about it.
        return line.message(&error.to_string());
    }
    let line = line.message("worker not started").number("slot", slot);
    next_words(line.text("error", error), next)
}

/// What most lines begin with.
#[inline(never)]
fn worker<'a>(line: &'a mut LogLine, message: &str, slot: SlotId, pid: Pid) -> &'a mut LogLine {
    line.message(message).number("slot", slot).number("pid", pid)
}

fn ended<'a>(outcome: &Outcome, line: &'a mut LogLine) -> &'a mut LogLine {
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
        Outcome::Stopped | Outcome::Scaled { .. } => line.message("reload ended by a stop"),
    }
}

fn renewed<'a>(
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
    }
}

fn span<'a>(line: &'a mut LogLine, name: &str, span: Option<Millis>) -> &'a mut LogLine {
    match span {
        Some(span) => line.span(name, span),
        None => line,
    }
}

fn stopping(why: StopReason, workers: usize, status: u8, line: &mut LogLine) -> &mut LogLine {
    let line = match why {
        StopReason::Signal(signal) => {
            let line = line.message("stopping").text("signal", signal_name::name(signal));
            return line.number("workers", workers);
        }
        StopReason::Asked if cfg!(feature = "control") => {
            let line = line.message("stopping").text("by", "control");
            return line.number("workers", workers);
        }
        StopReason::Asked => line,
        StopReason::RespawnLimit(slot) => {
            line.message("giving up: too many restarts").number("slot", slot)
        }
        StopReason::CannotStart => line.message("giving up: cannot start"),
        StopReason::ListenerDead => line.message("giving up: a listener cannot be replaced"),
    };
    line.number("workers", workers).number("exit-status", status)
}

fn status_words(line: &mut LogLine, status: Status) -> &mut LogLine {
    match status {
        Status::Exited(code) => line.number("status", code),
        Status::Killed(signal) => line.text("status", signal_name::name(signal)),
    }
}

/// What happens next, which is what a reader of the log wants to know.
fn next_words(line: &mut LogLine, next: Next) -> &mut LogLine {
    match next {
        Next::Restart(wait) => line.span("restart-in", wait),
        Next::Asked | Next::InVain => line,
        Next::Rest => line.text("restart", "no"),
        Next::Wait => line.text("restart", "on-demand"),
        Next::GiveUp(_) => line.text("restart", "given-up"),
    }
}
