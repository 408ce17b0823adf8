//! What is asked for a program by the options that `run` shares with whatever else starts one: judged, but for
//! variables, which come from files as well.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use super::meant::whole;
use super::typed::{Given, Typed, c_string};
use crate::error::Error;
use crate::plan::{Inheritance, Privileges, Settings};
use crate::protocol::address::octal;
use crate::protocol::limit::{self, Limit};
use crate::protocol::passwd::{self, Id};
use crate::protocol::{capability, word_at};

#[inline(never)]
pub(super) fn settings(typed: &Typed) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    for given in &typed.given {
        match given.opt.long {
            "clear-env" => settings.inheritance = Inheritance::Nothing,
            _ if !cfg!(feature = "settings") => {}
            "user" => settings.user = id(given)?,
            "group" => settings.group = id(given)?,
            "chdir" => settings.folder = Some(folder(given)?),
            "umask" => settings.umask = umask(given)?,
            "rlimit" => add_limit(&mut settings.limits, given)?,
            "nice" => settings.nice = nice(given)?,
            "no-new-privs" => settings.privileges = Privileges::NoNew,
            "cap-drop" => settings.dropped |= capability(given)?,
            _ => {}
        }
    }
    Ok(settings)
}

fn folder(given: &Given) -> Result<CString, Error> {
    if !given.value.as_bytes().starts_with(b"/") {
        return Err(given.wrong("accepted: an absolute path"));
    }
    c_string(&given.value).map_err(|_| given.wrong("holds a NUL byte"))
}

fn capability(given: &Given) -> Result<u64, Error> {
    capability::parse(given.text()?).ok_or_else(|| accepted(given, capability::ACCEPTED))
}

fn accepted(given: &Given, what: &str) -> Error {
    given.wrong(format_args!("accepted: {what}"))
}

fn id(given: &Given) -> Result<Option<Id>, Error> {
    Id::parse(given.text()?).map(Some).ok_or_else(|| accepted(given, passwd::ACCEPTED))
}

fn umask(given: &Given) -> Result<Option<u32>, Error> {
    octal(given.text()?).map(Some).ok_or_else(|| accepted(given, "octal, 0 to 0777"))
}

fn nice(given: &Given) -> Result<Option<i32>, Error> {
    let text = given.text()?;
    let (digits, sign, most) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1, 20),
        None => (text, 1, 19),
    };
    let number = whole(digits).filter(|number| *number <= most);
    number.map(|number| Some(sign * number as i32)).ok_or_else(|| accepted(given, "-20 to 19"))
}

fn add_limit(all: &mut Vec<Limit>, given: &Given) -> Result<(), Error> {
    let limit = limit::parse(given.text()?).ok_or_else(|| accepted(given, limit::ACCEPTED))?;
    if all.iter().any(|(resource, _, _)| *resource == limit.0) {
        let name = word_at(limit.0, limit::NAMES);
        return Err(given.wrong(format_args!("{name} was given a limit before")));
    }
    all.push(limit);
    Ok(())
}
