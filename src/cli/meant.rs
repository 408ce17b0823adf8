//! What was meant: from what was typed to a valid [`Plan`], or to one line that names the word, says
//! what is wrong with it and what is accepted.

mod spread;

use alloc::rc::Rc;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use self::spread::spread;
use super::settings::settings;
use super::typed::{Given, Typed, c_string};
use crate::error::Error;
use crate::plan::{
    Backoff, Control, FD_STORE_MAX, Files, LISTENERS_MAX, Launch, Level, LogFormat, LogPlan, Plan,
    RESPAWN_COUNT_MAX, Reaction, Reactions, Readiness, RespawnLimit, Restart, Rules, Start, Stdin,
    Surge, WORKERS_MAX, Ways, Workers,
};
use crate::protocol;
use crate::protocol::activation::{PROTOCOLS, Protocol, Protocols};
use crate::protocol::address::{self, Address, Listen, Options, UnixKind};
use crate::protocol::{duration, joined, signal_name};
use crate::units::{Millis, Signal};

/// Of the control socket, where it has a path.
const CONTROL_MODE: u32 = 0o600;

/// `fd3 run`.
#[inline(never)]
pub(super) fn run(typed: &Typed) -> Result<Plan, Error> {
    let mut command = Vec::new();
    for word in &typed.command {
        command.push(c_string(word)?);
    }
    let plan = Plan {
        listen: listen(typed)?,
        workers: or(typed, "workers", Workers::Count(1), workers)?,
        rules: rules(typed)?,
        launch: launch(typed, command)?,
        log: log(typed)?,
        control: if cfg!(feature = "control") {
            or(typed, "control", Control::Automatic, control)?
        } else {
            Control::Nowhere
        },
        metrics: typed.get("metrics").map(metrics).transpose()?,
        files: files(typed)?,
        own: Vec::new(),
        fd_store: or(typed, "fd-store", 0, fd_store)?,
        spread: spread(typed)?,
    };
    if cfg!(feature = "spread") {
        spread::check(typed, &plan)?;
    }
    if let (Start::OnDemand, Some(given), true) =
        (plan.rules.start, typed.get("start"), plan.listen.is_empty())
    {
        return Err(given.wrong("nobody can ask for a worker without --listen"));
    }
    if let (1.., Some(given)) = (plan.fd_store, typed.get("fd-store"))
        && !plan.launch.protocols.contains(&Protocol::Listen)
    {
        return Err(given.wrong("only --protocol listen tells a worker what is stored"));
    }
    if plan.launch.command.is_empty() {
        let wrong = "missing; accepted: fd3 run [OPTIONS] [--] COMMAND [ARG]...";
        return Err(Error::usage("COMMAND", wrong));
    }
    Ok(plan)
}

fn files(typed: &Typed) -> Result<Files, Error> {
    if !cfg!(feature = "records") {
        return Ok(Files::default());
    }
    Ok(Files {
        pid: typed.get("pid-file").map(path).transpose()?,
        status: typed.get("status-file").map(path).transpose()?,
        ..Files::default()
    })
}

fn path(given: &Given) -> Result<CString, Error> {
    if given.value.is_empty() {
        return Err(given.wrong("accepted: a path"));
    }
    c_string(&given.value)
}

#[inline(never)]
fn rules(typed: &Typed) -> Result<Rules, Error> {
    let mut rules = Rules {
        readiness: readiness(typed)?,
        start: Start::AtOnce,
        restart: Restart::Always,
        backoff: Backoff { min: Millis(100), max: Millis::seconds(30) },
        respawn_limit: Some(RespawnLimit { count: 5, window: Millis::seconds(60) }),
        stop_signal: Signal(libc::SIGTERM),
        stop_timeout: Some(Millis::seconds(8)),
        surge: Surge::All,
        overlap: Millis::seconds(2),
        drain_timeout: Some(Millis::seconds(60)),
        max_age: None,
        watchdog: None,
        ways: Ways::Own,
        reactions: Reactions::default(),
    };
    set(typed, "start", &mut rules.start, start)?;
    set(typed, "restart", &mut rules.restart, restart)?;
    set(typed, "backoff", &mut rules.backoff, backoff)?;
    set(typed, "respawn-limit", &mut rules.respawn_limit, respawn_limit)?;
    set(typed, "stop-signal", &mut rules.stop_signal, signal)?;
    set(typed, "stop-timeout", &mut rules.stop_timeout, timeout)?;
    set(typed, "surge", &mut rules.surge, surge)?;
    set(typed, "overlap", &mut rules.overlap, span)?;
    set(typed, "drain-timeout", &mut rules.drain_timeout, timeout)?;
    set(typed, "max-age", &mut rules.max_age, from_1ms)?;
    set(typed, "watchdog", &mut rules.watchdog, from_1ms)?;
    reactions(typed, &mut rules.reactions, ACTIONS)?;
    Ok(rules)
}

#[inline(never)]
fn launch(typed: &Typed, command: Vec<CString>) -> Result<Launch, Error> {
    let mut launch = Launch {
        command,
        settings: settings(typed)?,
        protocols: vec![Protocol::Listen],
        stdin: None,
        watchdog: None,
        parent_death: Some(Signal(libc::SIGTERM)),
    };
    set(typed, "protocol", &mut launch.protocols, protocols)?;
    set(typed, "stdin", &mut launch.stdin, stdin)?;
    set(typed, "watchdog", &mut launch.watchdog, from_1ms)?;
    set(typed, "parent-death", &mut launch.parent_death, parent_death)?;
    Ok(launch)
}

pub(super) fn log(typed: &Typed) -> Result<LogPlan, Error> {
    let level = match (typed.get("quiet"), typed.get("verbose")) {
        (Some(quiet), Some(_)) => return Err(quiet.wrong("contradicts --verbose")),
        (Some(_), None) => Level::Error,
        (None, Some(_)) => Level::Info,
        (None, None) => Level::Notice,
    };
    Ok(LogPlan { level, format: or(typed, "log", LogFormat::Text, log_format)? })
}

/// For errors, of which there may be others than this option: what is none of its words is text.
pub(super) fn log_format_of(typed: &Typed) -> LogFormat {
    or(typed, "log", LogFormat::Text, log_format).unwrap_or(LogFormat::Text)
}

/// The option's value as `read` understands it, or the default.
pub(super) fn or<T>(
    typed: &Typed,
    long: &str,
    default: T,
    read: fn(&Given) -> Result<T, Error>,
) -> Result<T, Error> {
    typed.get(long).map_or(Ok(default), read)
}

/// The same where the default is already: what is large is not handed on.
fn set<T>(
    typed: &Typed,
    long: &str,
    place: &mut T,
    read: fn(&Given) -> Result<T, Error>,
) -> Result<(), Error> {
    if let Some(given) = typed.get(long) {
        *place = read(given)?;
    }
    Ok(())
}

#[inline(never)]
fn listen(typed: &Typed) -> Result<Vec<Rc<Listen>>, Error> {
    let mut all = Vec::new();
    for given in typed.all("listen") {
        let listen = address::parse(given.value.as_bytes()).map_err(|wrong| given.wrong(wrong))?;
        if all.len() == LISTENERS_MAX {
            return Err(
                given.wrong(format_args!("one too many; accepted: {LISTENERS_MAX} listeners"))
            );
        }
        all.push(Rc::new(listen));
    }
    Ok(all)
}

#[inline(never)]
fn control(given: &Given) -> Result<Control, Error> {
    if given.value == "none" {
        return Ok(Control::Nowhere);
    }
    let wrong = || given.wrong("accepted: unix:/PATH, unix:/PATH,mode=OCTAL, unix:@NAME, none");
    if !given.value.as_bytes().starts_with(b"unix:") {
        return Err(wrong());
    }
    let mut listen = address::parse(given.value.as_bytes()).map_err(|wrong| given.wrong(wrong))?;
    // Who else could connect would not be answered.
    listen.options.mode.get_or_insert(CONTROL_MODE);
    // What else a unix socket takes.
    if let Options { name: None, backlog: None, user: None, group: None, .. } = &listen.options {
        Ok(Control::At(Box::new(listen)))
    } else {
        Err(wrong())
    }
}

/// Connections are taken there, and no name is told to anybody.
fn metrics(given: &Given) -> Result<Box<Listen>, Error> {
    let listen = address::parse(given.value.as_bytes()).map_err(|wrong| given.wrong(wrong))?;
    match (&listen.address, &listen.options.name) {
        (Address::Tcp { .. } | Address::Unix { kind: UnixKind::Stream, .. }, None) => {
            Ok(Box::new(listen))
        }
        _ => {
            Err(given
                .wrong("accepted: an address of tcp or unix, as --listen has it, without name="))
        }
    }
}

fn workers(given: &Given) -> Result<Workers, Error> {
    let wrong = || given.wrong(format_args!("accepted: 1 to {WORKERS_MAX}, or auto"));
    match given.text()? {
        "auto" => Ok(Workers::Auto),
        number => {
            let number = whole(number).filter(|number| (1..=WORKERS_MAX).contains(number));
            number.map(Workers::Count).ok_or_else(wrong)
        }
    }
}

fn fd_store(given: &Given) -> Result<u32, Error> {
    let number = whole(given.text()?).filter(|number| *number <= FD_STORE_MAX);
    number.ok_or_else(|| given.wrong(format_args!("accepted: 0 to {FD_STORE_MAX}")))
}

#[inline(never)]
fn protocols(given: &Given) -> Result<Protocols, Error> {
    let mut chosen = Vec::new();
    for word in given.text()?.split(',') {
        let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == word) else {
            let names = joined(PROTOCOLS.iter().map(|(name, _)| *name));
            return Err(given.wrong(format_args!("\"{word}\" is none; accepted: {names}")));
        };
        if chosen.contains(protocol) {
            return Err(given.wrong(format_args!("{word} is given twice; accepted: each once")));
        }
        chosen.push(*protocol);
    }
    if chosen.contains(&Protocol::Plain) && chosen.len() > 1 {
        return Err(given.wrong("plain tells nothing and goes with no other protocol"));
    }
    Ok(chosen)
}

#[inline(never)]
fn readiness(typed: &Typed) -> Result<Readiness, Error> {
    let start_timeout = or(typed, "start-timeout", Some(Millis::seconds(30)), timeout)?;
    let ready =
        or(typed, "ready", Readiness::Alive(Millis::seconds(1)), |given| match given.text()? {
            "notify" => Ok(Readiness::Notify(None)),
            "signal" => Ok(Readiness::Signal(None)),
            span => duration::parse(span).map(Readiness::Alive).ok_or_else(|| {
                given.wrong(format_args!("accepted: {}, notify, signal", duration::ACCEPTED))
            }),
        })?;
    match (ready, typed.get("start-timeout")) {
        (Readiness::Alive(_), Some(given)) => {
            Err(given.wrong("means nothing without --ready notify or --ready signal"))
        }
        (Readiness::Alive(span), None) => Ok(Readiness::Alive(span)),
        (Readiness::Notify(_), _) => Ok(Readiness::Notify(start_timeout)),
        (Readiness::Signal(_), _) => match typed.get("user") {
            Some(user) => {
                Err(user.wrong("another user cannot signal fd3, as --ready signal wants"))
            }
            None => Ok(Readiness::Signal(start_timeout)),
        },
    }
}

fn start(given: &Given) -> Result<Start, Error> {
    match given.text()? {
        "at-once" => Ok(Start::AtOnce),
        "on-demand" => Ok(Start::OnDemand),
        _ => Err(given.wrong("accepted: at-once, on-demand")),
    }
}

fn restart(given: &Given) -> Result<Restart, Error> {
    match given.text()? {
        "always" => Ok(Restart::Always),
        "on-failure" => Ok(Restart::OnFailure),
        "never" => Ok(Restart::Never),
        _ => Err(given.wrong("accepted: always, on-failure, never")),
    }
}

fn backoff(given: &Given) -> Result<Backoff, Error> {
    let (min, max) = given.text()?.split_once('.').unwrap_or_default();
    let (min, max) = (duration::parse(min), max.strip_prefix(".").and_then(duration::parse));
    match (min, max) {
        (Some(min), Some(max)) if Millis(1) <= min && min <= max => Ok(Backoff { min, max }),
        _ => Err(given.wrong("accepted: MIN..MAX, each a time, from 1ms on, the larger one last")),
    }
}

fn respawn_limit(given: &Given) -> Result<Option<RespawnLimit>, Error> {
    let text = given.text()?;
    if text == "none" {
        return Ok(None);
    }
    let (count, window) = text.split_once('/').unwrap_or((text, ""));
    let count = whole(count).filter(|count| *count <= RESPAWN_COUNT_MAX);
    let window = Some(window).filter(|text| !text.is_empty()).and_then(duration::parse);
    match (count, window.filter(|window| window.0 > 0)) {
        (Some(count), Some(window)) => Ok(Some(RespawnLimit { count, window })),
        _ => {
            let most = RESPAWN_COUNT_MAX;
            Err(given
                .wrong(format_args!("accepted: N/TIME (5/60s) with N from 0 to {most}, or none")))
        }
    }
}

fn surge(given: &Given) -> Result<Surge, Error> {
    let wrong = || given.wrong(format_args!("accepted: all, or 0 to {WORKERS_MAX}"));
    match given.text()? {
        "all" => Ok(Surge::All),
        number => {
            let number = whole(number).filter(|number| *number <= WORKERS_MAX);
            number.map(Surge::AtMost).ok_or_else(wrong)
        }
    }
}

pub(super) fn span(given: &Given) -> Result<Millis, Error> {
    duration::parse(given.text()?)
        .ok_or_else(|| given.wrong(format_args!("accepted: {}", duration::ACCEPTED)))
}

/// A time that is not nothing.
fn from_1ms(given: &Given) -> Result<Option<Millis>, Error> {
    match timeout(given)? {
        Some(Millis(0)) => Err(given.wrong("accepted: a time from 1ms on, or none")),
        limit => Ok(limit),
    }
}

pub(super) fn timeout(given: &Given) -> Result<Option<Millis>, Error> {
    match given.text()? {
        "none" => Ok(None),
        text => duration::parse(text)
            .map(Some)
            .ok_or_else(|| given.wrong(format_args!("accepted: {}, or none", duration::ACCEPTED))),
    }
}

fn signal(given: &Given) -> Result<Signal, Error> {
    signal_name::parse(given.text()?)
        .ok_or_else(|| given.wrong(format_args!("accepted: {}", signal_name::ACCEPTED)))
}

pub(super) fn parent_death(given: &Given) -> Result<Option<Signal>, Error> {
    match given.text()? {
        "none" => Ok(None),
        text => signal_name::parse(text).map(Some).ok_or_else(|| {
            given.wrong(format_args!("accepted: {}, or none", signal_name::ACCEPTED))
        }),
    }
}

fn stdin(given: &Given) -> Result<Option<Stdin>, Error> {
    match given.text()? {
        "inherit" => Ok(Some(Stdin::Inherit)),
        "null" => Ok(Some(Stdin::Null)),
        _ => Err(given.wrong("accepted: inherit, null")),
    }
}

fn log_format(given: &Given) -> Result<LogFormat, Error> {
    match given.text()? {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(given.wrong("accepted: text, json")),
    }
}

#[inline(never)]
pub(super) fn reactions(typed: &Typed, table: &mut Reactions, actions: &str) -> Result<(), Error> {
    let mut seen: Vec<Signal> = Vec::new();
    for given in typed.all("on") {
        let (signal, reaction) = reaction(given, actions)?;
        if seen.contains(&signal) {
            let name = signal_name::name(signal);
            return Err(given.wrong(format_args!("{name} was given an action before")));
        }
        seen.push(signal);
        table.set(signal, reaction);
    }
    Ok(())
}

/// What `--on` of `fd3 run` takes.
const ACTIONS: &str =
    "stop, drain, stop-now, ignore, forward, forward:SIGNAL, reload, upgrade, up, down";

#[inline(never)]
fn reaction(given: &Given, actions: &str) -> Result<(Signal, Reaction), Error> {
    let wrong =
        || given.wrong(format_args!("accepted: SIGNAL=ACTION, where ACTION is one of {actions}"));
    let (signal, action) = given.text()?.split_once('=').ok_or_else(wrong)?;
    let signal = signal_name::parse(signal)
        .ok_or_else(|| given.wrong(format_args!("accepted: {}", signal_name::ACCEPTED)))?;
    if matches!(signal.0, libc::SIGKILL | libc::SIGSTOP | libc::SIGCHLD) {
        let name = signal_name::name(signal);
        return Err(given.wrong(format_args!("{name} cannot be given another action")));
    }
    let mut all = actions.split(',').map(|known| known.strip_prefix(' ').unwrap_or(known));
    let is_known = all.any(|known| known == action);
    let reaction = match action {
        _ if !is_known && !action.starts_with("forward:") => return Err(wrong()),
        "stop" => Reaction::Stop,
        "drain" => Reaction::Drain,
        "stop-now" => Reaction::StopNow,
        "ignore" => Reaction::Ignore,
        "forward" => Reaction::Forward(signal),
        "reload" => Reaction::Reload,
        "upgrade" => Reaction::Upgrade,
        "up" => Reaction::Up,
        "down" => Reaction::Down,
        other => {
            let to = other.strip_prefix("forward:").and_then(signal_name::parse);
            Reaction::Forward(to.ok_or_else(wrong)?)
        }
    };
    Ok((signal, reaction))
}

pub(super) fn whole(text: &str) -> Option<u32> {
    u32::try_from(protocol::whole(text.as_bytes(), 10)?).ok()
}
