//! Signals by raw kernel calls: musl's own hide 32 to 34, which Docker and glibc programs do send.

use rustix::fd::{FromRawFd, OwnedFd};

use super::{checked, last_errno};
use crate::error::Errno;

/// A kernel signal set: one bit a signal, 64 of them, 128 on MIPS.
const WORDS: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 2 } else { 1 };
const SET_BYTES: usize = WORDS * 8;
const ALL: [u64; WORDS] = [u64::MAX; WORDS];
const NONE: [u64; WORDS] = [0; WORDS];
const LAST: i32 = (WORDS * 64) as i32;

/// Blocks every signal that can be blocked: from now on they wait for the signalfd.
pub fn block_all() {
    set_mask(&ALL);
}

/// For a program that signals may end, at once and silently, but not by who no longer reads what it says:
/// that is an error of write(2)'s.
pub fn unblock_all_but_pipe() {
    let mut mask = NONE;
    mask[0] = 1 << (libc::SIGPIPE - 1);
    set_mask(&mask);
}

/// The empty mask: for a child, just before it becomes COMMAND.
pub(super) fn unblock_all() {
    set_mask(&NONE);
}

fn set_mask(mask: &[u64; WORDS]) {
    let old = core::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads SET_BYTES from mask and writes nothing. It cannot fail: the size is its
    // own and `how` is valid.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, mask.as_ptr(), old, SET_BYTES)
    };
}

/// Every disposition back to default, whatever was inherited: an ignored SIGCHLD would lose every exit
/// status, and what is ignored here would be ignored in every worker.
pub fn reset_dispositions() {
    /// Large enough for the kernel's sigaction everywhere; all-zero is SIG_DFL without flags.
    const DEFAULT: [u64; 8] = [0; 8];
    for signal in 1..=LAST {
        let old = core::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads a sigaction from DEFAULT and writes nothing. SIGKILL and SIGSTOP
        // are refused, which is fine.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), old, SET_BYTES) };
    }
}

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub signal: i32,
    /// Nothing for one from the kernel, from a terminal, or from outside the PID namespace.
    pub sender: Option<i32>,
}

/// All signals as a descriptor (signalfd(2)).
pub struct SignalFd(OwnedFd);

/// Signals taken at once.
const BATCH: usize = 16;
const INFO_BYTES: usize = size_of::<libc::signalfd_siginfo>();

impl SignalFd {
    pub fn new() -> Result<SignalFd, Errno> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: the kernel reads SET_BYTES from ALL.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, ALL.as_ptr(), SET_BYTES, flags) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else has it.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Up to a batch of signals; the rest stays where it is.
    pub fn read(&self) -> Result<Vec<Received>, Errno> {
        let mut bytes = [0_u8; BATCH * INFO_BYTES];
        match rustix::io::read(&self.0, &mut bytes) {
            Ok(length) => {
                let mut all = Vec::new();
                for info in bytes.get(..length).unwrap_or_default().chunks_exact(INFO_BYTES) {
                    if let Some(one) = received(info) {
                        all.push(one);
                    }
                }
                Ok(all)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The fields of one signalfd_siginfo: signo, errno, code, pid, each four bytes.
fn received(info: &[u8]) -> Option<Received> {
    let word = |index: usize| {
        let bytes = info.get(index * 4..index * 4 + 4)?;
        Some(i32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let sender = Some(word(3)?).filter(|pid| *pid != 0);
    Some(Received { signal: word(0)?, sender })
}

/// Sends a signal to one process.
pub fn send(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to a process group.
pub fn send_to_group(group: i32, signal: i32) -> Result<(), Errno> {
    send(-group, signal)
}
