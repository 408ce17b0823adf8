//! Signals without signalfd(2): handlers that write to a pipe. They run only while epoll waits, so that
//! nothing else is ever interrupted, and no child forked meanwhile has one that runs.

use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, Ordering};

use rustix::fd::{FromRawFd, IntoRawFd, OwnedFd};
use rustix::fs::OFlags;

use super::fd;
use super::signal::{ALL, LAST, Received, WORDS, disposition, put, set_as};
use crate::error::Errno;

/// A signal's number and its sender's PID, four bytes each: a pipe takes them whole or not at all.
pub(super) const RECORD_BYTES: usize = 8;
/// No descriptor.
const NONE: i32 = -1;

/// No child puts a descriptor there; and it is above what is closed by its number.
const FREE: i32 = 3;

/// The one that is caught first.
const FIRST: i32 = 1;

/// Where handlers write to.
static WRITE: AtomicI32 = AtomicI32::new(NONE);

extern "C" fn caught(signal: i32, info: *const libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the location of errno is always valid for this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // SAFETY: the kernel passes one with SA_SIGINFO.
    let info = unsafe { &*info };
    let sender = if signal == libc::SIGCHLD || info.si_code <= 0 {
        // SAFETY: whoever sent it, or the child that ended, fills this in.
        unsafe { info.si_pid() }
    } else {
        0
    };
    let mut record = [0_u8; RECORD_BYTES];
    record[..4].copy_from_slice(&signal.to_ne_bytes());
    record[4..].copy_from_slice(&sender.to_ne_bytes());
    let to = WRITE.load(Ordering::Relaxed);
    // A full pipe loses it: there are thousands before it that nobody looked at.
    // SAFETY: record outlives the call.
    unsafe { libc::write(to, record.as_ptr().cast(), RECORD_BYTES) };
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Whether there are handlers, which a child must not keep.
pub(super) fn is_in_use() -> bool {
    cfg!(feature = "init") && WRITE.load(Ordering::Relaxed) != NONE
}

/// The number of the end that handlers write to.
#[cfg(feature = "init")]
pub(super) fn other_end() -> i32 {
    WRITE.load(Ordering::Relaxed)
}

/// Installs the handlers; the end to read from. All signals are blocked.
pub(super) fn install() -> Result<OwnedFd, Errno> {
    let (read, write) = fd::pipe()?;
    let write = fd::above(write, FREE)?;
    for end in [&read, &write] {
        rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK)?;
    }
    // One that was there before: a second loop in one process, as in tests.
    let former = WRITE.swap(write.into_raw_fd(), Ordering::Relaxed);
    if former != NONE {
        // SAFETY: it was given up to WRITE, which has forgotten it.
        drop(unsafe { OwnedFd::from_raw_fd(former) });
    }
    for signal in FIRST..LAST + 1 {
        catch(signal);
    }
    Ok(read)
}

/// By the C library, which knows how a handler returns on this machine. What it refuses because it needs it for
/// threads (32 and 33, in musl 34 as well) is then made like one that it has taken. None of the three is blocked
/// while a handler runs, which does no harm: a record is written whole, whoever comes between.
pub(super) fn catch(signal: i32) {
    // SAFETY: all-zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = caught as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the set outlives the call.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    // SAFETY: the action outlives the call, and its handler only writes to a pipe.
    let refused = unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    if refused != 0 {
        set_as(signal, FIRST);
    }
}

/// What stays blocked while epoll waits: what has no handler would do what it does by default.
pub(super) fn not_caught() -> [u64; WORDS] {
    let mut mask = ALL;
    for signal in 1..LAST + 1 {
        put(&mut mask, signal, disposition(signal) != caught as *const () as usize);
    }
    mask
}

/// The fields of one record.
pub(super) fn received(record: &[u8]) -> Option<Received> {
    let (signal, sender) = record.split_at_checked(4)?;
    let sender = i32::from_ne_bytes(sender.try_into().ok()?);
    let sender = Some(sender).filter(|pid| *pid != 0);
    Some(Received { signal: i32::from_ne_bytes(signal.try_into().ok()?), sender })
}
