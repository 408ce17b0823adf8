//! What a program that restarts itself tells the process that takes its place, in the environment.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::whole;
use crate::units::Pid;

/// The process that all of this is for: children of that one inherit it, and are not meant.
pub const OWN_PID: &str = "FD3_RESTART_PID";
const ROLE: &str = "FD3_RESTART_AS";
const READY: &str = "FD3_RESTART_READY";
const STAND_IN: &str = "FD3_RESTART_STAND_IN";
const GENERATION: &str = "FD3_GENERATION";

/// What a process is in a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nobody restarted it.
    First,
    /// It is to take its parent's place, which waits until it is ready (this descriptor).
    Successor { ready: i32 },
    /// It is to serve until its parent, which waits for the same, has become the new program.
    StandIn { ready: i32 },
    /// It has become the new program, and ends its stand-in as soon as it serves.
    Heir { stand_in: i32 },
}

/// The role and the generation of the process `own`.
pub fn told(variable: impl Fn(&str) -> Option<String>, own: Pid) -> (Role, u64) {
    let number = |name| variable(name).and_then(|value| whole(value.as_bytes(), 10));
    let small = |name| number(name).and_then(|number| i32::try_from(number).ok());
    let generation = number(GENERATION).unwrap_or(1);
    if small(OWN_PID) != Some(own.0) {
        return (Role::First, generation);
    }
    let role = match (variable(ROLE).as_deref(), small(READY), small(STAND_IN)) {
        (Some("successor"), Some(ready), _) => Role::Successor { ready },
        (Some("stand-in"), Some(ready), _) => Role::StandIn { ready },
        (Some("heir"), _, Some(stand_in)) if stand_in > 0 => Role::Heir { stand_in },
        (Some(_) | None, ..) => Role::First,
    };
    (role, generation)
}

/// `NAME=VALUE` of all but the own PID.
pub fn variables(role: Role, generation: u64) -> Vec<String> {
    let (word, told) = match role {
        Role::First => return Vec::new(),
        Role::Successor { ready } => ("successor", format!("{READY}={ready}")),
        Role::StandIn { ready } => ("stand-in", format!("{READY}={ready}")),
        Role::Heir { stand_in } => ("heir", format!("{STAND_IN}={stand_in}")),
    };
    [format!("{ROLE}={word}"), told, format!("{GENERATION}={generation}")].into()
}

/// Whether a variable of this name is told anew, and not carried.
pub fn is_told_anew(name: &[u8]) -> bool {
    const TOLD: [&str; 7] = [
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_FDS_FIRST_FD",
        "WATCHDOG_PID",
        GENERATION,
    ];
    name.starts_with(b"FD3_RESTART_") || TOLD.iter().any(|told| told.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[String], own: i32) -> (Role, u64) {
        let find = |name: &str| {
            set.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('=')).map(String::from)
        };
        told(find, Pid(own))
    }

    #[test]
    fn what_is_told_is_understood_by_who_is_meant() {
        for role in
            [Role::Successor { ready: 7 }, Role::StandIn { ready: 4 }, Role::Heir { stand_in: 99 }]
        {
            let mut set = variables(role, 3);
            assert_eq!(read(&set, 5), (Role::First, 3));
            set.push(format!("{OWN_PID}=5"));
            assert_eq!(read(&set, 5), (role, 3));
            assert_eq!(read(&set, 6), (Role::First, 3));
            assert!(set.iter().all(|one| is_told_anew(one.split('=').next().unwrap().as_bytes())));
        }
        assert_eq!(read(&[], 5), (Role::First, 1));
        let odd = ["FD3_RESTART_PID=5", "FD3_RESTART_AS=heir", "FD3_RESTART_STAND_IN=-1"];
        assert_eq!(read(&odd.map(String::from), 5), (Role::First, 1));
    }

    #[test]
    fn everything_else_is_carried() {
        for name in ["PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC", "FD3_SLOT", "LISTEN"] {
            assert!(!is_told_anew(name.as_bytes()), "{name}");
        }
    }
}
