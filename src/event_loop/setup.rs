//! Setup may fail, service may not: everything that can go wrong at the start goes wrong here, before
//! any worker exists. What an error leaves behind is nothing.

use super::guard::watch;
use super::launch::Launcher;
use super::listeners::{Inherited, Listeners};
use super::load::{Anew, Fixed, Loader};
use super::log::Log;
use super::token::Token;
use super::{EventLoop, cpus, process};
use crate::error::{Errno, Error};
use crate::pid_map::PidMap;
use crate::plan::{Plan, WORKERS_MAX, Workers};
use crate::protocol::activation::{self, FIRST_FD};
use crate::protocol::address::{Address, Inherit};
use crate::supervisor::{Actions, Supervisor};
use crate::sys::environment;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::fd;
use crate::sys::signal::SignalFd;
use crate::sys::spawn::Reports;
use crate::units::{Generation, Pid};

/// Descriptors of fd3's own, besides those for listeners and workers, with some to spare.
const OWN_DESCRIPTORS: u64 = 64;
/// What the supervisor calls the workers that it begins with.
const FIRST_GENERATION: Generation = Generation(1);

impl EventLoop {
    /// A service that is ready to run: every listener is bound, COMMAND is found, nothing is started.
    /// `anew` makes the plan of each reload.
    #[inline(never)]
    pub(crate) fn set_up(plan: Plan, anew: Anew) -> Result<EventLoop, Error> {
        let inherited = inherited();
        let adopted = adopted(&plan, &inherited)?;
        fd::close_inherited(&adopted);
        let own_pid = Pid(process::own_pid());
        process::adopt_orphans();
        let workers = count(plan.workers);
        let reserved = FIRST_FD + plan.listen.len() as i32;
        let limit = process::raise_descriptor_limit(descriptors(plan.listen.len(), workers));
        let reports = Reports::new(reserved).map_err(cannot("a pipe"))?;
        let mut launcher = Launcher::new(workers, limit, reports, own_pid);
        launcher.load(FIRST_GENERATION, plan.launch)?;
        let epoll = Epoll::new().map_err(cannot("an epoll"))?;
        let signals = SignalFd::new().map_err(cannot("a signalfd"))?;
        let supervisor = Supervisor::new(plan.rules, workers, process::seed());
        let Plan { listen, workers: count, control, log, .. } = plan;
        let fixed = Fixed { listen, workers: count, control, log };
        let mut service = EventLoop {
            supervisor,
            actions: Actions::new(),
            epoll,
            signals,
            launcher,
            loader: Loader { anew, fixed },
            listeners: None,
            notify: PidMap::default(),
            control: None,
            log: Log::new(log),
            own_pid,
            // Whoever became us may have left some.
            children_ended: true,
            just_ready: None,
            finished: None,
        };
        let mut listeners = Listeners::open(&service.loader.fixed.listen, &inherited)?;
        adopted.iter().filter(|number| **number >= FIRST_FD).for_each(|n| fd::close_number(*n));
        let watched = make_way(&mut listeners, reserved)
            .and_then(|()| service.watch_all(&mut listeners).map_err(cannot("a watch")));
        if let Err(error) = watched {
            listeners.close();
            return Err(error);
        }
        let control = service.loader.fixed.control.clone();
        if let Err(error) = service.open_control(&control, reserved) {
            listeners.close();
            return Err(error);
        }
        service.log.listening(&listeners);
        service.listeners = Some(listeners);
        Ok(service)
    }
}

impl EventLoop {
    #[inline(never)]
    fn watch_all(&self, listeners: &mut Listeners) -> Result<(), Errno> {
        self.epoll.add(self.signals.fd(), Token::Signals.bits(), Interest::IN)?;
        self.epoll.add(self.launcher.reports().fd(), Token::Reports.bits(), Interest::IN)?;
        watch(&self.epoll, listeners)?;
        match listeners.watch() {
            Some(paths) => self.epoll.add(paths, Token::Paths.bits(), Interest::IN),
            None => Ok(()),
        }
    }
}

/// Where there are too few descriptors for all, the one that is too many is named.
fn make_way(listeners: &mut Listeners, reserved: i32) -> Result<(), Error> {
    for listener in &mut listeners.all {
        if fd::number(&listener.fd) < reserved {
            listener.fd = fd::copy_above(&listener.fd, reserved)
                .map_err(|errno| Error::system("bind", &listener.listen.address, errno))?;
        }
    }
    Ok(())
}

fn cannot(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::system("make", what, errno)
}

/// How many descriptors fd3 needs: one a worker, of whom there are twice as many while a reload runs.
pub(super) fn descriptors(listeners: usize, workers: u32) -> u64 {
    OWN_DESCRIPTORS + 2 * listeners as u64 + 2 * u64::from(workers)
}

fn count(workers: Workers) -> u32 {
    match workers {
        Workers::Count(count) => count,
        Workers::Auto => cpus::usable().min(WORKERS_MAX),
    }
}

/// The sockets that were handed to fd3 itself.
#[inline(never)]
fn inherited() -> Inherited {
    let variable = |name| environment::variable(name).and_then(|value| str::from_utf8(value).ok());
    let (pid, fds) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    let names = variable("LISTEN_FDNAMES");
    let own = Pid(process::own_pid());
    let names = activation::inherited(pid, fds, names, own);
    Inherited { names }
}

/// The numbers that `fd:N` and `fd:NAME` speak of. All are open now: later, one that was not could be a
/// descriptor of fd3's own.
fn adopted(plan: &Plan, inherited: &Inherited) -> Result<Vec<i32>, Error> {
    let mut numbers = Vec::new();
    for listen in &plan.listen {
        let first = numbers.len();
        match &listen.address {
            Address::Inherited(Inherit::Number(number)) => numbers.push(*number),
            Address::Inherited(Inherit::Name(name)) => {
                for (number, known) in &inherited.names {
                    if known == name {
                        numbers.push(*number);
                    }
                }
            }
            Address::Tcp { .. }
            | Address::Udp { .. }
            | Address::Unix { .. }
            | Address::Vsock { .. } => {}
        }
        if !numbers[first..].iter().all(|number| fd::is_open(*number)) {
            return Err(Error::system("adopt", &listen.address, Errno(libc::EBADF)));
        }
    }
    Ok(numbers)
}
