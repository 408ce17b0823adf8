//! Finds and reaps children. Decides nothing.

use super::checked;
use crate::error::Errno;

/// A child that has ended, not reaped yet.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub pid: i32,
    pub how: How,
}

#[derive(Clone, Copy, Debug)]
pub enum How {
    Exited(u8),
    Killed(i32),
}

/// One child that has ended, if there is one. It stays a zombie, so that its PID stays its own.
pub fn peek() -> Result<Option<Ended>, Errno> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: info outlives the call.
        match checked(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }) {
            Ok(_) => break,
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::ECHILD)) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: waitid filled in the SIGCHLD fields, or left them zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    if pid == 0 {
        return Ok(None);
    }
    let how = match info.si_code {
        libc::CLD_EXITED => How::Exited(status as u8),
        _ => How::Killed(status),
    };
    Ok(Some(Ended { pid, how }))
}

/// Waits until this child has ended; `None` if it is none of ours. It stays a zombie.
pub fn await_end(pid: i32) -> Option<How> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let (id, options) = (pid as libc::id_t, libc::WEXITED | libc::WNOWAIT);
    loop {
        // SAFETY: info outlives the call.
        match checked(unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) }) {
            Ok(_) => break,
            Err(Errno(libc::EINTR)) => {}
            Err(_) => return None,
        }
    }
    // SAFETY: waitid filled in the SIGCHLD fields.
    let status = unsafe { info.si_status() };
    Some(match info.si_code {
        libc::CLD_EXITED => How::Exited(status as u8),
        _ => How::Killed(status),
    })
}

/// Whether any child, ended or not, is in this process group. Whoever outlived its own parent is a child
/// of ours where we are its reaper.
pub fn has_child_in_group(group: i32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let id = group as libc::id_t;
    // SAFETY: waitid accepts a null siginfo on Linux and then tells nothing.
    checked(unsafe { libc::waitid(libc::P_PGID, id, core::ptr::null_mut(), options) }).is_ok()
}

/// Whether there is any child, ended or not.
pub fn has_child() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid accepts a null siginfo on Linux and then tells nothing.
    checked(unsafe { libc::waitid(libc::P_ALL, 0, core::ptr::null_mut(), options) }).is_ok()
}

/// The signal that stopped a child since this was last asked.
#[cfg(feature = "init")]
pub fn stopped_by(pid: i32) -> Option<i32> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let (id, options) = (pid as libc::id_t, libc::WSTOPPED | libc::WNOHANG);
    // SAFETY: info outlives the call.
    checked(unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) }).ok()?;
    // SAFETY: waitid filled in the SIGCHLD fields, or left them zero.
    let by = unsafe { info.si_status() };
    Some(by).filter(|signal| *signal != 0)
}

/// Lets go of a child that [`peek`] found: after this its PID may be anybody's.
pub fn reap(pid: i32) -> Result<(), Errno> {
    let options = libc::WEXITED | libc::WNOHANG;
    loop {
        let id = pid as libc::id_t;
        // SAFETY: waitid accepts a null siginfo on Linux and then tells nothing.
        match checked(unsafe { libc::waitid(libc::P_PID, id, core::ptr::null_mut(), options) }) {
            Ok(_) => return Ok(()),
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}
