//! What is said on the control socket: one line asks, lines answer. The last one begins with a word for
//! machines, the rest of it is for people; lines before it tell how far fd3 is.

#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

use super::log_line::{LEVELS, level_name};
use super::status::Form;
use super::{joined, whole};
use crate::plan::{Level, WORKERS_MAX};
use crate::supervisor::{Ending, Outcome};
use crate::units::{Generation, Pid, SlotId};

/// The longest line that asks, without its end.
pub const CONTROL_LINE_MAX: usize = 512;
/// The same of one that brings a COMMAND: `reload -- WORD...`, whose `--` is within the first 512 bytes.
pub const COMMAND_LINE_MAX: usize = 64 << 10;
/// So many fd3 can have the same PID, each in a PID namespace of its own, and share the abstract names.
pub const NAMES_MAX: u32 = 100;

/// What somebody asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Reload(Wait, Conditions),
    /// How things stand.
    Status(Form),
    Stop(Ending, Wait),
    Scale(u32, Wait),
    Restart(SlotId, Wait),
    /// By this file; by the one that it was started as if it is not told.
    Upgrade(Option<CString>, Wait),
    /// To be changed to this one, or only told.
    LogLevel(Option<Level>),
}

/// What is special about a reload.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Conditions {
    /// Only if this one still serves.
    pub if_generation: Option<Generation>,
    /// Another COMMAND with its arguments; empty if it is to be the same.
    pub command: Vec<CString>,
}

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Reload,
    Stop,
    Scale,
    Restart(SlotId),
    Upgrade,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    ForTheOutcome,
    /// The same, and to be told meanwhile how far it is.
    WithProgress,
    No,
}

/// Reads the words behind a verb.
type Read = fn(&[&str]) -> Result<Request, String>;

/// What may be asked for.
const VERBS: &[(&str, Read)] = &[
    ("reload", reload),
    ("status", status),
    ("stop", stop),
    ("scale", scale),
    ("restart", restart),
    #[cfg(feature = "upgrade")]
    ("upgrade", upgrade),
    ("log-level", log_level),
];

/// The first word of the last line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is done.
    Ok,
    /// It was tried, and undone.
    Failed,
    /// It was not tried: nothing is changed.
    Refused,
    /// It was not understood, or not listened to.
    Error,
}

const VERDICTS: [(&str, Verdict); 4] = [
    ("ok", Verdict::Ok),
    ("failed", Verdict::Failed),
    ("refused", Verdict::Refused),
    ("error", Verdict::Error),
];

/// What was heard so far: `None` while the line goes on, else the request, or what is wrong with it. What
/// follows the line does not count.
pub fn hear(so_far: &[u8]) -> Option<Result<Request, String>> {
    let most = if brings_command(so_far) { COMMAND_LINE_MAX } else { CONTROL_LINE_MAX };
    match so_far.iter().take(most + 1).position(|byte| *byte == b'\n') {
        Some(end) => Some(parse(&so_far[..end])),
        None if so_far.len() > most => Some(Err(format!("a longer line than {most} bytes"))),
        None => None,
    }
}

fn brings_command(line: &[u8]) -> bool {
    let begin = &line[..line.len().min(CONTROL_LINE_MAX)];
    begin.starts_with(b"reload ") && begin.windows(4).any(|part| part == b" -- ")
}

#[inline(never)]
fn parse(line: &[u8]) -> Result<Request, String> {
    let line = core::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let mut words = Vec::new();
    for word in line.split_ascii_whitespace() {
        words.push(word);
    }
    let (verb, rest) = words.split_first().unwrap_or((&"", &[]));
    match VERBS.iter().find(|(name, _)| name == verb) {
        Some((_, read)) => read(rest),
        None => {
            let names = joined(VERBS.iter().map(|(name, _)| *name));
            Err(format!("\"{verb}\" cannot be asked for; accepted: {names}"))
        }
    }
}

fn reload(words: &[&str]) -> Result<Request, String> {
    let end = words.iter().position(|word| *word == "--");
    let (words, command) = words.split_at(end.unwrap_or(words.len()));
    let mut words = Words::of("reload", words);
    let wait = words.wait();
    let mut conditions = Conditions::default();
    if words.take("--if-generation") {
        conditions.if_generation =
            Some(Generation(words.number("reload --if-generation", 1, u32::MAX)?));
    }
    words.end("--if-generation N, --verbose or --no-wait, -- COMMAND [ARG]...")?;
    for word in command.iter().skip(1) {
        let decoded = decoded(word).and_then(|bytes| CString::new(bytes).ok());
        let bad =
            || format!("reload -- \"{word}\": no word; accepted: %20 for a blank, % for nothing");
        conditions.command.push(decoded.ok_or_else(bad)?);
    }
    if end.is_some() && conditions.command.is_empty() {
        return Err("reload --: COMMAND is missing".to_owned());
    }
    Ok(Request::Reload(wait, conditions))
}

/// A word of a COMMAND as one word of a line: what is no visible ASCII, and `%`, as `%` and two hexadecimal
/// digits; `%` alone for one that is empty.
pub fn encoded(word: &[u8]) -> String {
    if word.is_empty() {
        return "%".to_owned();
    }
    let mut line = String::new();
    for byte in word {
        if byte.is_ascii_graphic() && *byte != b'%' {
            line.push(char::from(*byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(line, "%{byte:02X}");
        }
    }
    line
}

fn decoded(word: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut parts = word.split('%');
    if word != "%" {
        bytes.extend_from_slice(parts.next()?.as_bytes());
        for part in parts {
            let (digits, rest) = part.split_at_checked(2)?;
            bytes.push(u8::try_from(whole(digits.as_bytes(), 16)?).ok()?);
            bytes.extend_from_slice(rest.as_bytes());
        }
    }
    Some(bytes)
}

fn stop(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("stop", words);
    let wait = words.wait();
    let ending = if words.take("--now") {
        Ending::Now
    } else if words.take("--drain") {
        Ending::Patient
    } else {
        Ending::Limited
    };
    words.end("--drain or --now, --verbose or --no-wait").map(|()| Request::Stop(ending, wait))
}

fn scale(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("scale", words);
    let wait = if words.take("--no-wait") { Wait::No } else { Wait::ForTheOutcome };
    let workers = words.number("scale", 1, WORKERS_MAX)?;
    words.end("a number and --no-wait").map(|()| Request::Scale(workers, wait))
}

fn restart(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("restart", words);
    let wait = words.wait();
    let slot = words.number("restart", 0, WORKERS_MAX - 1)?;
    words
        .end("a slot's number, --verbose or --no-wait")
        .map(|()| Request::Restart(SlotId(slot), wait))
}

#[cfg(feature = "upgrade")]
fn upgrade(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("upgrade", words);
    let wait = if words.take("--no-wait") { Wait::No } else { Wait::ForTheOutcome };
    let mut path = None;
    if let Some(word) = words.next() {
        let decoded = decoded(word).and_then(|bytes| CString::new(bytes).ok());
        let good = decoded.filter(|path| path.to_bytes().starts_with(b"/"));
        let bad = || format!("upgrade \"{word}\": accepted: the absolute path of a program");
        path = Some(good.ok_or_else(bad)?);
    }
    words.end("a path and --no-wait").map(|()| Request::Upgrade(path, wait))
}

fn log_level(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("log-level", words);
    let mut level = None;
    if let Some(word) = words.next() {
        let known = LEVELS.iter().find(|known| level_name(**known) == word);
        let names = || joined(LEVELS.iter().map(|known| level_name(*known)));
        let known = known.ok_or_else(|| format!("log-level \"{word}\": accepted: {}", names()))?;
        level = Some(*known);
    }
    words.end("one level").map(|()| Request::LogLevel(level))
}

/// What stands behind a verb; options come in any order.
struct Words<'a> {
    verb: &'static str,
    left: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn of(verb: &'static str, words: &[&'a str]) -> Words<'a> {
        Words { verb, left: words.to_vec() }
    }

    /// Whether this one is there, once or more.
    fn take(&mut self, word: &str) -> bool {
        let place = self.left.iter().position(|other| *other == word);
        place.map(|place| self.left.remove(place)).is_some()
    }

    fn wait(&mut self) -> Wait {
        if self.take("--no-wait") {
            Wait::No
        } else if self.take("--verbose") {
            Wait::WithProgress
        } else {
            Wait::ForTheOutcome
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        (!self.left.is_empty()).then(|| self.left.remove(0))
    }

    fn number(&mut self, what: &str, least: u32, most: u32) -> Result<u32, String> {
        let accepted = format!("accepted: {least} to {most}");
        let Some(word) = self.next() else {
            return Err(format!("{what}: its number is missing; {accepted}"));
        };
        let number = whole(word.as_bytes(), 10).and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("{what} \"{word}\": {accepted}"))
    }

    fn end(&mut self, accepted: &str) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => {
                let verb = self.verb;
                Err(format!("{verb} \"{word}\": one word too many; accepted: {accepted}"))
            }
        }
    }
}

fn status(words: &[&str]) -> Result<Request, String> {
    let mut words = Words::of("status", words);
    let form = if words.take("--json") { Form::Json } else { Form::Table };
    words.end("--json").map(|()| Request::Status(form))
}

/// A last line, whole.
#[inline(never)]
pub fn answer(verdict: Verdict, text: &dyn Display) -> String {
    let word =
        VERDICTS.iter().find(|(_, known)| *known == verdict).map_or("error", |(word, _)| word);
    let mut line = String::new();
    // Writing to a String does not fail.
    let _ = write!(line, "{word} {text}");
    let mut line = one_line(&line);
    line.push('\n');
    line
}

/// Without what would end the line, or take hold of a terminal: paths and strangers may have such.
pub fn one_line(words: &str) -> String {
    let mut line = String::new();
    for character in words.chars() {
        line.push(if character.is_control() { '?' } else { character });
    }
    line
}

/// What came of it, for who asked for it.
pub fn came(order: Order, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { after, .. } if let Order::Restart(slot) = order => {
            answer(Verdict::Ok, &format_args!("restarted slot={slot} after={after}"))
        }
        Outcome::RolledBack { why, .. } if let Order::Restart(_) = order => {
            answer(Verdict::Failed, &format_args!("the slot keeps what it had: {why}"))
        }
        Outcome::Scaled { workers } => {
            answer(Verdict::Ok, &format_args!("scaled workers={workers}"))
        }
        Outcome::Done { generation, after } => {
            answer(Verdict::Ok, &format_args!("reloaded generation={generation} after={after}"))
        }
        Outcome::Refused { error } => {
            answer(Verdict::Refused, &format_args!("nothing is changed: {error}"))
        }
        Outcome::RolledBack { why, replaced: 0 } => {
            answer(Verdict::Failed, &format_args!("the old generation goes on: {why}"))
        }
        Outcome::RolledBack { why, replaced } => {
            let words =
                format_args!("{replaced} slots are replaced, the others keep theirs: {why}");
            answer(Verdict::Failed, &words)
        }
        Outcome::Stopped => answer(Verdict::Failed, &"fd3 stops"),
    }
}

/// fd3 is about to end.
pub fn stopped(status: u8) -> String {
    answer(Verdict::Ok, &format_args!("stopped exit-status={status}"))
}

/// The log's level is now this one.
pub fn level(now: Level, before: Level) -> String {
    let name = |level| level_name(level);
    if now == before {
        return answer(Verdict::Ok, &format_args!("log-level={}", name(now)));
    }
    answer(Verdict::Ok, &format_args!("log-level={} before={}", name(now), name(before)))
}

/// The last line's verdict and text; `None` for a line after which others come.
pub fn verdict(line: &str) -> Option<(Verdict, &str)> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (_, verdict) = VERDICTS.iter().find(|(word, _)| *word == first)?;
    Some((*verdict, rest))
}

/// The abstract names at which an fd3 may be found, most likely first: `fd3/PID`, `fd3/PID-2`, ... Who
/// really is there the kernel tells (SO_PEERCRED).
pub fn names(pid: Pid) -> Vec<String> {
    let mut names = alloc::vec![format!("fd3/{pid}")];
    for nth in 2..=NAMES_MAX {
        names.push(format!("fd3/{pid}-{nth}"));
    }
    names
}

/// Those names at which somebody listens, from /proc/net/unix.
pub fn listed(table: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for line in table.split(|byte| *byte == b'\n') {
        if let Some(name) = core::str::from_utf8(line).ok().and_then(listed_in) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Number, references, protocol, flags, type, state, inode, name. A connection bears the name of its
/// listener, but not the flag SO_ACCEPTCON.
fn listed_in(line: &str) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    let (flags, kind) = (fields.next()?, fields.next()?);
    let name = fields.nth(2)?.strip_prefix('@')?;
    let ours = name.strip_prefix("fd3/")?.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
    (flags == "00010000" && kind == "0001" && ours).then_some(name)
}
