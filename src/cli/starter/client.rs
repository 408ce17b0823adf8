//! `--restart` and `--stop`: talk to a running start_server, fd3's or the original, by its files.

use std::ffi::CString;

use super::getopt::Words;
use super::{Died, die, own_pid, say};
use crate::error::Errno;
use crate::sys::inotify::Inotify;
use crate::sys::{daemon, file, record, signal};

const FILE_MAX: usize = 1 << 20;
/// How long to sleep where no kernel tells of a change.
const LOOK_AGAIN_MS: i64 = 1_000;

pub(super) fn restart(words: &Words) -> Result<u8, Died> {
    let (Some(pid_file), Some(status_file)) = (words.last("pid-file"), words.last("status-file"))
    else {
        let wrong = "--restart option requires --pid-file and --status-file to be set as well";
        return Err(die(None, wrong));
    };
    signal::unblock_all_but_pipe();
    let locked = daemon::open_to_lock(pid_file).map_err(|errno| cannot_open(pid_file, errno))?;
    if record::is_free(&locked) {
        return Err(nobody_holds(pid_file));
    }
    let pid = pid(pid_file)?;
    let Some(newest) = generations(status_file)?.into_iter().max() else {
        return Err(die(None, "no active process found in the status file"));
    };
    send(pid, libc::SIGHUP, "SIGHUP")?;
    // Words have no NUL inside.
    let path = CString::new(status_file).unwrap_or_default();
    loop {
        // Before it is read: what changes in between is not missed.
        let watch = Inotify::new().filter(|watch| watch.watch(&path).is_some());
        // A start that failed has a number as well, so it may be a later one.
        if let [only] = generations(status_file)?.as_slice()
            && *only > newest
        {
            return Ok(0);
        }
        daemon::wait(watch.as_ref(), LOOK_AGAIN_MS);
    }
}

pub(super) fn stop(words: &Words) -> Result<u8, Died> {
    let Some(pid_file) = words.last("pid-file") else {
        return Err(die(None, "--stop option requires --pid-file to be set as well"));
    };
    signal::unblock_all_but_pipe();
    let locked = daemon::open_to_lock(pid_file).map_err(|errno| cannot_open(pid_file, errno))?;
    if record::is_free(&locked) {
        return Err(nobody_holds(pid_file));
    }
    let pid = pid(pid_file)?;
    say(&format!("stop_server (pid:{}) stopping now (pid:{pid})...\n", own_pid()));
    send(pid, libc::SIGTERM, "SIGTERM")?;
    record::await_lock(&locked)
        .map(|()| 0)
        .map_err(|errno| die(Some(errno), &format!("flock failed({})", path(pid_file))))
}

/// The number in it may be anybody's by now.
fn nobody_holds(pid_file: &[u8]) -> Died {
    die(None, &format!("no running server holds {}", path(pid_file)))
}

fn send(pid: i32, number: i32, name: &str) -> Result<(), Died> {
    signal::send(pid, number)
        .map_err(|errno| die(Some(errno), &format!("failed to send {name} to the server process")))
}

fn pid(pid_file: &[u8]) -> Result<i32, Died> {
    let bytes = file::read(pid_file, FILE_MAX).map_err(|errno| cannot_open(pid_file, errno))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let pid = str::from_utf8(line).ok().and_then(|line| line.trim().parse().ok());
    // 0 and less would be groups of processes.
    pid.filter(|pid| *pid > 0)
        .ok_or_else(|| die(None, &format!("no PID in file:{}", path(pid_file))))
}

/// Those that the status file tells of, in its order.
fn generations(status_file: &[u8]) -> Result<Vec<u64>, Died> {
    let bytes =
        file::read(status_file, FILE_MAX).map_err(|errno| cannot_open(status_file, errno))?;
    let mut all: Vec<u64> = Vec::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let number = line.split_once(':').and_then(|(number, _)| number.parse().ok());
        all.extend(number.filter(|number| !all.contains(number)));
    }
    Ok(all)
}

fn cannot_open(file: &[u8], errno: Errno) -> Died {
    die(Some(errno), &format!("failed to open file:{}", path(file)))
}

fn path(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
