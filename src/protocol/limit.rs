//! `--rlimit NAME=SOFT[:HARD]`: the names of getrlimit(2), as the shell and `docker run --ulimit` have them.
#![forbid(unsafe_code)]

use super::place_of;

/// A resource as the kernel numbers it, its soft and its hard limit.
pub type Limit = (i32, u64, u64);

/// What no limit is to the kernel (RLIM64_INFINITY).
const UNLIMITED: u64 = u64::MAX;

/// In the order of their numbers.
pub const NAMES: &str = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    "cpu fsize data stack core nofile as rss nproc memlock locks sigpending msgqueue nice rtprio rttime"
} else {
    "cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice rtprio rttime"
};

pub const ACCEPTED: &str = "NAME=SOFT or NAME=SOFT:HARD, each a number (K, M, G: times 1024) or unlimited, \
     SOFT not above HARD; NAME: as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, \
     rtprio, rttime, sigpending, stack";

/// A soft limit alone is the hard one as well.
pub fn parse(text: &str) -> Option<Limit> {
    let (name, value) = text.split_once('=')?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (amount(soft)?, amount(hard)?);
    let resource = place_of(name, NAMES)?;
    (soft <= hard).then_some((resource as i32, soft, hard))
}

fn amount(text: &str) -> Option<u64> {
    if text == "unlimited" {
        return Some(UNLIMITED);
    }
    let (digits, shift) = match text.as_bytes() {
        [digits @ .., b'K'] => (digits, 10),
        [digits @ .., b'M'] => (digits, 20),
        [digits @ .., b'G'] => (digits, 30),
        digits => (digits, 0),
    };
    let mut number = 0_u64;
    for digit in digits {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        number = number.checked_mul(10)?.checked_add(value.into())?;
    }
    if digits.is_empty() { None } else { number.checked_mul(1 << shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Not the same type everywhere.
    #[allow(clippy::unnecessary_cast)]
    #[test]
    fn names_stand_for_the_kernels_numbers() {
        let table = [
            ("as", libc::RLIMIT_AS as i32),
            ("core", libc::RLIMIT_CORE as i32),
            ("cpu", libc::RLIMIT_CPU as i32),
            ("data", libc::RLIMIT_DATA as i32),
            ("fsize", libc::RLIMIT_FSIZE as i32),
            ("locks", libc::RLIMIT_LOCKS as i32),
            ("memlock", libc::RLIMIT_MEMLOCK as i32),
            ("msgqueue", libc::RLIMIT_MSGQUEUE as i32),
            ("nice", libc::RLIMIT_NICE as i32),
            ("nofile", libc::RLIMIT_NOFILE as i32),
            ("nproc", libc::RLIMIT_NPROC as i32),
            ("rss", libc::RLIMIT_RSS as i32),
            ("rtprio", libc::RLIMIT_RTPRIO as i32),
            ("rttime", libc::RLIMIT_RTTIME as i32),
            ("sigpending", libc::RLIMIT_SIGPENDING as i32),
            ("stack", libc::RLIMIT_STACK as i32),
        ];
        assert_eq!(NAMES.split(' ').count(), table.len());
        for (text, resource) in table {
            assert_eq!(parse(&alloc::format!("{text}=1")), Some((resource, 1, 1)));
            assert_eq!(crate::protocol::word_at(resource, NAMES), text);
            assert!(ACCEPTED.contains(&alloc::format!(" {text}")), "{text}");
        }
    }

    #[test]
    fn amounts_are_numbers_or_unlimited() {
        let most = UNLIMITED;
        let table = [
            ("nofile=0", Some((0, 0))),
            ("nofile=1024:4096", Some((1024, 4096))),
            ("nofile=64K", Some((65_536, 65_536))),
            ("as=1M:2G", Some((1 << 20, 2 << 30))),
            ("core=unlimited", Some((most, most))),
            ("core=0:unlimited", Some((0, most))),
            ("core=18446744073709551615", Some((most, most))),
            ("core=18446744073709551616", None),
            ("core=18446744073709551615K", None),
            ("nofile=2:1", None),
            ("nofile=unlimited:1", None),
            ("nofile", None),
            ("nofile=", None),
            ("nofile=1:", None),
            ("nofile=:1", None),
            ("nofile=1:2:3", None),
            ("nofile=-1", None),
            ("nofile=+1", None),
            ("nofile=K", None),
            ("nofile=1k", None),
            ("nofile=1KK", None),
            ("nofile=1KM", None),
            ("nofile= 1", None),
            ("NOFILE=1", Some((1, 1))),
            ("files=1", None),
            ("=1", None),
            ("", None),
        ];
        for (text, expected) in table {
            let limits = parse(text).map(|(_, soft, hard)| (soft, hard));
            assert_eq!(limits, expected, "{text}");
        }
    }
}
