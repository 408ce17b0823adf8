//! Where the kernel and the supervisor meet: facts in, actions out. Decides nothing.
//!
//! One thread, one epoll, level-triggered, with the supervisor's next deadline as its timeout: an idle
//! fd3 makes no system call. In each turn notifications and reports come before signals, and both
//! before children's ends, so that what a worker said or did last still counts.

mod broom;
mod children;
mod control;
mod cpus;
mod door;
mod guard;
#[cfg(feature = "init")]
mod init;
#[cfg(feature = "init")]
mod init_log;
mod launch;
mod listen;
mod listeners;
mod load;
mod log;
mod manager;
mod metrics;
mod records;
mod roll;
mod setup;
mod status;
mod steering;
mod store;
mod token;

#[cfg(feature = "init")]
pub(crate) use self::init::{InitLoop, InitPlan};

use self::children::{HEARD_AT_ONCE, Heard};
use self::control::Control;
use self::door::Door;
use self::launch::Launcher;
use self::listeners::{Listeners, Tries};
use self::load::Loader;
use self::log::Log;
#[cfg(feature = "starter")]
pub(crate) use self::log::Voice;
use self::manager::Manager;
use self::metrics::Metrics;
use self::records::Records;
pub(crate) use self::roll::Roll;
use self::status::Ledger;
use self::steering::Steering;
use self::store::Store;
use self::token::Token;
use crate::error::Errno;
use crate::pid_map::PidMap;
use crate::protocol::metrics::Counts;
use crate::supervisor::{Action, Actions, Event, Fact, Sender, Supervisor, Target};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::signal::{Received, SignalFd};
use crate::sys::{clock, memory, process, signal};
use crate::units::{Millis, Pid, Signal, sooner};
use rustix::fd::OwnedFd;

/// The service: from here on nothing may end fd3 but the supervisor.
pub(crate) struct EventLoop {
    supervisor: Supervisor,
    actions: Actions,
    epoll: Epoll,
    signals: SignalFd,
    launcher: Launcher,
    loader: Loader,
    /// Gone once fd3 stops.
    listeners: Option<Listeners>,
    /// Which of the slots' own ones get connections.
    steering: Steering,
    /// What the workers say by sd_notify(3).
    notify: PidMap<Heard>,
    control: Option<Control>,
    /// Who waits for this process's end.
    parting: Vec<OwnedFd>,
    metrics: Option<Metrics>,
    manager: Option<Manager>,
    counts: Counts,
    ledger: Ledger,
    store: Store,
    log: Log,
    roll: Roll,
    records: Records,
    own_pid: Pid,
    /// Children may have ended that nobody looked at yet.
    children_ended: bool,
    /// What the listeners are watched for, besides their death.
    watched_for: Interest,
    /// A waiting connection was told of: the kernel does so once, so that it has to be asked anew.
    demanded: bool,
    /// A worker became ready, and the listeners were not looked at since; who, if only one did.
    just_ready: Option<Option<Pid>>,
    finished: Option<u8>,
}

impl EventLoop {
    /// From now on it tells in these words what it tells, to what stderr is now.
    #[cfg(feature = "starter")]
    pub(crate) fn speak(&mut self, voice: Voice) {
        self.log.speak(voice);
    }

    /// Serves until the supervisor is finished; its exit status.
    #[inline(never)]
    pub(crate) fn run(&mut self) -> u8 {
        self.tell(Event::Begin);
        let mut due = Vec::new();
        while self.finished.is_none() {
            due.clear();
            self.await_demand();
            if let Err(errno) = self.wait(&mut due) {
                // It has no failure that trying again would mend; the workers are told by our death.
                self.log.cannot_wait(errno);
                break;
            }
            self.turn(&due);
        }
        self.close_listeners();
        if cfg!(feature = "control") {
            self.close_control();
        }
        if let Some(rest) = self.supervisor.rest_of_stop() {
            let hastens = |signal| self.supervisor.is_order_to_stop(Signal(signal));
            broom::sweep_up(&self.signals, &self.log, rest.until, hastens);
        }
        self.close_metrics();
        self.remove_records();
        self.finished.unwrap_or(EXIT_OWN_FAILURE)
    }

    #[inline(never)]
    fn wait(&mut self, due: &mut Vec<Token>) -> Result<(), Errno> {
        let now = now();
        let doors = [
            self.control.as_ref().and_then(Door::deadline),
            self.metrics.as_ref().and_then(Door::deadline),
        ];
        let others = sooner(sooner(doors[0], doors[1]), self.manager_deadline());
        let timeout = match sooner(self.supervisor.deadline(), others) {
            _ if self.children_ended => Some(0),
            deadline => deadline.map(|at| at.since(now).0),
        };
        if timeout.is_none() {
            memory::give_back();
        }
        for event in self.epoll.wait(timeout)? {
            due.push(Token::of(event));
        }
        Ok(())
    }

    #[inline(never)]
    fn turn(&mut self, due: &[Token]) {
        for token in due {
            if let Token::Stored(number) = token {
                self.hung_up(*number);
            }
        }
        if due.contains(&Token::Reports) {
            self.read_reports();
        }
        for token in due {
            if let Token::Notify(pid) = token {
                self.read_notices(*pid, HEARD_AT_ONCE);
            }
        }
        if due.contains(&Token::Signals) {
            self.read_signals();
        }
        if self.children_ended {
            self.look_after_children();
        }
        if due.iter().any(|token| matches!(token, Token::Listener(_) | Token::Paths)) {
            self.guard_listeners();
        }
        if due.contains(&Token::Demand) {
            self.demanded = true;
            self.tell(Event::Demanded);
        }
        if cfg!(feature = "control") {
            self.hear_clients(due);
        }
        self.answer_scrapers(due);
        if self.supervisor.deadline().is_some_and(|at| at <= now()) {
            self.tell(Event::TimePassed);
        }
        if manager::HERE {
            self.tell_manager();
        }
    }

    /// Tells the supervisor a fact and carries out what it asks for, until it asks for no more.
    fn tell(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            self.supervisor.handle(now(), event, &mut self.actions);
            while let Some(action) = self.actions.pop_front() {
                if let Some(answer) = self.carry_out(action) {
                    self.supervisor.handle(now(), answer, &mut self.actions);
                }
            }
            // By now it has done to the listeners what it does when it starts.
            next = self.just_ready.take().and_then(|pid| self.check_listeners(pid, Tries::Anew));
        }
    }

    #[inline(never)]
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { slot, generation } => return Some(self.spawn(slot, generation)),
            Action::Signal { pid, signal, to } => self.send(pid, signal, to),
            Action::Load { generation, command } => return Some(self.load(generation, command)),
            Action::Forget { generation } => self.launcher.forget(generation),
            Action::Answer { asker, outcome } if cfg!(feature = "control") => {
                self.answer(asker, &outcome);
            }
            Action::Answer { .. } => {}
            Action::SignalLeftovers { group, signal } => {
                return self.signal_leftovers(group, signal);
            }
            Action::Steer { slot, to } => self.steer(slot, to),
            Action::LookAtQueue { slot } => return Some(self.look_at_queue(slot)),
            Action::MendListeners => return Some(self.mend_listeners()),
            Action::CloseListeners => self.close_listeners(),
            Action::Say(fact) => self.say(&fact),
            Action::Finish { status } => self.finished = Some(status),
        }
        None
    }

    #[inline(never)]
    fn say(&mut self, fact: &Fact) {
        let mut heard = None;
        // What did not go as it should is where a worker's own words help.
        if let Fact::Exited { pid, .. }
        | Fact::StartTimedOut { pid, .. }
        | Fact::Hung { pid, .. }
        | Fact::StopTimedOut { pid, .. } = fact
        {
            heard = self.notify.get(*pid);
        }
        self.log.tell(fact, heard, &self.roll);
        if cfg!(feature = "control") {
            self.progress(fact, heard);
            self.ledger.note(fact);
            self.loader.note(fact);
        }
        if metrics::HERE {
            self.counts.count(fact);
        }
        if let (true, Some(manager)) = (manager::HERE, &mut self.manager) {
            manager.note(fact);
        }
        if let Fact::Ready { pid, .. } = fact {
            self.record_ready(*pid);
            let several = self.just_ready.is_some();
            self.just_ready = Some(if several { None } else { Some(*pid) });
        } else if let Fact::Scaled { workers } = fact {
            self.launcher.scaled(*workers, self.loader.fixed.descriptors(*workers));
        }
        if let Fact::Exited { .. }
        | Fact::NotStarted { .. }
        | Fact::Scaled { .. }
        | Fact::ReloadEnded { .. }
        | Fact::RenewalEnded { .. }
        | Fact::Stopping { .. } = fact
        {
            self.tidy_store();
        }
    }

    #[inline(never)]
    fn send(&self, pid: Pid, signal: Signal, to: Target) {
        // The group's leader by its own number, too: it may have joined another group.
        let mut sent = signal::send(pid.0, signal.0);
        if to == Target::Group {
            sent = sent.and(signal::send_to_group(pid.0, signal.0));
        }
        match sent {
            // ESRCH: nobody is left in the group, or never was.
            Ok(()) | Err(Errno(libc::ESRCH)) => {}
            Err(errno) => self.log.cannot_signal(pid, signal, errno),
        }
    }

    fn close_listeners(&mut self) {
        if let Some(listeners) = self.listeners.take() {
            guard::unwatch(&self.epoll, &listeners);
            listeners.close();
        }
    }

    /// So that a worker's signal is known for its own before the worker is reaped.
    #[inline(never)]
    fn read_signals(&mut self) {
        match self.signals.read() {
            Ok(received) => received.into_iter().for_each(|one| self.received(one)),
            Err(errno) => self.log.cannot_read_signals(errno),
        }
    }

    #[inline(never)]
    fn received(&mut self, one: Received) {
        match (one.signal, one.sender) {
            (libc::SIGCHLD, _) => self.children_ended = true,
            // Our own doing: SIGPIPE from a write that told us EPIPE as well.
            (_, Some(sender)) if sender == self.own_pid.0 => {}
            (signal, sender) => {
                let group = sender.and_then(process::group_of).map(Pid);
                let sender = Sender { pid: sender.map(Pid), group };
                self.tell(Event::Signalled { signal: Signal(signal), sender });
            }
        }
    }
}

/// The exit status for what is fd3's own failure.
const EXIT_OWN_FAILURE: u8 = 125;

fn now() -> Millis {
    Millis(clock::monotonic_ms())
}
