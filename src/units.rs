//! Numbers that must not be mistaken for one another. Pure.
#![forbid(unsafe_code)]

use core::fmt;

/// Milliseconds: a point on the monotonic clock (`now`, `until`) or a span (`limit`, `after`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn seconds(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1000))
    }

    /// `self` and `span` later; the far end of time instead of an overflow.
    pub const fn plus(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; nothing if it is still to come.
    pub const fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// Of two deadlines, of which there may be none.
pub fn sooner(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A span as people read it: `200ms`, `4.2s`, `3m20s`, `5h12m`, `2d4h`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, s) = (self.0 % 1000, self.0 / 1000);
        let (m, h) = (s / 60, s / 3600);
        let (most, unit, rest, of_rest) = match self.0 {
            0..1_000 => return write!(f, "{ms}ms"),
            1_000..60_000 if ms / 100 == 0 => return write!(f, "{s}s"),
            1_000..60_000 => (s, ".", ms / 100, "s"),
            60_000..3_600_000 => (m, "m", s % 60, "s"),
            3_600_000..86_400_000 => (h, "h", m % 60, "m"),
            86_400_000.. => (h / 24, "d", h % 24, "h"),
        };
        write!(f, "{most}{unit}{rest}{of_rest}")
    }
}

/// A process; for a worker also its process group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A signal by the kernel's number (signal(7)), real-time ones included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(pub i32);

/// A numbered place, 0 to N-1, that one worker fills.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Somebody who asked for something and waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Asker(pub u64);

/// A COMMAND that somebody wants to be started from now on; whoever asks for it keeps its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandId(pub u64);

/// All workers started by the same load; counts from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn spans_read_well() {
        let table = [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (4_260, "4.2s"),
            (59_999, "59.9s"),
            (200_000, "3m20s"),
            (18_720_000, "5h12m"),
            (187_200_000, "2d4h"),
        ];
        for (ms, text) in table {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
