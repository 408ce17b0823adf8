//! Setup may fail, service may not: everything that can go wrong at the start goes wrong here, before
//! any worker exists. What an error leaves behind is nothing.

use alloc::rc::Rc;

use super::guard::watch;
use super::launch::Launcher;
use super::listeners::{Inherited, Listeners};
use super::load::{Anew, Commands, Fixed, Loader};
use super::log::Log;
use super::records::Records;
use super::roll::Roll;
use super::status::Ledger;
use super::steering::Steering;
use super::store::Store;
use super::token::Token;
use super::{EventLoop, cpus, process, steering};
use crate::error::{Errno, Error};
use crate::pid_map::PidMap;
use crate::plan::{Plan, SPREAD_MAX, Spread, WORKERS_MAX, Workers};
use crate::protocol::activation::{self, FIRST_FD};
use crate::protocol::address::{Address, Inherit, Listen};
use crate::protocol::metrics::Counts;
use crate::supervisor::{Actions, Supervisor};
use crate::sys::environment;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::fd;
use crate::sys::signal::SignalFd;
use crate::sys::spawn::Reports;
use crate::units::{Generation, Pid};

/// What the supervisor calls the workers that it begins with.
const FIRST_GENERATION: Generation = Generation(1);

impl EventLoop {
    /// A service that is ready to run: every listener is bound, COMMAND is found, nothing is started.
    /// `anew` makes the plan of each reload. It stays until the process ends, which gives everything back:
    /// no code that takes it apart.
    #[inline(never)]
    pub(crate) fn set_up(plan: Plan, anew: Anew) -> Result<&'static mut EventLoop, Error> {
        let inherited = inherited();
        let adopted = adopted(&plan.listen, &inherited)?;
        close_others(&adopted, &plan.own);
        process::adopt_orphans();
        let Plan { listen, workers, rules, launch, log, control, .. } = plan;
        let Plan { fd_store, files, metrics, spread, .. } = plan;
        let (own_pid, count) = (Pid(process::own_pid()), count(workers, spread));
        let fixed = Fixed { listen, workers, control, metrics, fd_store, log, files, spread };
        let reserved = fixed.reserved();
        let limit = process::raise_descriptor_limit(fixed.descriptors(count));
        let reports = Reports::new(reserved).map_err(cannot("a pipe"))?;
        let epoll = Epoll::new().map_err(cannot("an epoll"))?;
        let signals = SignalFd::new().map_err(cannot("a signalfd"))?;
        let service = Box::leak(Box::new(EventLoop {
            supervisor: Supervisor::new(rules, count, process::seed()),
            actions: Actions::new(),
            epoll,
            signals,
            launcher: Launcher::new(count, fixed.fd_store, limit, reports, own_pid),
            loader: Loader { anew, fixed, commands: Commands::default() },
            listeners: None,
            steering: Steering::default(),
            notify: PidMap::default(),
            control: None,
            parting: Vec::new(),
            metrics: None,
            manager: None,
            counts: Counts::default(),
            ledger: Ledger::new(),
            store: Store::default(),
            log: Log::new(log),
            roll: Roll::default(),
            records: Records::default(),
            own_pid,
            // Whoever became us may have left some.
            children_ended: true,
            watched_for: Interest::empty(),
            demanded: false,
            just_ready: None,
            finished: None,
        }));
        service.launcher.load(FIRST_GENERATION, launch)?;
        let fixed = &service.loader.fixed;
        let slots = steering::slots(spread, count);
        let mut listeners = Listeners::open(&fixed.listen, &inherited, slots)?;
        adopted.iter().filter(|number| **number >= FIRST_FD).for_each(|n| fd::close_number(*n));
        match service.hear_all(&mut listeners, reserved) {
            Ok(()) => {
                service.listeners = Some(listeners);
                Ok(service)
            }
            Err(error) => {
                listeners.close();
                service.close_control();
                service.close_metrics();
                Err(error)
            }
        }
    }

    /// From now on fd3 hears of all that concerns it, and can be talked to.
    #[inline(never)]
    fn hear_all(&mut self, listeners: &mut Listeners, reserved: i32) -> Result<(), Error> {
        make_way(listeners, reserved)?;
        self.watch_all(listeners).map_err(cannot("a watch"))?;
        if cfg!(feature = "control") {
            self.open_control(reserved)?;
        }
        self.open_metrics(reserved)?;
        self.open_records()?;
        self.find_manager();
        self.log.listening(listeners);
        self.begin_to_steer(listeners);
        Ok(())
    }

    fn watch_all(&mut self, listeners: &mut Listeners) -> Result<(), Errno> {
        self.signals.watched_by(&mut self.epoll, Token::Signals.bits())?;
        self.epoll.add(self.launcher.reports().fd(), Token::Reports.bits(), Interest::IN)?;
        watch(&self.epoll, listeners, self.loader.fixed.reserved(), self.watched_for)?;
        match listeners.watch() {
            Some(paths) => self.epoll.add(paths, Token::Paths.bits(), Interest::IN),
            None => Ok(()),
        }
    }
}

/// What fd3 itself inherited, but for these.
fn close_others(adopted: &[i32], own: &[i32]) {
    if cfg!(feature = "starter") {
        fd::close_inherited(&[adopted, own].concat());
    } else {
        fd::close_inherited(adopted);
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

fn count(workers: Workers, spread: Spread) -> u32 {
    let most = match spread {
        Spread::Worker if cfg!(feature = "spread") => SPREAD_MAX,
        Spread::Worker | Spread::Shared => WORKERS_MAX,
    };
    match workers {
        Workers::Count(count) => count,
        Workers::Auto => cpus::usable().min(most),
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
fn adopted(plans: &[Rc<Listen>], inherited: &Inherited) -> Result<Vec<i32>, Error> {
    let mut numbers = Vec::new();
    for listen in plans {
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
