//! What happens, in Server::Starter's words: who reads its log finds what they look for.
#![forbid(unsafe_code)]

use core::cell::Cell;
use std::rc::Rc;

use super::env::Times;
use crate::event_loop::{Roll, Voice};
use crate::protocol::signal_name;
use crate::supervisor::{Fact, Failure, Next, Outcome, Status, StopReason};
use crate::units::{Pid, Signal};

/// What it has to know.
pub(super) struct Speaker {
    pub(super) on_hup: Signal,
    pub(super) on_term: Signal,
    pub(super) times: Rc<Cell<Times>>,
    pub(super) doing: Cell<Doing>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Doing {
    #[default]
    Nothing,
    /// A reload is to come, of its own accord.
    AutoRestart,
    Reload,
    Stop,
}

impl Speaker {
    pub(super) fn voice(self) -> Voice {
        Box::new(move |fact, roll| self.say(fact, roll))
    }

    /// Nothing: fd3 itself has words for it.
    fn say(&self, fact: &Fact, roll: &Roll) -> Option<String> {
        let silence = || Some(String::new());
        match fact {
            Fact::Started { pid, .. } => Some(format!("starting new worker {pid}\n")),
            Fact::Ready { pid, .. }
                if self.doing.get() == Doing::Reload && roll.is_newest(*pid) =>
            {
                Some(self.takes_over(*pid, roll))
            }
            Fact::Ready { .. } => silence(),
            Fact::Exited { pid, status, next, .. } => Some(self.died(*pid, *status, *next, roll)),
            Fact::TriedAgain { why, .. } => match why {
                Failure::Exited { pid, status, .. } if roll.served(*pid) => {
                    Some(failed(*pid, *status))
                }
                Failure::Exited { .. } => silence(),
                Failure::NotStarted { .. } | Failure::NotReady { .. } | Failure::Hung { .. } => {
                    None
                }
                Failure::Stops { .. } | Failure::NotStopped { .. } | Failure::Listener => None,
                Failure::Decided => None,
            },
            Fact::TooOld { after, .. } => {
                self.doing.set(Doing::AutoRestart);
                let interval = self.times.get().auto_restart.unwrap_or_default().0 / 1000;
                let forced = if after.0 / 2000 >= interval { "forced, " } else { "" };
                Some(format!("autorestart triggered ({forced}interval={interval})\n"))
            }
            Fact::Reloading { .. } => match self.doing.replace(Doing::Reload) {
                Doing::AutoRestart => silence(),
                Doing::Nothing | Doing::Reload | Doing::Stop => {
                    Some("received HUP, spawning a new worker\n".into())
                }
            },
            Fact::ReloadEnded { outcome: Outcome::Done { .. }, .. } => {
                self.doing.set(Doing::Nothing);
                Some("killing old workers\n".into())
            }
            Fact::ReloadEnded { outcome: Outcome::Stopped, .. } => silence(),
            Fact::Stopping { why: StopReason::Signal(signal), .. } => {
                self.doing.set(Doing::Stop);
                Some(self.stops(*signal, roll))
            }
            Fact::ReloadEnded { .. } | Fact::Stopping { .. } | Fact::ReloadWaits { .. } => None,
            Fact::NotStarted { .. } | Fact::StartTimedOut { .. } | Fact::Hung { .. } => None,
            Fact::StopTimedOut { .. } | Fact::Abandoned { .. } | Fact::Replaced { .. } => None,
            Fact::LeftoversKilled { .. } | Fact::ListenersDown | Fact::StoppingNow { .. } => None,
            Fact::SignalIgnored { .. } | Fact::Scaled { .. } | Fact::Renewing { .. } => None,
            Fact::RenewalEnded { .. } | Fact::ReloadAfterCanary => None,
        }
    }

    fn takes_over(&self, pid: Pid, roll: &Roll) -> String {
        let olds = roll.others(Some(pid));
        let olds = if olds.is_empty() { "none" } else { &olds };
        let signal = name(self.on_hup);
        let mut said =
            format!("new worker is now running, sending {signal} to old workers:{olds}\n");
        let delay = self.times.get().kill_old_delay.0 / 1000;
        if delay > 0 {
            said.push_str(&format!("sleeping {delay} secs before killing old workers\n"));
        }
        said
    }

    fn died(&self, pid: Pid, status: Status, next: Next, roll: &Roll) -> String {
        let raw = raw(status);
        match (self.doing.get(), roll.served(pid), next) {
            (Doing::Stop, _, _) => format!("worker {pid} died, status:{raw}\n"),
            (_, false, _) => failed(pid, status),
            (_, true, Next::Restart(_)) => {
                format!("worker {pid} died unexpectedly with status:{raw}, restarting\n")
            }
            (_, true, Next::Asked | Next::InVain | Next::Rest | Next::Wait | Next::GiveUp(_)) => {
                format!("old worker {pid} died, status:{raw}\n")
            }
        }
    }

    fn stops(&self, signal: Signal, roll: &Roll) -> String {
        let by = if signal.0 == libc::SIGTERM { self.on_term } else { Signal(libc::SIGTERM) };
        let (signal, by) = (name(signal), name(by));
        format!("received {signal}, sending {by} to all workers:{}\n", roll.others(None))
    }
}

/// Without `SIG`.
fn name(signal: Signal) -> String {
    let name = signal_name::name(signal);
    name.strip_prefix("SIG").unwrap_or(&name).to_string()
}

fn failed(pid: Pid, status: Status) -> String {
    format!("new worker {pid} seems to have failed to start, exit status:{}\n", raw(status))
}

/// As wait(2) packs it.
fn raw(status: Status) -> i32 {
    match status {
        Status::Exited(code) => i32::from(code) << 8,
        Status::Killed(signal) => signal.0,
    }
}
