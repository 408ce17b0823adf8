//! What was typed: options with their values, and COMMAND. Nothing is judged but the form.

use core::fmt::Display;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{Opt, Table, Times, by_long, by_short};
use crate::error::Error;

/// A command line, or a configuration file, in parts.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) given: Vec<Given>,
    /// The first word that is no option, and all that follow.
    pub(super) command: Vec<OsString>,
}

/// One option as it was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) opt: &'static Opt,
    /// Empty for an option without a value.
    pub(super) value: OsString,
    /// The file and the line, if it was not typed.
    pub(super) place: Option<String>,
}

impl Given {
    /// For messages: `--workers "x"`, or `--config FILE, line 2: workers "x"`. Variables may be secrets.
    #[inline(never)]
    pub(super) fn told(&self) -> String {
        let before = self.place.as_ref().map_or("--".to_string(), |place| format!("{place}: "));
        match self.opt.value {
            Some(_) if self.opt.long != "env" => {
                format!("{before}{} \"{}\"", self.opt.long, self.value.to_string_lossy())
            }
            Some(_) | None => format!("{before}{}", self.opt.long),
        }
    }

    pub(super) fn wrong(&self, wrong: impl Display) -> Error {
        self.wrongly(&wrong)
    }

    #[inline(never)]
    fn wrongly(&self, wrong: &dyn Display) -> Error {
        Error::usage(self.told(), wrong)
    }

    /// The value as text; what is no UTF-8 is none of the words that are accepted.
    #[inline(never)]
    pub(super) fn text(&self) -> Result<&str, Error> {
        self.value.to_str().ok_or_else(|| self.wrong("is not UTF-8"))
    }
}

/// Takes a command line apart. Options end at the first word that is none.
#[inline(never)]
pub(super) fn command_line(
    command: &str,
    table: Table,
    words: Vec<OsString>,
) -> Result<Typed, Error> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut typed = Typed::default();
    loop {
        let (opt, spelled) = match parser.next().map_err(unexpected_value)? {
            None => break,
            Some(lexopt::Arg::Value(first)) => {
                typed.command.push(first);
                while let Some(word) = next_word(&mut parser) {
                    typed.command.push(word);
                }
                break;
            }
            Some(lexopt::Arg::Long(long)) => (by_long(table, long), format!("--{long}")),
            Some(lexopt::Arg::Short(short)) => (by_short(table, short), format!("-{short}")),
        };
        let Some(opt) = opt else {
            let wrong = format_args!("unknown option; \"fd3 help {command}\" lists them");
            return Err(Error::usage(spelled, wrong));
        };
        let value = match opt.value {
            Some(what) => match next_word(&mut parser) {
                Some(value) => value,
                None => return Err(Error::usage(spelled, format_args!("needs a value: {what}"))),
            },
            None => OsString::new(),
        };
        typed.add(Given { opt, value, place: None })?;
    }
    Ok(typed)
}

/// Takes a configuration file apart: an option a line, without the dashes, `workers 2` or `workers=2`;
/// `#` begins a comment line.
#[inline(never)]
pub(super) fn file(name: &OsStr, table: Table, bytes: &[u8]) -> Result<Typed, Error> {
    let mut typed = Typed::default();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = || format!("--config {}, line {number}", name.to_string_lossy());
        let divides = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
        let (long, rest) = line.split_at(line.iter().position(divides).unwrap_or(line.len()));
        let long = String::from_utf8_lossy(long);
        let rest = rest.trim_ascii();
        let known = by_long(table, &long).filter(|opt| !matches!(opt.long, "config" | "help"));
        let Some(opt) = known else {
            let wrong =
                format!("\"{long}\": unknown option; accepted: long options without dashes");
            return Err(Error::usage(place(), wrong));
        };
        let value = match opt.value {
            Some(_) => rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii(),
            None => rest,
        };
        if opt.value.is_some() == value.is_empty() {
            let wrong = match opt.value {
                Some(what) => format!("{long}: needs a value: {what}"),
                None => format!("{long}: takes no value"),
            };
            return Err(Error::usage(place(), wrong));
        }
        let value = OsString::from_vec(value.to_vec());
        typed.add(Given { opt, value, place: Some(place()) })?;
    }
    Ok(typed)
}

impl Typed {
    fn add(&mut self, given: Given) -> Result<(), Error> {
        let opt = given.opt;
        if opt.times == Times::Once && self.has(opt.long) {
            return Err(given.wrong("given twice; accepted: once"));
        }
        self.given.push(given);
        Ok(())
    }

    fn has(&self, long: &str) -> bool {
        self.given.iter().any(|given| given.opt.long == long)
    }

    /// The command line wins: what it gives, the file's like is not looked at.
    pub(super) fn add_weaker(&mut self, file: Typed) {
        let (quiet, verbose) = (self.has("quiet"), self.has("verbose"));
        let opposite = |long| long == "verbose" && quiet || long == "quiet" && verbose;
        let typed = self.given.len();
        for given in file.given {
            let mut stronger = self.given.iter().take(typed);
            let long = given.opt.long;
            if !opposite(long) && !stronger.any(|typed| typed.opt.long == long) {
                self.given.push(given);
            }
        }
    }

    #[inline(never)]
    pub(super) fn get(&self, long: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.opt.long == long)
    }

    pub(super) fn all(&self, long: &'static str) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(move |given| given.opt.long == long)
    }
}

/// Whatever it looks like; after an option, its value.
#[inline(never)]
fn next_word(parser: &mut lexopt::Parser) -> Option<OsString> {
    parser.value().ok()
}

/// `next` complains of nothing but `--flag=value`.
fn unexpected_value(error: lexopt::Error) -> Error {
    if let lexopt::Error::UnexpectedValue { option, value } = error {
        Error::usage(option, format_args!("takes no value, got \"{}\"", value.to_string_lossy()))
    } else {
        // Its own text would bring in the code that prints with {:?}.
        Error::usage("the command line", "cannot be taken apart")
    }
}

/// A word as a C string. Words of a command line have no NUL inside; those of a file may.
pub(super) fn c_string(word: &OsStr) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(word.as_bytes())
        .map_err(|_| Error::usage(word.to_string_lossy(), "has a NUL byte inside"))
}
