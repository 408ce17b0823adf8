//! Makes a worker of a slot: finds COMMAND, makes its environment and its notify socket, forks.

use std::ffi::CString;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Rlimit;

use super::listeners::Listener;
use crate::error::Error;
use crate::plan::Launch;
use crate::protocol::activation::{Told, Worker, may_pass_on, variables, wants_nonblocking};
use crate::sys::environment;
use crate::sys::exec;
use crate::sys::notify::NotifySocket;
use crate::sys::socket;
use crate::sys::spawn::{self, Child, Report, Reports, Step};
use crate::units::{Generation, Pid, SlotId};

pub(super) struct Launcher {
    launch: Launch,
    /// What fd3 passes on of its own environment.
    environment: Vec<CString>,
    path: Option<&'static [u8]>,
    /// For fd 0; `None` leaves what is there.
    stdin: Option<OwnedFd>,
    descriptor_limit: Option<Rlimit>,
    reports: Reports,
    own_pid: Pid,
    /// Workers started so far.
    serial: u64,
    /// COMMAND's file, as it was last found.
    program: CString,
}

impl Launcher {
    /// Finds COMMAND for the first time: an fd3 that cannot start anything does not start.
    #[inline(never)]
    pub(super) fn new(
        launch: Launch,
        stdin: Option<OwnedFd>,
        descriptor_limit: Option<Rlimit>,
        reports: Reports,
        own_pid: Pid,
    ) -> Result<Launcher, Error> {
        let path = environment::variable("PATH");
        let environment = environment::kept(may_pass_on);
        let program = find(&launch, path)?;
        let serial = 0;
        Ok(Launcher {
            launch,
            environment,
            path,
            stdin,
            descriptor_limit,
            reports,
            own_pid,
            serial,
            program,
        })
    }

    #[inline(never)]
    pub(super) fn start(
        &mut self,
        slot: SlotId,
        generation: Generation,
        listeners: &[Listener],
    ) -> Result<(Pid, NotifySocket), Error> {
        // The first one follows right after `new`.
        if self.serial > 0 {
            self.program = find(&self.launch, self.path)?;
        }
        let socket =
            NotifySocket::new().map_err(|errno| Error::system("make", "a notify socket", errno))?;
        let worker = Worker { slot, generation, serial: self.serial + 1, parent: self.own_pid };
        let told: Vec<Told<'_>> = listeners
            .iter()
            .map(|listener| Told { name: &listener.name, address: &listener.address })
            .collect();
        let mut variables = variables(&self.launch.protocols, &told, worker);
        variables.set.push(format!("NOTIFY_SOCKET={}", socket.address()));
        // None has a NUL inside: an address or a name that has one is refused on the command line.
        let added: Vec<CString> =
            variables.set.into_iter().filter_map(|variable| CString::new(variable).ok()).collect();
        let descriptors: Vec<BorrowedFd<'_>> =
            listeners.iter().map(|listener| listener.fd.as_fd()).collect();
        if wants_nonblocking(&self.launch.protocols) {
            // Each time: a former worker may have undone it, and a repaired listener is a new one.
            for fd in &descriptors {
                socket::set_nonblocking(*fd)
                    .map_err(|errno| Error::system("prepare", "a listener", errno))?;
            }
        }
        let child = Child {
            program: &self.program,
            arguments: &self.launch.command,
            inherited: &self.environment,
            added: &added,
            own_pid: &variables.own_pid,
            descriptors: &descriptors,
            stdin: self.stdin.as_ref().map(AsFd::as_fd),
            parent_death: self.launch.parent_death.map(|signal| signal.0),
            descriptor_limit: self.descriptor_limit,
        };
        let pid = spawn::fork(&child, &self.reports)
            .map_err(|errno| Error::system("fork", "a worker", errno))?;
        self.serial += 1;
        Ok((Pid(pid), socket))
    }

    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// What a child's report means.
    pub(super) fn failure(&self, report: Report) -> Error {
        match report.step {
            Step::Prepare => Error::system("prepare", "a worker", report.errno),
            Step::Execute => exec::error(&self.program, report.errno),
        }
    }
}

fn find(launch: &Launch, path: Option<&[u8]>) -> Result<CString, Error> {
    match launch.command.first() {
        Some(command) => exec::find(command, path),
        None => Err(Error::usage("COMMAND", "missing")),
    }
}
