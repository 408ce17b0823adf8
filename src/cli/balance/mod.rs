//! `fd3 balance`: from what was typed to what is meant, and to the sockets that it listens at.

pub(super) mod options;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};

use super::meant::{log, log_format_of, or, span, whole};
use super::sources::Files;
use super::typed::{Given, Typed, command_line};
use super::{fail, nothing_after, show_help};
use crate::balance::backends::{Algorithm, Limits};
use crate::balance::engine::{Engine, Source, address_of};
use crate::balance::health::Rules;
use crate::balance::http::rewrite::Forwarded;
use crate::balance::origin::{self, Origin};
use crate::balance::plan::{Check, Plan, Times};
use crate::error::Error;
use crate::event_loop;
use crate::inherit;
use crate::protocol::address::{self, Address, Listen, UnixKind};
use crate::sys::socket::{self, Kind};
use crate::sys::unix_path::BoundPath;
use crate::units::Millis;

const PORT: &str = ":3000";
const BACKENDS_MAX: usize = 10_000;
const LISTENERS_MAX: usize = 100;
const RETRIES_MAX: u32 = 100;
const CHECKS_MAX: u32 = 1_000;
const VIA_MAX: usize = 255;

#[inline(never)]
pub(super) fn balance(words: Vec<OsString>) -> Result<u8, Error> {
    let mut typed = command_line("balance", options::BALANCE, words)?;
    if typed.get("help").is_some() {
        return show_help(&["balance".into()]);
    }
    Files::new().add_options(&mut typed, options::BALANCE)?;
    let plan = plan(&typed)?;
    let mut paths = Vec::new();
    let begun = sources(&plan, &mut paths).and_then(|sources| Engine::set_up(plan, sources));
    let status = match begun {
        Ok(engine) => engine.run(),
        Err(error) => fail(&error, log_format_of(&typed)),
    };
    paths.iter_mut().for_each(BoundPath::remove);
    Ok(status)
}

fn plan(typed: &Typed) -> Result<Plan, Error> {
    nothing_after("balance", &typed.command)?;
    let plan = Plan {
        listen: listen(typed)?,
        backends: backends(typed)?,
        algorithm: or(typed, "algorithm", Algorithm::RandomTwo, algorithm)?,
        limits: Limits {
            places: or(typed, "max-conns", None, places)?,
            queue: or(typed, "queue", 1024, |given| count(given, 0, 1_000_000))? as usize,
        },
        retries: or(typed, "retries", 2, |given| count(given, 0, RETRIES_MAX))?,
        check: check(typed)?,
        rules: Rules {
            rise: or(typed, "rise", 2, |given| count(given, 1, CHECKS_MAX))?,
            fall: or(typed, "fall", 3, |given| count(given, 1, CHECKS_MAX))?,
        },
        times: times(typed)?,
        resolve: or(typed, "resolve", Millis::seconds(30), from_1s)?,
        max_clients: typed.get("max-clients").map(|given| count(given, 1, u32::MAX)).transpose()?,
        max_body: or(typed, "max-body", u64::MAX, bytes)?,
        forwarded: or(typed, "forwarded", Forwarded::Set, forwarded)?,
        via: typed.get("via").map(via).transpose()?,
        log: log(typed)?,
    };
    if plan.backends.is_empty() {
        let wrong = "missing; accepted: fd3 balance [OPTIONS] --backend URL...";
        return Err(Error::usage("--backend", wrong));
    }
    Ok(plan)
}

fn times(typed: &Typed) -> Result<Times, Error> {
    let time = |long, seconds| or(typed, long, Millis::seconds(seconds), from_1ms);
    Ok(Times {
        head: time("head-timeout", 10)?,
        body: time("body-timeout", 30)?,
        idle: time("idle-timeout", 60)?,
        write: time("write-timeout", 30)?,
        connect: time("connect-timeout", 3)?,
        answer: time("answer-timeout", 60)?,
        queue: time("queue-timeout", 5)?,
        tunnel: time("tunnel-timeout", 3600)?,
        pool: time("pool-timeout", 30)?,
        drain: or(typed, "drain-timeout", Millis::seconds(60), span)?,
    })
}

fn check(typed: &Typed) -> Result<Option<Check>, Error> {
    let Some(given) = typed.get("health-path") else {
        let alone = ["health-interval", "health-timeout", "rise"];
        let unused = alone.iter().find_map(|long| typed.get(long));
        return match unused {
            Some(given) => Err(given.wrong("needs --health-path")),
            None => Ok(None),
        };
    };
    let path = given.text()?;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(given.wrong("accepted: a path of visible ASCII, without \"#\""));
    }
    Ok(Some(Check {
        path: path.into(),
        interval: or(typed, "health-interval", Millis::seconds(2), from_1ms)?,
        timeout: or(typed, "health-timeout", Millis::seconds(1), from_1ms)?,
    }))
}

fn listen(typed: &Typed) -> Result<Vec<Listen>, Error> {
    let mut all = Vec::new();
    for given in typed.all("listen") {
        let listen =
            address::parse(given.text()?.as_bytes()).map_err(|wrong| given.wrong(wrong))?;
        match listen.address {
            Address::Tcp { .. } | Address::Unix { kind: UnixKind::Stream, .. } => {}
            Address::Udp { .. }
            | Address::Unix { .. }
            | Address::Vsock { .. }
            | Address::Inherited(_) => {
                return Err(given.wrong("accepted: a TCP address, unix:/path, unix:@abstract"));
            }
        }
        all.push(listen);
        if all.len() > LISTENERS_MAX {
            return Err(given.wrong(format_args!("one too many; accepted: {LISTENERS_MAX}")));
        }
    }
    if let Some(given) = typed.get("port") {
        let port = count(given, 0, u32::from(u16::MAX))?;
        let listen = address::parse(format!(":{port}").as_bytes());
        all.push(listen.map_err(|wrong| given.wrong(wrong))?);
    }
    Ok(all)
}

fn backends(typed: &Typed) -> Result<Vec<Origin>, Error> {
    let mut all: Vec<Origin> = Vec::new();
    for given in typed.all("backend") {
        let origin = origin::parse(given.text()?).map_err(|wrong| given.wrong(wrong))?;
        let is_same = |one: &Origin| one.host == origin.host && one.prefix == origin.prefix;
        if all.iter().any(is_same) {
            return Err(given.wrong("given twice; accepted: once"));
        }
        if all.len() == BACKENDS_MAX {
            return Err(given.wrong(format_args!("one too many; accepted: {BACKENDS_MAX}")));
        }
        all.push(origin);
    }
    Ok(all)
}

fn algorithm(given: &Given) -> Result<Algorithm, Error> {
    match given.text()? {
        "random-two" => Ok(Algorithm::RandomTwo),
        "least" => Ok(Algorithm::Least),
        "round-robin" => Ok(Algorithm::RoundRobin),
        _ => Err(given.wrong("accepted: random-two, least, round-robin")),
    }
}

fn forwarded(given: &Given) -> Result<Forwarded, Error> {
    match given.text()? {
        "set" => Ok(Forwarded::Set),
        "append" => Ok(Forwarded::Append),
        "none" => Ok(Forwarded::Drop),
        _ => Err(given.wrong("accepted: set, append, none")),
    }
}

fn via(given: &Given) -> Result<String, Error> {
    let text = given.text()?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if text.is_empty() || text.len() > VIA_MAX || !text.bytes().all(is_part) {
        let wrong =
            format_args!("accepted: 1 to {VIA_MAX} letters, digits, \"-\", \".\", \"_\", \":\"");
        return Err(given.wrong(wrong));
    }
    Ok(text.into())
}

fn places(given: &Given) -> Result<Option<u32>, Error> {
    match given.text()? {
        "none" => Ok(None),
        _ => count(given, 1, 1_000_000).map(Some),
    }
}

fn count(given: &Given, least: u32, most: u32) -> Result<u32, Error> {
    let number = whole(given.text()?).filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| given.wrong(format_args!("accepted: {least} to {most}")))
}

fn bytes(given: &Given) -> Result<u64, Error> {
    let text = given.text()?;
    if text == "none" {
        return Ok(u64::MAX);
    }
    let (digits, shift) = match text.as_bytes() {
        [.., b'K'] => (text.get(..text.len() - 1), 10),
        [.., b'M'] => (text.get(..text.len() - 1), 20),
        [.., b'G'] => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    let number = digits.and_then(whole).map(|number| u64::from(number) << shift);
    number.ok_or_else(|| given.wrong("accepted: a number, with or without K, M or G, or none"))
}

fn from_1ms(given: &Given) -> Result<Millis, Error> {
    match span(given)? {
        Millis(0) => Err(given.wrong("accepted: a time from 1ms on")),
        time => Ok(time),
    }
}

fn from_1s(given: &Given) -> Result<Millis, Error> {
    match span(given)? {
        Millis(0..1000) => Err(given.wrong("accepted: a time from 1s on")),
        time => Ok(time),
    }
}

/// What was inherited, and where there is nothing, what is to be bound.
fn sources(plan: &Plan, paths: &mut Vec<BoundPath>) -> Result<Vec<Source>, Error> {
    let mut all = Vec::new();
    for socket in inherit::Listeners::take()? {
        let word = socket.to_string();
        let fd = OwnedFd::from(socket);
        let seen = socket::inspect(fd.as_fd());
        if !seen.is_ok_and(|seen| seen.listening && seen.kind == Kind::Stream) {
            let why = "it is no TCP or unix socket that listens";
            return Err(Error::refused("take connections from", word, why));
        }
        all.push(Source { address: address_of(&fd), fd, is_own: false });
    }
    if !all.is_empty() {
        return Ok(all);
    }
    let usual;
    let listen = if plan.listen.is_empty() {
        let parsed = address::parse(PORT.as_bytes());
        usual = [parsed.map_err(|wrong| Error::usage(PORT, wrong))?];
        &usual[..]
    } else {
        &plan.listen
    };
    for one in listen {
        let (fd, path) = event_loop::listen_at(one)?;
        paths.extend(path);
        all.push(Source { address: address_of(&fd), fd, is_own: true });
    }
    Ok(all)
}
