//! How many CPUs a control group may use: the words of cgroups(7), versions 1 and 2.

use alloc::vec::Vec;

use super::whole;

/// The groups of a process, from /proc/self/cgroup: of version 2 (`0::/path`), and of version 1's cpu
/// controller (`4:cpu,cpuacct:/path`).
pub fn group(file: &[u8], version: Version) -> Option<Vec<u8>> {
    file.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = match version {
            Version::Two => controllers.is_empty(),
            Version::One => controllers.split(|byte| *byte == b',').any(|name| name == b"cpu"),
        };
        ours.then(|| path.strip_suffix(b"/").unwrap_or(path).to_vec())
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    One,
    Two,
}

/// Whole CPUs of `quota` microseconds in each `period`, at least one; `None` for no quota (`max`, -1).
pub fn whole_cpus(quota: &[u8], period: &[u8]) -> Option<u32> {
    let (quota, period) = (whole(quota.trim_ascii(), 10)?, whole(period.trim_ascii(), 10)?);
    let cpus = quota.checked_div(period)?;
    Some(u32::try_from(cpus).unwrap_or(u32::MAX).max(1))
}

/// The same from version 2's cpu.max: both numbers on one line.
pub fn from_cpu_max(file: &[u8]) -> Option<u32> {
    let mut words = file.trim_ascii().split(|byte| *byte == b' ');
    whole_cpus(words.next()?, words.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_down_to_whole_cpus_but_never_to_none() {
        let table: [(&[u8], Option<u32>); 8] = [
            (b"max 100000\n", None),
            (b"200000 100000\n", Some(2)),
            (b"250000 100000\n", Some(2)),
            (b"50000 100000\n", Some(1)),
            (b"", None),
            (b"200000\n", None),
            (b"1 0\n", None),
            (b"x 100000\n", None),
        ];
        for (file, cpus) in table {
            assert_eq!(from_cpu_max(file), cpus, "{file:?}");
        }
        assert_eq!(whole_cpus(b"-1\n", b"100000\n"), None);
        assert_eq!(whole_cpus(b"400000\n", b"100000\n"), Some(4));
    }

    #[test]
    fn a_process_has_a_group_in_each_version() {
        let file = b"4:cpuset:/a\n3:cpu,cpuacct:/docker/1\n0::/\n";
        assert_eq!(group(file, Version::One).as_deref(), Some(&b"/docker/1"[..]));
        assert_eq!(group(file, Version::Two).as_deref(), Some(&b""[..]));
        assert_eq!(group(b"0::/a/b:c\n", Version::Two).as_deref(), Some(&b"/a/b:c"[..]));
        assert_eq!(group(b"0::/\n", Version::One), None);
        assert_eq!(group(b"", Version::Two), None);
    }
}
