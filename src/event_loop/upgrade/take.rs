//! A service made of what another fd3 left to this one. May fail only where the kernel does: what was left was tried by
//! a child before.

use alloc::rc::Rc;
use std::ffi::CStr;

use rustix::process::Rlimit;

use super::super::children::Heard;
use super::super::control::{self, Stage as ControlStage};
use super::super::door::{self, Door};
use super::super::launch::{Launcher, Origin, Start};
use super::super::listeners::{Listener, Listeners};
use super::super::load::{Anew, Fixed, Loader};
use super::super::log::Log;
use super::super::metrics::{self, Stage as MetricsStage};
use super::super::records::{Records, Status};
use super::super::store::{Store, Stored};
use super::super::{EventLoop, Token, process};
use super::Upgrades;
use super::state::{self, Handed};
use crate::error::{Errno, Error};
use crate::pid_map::PidMap;
use crate::plan::{Control, Level, LogFormat, LogPlan, Workers};
use crate::protocol::address::{Address, Listen, Options};
use crate::settings::Prepared;
use crate::supervisor::Actions;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::notify::{NotifySocket, Sent};
use crate::sys::record::Record;
use crate::sys::signal::SignalFd;
use crate::sys::spawn::Reports;
use crate::sys::{fd, socket};
use crate::units::{Pid, SlotId};
use rustix::fd::{AsFd, OwnedFd};

impl EventLoop {
    /// A service that goes on where another one was.
    #[inline(never)]
    pub(crate) fn take_over(
        handed: Handed,
        anew: Box<dyn Anew>,
    ) -> Result<&'static mut EventLoop, Error> {
        let cannot = |errno: Errno| Error::system("take over", "the former fd3's state", errno);
        process::adopt_orphans();
        let own_pid = Pid(process::own_pid());
        let (fixed, plan) = fixed(handed.fixed);
        let (reserved, all) = (fixed.reserved(), listeners(handed.listeners, &fixed)?);
        let epoll = Epoll::new().map_err(cannot)?;
        let signals = SignalFd::new().map_err(cannot)?;
        let launcher = launcher(handed.launcher, fixed.fd_store, own_pid).map_err(cannot)?;
        let commands = handed.commands;
        let service = Box::leak(Box::new(EventLoop {
            supervisor: handed.supervisor,
            actions: Actions::new(),
            epoll,
            signals,
            launcher,
            loader: Loader { anew, fixed, commands },
            listeners: None,
            notify: PidMap::default(),
            control: None,
            parting: Vec::new(),
            metrics: None,
            counts: handed.counts,
            ledger: handed.ledger,
            store: Store::default(),
            log: Log::new(LogPlan { level: handed.level, ..plan }),
            roll: handed.roll,
            records: records(handed.records).map_err(cannot)?,
            own_pid,
            // Their signals have melted into one, or were told to the former one.
            children_ended: true,
            watched_for: Interest::empty(),
            demanded: false,
            just_ready: None,
            upgrades: Upgrades {
                program: Some(handed.program),
                words: handed.words,
                again: handed.again,
                ..Upgrades::default()
            },
            finished: None,
        }));
        service.log.lost.set(handed.lost);
        for start in handed.starts {
            service.launcher.starts.0.push(whole_start(start));
        }
        service.take_workers(handed.workers).map_err(cannot)?;
        service.take_store(handed.store).map_err(cannot)?;
        let (control, metrics) = (handed.control, handed.metrics);
        service.take_doors(control, metrics, reserved).map_err(cannot)?;
        let mut all = Listeners::of(all);
        service.watch_all(&mut all).map_err(cannot)?;
        service.listeners = Some(all);
        service.upgraded(&handed.version, handed.begun, handed.left, &handed.askers);
        Ok(service)
    }

    fn take_workers(&mut self, workers: Vec<(Pid, state::Worker)>) -> Result<(), Errno> {
        for (pid, worker) in workers {
            let socket = NotifySocket::of(fd::take_inherited(worker.socket)?)?;
            self.epoll.add(socket.fd(), Token::Notify(pid).bits(), Interest::IN)?;
            let heard = Heard {
                slot: SlotId(worker.slot),
                socket,
                user: worker.user,
                errno: Errno(worker.errno),
                reloading: worker.reloading,
                status: worker.status,
                told_full: worker.told_full,
            };
            self.notify.insert(pid, heard);
            if let Some((program, folder)) = worker.origin {
                self.launcher.origins.insert(pid, Origin { program, folder });
            }
        }
        Ok(())
    }

    fn take_store(&mut self, store: Vec<state::Stored>) -> Result<(), Errno> {
        for state::Stored { slot, name, keep, fd } in store {
            let fd = Sent::of(fd::take_inherited(fd)?);
            self.store.add(&self.epoll, Stored { slot, name, keep, fd });
        }
        Ok(())
    }

    fn take_doors(
        &mut self,
        control: Option<door::Handed<ControlStage>>,
        metrics: Option<door::Handed<MetricsStage>>,
        lowest: i32,
    ) -> Result<(), Errno> {
        let epoll = &self.epoll;
        if let Some(handed) = control {
            let interest = |stage: &ControlStage| match stage {
                ControlStage::Asking(_) => Interest::IN,
                ControlStage::Waiting(..) => Interest::empty(),
                ControlStage::Listening(_) => Interest::OUT,
            };
            self.control = Some(Door::take_over(handed, control::TOKENS, lowest, epoll, interest)?);
        }
        if let Some(handed) = metrics {
            let interest = |stage: &MetricsStage| match stage {
                MetricsStage::Asking(_) => Interest::IN,
                MetricsStage::Answered(_) => Interest::OUT,
            };
            self.metrics = Some(Door::take_over(handed, metrics::TOKENS, lowest, epoll, interest)?);
        }
        Ok(())
    }
}

/// And how it logs.
fn fixed(handed: state::Fixed) -> (Fixed, LogPlan) {
    let log = handed.log.unwrap_or(LogPlan { format: LogFormat::Text, level: Level::Notice });
    let mut listen = Vec::new();
    for one in handed.listen {
        listen.push(Rc::new(one));
    }
    let fixed = Fixed {
        listen,
        workers: handed.workers.unwrap_or(Workers::Auto),
        control: handed.control.unwrap_or(Control::Automatic),
        metrics: handed.metrics,
        fd_store: handed.fd_store,
        log,
        files: handed.files,
    };
    (fixed, log)
}

fn listeners(handed: Vec<state::Listener>, fixed: &Fixed) -> Result<Vec<Listener>, Error> {
    let mut all = Vec::new();
    for (one, listen) in handed.into_iter().zip(&fixed.listen) {
        let cannot = |errno: Errno| Error::system("take over", &listen.address, errno);
        let fd = fd::take_inherited(one.fd).map_err(cannot)?;
        let listen = match &listen.address {
            Address::Inherited(_) => Rc::new(adopted(listen, &fd)),
            Address::Tcp { .. }
            | Address::Udp { .. }
            | Address::Unix { .. }
            | Address::Vsock { .. } => listen.clone(),
        };
        let mut listener = Listener::from_parts(fd, one.name, one.address, listen, one.path)?;
        listener.backlog = one.backlog;
        (listener.told, listener.shrunk) = (one.told, one.shrunk);
        listener.let_go = one.let_go;
        // A placeholder is of another kind.
        listener.stream = listener.stream || one.let_go && one.backlog > 0;
        all.push(listener);
    }
    Ok(all)
}

/// As `fd:` is understood: with what the socket itself says.
fn adopted(listen: &Listen, fd: &OwnedFd) -> Listen {
    let v6only = socket::inspect(fd.as_fd()).is_ok_and(|seen| seen.v6only);
    let options = Options { v6only, backlog: listen.options.backlog, ..Options::default() };
    Listen { text: String::new(), address: listen.address.clone(), options }
}

fn launcher(handed: state::Launcher, fd_store: u32, own_pid: Pid) -> Result<Launcher, Errno> {
    let (read, write) = handed.reports;
    let reports = Reports::of(fd::take_inherited(read)?, fd::take_inherited(write)?);
    let limit = handed.limit.map(|(current, maximum)| Rlimit { current, maximum });
    let mut launcher = Launcher::new(handed.workers, fd_store, limit, reports, own_pid);
    launcher.serial = handed.serial;
    Ok(launcher)
}

fn whole_start(start: state::Start) -> Start {
    let state::Start { generation, launch, settings, environment, path, user, program } = start;
    let folder: Option<Rc<CStr>> = settings.folder.as_deref().map(Into::into);
    let prepared = Prepared { settings, environment, path, user };
    Start { generation, launch, prepared, folder, program: program.into(), is_fresh: false }
}

fn records(handed: state::Records) -> Result<Records, Errno> {
    let mut records = Records::default();
    if let Some(state::PidFile { path, fd, is_made }) = handed.pid {
        records.pid = Some(Record::of_parts(path, fd::take_inherited(fd)?, is_made));
    }
    if let Some(state::StatusFile { path, written, failed }) = handed.status {
        let written = match written {
            Some((fd, text)) => Some((fd::take_inherited(fd)?, text)),
            None => None,
        };
        records.status = Some(Status { path, written, failed });
    }
    Ok(records)
}
