//! What Server::Starter takes from its environment, and from the folder of `--envdir`: a file a variable, by
//! its first line.

use crate::protocol::env_file::Environment;
use crate::sys::{daemon, environment, file};
use crate::units::Millis;

/// A variable's file is not longer than this.
const FILE_MAX: usize = 1 << 20;

/// What decides when a worker goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Times {
    pub(super) kill_old_delay: Millis,
    /// With --enable-auto-restart.
    pub(super) auto_restart: Option<Millis>,
}

/// `NAME=VALUE`; what is no variable is left out, as a shell would.
pub(super) fn set(variables: &mut Environment, name: &[u8], value: &[u8]) {
    let _ = variables.add(&[name, b"=", value].concat());
}

fn get<'a>(variables: &'a Environment, name: &str) -> Option<&'a [u8]> {
    variables.get(name.as_bytes()).or_else(|| environment::variable(name))
}

/// Adds what the folder says now. There need not be one.
pub(super) fn load(variables: &mut Environment) {
    let Some(folder) = get(variables, "ENVDIR").map(<[u8]>::to_vec) else { return };
    for name in daemon::names_in(&folder).unwrap_or_default() {
        if name.starts_with(b".") {
            continue;
        }
        let Ok(bytes) = file::read(&[&folder[..], b"/", &name].concat(), FILE_MAX) else {
            continue;
        };
        if let (Some(line), false) = (bytes.split(|byte| *byte == b'\n').next(), bytes.is_empty()) {
            set(variables, &name, line);
        }
    }
}

pub(super) fn times(variables: &Environment) -> Times {
    let seconds = |name| get(variables, name).map(number);
    let auto = get(variables, "ENABLE_AUTO_RESTART").is_some_and(|on| !matches!(on, b"" | b"0"));
    let interval = seconds("AUTO_RESTART_INTERVAL").filter(|interval| *interval > 0);
    let delay = seconds("KILL_OLD_DELAY").unwrap_or(if auto { 5 } else { 0 });
    Times {
        kill_old_delay: Millis::seconds(delay),
        auto_restart: auto.then(|| Millis::seconds(interval.unwrap_or(360))),
    }
}

/// What Perl takes text for: the digits that it begins with. Millions of years are enough.
fn number(text: &[u8]) -> u64 {
    let mut number = 0_u64;
    for digit in text.trim_ascii_start().iter().take_while(|byte| byte.is_ascii_digit()) {
        number = (number * 10 + u64::from(digit - b'0')).min(1 << 40);
    }
    number
}
