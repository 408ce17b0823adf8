//! The two clocks: the monotonic one for decisions, the real one for the log.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of the monotonic clock.
pub fn monotonic_ms() -> u64 {
    milliseconds(ClockId::Monotonic)
}

/// Milliseconds since 1970.
pub fn realtime_ms() -> u64 {
    milliseconds(ClockId::Realtime)
}

fn milliseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}
