//! Upgrade in place: this process becomes another fd3 binary, and goes on.
//!
//! Asked -> Tried -> Agreed -> the other one, or everything stays as it was. A child runs the new binary first; it
//! gets the state in sealed memory, and answers whether it understands it. Meanwhile the loop goes on. Then the
//! state is written down anew, and this process executes the new binary, with the descriptors that the state names.
//! Signals stay blocked throughout. Whatever fails before the exec is told, and nothing has changed. A stop ends the
//! try.

mod give;
mod state;
mod take;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, OwnedFd};

use self::give::Order;
use self::state::Handed;
use super::control::Stage;
use super::{EventLoop, now, signal};
use crate::error::{Errno, Error};
use crate::plan::Level;
use crate::protocol::control::{self, Verdict};
use crate::protocol::handover::answer::{self, ANSWER_MAX};
use crate::protocol::handover::{self, HANDOVER_MAX};
use crate::protocol::signal_name;
use crate::settings;
use crate::supervisor::{Course, Event};
use crate::sys::handover::{self as memory, Identity};
use crate::sys::settings::Settings;
use crate::sys::signal::Manners;
use crate::sys::spawn::{self, Child, Report};
use crate::sys::wait::How;
use crate::sys::{environment, exec, fd, stream};
use crate::units::{Asker, Millis, Pid, Signal};

/// How long a new binary may take to answer.
const PATIENCE: Millis = Millis::seconds(10);
/// The only word that a binary gets which is tried. No command, so that a program that is no fd3, or an older one,
/// does nothing but complain.
pub(crate) const ASK: &str = "--answer-handover";
/// Where it finds the state, and where it answers.
const STATE: i32 = 3;
const ANSWER: i32 = 4;
/// Tells the new self where the state is.
const VARIABLE: &str = "FD3_HANDOVER";

/// What is to become of this process.
#[derive(Default)]
pub(super) struct Upgrades {
    /// The file that it was started as.
    program: Option<CString>,
    /// What it was called with, its own name first.
    words: Vec<CString>,
    /// What the order that is just being given names.
    named: Option<CString>,
    trial: Option<Trial>,
    /// Asked for by a signal while one is tried: once more afterwards.
    again: bool,
}

/// A binary that is tried.
struct Trial {
    order: Order,
    pid: Pid,
    answer: OwnedFd,
    until: Millis,
    file: Identity,
    /// Why it could not even be executed.
    failure: Option<Error>,
    /// Its version, once it has said yes.
    agreed: Option<String>,
}

impl Upgrades {
    /// Of a program that was called so.
    pub(super) fn new(words: &[OsString]) -> Upgrades {
        let name = words.first().map(|name| name.as_bytes()).unwrap_or_default();
        let program = memory::own_program(name, environment::variable("PATH"));
        Upgrades { program, words: memory::words(words), ..Upgrades::default() }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.trial.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let trial = self.trial.as_ref()?;
        // One that has agreed waits for the end of the turn.
        Some(if trial.agreed.is_some() { Millis(0) } else { trial.until })
    }
}

/// What another program of this process left to this one.
pub(crate) fn left_to_us() -> Option<Result<Handed, Error>> {
    let told = environment::variable(VARIABLE)?;
    let memory = memory::found(told)?;
    Some(read(&memory))
}

fn read(memory: impl AsFd) -> Result<Handed, Error> {
    let cannot = |why: &dyn core::fmt::Display| Error::refused("take over", "the state", why);
    let bytes = memory::read_sealed(memory, HANDOVER_MAX).map_err(|errno| cannot(&errno))?;
    handover::read(&bytes).map_err(|wrong| cannot(&wrong))
}

/// For a binary that is tried: the answer, given. `understands` judges the words that it would be called with.
pub(crate) fn answer(understands: fn(&[CString]) -> Result<(), Error>) -> Result<u8, Error> {
    let cannot = |errno: Errno| Error::system("answer", ASK, errno);
    let state = fd::take_inherited(STATE).map_err(cannot)?;
    let to = fd::take_inherited(ANSWER).map_err(cannot)?;
    let heard = read(state).and_then(|handed| understands(&handed.words));
    let line = match heard {
        Ok(()) => answer::yes(env!("CARGO_PKG_VERSION")),
        Err(error) => answer::no(&error.to_string()),
    };
    rustix::io::write(to, line.as_bytes()).map_err(|errno| cannot(errno.into()))?;
    Ok(0)
}

impl EventLoop {
    /// How it was called, which is how the other one is to be.
    pub(crate) fn called(&mut self, words: &[OsString]) {
        self.upgrades = Upgrades::new(words);
    }

    /// By name.
    pub(super) fn upgrade_named(&mut self, program: Option<CString>, asker: Option<Asker>) {
        self.upgrades.named = program;
        self.tell(Event::UpgradeAsked { asker });
        self.upgrades.named = None;
    }

    /// Tries the other binary.
    #[inline(never)]
    pub(super) fn upgrade(&mut self, asker: Option<Asker>) {
        if self.upgrades.is_busy() {
            self.upgrades.again = true;
            return;
        }
        let askers = Vec::from_iter(asker);
        let program = self.upgrades.named.take().or_else(|| self.upgrades.program.clone());
        let Some(program) = program else {
            let why = "nothing tells from which file fd3 was started: name one";
            return self.upgrade_failed(&askers, &Error::refused("upgrade", "fd3", why));
        };
        let order = Order { program, begun: now(), askers, again: false };
        match self.try_out(&order) {
            Ok((pid, answer, file)) => {
                let until = now().plus(PATIENCE);
                let (failure, agreed) = (None, None);
                self.log.trying(&order.program, pid);
                self.upgrades.trial =
                    Some(Trial { order, pid, answer, until, file, failure, agreed });
            }
            Err(error) => self.upgrade_failed(&order.askers, &error),
        }
    }

    fn try_out(&mut self, order: &Order) -> Result<(Pid, OwnedFd, Identity), Error> {
        let program = &order.program;
        exec::find(program, None, None)?;
        let file = memory::identity(program)
            .map_err(|errno| Error::system("look at", program.to_string_lossy(), errno))?;
        let cannot = |errno: Errno| Error::system("try", program.to_string_lossy(), errno);
        let lowest = self.loader.fixed.reserved();
        let (state, _) = self.written_down(order)?;
        let (read, write) = fd::pipe().map_err(cannot)?;
        let write = fd::above(write, lowest).map_err(cannot)?;
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)
            .map_err(|errno| cannot(errno.into()))?;
        let child = Child {
            program,
            arguments: &[c"fd3".to_owned(), CString::new(ASK).unwrap_or_default()],
            inherited: &own_environment(),
            added: &[],
            own_pid: &[],
            descriptors: &[state.as_fd(), write.as_fd()],
            stdin: None,
            parent_death: Some(libc::SIGKILL),
            descriptor_limit: None,
            settings: &Settings::default(),
            manners: Manners::CLEAN,
            first: None,
            instead: None,
        };
        let pid = spawn::fork(&child, self.launcher.reports()).map_err(cannot)?;
        Ok((Pid(pid), read, file))
    }

    /// The state in sealed memory, and the descriptors that it names.
    fn written_down(&mut self, order: &Order) -> Result<(OwnedFd, Vec<i32>), Error> {
        let words = core::mem::take(&mut self.upgrades.words);
        let given = self.give(order, &words);
        self.upgrades.words = words;
        let (bytes, numbers) = given?;
        let lowest = self.loader.fixed.reserved();
        let memory = memory::sealed(&bytes, lowest)
            .map_err(|errno| Error::system("hand over", "the state (memfd_create)", errno))?;
        Ok((memory, numbers))
    }

    /// A child that never became what it was to be, and is no worker.
    pub(super) fn reported(&mut self, report: Report) {
        if let Some(trial) = &mut self.upgrades.trial
            && trial.pid.0 == report.pid
        {
            trial.failure = Some(settings::failure(report, &trial.order.program, None));
        }
    }

    /// A child has ended that is no worker: perhaps the one that is tried.
    #[inline(never)]
    pub(super) fn trial_ended(&mut self, pid: Pid, how: How) {
        if self.upgrades.trial.as_ref().is_none_or(|trial| trial.pid != pid) {
            return;
        }
        self.read_reports();
        let Some(trial) = &mut self.upgrades.trial else { return };
        let mut room = [0; ANSWER_MAX + 1];
        let count = stream::receive(&trial.answer, &mut room).unwrap_or(0);
        let heard = answer::heard(room.get(..count).unwrap_or_default());
        let what = trial.order.program.to_string_lossy();
        let refused = |why: &dyn core::fmt::Display| Error::refused("become", &what, why);
        let error = match (trial.failure.take(), heard, how) {
            (Some(error), ..) => error,
            (None, Some(Ok(version)), How::Exited(0)) => {
                trial.agreed = Some(version);
                return;
            }
            (None, Some(Err(why)), _) => refused(&format_args!("it refuses: {why}")),
            (None, _, How::Exited(code)) => {
                refused(&format_args!("it does not answer as fd3 does (exited with status {code})"))
            }
            (None, _, How::Killed(by)) => {
                let by = signal_name::name(Signal(by));
                refused(&format_args!("it does not answer as fd3 does (killed by {by})"))
            }
        };
        if let Some(trial) = self.upgrades.trial.take() {
            self.upgrade_failed(&trial.order.askers, &error);
        }
    }

    /// At the end of a turn: nothing else is half done.
    #[inline(never)]
    pub(super) fn go_on_upgrading(&mut self) {
        self.go_on_trying();
        if !self.upgrades.is_busy() && core::mem::take(&mut self.upgrades.again) {
            self.tell(Event::UpgradeAsked { asker: None });
        }
    }

    fn go_on_trying(&mut self) {
        let Some(trial) = &self.upgrades.trial else { return };
        if trial.agreed.is_some() {
            return self.become_other();
        }
        if trial.until <= now() {
            let what = trial.order.program.to_string_lossy();
            let why = format_args!("it does not answer within {PATIENCE}");
            let error = Error::refused("become", what, why);
            if let Some(trial) = self.end_trial() {
                self.upgrade_failed(&trial.order.askers, &error);
            }
        }
    }

    /// Its end is looked after like an orphan's.
    fn end_trial(&mut self) -> Option<Trial> {
        let trial = self.upgrades.trial.take()?;
        if trial.agreed.is_none() {
            let _ = signal::send_to_group(trial.pid.0, libc::SIGKILL);
        }
        Some(trial)
    }

    /// fd3 stops.
    pub(super) fn end_upgrade(&mut self) {
        self.upgrades.again = false;
        if let Some(trial) = self.end_trial() {
            let error = Error::refused("upgrade", "fd3", "it stops");
            self.upgrade_failed(&trial.order.askers, &error);
        }
    }

    /// The point of no return is the exec itself.
    fn become_other(&mut self) {
        // Without signalfd(2) what came is in a pipe by now, and not the kernel's to keep.
        self.read_signals();
        let Some(mut trial) = self.upgrades.trial.take() else { return };
        trial.order.again = self.upgrades.again;
        let error = self.execute(&trial);
        self.upgrade_failed(&trial.order.askers, &error);
    }

    /// Returns only if it fails.
    fn execute(&mut self, trial: &Trial) -> Error {
        let program = &trial.order.program;
        let what = program.to_string_lossy();
        if self.supervisor.overview().course == Course::Stopping {
            return Error::refused("upgrade", "fd3", "it stops");
        }
        if memory::identity(program) != Ok(trial.file) {
            return Error::refused("become", what, "its file was changed meanwhile");
        }
        let (state, mut numbers) = match self.written_down(&trial.order) {
            Ok(written) => written,
            Err(error) => return error,
        };
        self.log.becoming(program, trial.agreed.as_deref().unwrap_or_default());
        let mut environment = own_environment();
        let told = format!("{VARIABLE}={}", memory::told(&state));
        environment.extend(CString::new(told).ok());
        numbers.push(fd::number(&state));
        let words = &self.upgrades.words;
        let errno = memory::become_successor(program, words, &environment, &numbers);
        exec::error(program, errno)
    }

    /// Nothing has changed.
    #[inline(never)]
    fn upgrade_failed(&mut self, askers: &[Asker], error: &Error) {
        self.log.not_upgraded(error);
        self.counts.upgrades[1] += 1;
        let line = format_args!("fd3 goes on as it was: {error}");
        self.tell_askers(askers, &control::answer(Verdict::Failed, &line));
    }

    /// The first thing that the new one says.
    #[inline(never)]
    fn upgraded(&mut self, from: &str, begun: Millis, left: Millis, askers: &[Asker]) {
        let (version, now) = (env!("CARGO_PKG_VERSION"), now());
        let (after, gap) = (now.since(begun), now.since(left));
        self.log.write_at(Level::Notice, "upgraded", &|line| {
            line.text("from", from).text("to", version).span("after", after).span("gap", gap);
        });
        self.counts.upgrades[0] += 1;
        let line = format_args!("upgraded version={version} after={after} gap={gap}");
        self.tell_askers(askers, &control::answer(Verdict::Ok, &line));
    }

    fn tell_askers(&mut self, askers: &[Asker], line: &str) {
        let Some(control) = &mut self.control else { return };
        for asker in askers {
            let Ok(number) = u32::try_from(asker.0) else { continue };
            let client = control.client(number).map(|client| &client.stage);
            if let Some(Stage::Waiting(control::Order::Upgrade, _)) = client {
                control.answer(&self.epoll, number, line);
            }
        }
    }
}

/// What was handed to fd3 itself, without what one self told the next.
fn own_environment() -> Vec<CString> {
    let mut all = Vec::new();
    for variable in environment::variables() {
        if !is_ours(variable) {
            all.push(variable.to_owned());
        }
    }
    all
}

fn is_ours(variable: &CStr) -> bool {
    variable.to_bytes().strip_prefix(VARIABLE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}
