//! The two clocks: the monotonic one for decisions, the real one for the log.

use super::checked;

/// Milliseconds of the monotonic clock.
pub fn monotonic_ms() -> u64 {
    milliseconds(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970.
pub fn realtime_ms() -> u64 {
    milliseconds(libc::CLOCK_REALTIME)
}

/// By the C library, whose vDSO call std brings along anyway. Where a sandbox forbids it (some do for
/// 32-bit programs) time stands still: nothing is due, and signals and ends still count.
fn milliseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time outlives the call.
    if checked(unsafe { libc::clock_gettime(clock, &raw mut time) }).is_err() {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}
