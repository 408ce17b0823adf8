//! Facts about this process, and its limits.

use rustix::process::{Pid, Resource, Rlimit, setrlimit};
use rustix::rand::GetRandomFlags;

use super::checked;
use crate::error::Errno;

pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The effective user: whose datagrams count, and who is asked by the kernel for permission.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The process group of a process, if it still exists.
pub fn group_of(pid: i32) -> Option<i32> {
    let group = rustix::process::getpgid(Some(Pid::from_raw(pid)?)).ok()?;
    Some(group.as_raw_nonzero().get())
}

/// From now on orphans among our descendants become our children, as they do for PID 1. Where that is
/// refused, they become somebody else's.
pub fn adopt_orphans() {
    // Any PID but none: this process.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Raises the limit of open descriptors for this process, as far as that is allowed. Returns the limit
/// to give back to workers where it was changed.
pub fn raise_descriptor_limit(wanted: u64) -> Option<Rlimit> {
    let before = descriptor_limit().ok()?;
    let soft = before.current?;
    if soft >= wanted {
        return None;
    }
    let hard = before.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(wanted.min(hard)), maximum: before.maximum };
    setrlimit(Resource::Nofile, raised).ok()?;
    Some(before)
}

/// How many descriptors this process may have open. By libc, as rustix takes it for granted that the
/// kernel tells; a sandbox may forbid to ask.
// Not the same width everywhere.
#[allow(clippy::unnecessary_cast)]
pub(super) fn descriptor_limit() -> Result<Rlimit, Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit outlives the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let finite = |number: libc::rlim_t| (number != libc::RLIM_INFINITY).then_some(number as u64);
    Ok(Rlimit { current: finite(limit.rlim_cur), maximum: finite(limit.rlim_max) })
}

/// Back to what it was: for a child. Async-signal-safe.
pub(super) fn restore_descriptor_limit(limit: Rlimit) -> Result<(), Errno> {
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// A kernel refuses to tell where there is not room for as many CPUs as it could have; none has more.
const CPUS_MAX: usize = 1 << 16;

/// The CPUs that this process may be scheduled on; at least 1.
// vec! would bring along another way to allocate for this alone.
#[allow(clippy::slow_vector_initialization)]
pub fn cpus_in_affinity() -> u32 {
    let mut set = Vec::new();
    set.resize(CPUS_MAX / 8, 0_u8);
    // SAFETY: the kernel writes at most that many bytes into set, which outlives the call.
    unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, CPUS_MAX / 8, set.as_mut_ptr()) };
    // Where it is refused nothing was written.
    set.iter().map(|byte| byte.count_ones()).sum::<u32>().max(1)
}

/// Something that nobody can foresee, or before Linux 3.17 and early in its boot at least something that
/// differs from run to run.
pub fn seed() -> u64 {
    let mut random = [0; 8];
    match rustix::rand::getrandom(&mut random, GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(random),
        Ok(_) | Err(_) => super::clock::realtime_ms() << 20 ^ own_pid() as u64,
    }
}
