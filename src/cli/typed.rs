//! What was typed: options with their values, and COMMAND. Nothing is judged but the form.

use core::fmt::Display;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{Opt, Times, by_long, by_short};
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
    /// For messages: `--workers "x"`, or `--config FILE, line 2: workers "x"`.
    #[inline(never)]
    pub(super) fn told(&self) -> String {
        let before = self.place.as_ref().map_or("--".to_string(), |place| format!("{place}: "));
        match self.opt.value {
            Some(_) => format!("{before}{} \"{}\"", self.opt.long, self.value.to_string_lossy()),
            None => format!("{before}{}", self.opt.long),
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

/// Takes a command line apart: `--long VALUE`, `--long=VALUE`, `-s VALUE`, `-sVALUE`, `-s=VALUE`, and several
/// letters in one word. Options end at the first word that is none, or at `--`.
#[inline(never)]
pub(super) fn command_line(
    command: &str,
    table: &'static [Opt],
    words: Vec<OsString>,
) -> Result<Typed, Error> {
    let mut line = Line { command, words: words.into_iter(), typed: Typed::default() };
    while let Some(word) = line.words.next() {
        match word.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => {
                let end = long.iter().position(|byte| *byte == b'=');
                let (long, value) = long.split_at(end.unwrap_or(long.len()));
                let long = String::from_utf8_lossy(long);
                line.take(by_long(table, &long), format!("--{long}"), value.get(1..))?;
            }
            [b'-', letters @ ..] if !letters.is_empty() => line.letters(table, letters)?,
            _ => {
                line.typed.command.push(word);
                break;
            }
        }
    }
    line.typed.command.extend(line.words);
    Ok(line.typed)
}

/// A command line that is being taken apart.
struct Line<'a> {
    command: &'a str,
    /// Those to come.
    words: std::vec::IntoIter<OsString>,
    typed: Typed,
}

impl Line<'_> {
    fn letters(&mut self, table: &'static [Opt], mut letters: &[u8]) -> Result<(), Error> {
        while let Some((first, rest)) = letters.split_first() {
            // What is no ASCII is no option of ours.
            let opt = by_short(table, char::from(*first));
            let value = match rest {
                [b'=', value @ ..] => Some(value),
                [_, ..] if opt.is_some_and(|opt| opt.value.is_some()) => Some(rest),
                _ => None,
            };
            let spelled = String::from_utf8_lossy(letters).chars().next().unwrap_or_default();
            self.take(opt, format!("-{spelled}"), value)?;
            letters = if value.is_some() { &[] } else { rest };
        }
        Ok(())
    }

    /// One option, with what was attached to it.
    #[inline(never)]
    fn take(
        &mut self,
        opt: Option<&'static Opt>,
        spelled: String,
        attached: Option<&[u8]>,
    ) -> Result<(), Error> {
        let Some(opt) = opt else {
            let wrong = format!("unknown option; \"fd3 help {}\" lists them", self.command);
            return Err(Error::usage(spelled, wrong));
        };
        let value = match (opt.value, attached) {
            (None, _) => OsString::new(),
            (Some(_), Some(value)) => OsString::from_vec(value.to_vec()),
            (Some(what), None) => match self.words.next() {
                Some(value) => value,
                None => return Err(Error::usage(spelled, format_args!("needs a value: {what}"))),
            },
        };
        self.typed.add(Given { opt, value, place: None })?;
        match (opt.value, attached) {
            (None, Some(value)) => {
                let value = String::from_utf8_lossy(value);
                Err(Error::usage(spelled, format_args!("takes no value, got \"{value}\"")))
            }
            (Some(_), _) | (None, None) => Ok(()),
        }
    }
}

/// Takes a configuration file apart: an option a line, without the dashes, `workers 2` or `workers=2`;
/// `#` begins a comment line.
#[inline(never)]
pub(super) fn file(name: &OsStr, table: &'static [Opt], bytes: &[u8]) -> Result<Typed, Error> {
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

/// A word as a C string. Words of a command line have no NUL inside; those of a file may.
pub(super) fn c_string(word: &OsStr) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(word.as_bytes())
        .map_err(|_| Error::usage(word.to_string_lossy(), "has a NUL byte inside"))
}

#[cfg(test)]
mod tests {
    use super::super::options::RUN;
    use super::*;

    /// The options with their values, then COMMAND.
    fn taken(words: &[&[u8]]) -> Result<String, String> {
        let words = words.iter().map(|word| OsString::from_vec(word.to_vec())).collect();
        let typed = command_line("run", RUN, words).map_err(|error| error.to_string())?;
        let mut all: Vec<String> = Vec::new();
        for given in &typed.given {
            all.push(format!("{}={}", given.opt.long, given.value.to_string_lossy()));
        }
        all.extend(typed.command.iter().map(|word| word.to_string_lossy().into_owned()));
        Ok(all.join(" "))
    }

    #[test]
    fn options_are_spelled_in_many_ways() {
        let table: [(&[&[u8]], &str); 16] = [
            (&[], ""),
            (&[b"--workers", b"2", b"app"], "workers=2 app"),
            (&[b"--workers=2", b"app", b"-q"], "workers=2 app -q"),
            (&[b"--control=a=b"], "control=a=b"),
            (&[b"--workers="], "workers="),
            (&[b"-w2", b"app"], "workers=2 app"),
            (&[b"-w=2", b"app"], "workers=2 app"),
            (&[b"-w=", b"app"], "workers= app"),
            (&[b"-w", b"2", b"app"], "workers=2 app"),
            (&[b"-w", b"--", b"app"], "workers=-- app"),
            (&[b"-qw2", b"app"], "quiet= workers=2 app"),
            (&[b"-vqw", b"-2"], "verbose= quiet= workers=-2"),
            (&[b"-q", b"--", b"-v", b"--"], "quiet= -v --"),
            (&[b"-", b"-q"], "- -q"),
            (&[b"", b"-q"], " -q"),
            (&[b"-w\xff", b"--stdin=\xff"], "workers=\u{fffd} stdin=\u{fffd}"),
        ];
        for (words, expected) in table {
            assert_eq!(taken(words), Ok(expected.to_string()), "{words:?}");
        }
    }

    #[test]
    fn what_is_no_option_is_told_as_it_was_spelled() {
        let unknown = "unknown option; \"fd3 help run\" lists them";
        let table: [(&[&[u8]], String); 13] = [
            (&[b"--nope=1"], format!("--nope: {unknown}")),
            (&[b"--=1"], format!("--: {unknown}")),
            (&[b"--work"], format!("--work: {unknown}")),
            (&[b"--\xff"], format!("--\u{fffd}: {unknown}")),
            (&[b"-qx"], format!("-x: {unknown}")),
            (&[b"-="], format!("-=: {unknown}")),
            (&["-é".as_bytes()], format!("-é: {unknown}")),
            (&[b"-q\xff"], format!("-\u{fffd}: {unknown}")),
            (&[b"--workers"], "--workers: needs a value: N|auto".into()),
            (&[b"-qw"], "-w: needs a value: N|auto".into()),
            (&[b"--quiet=1"], "--quiet: takes no value, got \"1\"".into()),
            (&[b"-q="], "-q: takes no value, got \"\"".into()),
            (&[b"-q", b"-q=1"], "--quiet: given twice; accepted: once".into()),
        ];
        for (words, expected) in table {
            assert_eq!(taken(words), Err(expected), "{words:?}");
        }
    }
}
