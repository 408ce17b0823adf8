//! Signals by name and by number. SIGRTMIN is 34 here, as glibc and Docker have it.

use alloc::format;
use alloc::string::{String, ToString};

use super::whole;
use crate::names::{Names, names};
use crate::plan::SIGNALS;
use crate::units::Signal;

/// What [`parse`] takes, for messages.
pub const ACCEPTED: &str = "a signal's name or number (TERM, SIGTERM, RTMIN+1, 15)";

/// The first real-time signal that programs may use: 32 and 33 belong to the C library's threads.
const RTMIN: i32 = 34;
const RTMAX: i32 = SIGNALS as i32 - 1;

const NAMES: Names = names! {
    SIGHUP "HUP"
    SIGINT "INT"
    SIGQUIT "QUIT"
    SIGILL "ILL"
    SIGTRAP "TRAP"
    SIGABRT "ABRT"
    SIGBUS "BUS"
    SIGFPE "FPE"
    SIGKILL "KILL"
    SIGUSR1 "USR1"
    SIGSEGV "SEGV"
    SIGUSR2 "USR2"
    SIGPIPE "PIPE"
    SIGALRM "ALRM"
    SIGTERM "TERM"
    SIGCHLD "CHLD"
    SIGCONT "CONT"
    SIGSTOP "STOP"
    SIGTSTP "TSTP"
    SIGTTIN "TTIN"
    SIGTTOU "TTOU"
    SIGURG "URG"
    SIGXCPU "XCPU"
    SIGXFSZ "XFSZ"
    SIGVTALRM "VTALRM"
    SIGPROF "PROF"
    SIGWINCH "WINCH"
    SIGIO "IO"
    SIGPWR "PWR"
    SIGSYS "SYS"
    #[cfg(not(any(target_arch = "mips", target_arch = "mips64")))]
    SIGSTKFLT "STKFLT"
};

/// A signal by its name, with or without `SIG`, in any case, or by its number.
pub fn parse(text: &str) -> Option<Signal> {
    if let Some(number) = whole(text.as_bytes(), 10) {
        return (1..=RTMAX as u64).contains(&number).then_some(Signal(number as i32));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = NAMES.number(name) {
        return Some(Signal(number));
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
    i32::try_from(whole(digits.as_bytes(), 10)?).ok()
}

/// `SIGTERM`, `SIGRTMIN+3`, or the bare number.
pub fn name(signal: Signal) -> String {
    match NAMES.name(signal.0) {
        Some(name) => format!("SIG{name}"),
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
