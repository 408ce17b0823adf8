//! fd3 called as `start_server`: Server::Starter 0.35's command, with its options, its words, its exit
//! statuses. fd3 does the work, in Server::Starter's ways (`plan::Ways`); between its fork and the server
//! program stands `worker`.

mod client;
mod env;
mod getopt;
mod port;
mod voice;
pub(super) mod worker;

use core::cell::Cell;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fd::{AsRawFd, OwnedFd};

use self::env::Times;
use self::getopt::Words;
use self::voice::Speaker;
use self::worker::Handed;
use super::help;
use crate::error::{Errno, Error};
use crate::event_loop::EventLoop;
use crate::plan::{
    Backoff, Control, Counts, Files, Launch, Level, LogFormat, LogPlan, Patience, Plan, Reaction,
    Reactions, Readiness, Restart, Rules, SIGNALS, Settings, Spread, Start, Surge, Ways, Workers,
};
use crate::protocol::activation::Protocol;
use crate::protocol::address::{Address, Listen, Options, UnixKind, UnixName};
use crate::protocol::env_file::Environment;
use crate::protocol::signal_name;
use crate::sys::signal::Manners;
use crate::sys::{self, daemon, environment, exec, file, process};
use crate::units::{Millis, Signal};

/// Whose behaviour this is, and who behaves so.
const VERSION: &str = concat!("0.35 (fd3 ", env!("CARGO_PKG_VERSION"), ")\n");
/// What Perl's die ends with where no system call failed.
const DIED: u8 = 255;
/// What Getopt::Long's complaints end with.
const WRONG_OPTION: u8 = 1;
const HOSTS_MAX: usize = 1 << 20;

/// Why it ends, and with which status.
struct Died {
    status: u8,
    why: String,
}

/// As Perl's die: the status is the errno, if there is one.
fn die(errno: Option<Errno>, why: &str) -> Died {
    let status = errno.and_then(|errno| u8::try_from(errno.0).ok()).filter(|status| *status > 0);
    let why = match errno {
        Some(errno) => format!("{why}: {errno}\n"),
        None => format!("{why}\n"),
    };
    Died { status: status.unwrap_or(DIED), why }
}

fn died(error: &Error) -> Died {
    die(error.errno(), "").with(format!("{error}\n"))
}

impl Died {
    fn with(self, why: String) -> Died {
        Died { why, ..self }
    }
}

fn say(text: &str) {
    sys::stderr::Stderr::new().write(text.as_bytes());
}

fn own_pid() -> i32 {
    process::own_pid()
}

/// From the words behind its name to its exit status.
pub(super) fn main(name: OsString, words: Vec<OsString>, _: Manners) -> u8 {
    let words = Words::read(words);
    if !words.wrong.is_empty() {
        for wrong in &words.wrong {
            say(&format!("{wrong}\n"));
        }
        return WRONG_OPTION;
    }
    let done = if words.has("help") {
        super::show(help::START_SERVER).map_err(|error| died(&error))
    } else if words.has("version") {
        super::show(VERSION).map_err(|error| died(&error))
    } else if words.has("restart") {
        client::restart(&words)
    } else if words.has("stop") {
        client::stop(&words)
    } else {
        start(&name, &words)
    };
    done.unwrap_or_else(|Died { status, why }| {
        say(&why);
        status
    })
}

fn start(name: &OsString, words: &Words) -> Result<u8, Died> {
    let daemonizes = words.has("daemonize");
    if daemonizes && !words.has("log-file") {
        return Err(die(
            None,
            "Usage: --log-file option must be specified together with --daemonize",
        ));
    }
    if words.command.is_empty() {
        return Err(die(None, "server program not specified"));
    }
    let base = variables(words);
    let log = words.last("log-file").map(|log| open_log(log, &base)).transpose()?;
    let caller = match daemonizes.then(daemon::detach).transpose() {
        Ok(None) => None,
        Ok(Some(daemon::Side::Daemon(caller))) => Some(caller),
        Ok(Some(daemon::Side::Caller(other))) => return Ok(daemon::begun(&other).unwrap_or(DIED)),
        Err(errno) => return Err(die(Some(errno), "fork failed")),
    };
    let served = serve(name, words, base, log, caller.as_ref());
    if let (Err(Died { status, .. }), Some(caller)) = (&served, &caller) {
        daemon::tell(caller, *status);
    }
    served
}

fn serve(
    name: &OsString,
    words: &Words,
    base: Environment,
    log: Option<OwnedFd>,
    caller: Option<&OwnedFd>,
) -> Result<u8, Died> {
    say(&format!("start_server (pid:{}) starting now...\n", own_pid()));
    let times = Rc::new(Cell::new(env::times(&base)));
    let mut plan = plan(name, words, base.clone(), times.get())?;
    plan.own.extend(log.iter().chain(caller).map(AsRawFd::as_raw_fd));
    let (on_hup, on_term) = (signal(words, "signal-on-hup")?, signal(words, "signal-on-term")?);
    let (first, shared) = (plan.clone(), times.clone());
    let anew = move || {
        let mut variables = base.clone();
        env::load(&mut variables);
        shared.set(env::times(&variables));
        let mut plan = plan.clone();
        set_times(&mut plan.rules, shared.get());
        Ok(plan)
    };
    let service = EventLoop::set_up(first, Box::new(anew)).map_err(|error| died(&error))?;
    let numbers_stdin = words.all("port").any(|port| port.ends_with(b"=0"));
    let told = match log {
        Some(log) => daemon::speak_to(&log),
        None => Ok(()),
    };
    let told = told.and_then(|()| match caller {
        Some(_) if !numbers_stdin => daemon::close_stdin(),
        Some(_) | None => Ok(()),
    });
    // What has just been opened can be copied: this does not fail.
    told.map_err(|errno| die(Some(errno), "reopen failed"))?;
    service.speak(Speaker { on_hup, on_term, times, doing: Cell::default() }.voice());
    if let Some(caller) = caller {
        daemon::tell(caller, 0);
    }
    let status = service.run();
    say("exiting\n");
    Ok(status)
}

/// What the options add to the environment, and what the folder of --envdir says now.
fn variables(words: &Words) -> Environment {
    let mut variables = Environment::default();
    for (name, option) in [
        ("ENVDIR", "envdir"),
        ("KILL_OLD_DELAY", "kill-old-delay"),
        ("AUTO_RESTART_INTERVAL", "auto-restart-interval"),
    ] {
        if let Some(value) = words.last(option) {
            env::set(&mut variables, name.as_bytes(), value);
        }
    }
    if words.has("enable-auto-restart") {
        env::set(&mut variables, b"ENABLE_AUTO_RESTART", b"1");
    }
    env::load(&mut variables);
    variables
}

/// A file, or a command behind `|`.
fn open_log(log: &[u8], base: &Environment) -> Result<OwnedFd, Died> {
    let text = String::from_utf8_lossy(log);
    match log.trim_ascii_start().strip_prefix(b"|") {
        Some(command) => {
            let mut environment = Vec::new();
            for variable in environment::variables() {
                environment.push(variable.to_owned());
            }
            environment.append(&mut base.clone().into_strings());
            daemon::pipe_to(command.trim_ascii_start(), &environment)
                .map_err(|errno| die(Some(errno), &format!("failed to open pipe:{text}")))
        }
        None => daemon::append_to(log)
            .map_err(|errno| die(Some(errno), &format!("failed to open log file:{text}"))),
    }
}

fn signal(words: &Words, option: &str) -> Result<Signal, Died> {
    let Some(value) = words.last(option) else { return Ok(Signal(libc::SIGTERM)) };
    let name = String::from_utf8_lossy(value);
    signal_name::parse(&name).ok_or_else(|| {
        let accepted = signal_name::ACCEPTED;
        die(None, &format!("--{option} \"{name}\": accepted: {accepted}"))
    })
}

fn plan(name: &OsString, words: &Words, base: Environment, times: Times) -> Result<Plan, Died> {
    let Sockets { listen, wanted, told } = sockets(words)?;
    let numbers = port::numbers(&wanted);
    let mut ports = String::new();
    for (told, number) in told.iter().zip(&numbers) {
        let between = if ports.is_empty() { "" } else { ";" };
        ports.push_str(&format!("{between}{told}={number}"));
    }
    let folder = words.last("dir").unwrap_or_default().to_vec();
    let launch = launch(name, words, base, Handed { folder, ports, numbers })?;
    let path = |option| words.last(option).and_then(|path| CString::new(path).ok());
    let mut plan = Plan {
        listen,
        workers: Workers::Count(1),
        rules: rules(words)?,
        launch,
        log: LogPlan { format: LogFormat::Text, level: Level::Warn },
        control: Control::Automatic,
        metrics: None,
        fd_store: 0,
        spread: Spread::Shared,
        own: Vec::new(),
        files: Files {
            pid: path("pid-file"),
            status: path("status-file"),
            patience: Patience::Some,
            counts: Counts::Starts,
        },
    };
    set_times(&mut plan.rules, times);
    Ok(plan)
}

/// What is to be bound, on which descriptor it is wanted, and how it is told of.
#[derive(Default)]
struct Sockets {
    listen: Vec<Rc<Listen>>,
    wanted: Vec<Option<i32>>,
    told: Vec<String>,
}

fn sockets(words: &Words) -> Result<Sockets, Died> {
    let backlog = words.number("backlog").filter(|backlog| *backlog > 0);
    let backlog = backlog.map(|backlog| backlog.min(i32::MAX as u64) as u32);
    let mut all = Sockets::default();
    for text in words.all("port") {
        let text = String::from_utf8_lossy(text).into_owned();
        let wrong = || die(None, &format!("invalid ``port'' value:{text}"));
        let port = port::parse(&text).ok_or_else(wrong)?;
        let ip = match &port.host {
            port::Host::Name(name) => {
                port::find(name, &hosts()).map(crate::protocol::address::Ip::V4)
            }
            port::Host::V4(_) | port::Host::V6(_) => port.host.ip(),
        };
        let ip = ip.ok_or_else(|| {
            let why = "is neither an address nor a name in /etc/hosts";
            die(None, &format!("failed to resolve host: --port {text} {why}"))
        })?;
        all.wanted.push(port.fd);
        all.told.push(port.told.clone());
        all.listen.push(Rc::new(port.listen(text, ip, backlog)));
    }
    for path in words.all("path") {
        let text = String::from_utf8_lossy(path).into_owned();
        match daemon::remove_socket(path) {
            Ok(true) => say(&format!("removing existing socket file:{text}\n")),
            Ok(false) => {}
            Err(errno) => {
                let why = format!("failed to remove existing socket file:{text}");
                return Err(die(Some(errno), &why));
            }
        }
        all.wanted.push(None);
        all.told.push(text.clone());
        all.listen.push(Rc::new(listen_at(path, text, backlog)));
    }
    Ok(all)
}

fn listen_at(path: &[u8], text: String, backlog: Option<u32>) -> Listen {
    let name = UnixName::Path(path.to_vec());
    let address = Address::Unix { kind: UnixKind::Stream, name };
    Listen { text, address, options: Options { mode: Some(0o777), backlog, ..Options::default() } }
}

fn hosts() -> Vec<u8> {
    file::read(b"/etc/hosts", HOSTS_MAX).unwrap_or_default()
}

fn launch(
    name: &OsString,
    words: &Words,
    environment: Environment,
    handed: Handed,
) -> Result<Launch, Died> {
    let mut command = vec![own_program(name)?];
    command.append(&mut handed.into_words());
    for word in &words.command {
        // Words of a command line have no NUL inside.
        command.extend(CString::new(word.as_bytes()).ok());
    }
    let protocols = vec![Protocol::Plain];
    let parent_death = Some(Signal(libc::SIGTERM));
    let settings = Settings { environment, ..Settings::default() };
    Ok(Launch { command, settings, protocols, stdin: None, watchdog: None, parent_death })
}

/// This program, whatever has become of its file; without /proc, the file.
fn own_program(name: &OsString) -> Result<CString, Died> {
    let own = c"/proc/self/exe".to_owned();
    if exec::find(&own, None, None).is_ok() {
        return Ok(own);
    }
    let name = CString::new(name.as_bytes()).unwrap_or_default();
    exec::find(&name, environment::variable("PATH"), None).map_err(|error| died(&error))
}

fn rules(words: &Words) -> Result<Rules, Died> {
    let interval = Millis::seconds(words.number("interval").unwrap_or(1).min(1 << 40));
    let mut reactions = Reactions::default();
    for signal in (1..SIGNALS as i32).map(Signal) {
        reactions.set(signal, Reaction::Ignore);
    }
    let term = Signal(libc::SIGTERM);
    reactions.set(Signal(libc::SIGHUP), Reaction::Reload);
    reactions.set(Signal(libc::SIGINT), Reaction::StopBy(term));
    reactions.set(Signal(libc::SIGQUIT), Reaction::StopBy(term));
    reactions.set(term, Reaction::StopBy(signal(words, "signal-on-term")?));
    Ok(Rules {
        readiness: Readiness::Alive(interval),
        start: Start::AtOnce,
        restart: Restart::Always,
        backoff: Backoff { min: interval, max: interval },
        respawn_limit: None,
        stop_signal: signal(words, "signal-on-hup")?,
        stop_timeout: None,
        surge: Surge::All,
        overlap: Millis(0),
        drain_timeout: None,
        max_age: None,
        watchdog: None,
        ways: Ways::Starter,
        reactions,
    })
}

fn set_times(rules: &mut Rules, times: Times) {
    (rules.overlap, rules.max_age) = (times.kill_old_delay, times.auto_restart);
}
