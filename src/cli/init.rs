//! `fd3 init`: from what was typed to what is meant.

use std::ffi::{CString, OsString};

use super::meant::{
    log, log_format_of, or, parent_death, reactions as reactions_to, span, timeout,
};
use super::settings::settings;
use super::sources::Files;
use super::typed::{Typed, c_string, command_line};
use super::{fail, machine_init, options, show_help};
use crate::error::{Errno, Error};
use crate::event_loop::{InitLoop, InitPlan};
use crate::init::{Leftovers, Plan, To};
use crate::plan::{Reaction, Reactions};
use crate::protocol::signal_name;
use crate::sys::signal::Manners;
use crate::units::{Millis, Signal};

/// `fd3 init`.
#[inline(never)]
pub(super) fn init(words: Vec<OsString>) -> Result<u8, Error> {
    let mut typed = command_line("init", options::INIT, words)?;
    if typed.get("help").is_some() {
        return show_help(&["init".into()]);
    }
    machine_init(&typed)?;
    let begun = read(&mut typed).and_then(InitLoop::set_up);
    Ok(match begun {
        Ok(service) => service.run(),
        // A stop came while it waited for a file: nothing was started.
        Err(error) if error.errno() == Some(Errno(libc::EINTR)) => 0,
        Err(error) => fail(&error, log_format_of(&typed)),
    })
}

/// With what the files say that it names; they are read once.
fn read(typed: &mut Typed) -> Result<InitPlan, Error> {
    let mut files = Files::new();
    files.add_options(typed, options::INIT)?;
    let mut plan = plan(typed)?;
    files.read_variables(typed, &mut plan.settings.environment)?;
    Ok(plan)
}

#[inline(never)]
fn plan(typed: &Typed) -> Result<InitPlan, Error> {
    let mut command = Vec::new();
    for word in &typed.command {
        command.push(c_string(word)?);
    }
    let (pre_start, post_stop) = (hooks(typed, "pre-start")?, hooks(typed, "post-stop")?);
    let mut reactions = forward_all();
    reactions_to(typed, &mut reactions, ACTIONS)?;
    let decide = Plan {
        pre_start: pre_start.len(),
        post_stop: post_stop.len(),
        reactions,
        to: if typed.get("single-child").is_some() { To::Process } else { To::Group },
        drain_delay: or(typed, "drain-delay", Millis(0), span)?,
        leftovers: Leftovers::Sweep(or(typed, "stop-timeout", Some(Millis::seconds(8)), timeout)?),
        pauses: false,
        map_exit: map_exit(typed)?,
    };
    let parent_death = or(typed, "parent-death", None, parent_death)?;
    let plan = InitPlan {
        decide,
        command,
        pre_start,
        post_stop,
        settings: settings(typed)?,
        parent_death,
        own_parent_death: parent_death,
        manners: Manners::CLEAN,
        log: log(typed)?,
        status_of: Error::exit_status,
        adopts: true,
    };
    if plan.command.is_empty() {
        let wrong = "missing; accepted: fd3 init [OPTIONS] [--] COMMAND [ARG]...";
        return Err(Error::usage("COMMAND", wrong));
    }
    Ok(plan)
}

/// What `--on` takes here.
const ACTIONS: &str = "stop, stop-now, ignore, forward, forward:SIGNAL";

/// Every signal goes to the program as it is.
pub(super) fn forward_all() -> Reactions {
    let mut reactions = Reactions::default();
    for signal in 1..crate::plan::SIGNALS as i32 {
        reactions.set(Signal(signal), Reaction::Forward(Signal(signal)));
    }
    reactions
}

#[inline(never)]
fn hooks(typed: &Typed, long: &'static str) -> Result<Vec<Vec<CString>>, Error> {
    let mut all = Vec::new();
    for given in typed.all(long) {
        let mut command = Vec::new();
        for word in given.text()?.split_ascii_whitespace() {
            command.push(c_string(word.as_ref())?);
        }
        if command.is_empty() {
            return Err(given.wrong("is empty; accepted: a command and its arguments"));
        }
        all.push(command);
    }
    Ok(all)
}

#[inline(never)]
fn map_exit(typed: &Typed) -> Result<Vec<(u8, u8)>, Error> {
    let mut all: Vec<(u8, u8)> = Vec::new();
    for given in typed.all("map-exit") {
        let wrong =
            || given.wrong("accepted: FROM=TO, each an exit status (0 to 255), or FROM a signal");
        let (from, to) = given.text()?.split_once('=').ok_or_else(wrong)?;
        let (from, to) = (from_status(from).ok_or_else(wrong)?, status(to).ok_or_else(wrong)?);
        if all.iter().any(|(known, _)| *known == from) {
            return Err(given.wrong(format_args!("{from} was given another status before")));
        }
        all.push((from, to));
    }
    Ok(all)
}

fn status(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A status, or the one of who was killed by this signal.
fn from_status(text: &str) -> Option<u8> {
    status(text).or_else(|| {
        let signal =
            signal_name::parse(text).filter(|_| !text.starts_with(|c: char| c.is_ascii_digit()))?;
        u8::try_from(128 + signal.0).ok()
    })
}
