//! The two clocks: the monotonic one for decisions, the real one for the log.

use super::checked;
use crate::error::Errno;
use core::ffi::c_long;

/// Milliseconds of the monotonic clock.
pub fn monotonic_ms() -> u64 {
    milliseconds(libc::CLOCK_MONOTONIC)
}

/// Microseconds of the monotonic clock.
pub fn monotonic_usec() -> u64 {
    let (seconds, nanoseconds) = time(libc::CLOCK_MONOTONIC).unwrap_or((0, 0));
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000)
}

/// Milliseconds since 1970.
pub fn realtime_ms() -> u64 {
    milliseconds(libc::CLOCK_REALTIME)
}

/// Where neither way is open time stands still: nothing is due, and signals and ends still count.
fn milliseconds(clock: libc::clockid_t) -> u64 {
    let (seconds, nanoseconds) = time(clock).unwrap_or((0, 0));
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

/// Without the C library and its vDSO, which is quicker by less than any event costs, and larger by 1 KiB.
#[cfg(target_pointer_width = "64")]
fn time(clock: libc::clockid_t) -> Result<(u64, u64), Errno> {
    by_kernel(clock)
}

/// Sandboxes older than clock_gettime64(2) may answer EPERM to it, at which musl gives up. What 32-bit
/// programs called before is allowed.
#[cfg(not(target_pointer_width = "64"))]
fn time(clock: libc::clockid_t) -> Result<(u64, u64), Errno> {
    by_library(clock).or_else(|_| by_kernel(clock))
}

#[cfg(any(test, not(target_pointer_width = "64")))]
fn by_library(clock: libc::clockid_t) -> Result<(u64, u64), Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call.
    checked(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok((u64::try_from(time.tv_sec).unwrap_or(0), time.tv_nsec as u64))
}

#[cfg(not(any(target_arch = "riscv32", target_abi = "x32")))]
fn by_kernel(clock: libc::clockid_t) -> Result<(u64, u64), Errno> {
    let mut time: [c_long; 2] = [0; 2];
    // SAFETY: the kernel writes seconds and nanoseconds, a word each, to time, which outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr()) } as i32)?;
    Ok((u64::try_from(time[0]).unwrap_or(0), time[1] as u64))
}

/// These never had another one.
#[cfg(any(target_arch = "riscv32", target_abi = "x32"))]
fn by_kernel(_: libc::clockid_t) -> Result<(u64, u64), Errno> {
    Err(Errno(libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_tell_the_same_time() {
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME] {
            let nanoseconds = |time: Result<(u64, u64), Errno>| {
                let (seconds, rest) = time.expect("nobody forbids it");
                assert!(rest < 1_000_000_000);
                seconds * 1_000_000_000 + rest
            };
            let before = nanoseconds(by_library(clock));
            let between = nanoseconds(by_kernel(clock));
            let after = nanoseconds(by_library(clock));
            assert!(before <= between && between <= after, "{before} {between} {after}");
        }
        let none = 0x7fff;
        assert_eq!((by_library(none), by_kernel(none)), (Err(Errno(22)), Err(Errno(22))));
        assert_eq!(milliseconds(none), 0);
    }
}
