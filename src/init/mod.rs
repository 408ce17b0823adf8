//! The decisions of `fd3 init`, without a system call: facts go in with the time at which they were seen,
//! actions come out.
//!
//! The theory. One of ours runs at a time: each hook of `--pre-start`, the program, each hook of
//! `--post-stop`. While one runs it gets every signal. A hook before the program that fails, or an order to
//! stop that comes while it runs, and there is no program. Once the program has ended its status is the
//! status; whoever is left is told to stop, waited for, killed at the deadline, and then the hooks follow,
//! whose leftovers go the same way.
//!
//! A stop has one deadline: what the program took of it after an order to stop, the others have less.

#![forbid(unsafe_code)]

mod plan;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use self::plan::{Leftovers, Order, Plan, To};
use crate::supervisor::Status;
use crate::sweep::{Due, ONE_ORDER, Sweep};
use crate::units::{Millis, Pid, Signal, sooner};

/// Who is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A hook, by its number.
    PreStart(usize),
    Program,
    PostStop(usize),
}

/// What was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Begin,
    Started {
        pid: Pid,
    },
    /// It could not be started; the exit status that says so.
    NotStarted {
        status: u8,
    },
    /// The one that runs has ended.
    Ended {
        status: Status,
    },
    /// The one that runs was stopped by a signal.
    Stopped {
        by: Signal,
    },
    Signalled {
        signal: Signal,
    },
    /// There is no child any more.
    NobodyLeft,
    TimePassed,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Start(Role),
    Signal {
        pid: Pid,
        signal: Signal,
        to: To,
    },
    /// fd3 is to stop as well, until it is continued: a shell waits for it alone.
    StopSelf {
        by: Signal,
    },
    /// The same for fd3's whole group, as the terminal did it to the one that runs; which goes on together
    /// with fd3.
    StopTogether {
        by: Signal,
        pid: Pid,
    },
    /// The terminal is for it, if it is ours to give.
    GiveTerminal {
        pid: Pid,
    },
    /// Everybody who is left; by whose end, if it ever was.
    TellAll {
        group: Option<Pid>,
    },
    KillAll {
        group: Option<Pid>,
    },
    Say(Fact),
    Finish {
        status: u8,
    },
}

/// What the log may tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    Started {
        role: Role,
        pid: Pid,
    },
    Ended {
        role: Role,
        pid: Pid,
        status: Status,
    },
    /// A hook whose failure changes what follows.
    HookFailed {
        role: Role,
        status: u8,
    },
    /// There is no program, as this came before it.
    NotBegun {
        signal: Signal,
    },
    Delayed {
        signal: Signal,
        by: Millis,
    },
    Forwarded {
        signal: Signal,
        pid: Pid,
    },
    TooSlow {
        pid: Pid,
    },
    LeftoversKilled,
    LeftoversRemain,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    NotBegun,
    Starting(Role),
    Running {
        role: Role,
        pid: Pid,
    },
    /// There is no program.
    Pausing,
    /// Those left by this one.
    Sweeping {
        sweep: Sweep,
        group: Option<Pid>,
        role: Role,
    },
    Finished,
}

#[derive(Debug)]
pub struct Init {
    plan: Plan,
    state: State,
    /// What is passed on later.
    delayed: Option<Delayed>,
    /// The one that runs is killed then.
    kill_at: Option<Millis>,
    /// It was; others have no time, either.
    killed: bool,
    /// The latest order to stop that was passed on.
    told: Option<(Signal, Millis)>,
    /// It was somebody's will that it stops (SIGTSTP), not the terminal's.
    may_stop: bool,
    /// What fd3 exits with.
    status: u8,
}

/// An order to stop that waits until others have heard of it.
#[derive(Clone, Copy, Debug)]
struct Delayed {
    signal: Signal,
    since: Millis,
    until: Millis,
}

impl Init {
    pub fn new(plan: Plan) -> Init {
        Init {
            plan,
            state: State::NotBegun,
            delayed: None,
            kill_at: None,
            killed: false,
            told: None,
            may_stop: false,
            status: 0,
        }
    }

    /// What fd3 will exit with, as far as it is known.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// When to send `TimePassed` at the latest.
    pub fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Sweeping { sweep, .. } => sweep.deadline(),
            State::Running { .. } => {
                sooner(self.delayed.map(|delayed| delayed.until), self.kill_at)
            }
            State::NotBegun | State::Pausing | State::Starting(_) | State::Finished => None,
        }
    }

    /// Takes in a fact seen at `now`, adds what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event, out: &mut Vec<Action>) {
        match (event, self.state) {
            (Event::Begin, State::NotBegun) if self.plan.pauses => self.state = State::Pausing,
            (Event::Begin, State::NotBegun) => self.start_first(out),
            (Event::Started { pid }, State::Starting(role)) => {
                self.state = State::Running { role, pid };
                if let Role::PostStop(_) = role {
                    self.kill_at = self.limit(now);
                }
                out.push(Action::Say(Fact::Started { role, pid }));
            }
            (Event::NotStarted { status }, State::Starting(role)) => {
                self.over(now, role, None, status, out);
            }
            (Event::Ended { status }, State::Running { role, pid }) => {
                out.push(Action::Say(Fact::Ended { role, pid, status }));
                self.over(now, role, Some(pid), status.code(), out);
            }
            (Event::Stopped { by }, State::Running { pid, .. }) => {
                if is_job_control(by) && !self.may_stop {
                    out.push(Action::StopTogether { by, pid });
                }
            }
            (Event::Signalled { signal }, _) => self.signalled(now, signal, out),
            (Event::NobodyLeft, State::Sweeping { role, .. }) => self.after(role, out),
            (Event::TimePassed, _) => self.time_passed(now, out),
            // Late and unknown facts are legal and mean nothing.
            (
                Event::Begin
                | Event::Started { .. }
                | Event::NotStarted { .. }
                | Event::Ended { .. }
                | Event::Stopped { .. }
                | Event::NobodyLeft,
                _,
            ) => {}
        }
    }

    fn start_first(&mut self, out: &mut Vec<Action>) {
        let role = if self.plan.pre_start > 0 { Role::PreStart(0) } else { Role::Program };
        self.start(role, out);
    }

    fn start(&mut self, role: Role, out: &mut Vec<Action>) {
        self.killed = false;
        self.state = State::Starting(role);
        out.push(Action::Start(role));
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        self.state = State::Finished;
        out.push(Action::Finish { status: self.status });
    }

    /// The end of one, or it never was.
    fn over(
        &mut self,
        now: Millis,
        role: Role,
        pid: Option<Pid>,
        status: u8,
        out: &mut Vec<Action>,
    ) {
        self.delayed = None;
        let kill_at = self.kill_at.take();
        match role {
            Role::Program => self.status = self.plan.mapped(status),
            Role::PreStart(index) => match self.told {
                _ if status != 0 => {
                    self.status = status;
                    out.push(Action::Say(Fact::HookFailed { role, status }));
                }
                Some((signal, _)) => {
                    self.status = Status::Killed(signal).code();
                    out.push(Action::Say(Fact::NotBegun { signal }));
                }
                // What it left behind may be what it was for.
                None if index + 1 < self.plan.pre_start => {
                    return self.start(Role::PreStart(index + 1), out);
                }
                None => return self.start(Role::Program, out),
            },
            Role::PostStop(_) if status != 0 => {
                out.push(Action::Say(Fact::HookFailed { role, status }));
            }
            Role::PostStop(_) => {}
        }
        match self.plan.leftovers {
            Leftovers::Sweep(_) => {}
            Leftovers::Leave => return self.after(role, out),
            Leftovers::TellGroup => {
                if let Some(pid) = pid {
                    out.push(Action::Signal { pid, signal: Signal(libc::SIGTERM), to: To::Group });
                }
                return self.after(role, out);
            }
        }
        // Who never was left nobody, but hooks before it may have.
        if pid.is_none() && self.plan.pre_start == 0 {
            return self.after(role, out);
        }
        let until = if self.killed { Some(now) } else { kill_at.or_else(|| self.limit(now)) };
        let sweep = Sweep::Told { since: now, until };
        self.state = State::Sweeping { sweep, group: pid, role };
        out.push(Action::TellAll { group: pid });
    }

    /// Nobody is left of this one.
    fn after(&mut self, role: Role, out: &mut Vec<Action>) {
        let next = match role {
            Role::PreStart(_) | Role::Program => 0,
            Role::PostStop(index) => index + 1,
        };
        if next < self.plan.post_stop {
            self.start(Role::PostStop(next), out);
        } else {
            self.finish(out);
        }
    }

    /// When those who do not stop are killed: as soon after the order to stop as `--stop-timeout` says. An
    /// order from longer ago was about something else.
    fn limit(&self, now: Millis) -> Option<Millis> {
        let timeout = self.plan.stop_timeout()?;
        let since_told = self.told.map(|(_, at)| at.plus(timeout)).filter(|until| *until > now);
        Some(since_told.unwrap_or(now.plus(timeout)))
    }

    fn signalled(&mut self, now: Millis, signal: Signal, out: &mut Vec<Action>) {
        let reaction = self.plan.reactions.to(signal);
        let order = self.plan.order(reaction);
        match (&mut self.state, order) {
            (State::Running { role, pid }, _) => {
                let (role, pid) = (*role, *pid);
                match order {
                    Order::Nothing => {}
                    Order::KillNow => self.kill(now, pid, out),
                    Order::Pass { signal: passed, limited } => {
                        self.pass(now, role, pid, passed, limited, out);
                        if is_job_control(signal) && self.may_stop {
                            out.push(Action::StopSelf { by: signal });
                        }
                    }
                }
            }
            (State::Sweeping { sweep, .. }, Order::KillNow) => {
                *sweep = Sweep::Told { since: now, until: Some(now) };
                self.time_passed(now, out);
            }
            (State::Sweeping { sweep, .. }, Order::Pass { signal, .. }) if is_stop(signal) => {
                // The first one asks for what is being done.
                if self.told.is_some() {
                    sweep.hasten(now);
                }
                self.told = self.told.or(Some((signal, now)));
                self.time_passed(now, out);
            }
            (State::Pausing, Order::Pass { signal, .. }) if is_stop(signal) => self.finish(out),
            (
                State::Sweeping { .. }
                | State::Pausing
                | State::NotBegun
                | State::Starting(_)
                | State::Finished,
                Order::Nothing | Order::KillNow | Order::Pass { .. },
            ) => {}
        }
    }

    /// `limited`: it is to end within the stop timeout.
    fn pass(
        &mut self,
        now: Millis,
        role: Role,
        pid: Pid,
        signal: Signal,
        limited: bool,
        out: &mut Vec<Action>,
    ) {
        if signal.0 == libc::SIGTERM && role == Role::Program && self.plan.drain_delay.0 > 0 {
            match self.delayed {
                // Who asks again means at once.
                Some(Delayed { since, .. }) if now.since(since) >= ONE_ORDER => {}
                Some(_) => return,
                None if self.told.is_none() => {
                    let until = now.plus(self.plan.drain_delay);
                    self.delayed = Some(Delayed { signal, since: now, until });
                    self.limit_if(limited, until);
                    let by = self.plan.drain_delay;
                    return out.push(Action::Say(Fact::Delayed { signal, by }));
                }
                None => {}
            }
            self.delayed = None;
        }
        self.limit_if(limited, now);
        self.send(now, pid, signal, out);
    }

    fn limit_if(&mut self, limited: bool, from: Millis) {
        if limited && let Some(timeout) = self.plan.stop_timeout() {
            self.kill_at = sooner(self.kill_at, Some(from.plus(timeout)));
        }
    }

    fn send(&mut self, now: Millis, pid: Pid, signal: Signal, out: &mut Vec<Action>) {
        if is_stop(signal) {
            self.told = Some((signal, now));
        }
        if is_job_control(signal) || signal.0 == libc::SIGSTOP {
            self.may_stop = true;
        } else if signal.0 == libc::SIGCONT {
            self.may_stop = false;
            out.push(Action::GiveTerminal { pid });
        }
        out.push(Action::Signal { pid, signal, to: self.plan.to });
        out.push(Action::Say(Fact::Forwarded { signal, pid }));
    }

    fn kill(&mut self, now: Millis, pid: Pid, out: &mut Vec<Action>) {
        (self.delayed, self.kill_at, self.killed) = (None, None, true);
        self.told = self.told.or(Some((Signal(libc::SIGKILL), now)));
        out.push(Action::Signal { pid, signal: Signal(libc::SIGKILL), to: To::Group });
    }

    fn time_passed(&mut self, now: Millis, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Running { pid, .. } => {
                let pid = *pid;
                if let Some(Delayed { signal, until, .. }) = self.delayed
                    && until <= now
                {
                    self.delayed = None;
                    self.send(now, pid, signal, out);
                }
                if self.kill_at.is_some_and(|at| at <= now) {
                    out.push(Action::Say(Fact::TooSlow { pid }));
                    self.kill(now, pid, out);
                }
            }
            State::Sweeping { sweep, group, role } => match sweep.due(now) {
                Some(Due::Kill) => {
                    out.push(Action::Say(Fact::LeftoversKilled));
                    out.push(Action::KillAll { group: *group });
                }
                Some(Due::GiveUp) => {
                    out.push(Action::Say(Fact::LeftoversRemain));
                    let role = *role;
                    self.after(role, out);
                }
                None => {}
            },
            State::NotBegun | State::Pausing | State::Starting(_) | State::Finished => {}
        }
    }
}

/// What asks a program to end, as people and container engines do.
fn is_stop(signal: Signal) -> bool {
    matches!(signal.0, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
}

/// What stops a job of a shell.
fn is_job_control(signal: Signal) -> bool {
    matches!(signal.0, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}
