//! `fd3 init`: where the kernel and its decisions (`crate::init`) meet. Decides nothing. An idle one makes
//! no system call.

use std::ffi::CString;

use rustix::fd::AsRawFd;

use super::broom::Broom;
use super::log::Log;
use super::token::Token;
use super::{EXIT_OWN_FAILURE, now, process, signal};
use crate::error::{Errno, Error};
use crate::init::{Action, Event, Init, Plan, Role, To};
use crate::plan::{self, LogPlan};
use crate::protocol::env_file::name;
use crate::settings::{self, Prepared};
use crate::supervisor::Status;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::signal::{Manners, Received, SignalFd};
use crate::sys::spawn::{self, Child, Reports};
use crate::sys::wait::{self, Ended, How};
use crate::sys::{exec, fd, memory, terminal};
use crate::units::{Millis, Pid, Signal};

/// Children reaped in one turn; a flood of orphans must not keep signals waiting.
const REAPED_AT_ONCE: usize = 256;
/// Memory is not given back again sooner.
const GIVEN_BACK_FOR: Millis = Millis(1000);
/// The first number that is nobody's by convention.
const FIRST_FD: i32 = 3;

/// The exit status for an error.
pub(crate) type StatusOf = fn(&Error) -> u8;

/// One `fd3 init`, whole.
pub(crate) struct InitPlan {
    pub(crate) decide: Plan,
    /// The program and its arguments; never empty.
    pub(crate) command: Vec<CString>,
    /// The like for each hook.
    pub(crate) pre_start: Vec<Vec<CString>>,
    pub(crate) post_stop: Vec<Vec<CString>>,
    /// For all of them.
    pub(crate) settings: plan::Settings,
    /// What the program gets when fd3 is killed, and what fd3 gets, and passes on, when its parent is.
    pub(crate) parent_death: Option<Signal>,
    pub(crate) own_parent_death: Option<Signal>,
    /// What signals are to the program.
    pub(crate) manners: Manners,
    pub(crate) log: LogPlan,
    /// The exit status for what cannot be started.
    pub(crate) status_of: StatusOf,
    /// Orphans become ours, even if this is not PID 1.
    pub(crate) adopts: bool,
}

/// The service: from here on nothing may end fd3 but its decisions.
pub(crate) struct InitLoop {
    plan: InitPlan,
    prepared: Prepared,
    init: Init,
    epoll: Epoll,
    signals: SignalFd,
    reports: Reports,
    log: Log,
    broom: Broom,
    /// The one that runs, its file, and why it could not be executed.
    running: Option<Pid>,
    program: CString,
    failure: Option<Error>,
    /// The group in the foreground of the terminal was ours when fd3 began.
    has_terminal: bool,
    /// When memory was last given back; nothing if one was started since.
    gave_back: Option<Millis>,
    children_ended: bool,
    sweeps: bool,
    finished: Option<u8>,
}

impl InitLoop {
    #[inline(never)]
    pub(crate) fn set_up(mut plan: InitPlan) -> Result<InitLoop, Error> {
        // The sockets that fd3 was given are the program's, and so is what tells of them.
        let prepared = settings::prepare(core::mem::take(&mut plan.settings), |_| true)?;
        let cannot = |what| move |errno| Error::system("make", what, errno);
        if plan.adopts && process::own_pid() != 1 {
            process::adopt_orphans();
        }
        let mut epoll = Epoll::new().map_err(cannot("an epoll"))?;
        let signals = SignalFd::new().map_err(cannot("a signalfd"))?;
        let reports = Reports::new(FIRST_FD).map_err(cannot("a pipe"))?;
        signals
            .watched_by(&mut epoll, Token::Signals.bits())
            .and_then(|()| epoll.add(reports.fd(), Token::Reports.bits(), Interest::IN))
            .map_err(cannot("a watch"))?;
        Ok(InitLoop {
            init: Init::new(plan.decide.clone()),
            log: Log::new(plan.log),
            plan,
            prepared,
            epoll,
            signals,
            reports,
            broom: Broom::default(),
            running: None,
            program: CString::default(),
            failure: None,
            has_terminal: terminal::is_ours(),
            gave_back: None,
            // Whoever became us may have left some.
            children_ended: true,
            sweeps: false,
            finished: None,
        })
    }

    /// Serves until the end; its exit status.
    #[inline(never)]
    pub(crate) fn run(mut self) -> u8 {
        self.tell(Event::Begin);
        if let Some(signal) = self.plan.own_parent_death
            && !process::hear_of_parents_end(signal.0)
        {
            self.tell(Event::Signalled { signal });
        }
        while self.finished.is_none() {
            let timeout = match self.init.deadline() {
                _ if self.children_ended => Some(0),
                deadline => deadline.map(|at| at.since(now()).0),
            };
            if timeout.is_none() {
                self.give_back();
            }
            let (mut signalled, mut reported) = (false, false);
            match self.epoll.wait(timeout) {
                Ok(ready) => {
                    for event in ready {
                        let token = Token::of(event);
                        signalled |= token == Token::Signals;
                        reported |= token == Token::Reports;
                    }
                }
                Err(errno) => {
                    // It has no failure that trying again would mend.
                    self.log.cannot_wait(errno);
                    return EXIT_OWN_FAILURE;
                }
            }
            self.turn(signalled, reported);
        }
        if self.has_terminal {
            terminal::take_back();
        }
        self.finished.unwrap_or(EXIT_OWN_FAILURE)
    }

    /// To have it mapped again takes about as long as to pass a signal on: where one comes after the other only the
    /// first is to wait for that.
    fn give_back(&mut self) {
        let now = now();
        if self.gave_back.is_none_or(|at| now.since(at) >= GIVEN_BACK_FOR) {
            self.gave_back = Some(now);
            memory::give_back();
        }
    }

    #[inline(never)]
    fn turn(&mut self, signalled: bool, reported: bool) {
        if reported {
            self.read_reports();
        }
        if signalled {
            self.read_signals();
        }
        if self.children_ended {
            self.look_after_children();
        }
        if self.sweeps {
            self.look_who_is_left();
        }
        if self.init.deadline().is_some_and(|at| at <= now()) {
            self.tell(Event::TimePassed);
        }
    }

    /// Tells of a fact and carries out what follows, until nothing does.
    #[inline(never)]
    fn tell(&mut self, event: Event) {
        let (mut next, mut actions) = (Some(event), Vec::new());
        while let Some(event) = next.take() {
            self.init.handle(now(), event, &mut actions);
            for action in core::mem::take(&mut actions) {
                // At most one of them has an answer.
                next = self.carry_out(action).or(next);
            }
        }
    }

    #[inline(never)]
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start(role) => {
                self.sweeps = false;
                return Some(self.start(role));
            }
            Action::Signal { pid, signal, to } => self.send(pid, signal, to),
            Action::StopSelf { by } => signal::stop_by(by.0, false),
            Action::StopTogether { by, pid } => self.stop_together(by, pid),
            Action::GiveTerminal { pid } => {
                if terminal::is_ours() {
                    terminal::give_to(pid.0);
                }
            }
            Action::TellAll { group } => {
                self.broom.sweep(libc::SIGTERM, group);
                self.sweeps = true;
            }
            Action::KillAll { group } => self.broom.sweep(libc::SIGKILL, group),
            Action::Say(fact) => self.log.tell_of_init(&fact),
            Action::Finish { status } => self.finished = Some(status),
        }
        None
    }

    fn send(&self, pid: Pid, signal: Signal, to: To) {
        // By its own number, too: it may have joined another group.
        let sent = match to {
            To::Process => signal::send(pid.0, signal.0),
            To::Group if process::group_of(pid.0) == Some(pid.0) => {
                signal::send_to_group(pid.0, signal.0)
            }
            To::Group => {
                let _ = signal::send_to_group(pid.0, signal.0);
                signal::send(pid.0, signal.0)
            }
        };
        match sent {
            // ESRCH: it has ended, which we are about to learn.
            Ok(()) | Err(Errno(libc::ESRCH)) => {}
            Err(errno) => self.log.cannot_signal(pid, signal, errno),
        }
    }

    /// Whoever waits for fd3, a shell, sees that its job has stopped, and lets it go on later. Where there
    /// is no shell the kernel stops nobody, and the program goes on at once.
    fn stop_together(&self, by: Signal, pid: Pid) {
        if terminal::foreground().is_none() {
            return;
        }
        signal::stop_by(by.0, true);
        if terminal::is_ours() {
            terminal::give_to(pid.0);
        }
        // Who still has no terminal would stop again.
        if terminal::foreground() == Some(pid.0) {
            self.send(pid, Signal(libc::SIGCONT), To::Group);
        }
    }

    #[inline(never)]
    fn start(&mut self, role: Role) -> Event {
        match self.spawn(role) {
            Ok(pid) => {
                self.running = Some(pid);
                self.gave_back = None;
                if role == Role::Program {
                    self.let_go();
                }
                Event::Started { pid }
            }
            Err(error) => {
                self.log.failed(&error);
                Event::NotStarted { status: (self.plan.status_of)(&error) }
            }
        }
    }

    fn spawn(&mut self, role: Role) -> Result<Pid, Error> {
        let command = match role {
            Role::Program => Some(&self.plan.command),
            Role::PreStart(index) => self.plan.pre_start.get(index),
            Role::PostStop(index) => self.plan.post_stop.get(index),
        };
        let missing = || Error::usage("COMMAND", "missing");
        let command = command.ok_or_else(missing)?;
        let first = command.first().ok_or_else(missing)?;
        let Prepared { settings, path, .. } = &self.prepared;
        let program = exec::find(first, path.as_deref(), settings.folder.as_deref())?;
        let (inherited, added, own_pid) = self.environment(role);
        let child = Child {
            program: &program,
            arguments: command,
            inherited: &inherited,
            added: &added,
            own_pid: &own_pid,
            descriptors: &[],
            standard: [None; 3],
            parent_death: self.plan.parent_death.map(|signal| signal.0),
            descriptor_limit: None,
            settings,
            manners: self.plan.manners,
            first: if self.has_terminal { Some(terminal::take) } else { None },
            instead: Some(terminal::by_shell),
        };
        let pid = spawn::fork(&child, &self.reports)
            .map_err(|errno| Error::system("fork", program.to_string_lossy(), errno))?;
        self.program = program;
        Ok(Pid(pid))
    }

    /// What is passed on, what is added, and the names whose value is the child's own PID.
    fn environment(&self, role: Role) -> (Vec<CString>, Vec<CString>, Vec<&'static str>) {
        let (mut inherited, mut added, mut own_pid) = (Vec::new(), Vec::new(), Vec::new());
        for variable in &self.prepared.environment {
            match name(variable.to_bytes()) {
                // What was said to us is said to the program.
                LISTEN_PID if role == Role::Program && is_own_pid(variable.to_bytes()) => {
                    own_pid.push("LISTEN_PID");
                }
                STATUS if matches!(role, Role::PostStop(_)) => {}
                _ => inherited.push(variable.clone()),
            }
        }
        if let Role::PostStop(_) = role {
            // It has no NUL inside.
            added.extend(CString::new(format!("FD3_STATUS={}", self.init.status())));
        }
        (inherited, added, own_pid)
    }

    /// The program has it all now: what fd3 keeps open, and where it stands, would keep others waiting.
    fn let_go(&self) {
        let mut kept = vec![self.epoll.fd().as_raw_fd()];
        kept.extend(self.signals.numbers());
        kept.extend(self.reports.numbers());
        kept.extend(self.log.descriptor());
        fd::close_inherited(&kept);
        if self.plan.post_stop.is_empty() {
            process::leave_folder();
        }
    }

    fn read_reports(&mut self) {
        while let Some(report) = self.reports.next() {
            if self.running == Some(Pid(report.pid)) {
                let folder = self.prepared.settings.folder.as_deref();
                self.failure = Some(settings::failure(report, &self.program, folder));
            }
        }
    }

    #[inline(never)]
    fn read_signals(&mut self) {
        match self.signals.read() {
            Ok(received) => received.into_iter().for_each(|one| self.received(one)),
            Err(errno) => self.log.cannot_read_signals(errno),
        }
    }

    fn received(&mut self, one: Received) {
        match (one.signal, one.sender) {
            (libc::SIGCHLD, _) => self.children_ended = true,
            // Our own doing: SIGPIPE from a write that told us EPIPE as well.
            (_, Some(sender)) if sender == process::own_pid() => {}
            (signal, _) => self.tell(Event::Signalled { signal: Signal(signal) }),
        }
    }

    /// A bounded round; what is left over is for the next turn.
    #[inline(never)]
    fn look_after_children(&mut self) {
        self.children_ended = false;
        if let Some(pid) = self.running.filter(|_| terminal::foreground().is_some())
            && let Some(by) = wait::stopped_by(pid.0)
        {
            self.tell(Event::Stopped { by: Signal(by) });
        }
        for _ in 0..REAPED_AT_ONCE {
            match wait::peek() {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) => return,
                Err(errno) => return self.log.cannot_reap(errno),
            }
        }
        self.children_ended = true;
    }

    /// It is reaped last: until then its PID and its group are its own.
    #[inline(never)]
    fn ended(&mut self, ended: Ended) {
        let pid = Pid(ended.pid);
        if self.running == Some(pid) {
            self.read_reports();
            self.running = None;
            let status = self.status(ended.how);
            self.tell(Event::Ended { status });
        } else {
            self.log.reaped(pid);
        }
        if let Err(errno) = wait::reap(ended.pid) {
            self.log.cannot_reap(errno);
        }
    }

    fn status(&mut self, how: How) -> Status {
        match (how, self.failure.take()) {
            (How::Exited(_), Some(error)) => {
                self.log.failed(&error);
                Status::Exited((self.plan.status_of)(&error))
            }
            (How::Exited(code), None) => Status::Exited(code),
            (How::Killed(signal), _) => Status::Killed(Signal(signal)),
        }
    }

    fn look_who_is_left(&mut self) {
        // What follows may be another sweep, of nobody: no end of a child would tell of that.
        while self.sweeps && !self.broom.is_anybody_left() {
            self.sweeps = false;
            self.tell(Event::NobodyLeft);
        }
    }
}

/// The variable that says for whom the sockets are (sd_listen_fds(3)).
const LISTEN_PID: &[u8] = b"LISTEN_PID";
/// The one that tells the last hooks of the program's end.
const STATUS: &[u8] = b"FD3_STATUS";

fn is_own_pid(variable: &[u8]) -> bool {
    variable == format!("LISTEN_PID={}", process::own_pid()).as_bytes()
}
