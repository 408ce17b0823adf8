//! Facts about this process, and its limits.

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::rand::GetRandomFlags;

use super::{checked, fd, file, memory};
use crate::error::Errno;

pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The effective user: whose datagrams count, and who is asked by the kernel for permission.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The process group of a process, if it still exists. None that has no number here: with a leader outside of our PID
/// namespace the kernel answers 0, of which rustix takes for granted that it never does.
pub fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: two numbers, no memory.
    let group = checked(unsafe { libc::getpgid(pid) }).ok()?;
    (group > 0).then_some(group)
}

/// From now on orphans among our descendants become our children, as they do for PID 1. Where that is
/// refused, they become somebody else's.
pub fn adopt_orphans() {
    // Any PID but none: this process.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// How many bytes of /proc are read at the most for one process; it has fewer children.
const LIST_MAX: usize = 1 << 20;

/// This process's children, those that ended included, in no order. Where /proc is missing, or shows another
/// PID namespace, nobody can be seen.
#[inline(never)]
pub fn children() -> Option<Vec<i32>> {
    let own = own_pid();
    if !are_seen() {
        return None;
    }
    let mut found = Vec::new();
    match file::read(format!("/proc/self/task/{own}/children").as_bytes(), LIST_MAX) {
        Ok(list) => {
            for word in list.split(|byte| *byte == b' ') {
                if let Some(pid) = number(word) {
                    found.push(pid);
                }
            }
        }
        // A kernel built without this file.
        Err(_) => {
            for pid in fd::numbers_in(c"/proc").ok()? {
                if parent_of(pid) == Some(own) {
                    found.push(pid);
                }
            }
        }
    }
    Some(found)
}

/// Whether /proc shows processes by the PIDs that they have here.
pub fn are_seen() -> bool {
    let link = rustix::fs::readlink(c"/proc/self", Vec::new());
    link.is_ok_and(|link| link.to_bytes() == own_pid().to_string().as_bytes())
}

/// How much of its memory is in the machine's, in bytes; pages that it shares count as well.
#[inline(never)]
pub fn memory_of(pid: i32) -> Option<u64> {
    let statm = file::read(format!("/proc/{pid}/statm").as_bytes(), LIST_MAX).ok()?;
    let pages = number(statm.split(|byte| *byte == b' ').nth(1)?)?;
    Some(pages as u64 * memory::page_size() as u64)
}

/// By /proc: the second word behind the name, which is in parentheses and may have any byte inside.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = file::read(format!("/proc/{pid}/stat").as_bytes(), LIST_MAX).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    number(stat.get(end..)?.split(|byte| *byte == b' ').nth(2)?)
}

fn number(word: &[u8]) -> Option<i32> {
    let mut number = 0_i32;
    for byte in word {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(i32::from(digit))?;
    }
    Some(number).filter(|number| *number > 0)
}

/// Whether this is the first process of the machine, not of a container: PID 1 of the initial PID namespace,
/// whose number never changes (PROC_PID_INIT_INO). Before /proc is there: where the kernel's own threads are to
/// be seen, which are of no process group.
pub fn is_machines_first() -> bool {
    if own_pid() != 1 {
        return false;
    }
    match rustix::fs::readlink(c"/proc/self/ns/pid", Vec::new()) {
        Ok(link) => link.to_bytes() == b"pid:[4026531836]",
        Err(_) => {
            // SAFETY: no memory is passed.
            let group = |pid| unsafe { libc::getpgid(pid) };
            group(2) == 0 && group(3) == 0
        }
    }
}

/// So that the folder where this process was started can be unmounted.
#[cfg(feature = "init")]
pub fn leave_folder() {
    let _ = rustix::process::chdir(c"/");
}

/// From now on the end of this process's parent sends it this signal; `false` if that has ended already.
#[cfg(feature = "init")]
pub fn hear_of_parents_end(signal: i32) -> bool {
    // SAFETY: no memory is passed.
    let parent = || unsafe { libc::getppid() };
    let before = parent();
    let (signal, none) = (signal as libc::c_ulong, 0 as libc::c_ulong);
    // SAFETY: no memory is passed; all five arguments are given, as the call is variadic.
    let asked = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, none, none, none) };
    // Some sandboxes forbid it. A comfort, not a need.
    asked == -1 || parent() == before
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

/// How many descriptors this process may have open; nothing where that is not limited, or not told.
#[cfg(feature = "balance")]
pub fn descriptors() -> Option<u64> {
    descriptor_limit().ok()?.current
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
