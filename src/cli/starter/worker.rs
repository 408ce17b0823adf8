//! What is between fd3's fork and the server program: the same process, the same PID. It gives the program
//! what Server::Starter gives it: its folder, its variables as they are now, its sockets where it wants them.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use super::env;
use crate::protocol::env_file::{self, Environment};
use crate::sys::{daemon, environment, exec};

/// The word that this is called by. No command of fd3's has a blank in it.
pub(in crate::cli) const NAME: &str = "start_server worker";

/// As the server program's exit status: what Server::Starter's worker ends with where there is none.
const CANNOT_EXECUTE: u8 = 255;
/// What fd3 says to a worker, but Server::Starter does not.
const NOT_ITS_OWN: [&[u8]; 4] = [b"FD3_SLOT", b"FD3_GENERATION", b"FD3_START", b"NOTIFY_SOCKET"];

/// What is handed over to it: words before the server program's.
pub(super) struct Handed {
    pub(super) folder: Vec<u8>,
    /// SERVER_STARTER_PORT.
    pub(super) ports: String,
    /// Where its sockets are to be.
    pub(super) numbers: Vec<i32>,
}

/// What a service manager above says to all that it looks after.
const FROM_ABOVE: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

impl Handed {
    pub(super) fn into_words(self) -> Vec<CString> {
        let mut numbers = String::new();
        for number in self.numbers {
            numbers.push_str(&format!("{number},"));
        }
        let mut words =
            vec![NAME.into(), self.folder, self.ports.into_bytes(), numbers.into_bytes()];
        for name in FROM_ABOVE {
            if let Some(value) = environment::variable(name) {
                words.push([name.as_bytes(), b"=", value].concat());
            }
        }
        words.push(b"--".to_vec());
        let mut all = Vec::new();
        for word in words {
            // None has a NUL inside: all came from words and variables.
            all.extend(CString::new(word).ok());
        }
        all
    }
}

/// Becomes the server program; the status to end with if it cannot.
pub(in crate::cli) fn become_server(words: Vec<OsString>) -> u8 {
    let mut words = words.into_iter().map(OsString::into_vec);
    let mut next = || words.next().unwrap_or_default();
    let (folder, ports, numbers) = (next(), next(), next());
    let mut variables = Environment::default();
    loop {
        match next() {
            word if word == b"--" || word.is_empty() => break,
            word => drop(variables.add(&word)),
        }
    }
    let command: Vec<CString> = words.filter_map(|word| CString::new(word).ok()).collect();
    let start = environment::variable("FD3_START").unwrap_or(b"1");
    env::set(&mut variables, b"SERVER_STARTER_PORT", ports.as_slice());
    env::set(&mut variables, b"SERVER_STARTER_GENERATION", start);
    env::load(&mut variables);
    if !folder.is_empty()
        && let Err(errno) = daemon::change_folder(&folder)
    {
        super::say(&format!("failed to chdir:{}:{errno}\n", String::from_utf8_lossy(&folder)));
        return u8::try_from(errno.0).unwrap_or(CANNOT_EXECUTE);
    }
    let numbers = String::from_utf8_lossy(&numbers);
    let numbers: Vec<i32> = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
    if let Err(errno) = daemon::arrange(&numbers) {
        super::say(&format!("dup2(2) failed: {errno}\n"));
        return CANNOT_EXECUTE;
    }
    let path = variables.get(b"PATH").or_else(|| environment::variable("PATH")).map(<[u8]>::to_vec);
    let environment = merged(variables);
    let Some(name) = command.first() else { return CANNOT_EXECUTE };
    let why = match exec::find(name, path.as_deref(), None) {
        Ok(program) => {
            let errno = daemon::become_program(&program, &command, &environment);
            exec::error(&program, errno).to_string()
        }
        Err(error) => error.to_string(),
    };
    super::say(&format!("failed to exec: {why}\n"));
    CANNOT_EXECUTE
}

/// Over what this process was given.
fn merged(variables: Environment) -> Vec<CString> {
    let mut all = Vec::new();
    for variable in environment::variables() {
        let name = env_file::name(variable.to_bytes());
        if variables.get(name).is_none() && !NOT_ITS_OWN.contains(&name) {
            all.push(variable.to_owned());
        }
    }
    all.append(&mut variables.into_strings());
    all
}
