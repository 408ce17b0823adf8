//! Makes a worker of a slot: finds COMMAND, makes its environment and its notify socket, forks. Each
//! generation is started from what was loaded for it, an old one's successor as well as a new one.

use alloc::rc::Rc;
use std::ffi::{CStr, CString};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::Rlimit;

use super::listeners::Listener;
use super::store::Stored;
use crate::error::{Errno, Error};
use crate::pid_map::PidMap;
use crate::plan::{Launch, Stdin};
use crate::protocol::activation::{
    FIRST_FD, Protocol, Told, Worker, may_pass_on, variables, wants_nonblocking,
};
use crate::settings::{self, Prepared};
use crate::sys::exec;
use crate::sys::fd;
use crate::sys::notify::NotifySocket;
use crate::sys::process;
use crate::sys::signal::Manners;
use crate::sys::socket;
use crate::sys::spawn::{self, Child, Report, Reports};
use crate::units::{Generation, Pid, SlotId};

pub(super) struct Launcher {
    starts: Starts,
    /// For fd 0, where a worker does not inherit it.
    empty_input: Option<OwnedFd>,
    /// Only one worker can be given fd3's own stdin.
    workers: u32,
    /// How many descriptors a worker may leave with us.
    fd_store: u32,
    descriptor_limit: Option<Rlimit>,
    reports: Reports,
    own_pid: Pid,
    /// Workers started so far.
    serial: u64,
    /// Of each worker, for as long as it may report that it never became COMMAND: by then its generation may
    /// be forgotten.
    origins: PidMap<Origin>,
}

/// What generations are started from, the newest last.
#[derive(Default)]
struct Starts(Vec<Start>);

/// A new worker.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) user: u32,
    pub(super) socket: NotifySocket,
}

/// What was to be executed, and where.
struct Origin {
    program: Rc<CStr>,
    folder: Option<Rc<CStr>>,
}

/// What the workers of one generation are started from.
struct Start {
    generation: Generation,
    launch: Launch,
    prepared: Prepared,
    folder: Option<Rc<CStr>>,
    /// COMMAND's file, as it was last found.
    program: Rc<CStr>,
    /// It was found just now: the first worker need not look again.
    is_fresh: bool,
}

impl Launcher {
    pub(super) fn new(
        workers: u32,
        fd_store: u32,
        descriptor_limit: Option<Rlimit>,
        reports: Reports,
        own_pid: Pid,
    ) -> Launcher {
        Launcher {
            starts: Starts::default(),
            empty_input: None,
            workers,
            fd_store,
            descriptor_limit,
            reports,
            own_pid,
            serial: 0,
            origins: PidMap::default(),
        }
    }

    /// From now on `generation` can be started, and is the newest. Finds COMMAND: what cannot be started
    /// is not loaded.
    #[inline(never)]
    pub(super) fn load(&mut self, generation: Generation, launch: Launch) -> Result<(), Error> {
        let start = Start::new(generation, launch)?;
        if start.wants_empty_input(self.workers) {
            make_empty_input(&mut self.empty_input)?;
        }
        self.starts.add(start);
        Ok(())
    }

    /// There may be so many workers at a time now.
    pub(super) fn scaled(&mut self, workers: u32, descriptors: u64) {
        self.workers = self.workers.max(workers);
        let before = process::raise_descriptor_limit(descriptors);
        // What workers get back is the first one.
        self.descriptor_limit = self.descriptor_limit.or(before);
    }

    /// Nobody of this generation will be started any more.
    pub(super) fn forget(&mut self, generation: Generation) {
        self.starts.remove(generation);
    }

    #[inline(never)]
    pub(super) fn start(
        &mut self,
        slot: SlotId,
        generation: Generation,
        listeners: &[&Listener],
        stored: &[&Stored],
    ) -> Result<Started, Error> {
        let Some(start) = self.starts.of(generation) else {
            return Err(Error::refused("start", "a worker", "nothing was loaded"));
        };
        start.find_again()?;
        let socket =
            NotifySocket::new().map_err(|errno| Error::system("make", "a notify socket", errno))?;
        let worker = Worker { slot, generation, serial: self.serial + 1, parent: self.own_pid };
        let (mut told, mut names) = (Vec::new(), Vec::new());
        for listener in listeners {
            told.push(Told { name: &listener.name, address: &listener.address });
        }
        for one in stored {
            names.push(one.name.as_str());
        }
        let mut variables = variables(&start.launch.protocols, &told, &names, worker);
        variables.set("NOTIFY_SOCKET", socket.address());
        if self.fd_store > 0 {
            variables.set("FDSTORE", self.fd_store);
        }
        if let Some(limit) = start.launch.watchdog {
            variables.set("WATCHDOG_USEC", limit.0.saturating_mul(1_000));
            variables.own_pid.push("WATCHDOG_PID");
        }
        let added = c_strings(variables.set);
        let descriptors = descriptors(listeners, stored, &start.launch.protocols)
            .map_err(|errno| Error::system("prepare", "a descriptor", errno))?;
        let empty = start.wants_empty_input(self.workers);
        if empty {
            make_empty_input(&mut self.empty_input)?;
        }
        let child = Child {
            program: &start.program,
            arguments: &start.launch.command,
            inherited: &start.prepared.environment,
            added: &added,
            own_pid: &variables.own_pid,
            descriptors: &descriptors,
            stdin: self.empty_input.as_ref().filter(|_| empty).map(AsFd::as_fd),
            parent_death: start.launch.parent_death.map(|signal| signal.0),
            descriptor_limit: self.descriptor_limit,
            settings: &start.prepared.settings,
            manners: Manners::CLEAN,
            first: None,
            instead: None,
        };
        let pid = spawn::fork(&child, &self.reports)
            .map_err(|errno| Error::system("fork", "a worker", errno))?;
        self.serial += 1;
        let origin = Origin { program: start.program.clone(), folder: start.folder.clone() };
        self.origins.insert(Pid(pid), origin);
        Ok(Started { pid: Pid(pid), user: start.prepared.user, socket })
    }

    /// What a generation is started from, as text.
    pub(super) fn command(&self, generation: Generation) -> Vec<String> {
        let start = self.starts.0.iter().find(|start| start.generation == generation);
        let mut words = Vec::new();
        for word in start.map_or(&[][..], |start| &start.launch.command) {
            words.push(word.to_string_lossy().into_owned());
        }
        words
    }

    /// Workers started so far.
    pub(super) fn starts(&self) -> u64 {
        self.serial
    }

    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// What a child's report means. Nothing, if it is none of a worker's.
    pub(super) fn failure(&self, report: Report) -> Option<Error> {
        let origin = self.origins.get(Pid(report.pid))?;
        Some(settings::failure(report, &origin.program, origin.folder.as_deref()))
    }

    /// A worker has ended: all its reports are read.
    pub(super) fn ended(&mut self, pid: Pid) {
        self.origins.remove(pid);
    }
}

/// Those that a worker gets, in this order.
fn descriptors<'a>(
    listeners: &[&'a Listener],
    stored: &[&'a Stored],
    protocols: &[Protocol],
) -> Result<Vec<BorrowedFd<'a>>, Errno> {
    let nonblocking = wants_nonblocking(protocols);
    let mut all = Vec::new();
    for listener in listeners {
        // Each time: a former worker may have undone it, and a repaired listener is a new one.
        if nonblocking {
            socket::set_nonblocking(listener.fd.as_fd())?;
        }
        all.push(listener.fd.as_fd());
    }
    for one in stored {
        all.push(one.fd.as_fd());
    }
    for fd in &all {
        // It would be lost to another one's number in the child.
        if fd.as_raw_fd() < FIRST_FD + all.len() as i32 {
            return Err(Errno(libc::EMFILE));
        }
    }
    Ok(all)
}

/// None has a NUL inside: an address or a name that has one is refused on the command line.
fn c_strings(variables: Vec<String>) -> Vec<CString> {
    let mut all = Vec::new();
    for variable in variables {
        if let Ok(variable) = CString::new(variable) {
            all.push(variable);
        }
    }
    all
}

/// For fd 0 of workers that do not inherit it; once.
fn make_empty_input(input: &mut Option<OwnedFd>) -> Result<(), Error> {
    if input.is_none() {
        let made = fd::empty_input().map_err(|errno| Error::system("make", "stdin", errno))?;
        *input = Some(made);
    }
    Ok(())
}

impl Starts {
    fn add(&mut self, start: Start) {
        self.take(start.generation);
        self.0.push(start);
    }

    /// But never the last one: whatever comes, workers can be started.
    fn remove(&mut self, generation: Generation) {
        if self.0.len() > 1 {
            self.take(generation);
        }
    }

    fn take(&mut self, generation: Generation) {
        if let Some(place) = self.0.iter().position(|known| known.generation == generation) {
            drop(self.0.remove(place));
        }
    }

    /// Of an unknown generation: the newest.
    fn of(&mut self, generation: Generation) -> Option<&mut Start> {
        let known = self.0.iter().position(|start| start.generation == generation);
        let place = known.or(self.0.len().checked_sub(1))?;
        self.0.get_mut(place)
    }
}

impl Start {
    fn new(generation: Generation, mut launch: Launch) -> Result<Start, Error> {
        let prepared = settings::prepare(core::mem::take(&mut launch.settings), may_pass_on)?;
        let folder: Option<Rc<CStr>> = prepared.settings.folder.as_deref().map(Into::into);
        let program = find(&launch, &prepared)?;
        Ok(Start { generation, launch, prepared, folder, program, is_fresh: true })
    }

    /// Before each worker: what an upgrade of the system replaced is found where it is now.
    fn find_again(&mut self) -> Result<(), Error> {
        if !core::mem::take(&mut self.is_fresh) {
            self.program = find(&self.launch, &self.prepared)?;
        }
        Ok(())
    }

    fn wants_empty_input(&self, workers: u32) -> bool {
        match self.launch.stdin {
            Some(Stdin::Inherit) => false,
            Some(Stdin::Null) => true,
            None => workers > 1,
        }
    }
}

fn find(launch: &Launch, prepared: &Prepared) -> Result<Rc<CStr>, Error> {
    let (path, folder) = (prepared.path.as_deref(), prepared.settings.folder.as_deref());
    match launch.command.first() {
        Some(command) => Ok(exec::find(command, path, folder)?.into()),
        None => Err(Error::usage("COMMAND", "missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Errno, Kind};
    use crate::plan::Settings;
    use crate::protocol::activation::Protocol;
    use crate::protocol::env_file;
    use crate::sys::spawn::Step;

    const ONE: Generation = Generation(1);
    const TWO: Generation = Generation(2);
    const THREE: Generation = Generation(3);

    fn launch(command: &str, variables: &str) -> Launch {
        let mut settings = Settings::default();
        settings.environment.add(variables.as_bytes()).expect("they are variables");
        Launch {
            command: vec![CString::new(command).expect("no NUL")],
            settings,
            protocols: vec![Protocol::Listen],
            stdin: None,
            watchdog: None,
            parent_death: None,
        }
    }

    fn launcher() -> Launcher {
        Launcher::new(1, 0, None, Reports::new(3).expect("there are pipes"), Pid(1))
    }

    fn program(launcher: &mut Launcher, generation: Generation) -> Option<String> {
        let start = launcher.starts.of(generation)?;
        Some(start.program.to_string_lossy().into_owned())
    }

    #[test]
    fn each_generation_has_its_own_until_it_is_forgotten() {
        let mut launcher = launcher();
        let is = |generation, expected: &str, launcher: &mut Launcher| {
            assert_eq!(program(launcher, generation).as_deref(), Some(expected), "{generation}");
        };
        assert_eq!(program(&mut launcher, ONE), None);
        launcher.load(ONE, launch("sh", "PATH=/nope:/bin")).expect("there is a shell");
        launcher.load(TWO, launch("/bin/cat", "")).expect("there is a cat");
        for (generation, expected) in [(ONE, "/bin/sh"), (TWO, "/bin/cat"), (THREE, "/bin/cat")] {
            is(generation, expected, &mut launcher);
        }
        // What cannot be loaded changes nothing.
        for (command, kind) in [
            ("/nope", Kind::NotFound),
            ("/etc/passwd", Kind::NotExecutable),
            ("/", Kind::NotExecutable),
        ] {
            let error = launcher.load(TWO, launch(command, "")).expect_err("it cannot be executed");
            assert_eq!(error.kind(), kind, "{command}");
            is(TWO, "/bin/cat", &mut launcher);
        }
        // A rollback, and another attempt.
        launcher.forget(TWO);
        is(TWO, "/bin/sh", &mut launcher);
        launcher.load(TWO, launch("/bin/ls", "")).expect("there is an ls");
        launcher.load(TWO, launch("/bin/cat", "")).expect("there is a cat");
        launcher.forget(ONE);
        is(ONE, "/bin/cat", &mut launcher);
        launcher.forget(THREE);
        launcher.forget(TWO);
        is(TWO, "/bin/cat", &mut launcher);
    }

    #[test]
    fn a_report_is_of_its_workers_program_even_when_that_is_forgotten() {
        let mut launcher = launcher();
        let report = |step| Report { pid: 7, step, which: 0, errno: Errno(libc::ETXTBSY) };
        launcher.load(ONE, launch("/bin/sh", "")).expect("there is a shell");
        launcher.load(TWO, launch("/bin/cat", "")).expect("there is a cat");
        let cat = launcher.starts.of(TWO).expect("it is loaded").program.clone();
        launcher.origins.insert(Pid(7), Origin { program: cat, folder: Some(c"/srv".into()) });
        launcher.forget(TWO);
        for (step, what) in [
            (Step::Execute, "execute /bin/cat"),
            (Step::Prepare, "prepare a worker"),
            (Step::Folder, "change to /srv"),
        ] {
            if step == Step::Folder && !cfg!(feature = "settings") {
                continue;
            }
            let said = launcher.failure(report(step)).map(|error| error.to_string());
            assert_eq!(said, Some(format!("cannot {what}: text file busy")));
        }
        launcher.ended(Pid(7));
        assert!(launcher.failure(report(Step::Execute)).is_none());
    }

    #[test]
    fn given_variables_win_over_fd3s_own_and_never_over_what_it_tells() {
        let given = "PATH=/bin\nNEW=\nLISTEN_FDS=9\nNOTIFY_SOCKET=x\nFD3_SLOT=9\nZ=1";
        let start = Start::new(ONE, launch("sh", given)).expect("there is a shell");
        let all: Vec<&[u8]> = start.prepared.environment.iter().map(|one| one.to_bytes()).collect();
        let count = |name: &[u8]| all.iter().filter(|one| env_file::name(one) == name).count();
        assert!(std::env::var_os("PATH").is_some_and(|own| own != "/bin"));
        for variable in [&b"PATH=/bin"[..], b"NEW=", b"Z=1"] {
            assert!(all.contains(&variable), "{}", variable.escape_ascii());
            assert_eq!(count(env_file::name(variable)), 1, "{}", variable.escape_ascii());
        }
        for name in [&b"LISTEN_FDS"[..], b"NOTIFY_SOCKET", b"FD3_SLOT"] {
            assert_eq!(count(name), 0, "{}", name.escape_ascii());
        }
        let own = std::env::vars_os().filter(|(name, _)| name != "PATH").count();
        assert!(all.len() >= 3 && all.len() <= own + 3, "{} and {own}", all.len());
    }
}
