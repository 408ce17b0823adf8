//! The words of sd_notify(3), as a program says them; `notify` reads them.

use alloc::format;
use alloc::string::String;

use super::notify::Keep;

/// It serves.
pub const READY: &str = "READY=1";
/// It stops by itself.
pub const STOPPING: &str = "STOPPING=1";
/// It is well.
pub const ALIVE: &str = "WATCHDOG=1";
/// It is not, and knows it.
pub const TRIGGER: &str = "WATCHDOG=trigger";
/// Whoever reads it closes what came with it.
pub const BARRIER: &str = "BARRIER=1";

/// When it began to reload, by CLOCK_MONOTONIC.
pub fn reloading(usec: u64) -> String {
    format!("RELOADING=1\nMONOTONIC_USEC={usec}")
}

/// One line, whatever `text` holds: a second one would be another word.
pub fn status(text: &str) -> String {
    format!("STATUS={}", text.replace(['\n', '\r', '\0'], " "))
}

pub fn extend_timeout(usec: u64) -> String {
    format!("EXTEND_TIMEOUT_USEC={usec}")
}

pub fn errno(number: u16) -> String {
    format!("ERRNO={number}")
}

/// By contract the name is one ([`super::address::is_fd_name`]), here and below.
pub fn store(name: &str, keep: Keep) -> String {
    let poll = match keep {
        Keep::UntilHangup => "",
        Keep::Always => "\nFDPOLL=0",
    };
    format!("FDSTORE=1\nFDNAME={name}{poll}")
}

pub fn remove(name: &str) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={name}")
}

#[cfg(test)]
mod tests {
    use super::super::notify::{Notice, Store, Watchdog, parse};
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let said = |text: &str, expected: Notice<'_>| {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        };
        let nothing = Notice::default();
        said(READY, Notice { ready: true, ..nothing });
        said(STOPPING, Notice { stopping: true, ..nothing });
        said(ALIVE, Notice { watchdog: Some(Watchdog::Alive), ..nothing });
        said(TRIGGER, Notice { watchdog: Some(Watchdog::Trigger), ..nothing });
        let begun = Notice { reloading: true, monotonic_usec: Some(7), ..nothing };
        said(&reloading(7), begun);
        said(&extend_timeout(9), Notice { extend_timeout_usec: Some(9), ..nothing });
        said(&errno(5), Notice { errno: Some(5), ..nothing });
        for keep in [Keep::UntilHangup, Keep::Always] {
            let add = Store::Add { name: "a b", keep };
            said(&store("a b", keep), Notice { store: Some(add), ..nothing });
        }
        said(&remove("a"), Notice { store: Some(Store::Remove { name: "a" }), ..nothing });
        assert_eq!(parse(BARRIER.as_bytes()), None);
    }

    #[test]
    fn a_status_says_nothing_else() {
        let text = status("up\nREADY=1\r\0");
        let expected = Notice { status: Some(b"up READY=1  "), ..Notice::default() };
        assert_eq!(parse(text.as_bytes()), Some(expected));
    }
}
