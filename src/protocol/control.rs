//! What is said on the control socket: one line asks, lines answer. The last one begins with a word for
//! machines, the rest of it is for people; lines before it tell how far fd3 is.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

use super::joined;
use crate::supervisor::Outcome;
use crate::units::Pid;

/// The longest line that asks, without its end.
pub const CONTROL_LINE_MAX: usize = 512;
/// So many fd3 can have the same PID, each in a PID namespace of its own, and share the abstract names.
pub const NAMES_MAX: u32 = 100;

/// What somebody asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    Reload(Wait),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    ForTheOutcome,
    No,
}

/// Reads the words behind a verb.
type Read = fn(&[&str]) -> Result<Request, String>;

/// What may be asked for.
const VERBS: &[(&str, Read)] = &[("reload", reload)];

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
    match so_far.iter().take(CONTROL_LINE_MAX + 1).position(|byte| *byte == b'\n') {
        Some(end) => Some(parse(&so_far[..end])),
        None if so_far.len() > CONTROL_LINE_MAX => {
            Some(Err(format!("a longer line than {CONTROL_LINE_MAX} bytes")))
        }
        None => None,
    }
}

#[inline(never)]
fn parse(line: &[u8]) -> Result<Request, String> {
    let line = core::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
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
    match words {
        [] => Ok(Request::Reload(Wait::ForTheOutcome)),
        ["--no-wait"] => Ok(Request::Reload(Wait::No)),
        ["--no-wait", word, ..] | [word, ..] => {
            Err(format!("reload \"{word}\": one word too many; accepted: --no-wait"))
        }
    }
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

/// What came of a reload, for who asked for it.
pub fn reloaded(outcome: &Outcome) -> String {
    match outcome {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Errno, Error};
    use crate::supervisor::{Failure, Status};
    use crate::units::{Generation, Millis, Signal, SlotId};

    #[test]
    fn only_a_whole_line_is_an_order() {
        let wait = Some(Ok(Request::Reload(Wait::ForTheOutcome)));
        let no_wait = Some(Ok(Request::Reload(Wait::No)));
        let table: [(&[u8], _); 8] = [
            (b"", None),
            (b"reload", None),
            (b"reload\n", wait.clone()),
            (b"reload\r\n", wait.clone()),
            (b" reload \n", wait.clone()),
            (b"reload\nreload --no-wait\n", wait),
            (b"reload --no-wait\n", no_wait.clone()),
            (b"reload \t--no-wait\n\xff\0", no_wait),
        ];
        for (heard, expected) in table {
            assert_eq!(hear(heard), expected, "{heard:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_told() {
        let table: [(&[u8], &str); 8] = [
            (b"\n", "\"\" cannot be asked for; accepted: reload"),
            (b"Reload\n", "\"Reload\" cannot be asked for; accepted: reload"),
            (b"reload\0\n", "\"reload\0\" cannot be asked for; accepted: reload"),
            (b"GET / HTTP/1.1\r\n", "\"GET\" cannot be asked for; accepted: reload"),
            (b"\xff\n", "not UTF-8"),
            (b"reload now\n", "reload \"now\": one word too many; accepted: --no-wait"),
            (
                b"reload --no-wait --no-wait\n",
                "reload \"--no-wait\": one word too many; accepted: --no-wait",
            ),
            (&[b'x'; CONTROL_LINE_MAX + 1], "a longer line than 512 bytes"),
        ];
        for (heard, said) in table {
            assert_eq!(hear(heard), Some(Err(said.to_owned())), "{heard:?}");
        }
    }

    #[test]
    fn a_line_may_have_so_many_bytes() {
        let mut line = b"reload".to_vec();
        line.resize(CONTROL_LINE_MAX, b' ');
        assert_eq!(hear(&line), None);
        assert!(hear(&[&line[..], b"\n"].concat()).is_some_and(|heard| heard.is_ok()));
        assert!(hear(&[&line[..], b" \n"].concat()).is_some_and(|heard| heard.is_err()));
    }

    #[test]
    fn an_outcome_is_one_line_that_both_sides_understand() {
        let after = Millis(2_150);
        let slot = SlotId(1);
        let error = Error::system("read", "--env-file \"a\nok \"", Errno(libc::ENOENT));
        let failed = |why| Outcome::RolledBack { why, replaced: 0 };
        let status = Status::Killed(Signal(libc::SIGSEGV));
        let pid = Pid(7);
        let table = [
            (
                Outcome::Done { generation: Generation(2), after },
                "ok reloaded generation=2 after=2.1s",
            ),
            (
                Outcome::Refused { error },
                "refused nothing is changed: cannot read --env-file \"a?ok \": no such file or \
                 directory",
            ),
            (
                failed(Failure::Exited { slot, pid, status, uptime: after }),
                "failed the old generation goes on: slot 1: worker 7 was killed by SIGSEGV after 2.1s",
            ),
            (
                failed(Failure::NotReady { slot, pid, after }),
                "failed the old generation goes on: slot 1: worker 7 was not ready within 2.1s",
            ),
            (Outcome::Stopped, "failed fd3 stops"),
        ];
        for (outcome, line) in table {
            let answer = reloaded(&outcome);
            assert_eq!(answer, format!("{line}\n"));
            let (first, rest) = line.split_once(' ').expect("two words");
            let (verdict, text) = verdict(line).expect("a last line");
            assert!(VERDICTS.contains(&(first, verdict)));
            assert_eq!(text, rest);
        }
        for line in ["", "okay", "starting slot=0", " ok", "Ok", "failed: x"] {
            assert_eq!(verdict(line), None, "{line}");
        }
        assert_eq!(verdict("ok"), Some((Verdict::Ok, "")));
    }

    #[test]
    fn running_ones_are_found_in_the_kernels_table() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23456 @fd3/1\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 23457 @fd3/1\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   568 @fd3/4194304-12\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 23459 @fd3/5\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23460 @fd3/x\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23461 @fd3-test\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23462 /run/@fd3/7\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23463 /run/\xff\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23464\n\
            torn";
        assert_eq!(listed(table), ["fd3/1", "fd3/4194304-12"]);
        let names = names(Pid(1));
        assert_eq!((&*names[0], &*names[1]), ("fd3/1", "fd3/1-2"));
        assert_eq!((names.len(), &*names[99]), (100, "fd3/1-100"));
    }
}
