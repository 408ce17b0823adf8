//! Signals by name and by number. SIGRTMIN is 34 here, as glibc and Docker have it.

use alloc::format;
use alloc::string::{String, ToString};

use crate::plan::SIGNALS;
use crate::units::Signal;

/// What [`parse`] takes, for messages.
pub const ACCEPTED: &str = "a signal's name or number (TERM, SIGTERM, RTMIN+1, 15)";

/// The first real-time signal that programs may use: 32 and 33 belong to the C library's threads.
const RTMIN: i32 = 34;
const RTMAX: i32 = SIGNALS as i32 - 1;

const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    #[cfg(not(any(target_arch = "mips", target_arch = "mips64")))]
    ("STKFLT", libc::SIGSTKFLT),
];

/// A signal by its name, with or without `SIG`, in any case, or by its number.
pub fn parse(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<i32>() {
        return (text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=RTMAX).contains(&number))
            .then_some(Signal(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(Signal(*number));
    }
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset(rest, '+')?)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        RTMAX.checked_sub(offset(rest, '-')?)?
    } else {
        return None;
    };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

/// Nothing, or `sign` and a number.
fn offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// `SIGTERM`, `SIGRTMIN+3`, or the bare number.
pub fn name(signal: Signal) -> String {
    match NAMES.iter().find(|(_, number)| *number == signal.0) {
        Some((name, _)) => format!("SIG{name}"),
        None if signal.0 == RTMIN => "SIGRTMIN".to_string(),
        None if (RTMIN..=RTMAX).contains(&signal.0) => format!("SIGRTMIN+{}", signal.0 - RTMIN),
        None => signal.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        let table = [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigterm", Some(15)),
            ("15", Some(15)),
            ("32", Some(32)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX", Some(64)),
            ("RTMAX-1", Some(63)),
            ("64", Some(64)),
            ("65", None),
            ("0", None),
            ("-15", None),
            ("+15", None),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("RTMIN+", None),
            ("RTMIN++1", None),
            ("RTMIN+99999999999", None),
            ("", None),
            ("SIG", None),
            ("TERMINATE", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected.map(Signal), "{text}");
        }
    }

    #[test]
    fn every_signal_has_a_name_that_is_read_back() {
        for number in 1..=64 {
            assert_eq!(parse(&name(Signal(number))), Some(Signal(number)));
        }
        assert_eq!(name(Signal(11)), "SIGSEGV");
        assert_eq!(name(Signal(37)), "SIGRTMIN+3");
        assert_eq!(name(Signal(33)), "33");
    }
}
