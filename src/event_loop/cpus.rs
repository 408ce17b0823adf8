//! How many workers `auto` is: the CPUs that this process may use. What cannot be read does not limit.

use crate::protocol::cpu_quota::{Version, from_cpu_max, group, whole_cpus};
use crate::sys::{file, process};

/// Far more than any of these files has, in bytes.
const FILE_MAX: usize = 1 << 16;
const ROOT: &str = "/sys/fs/cgroup";

/// By affinity (sched_setaffinity(2)) and by the control group's quota (cgroups(7)).
#[inline(never)]
pub(super) fn usable() -> u32 {
    let quota = groups_quota().unwrap_or(u32::MAX);
    process::cpus_in_affinity().min(quota).max(1)
}

/// The least of the quotas of our group and of the groups above it. In a container our group may be
/// shown as the root, or under a path that is not mounted: then the root's files are what there is.
#[inline(never)]
fn groups_quota() -> Option<u32> {
    let groups = file::read(b"/proc/self/cgroup", FILE_MAX).unwrap_or_default();
    let two = least(&groups, Version::Two, |path| from_cpu_max(&read("", path, "cpu.max")?));
    lesser(two, least(&groups, Version::One, quota_of_one))
}

#[inline(never)]
fn least(groups: &[u8], version: Version, quota: fn(&[u8]) -> Option<u32>) -> Option<u32> {
    let mut least = None;
    for path in ancestors(&group(groups, version).unwrap_or_default()) {
        least = lesser(least, quota(path));
    }
    least
}

fn quota_of_one(path: &[u8]) -> Option<u32> {
    let quota = read("/cpu", path, "cpu.cfs_quota_us")?;
    whole_cpus(&quota, &read("/cpu", path, "cpu.cfs_period_us")?)
}

fn lesser(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The path, and every one above it up to the root, which is empty.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::successors(Some(path), |path| {
        path.iter().rposition(|byte| *byte == b'/').map(|end| &path[..end])
    })
}

fn read(controller: &str, group: &[u8], name: &str) -> Option<Vec<u8>> {
    let parts = [ROOT.as_bytes(), controller.as_bytes(), group, b"/", name.as_bytes()];
    file::read(&parts.concat(), FILE_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_above_counts() {
        let all: Vec<&[u8]> = ancestors(b"/a/b").collect();
        assert_eq!(all, [&b"/a/b"[..], b"/a", b""]);
        assert_eq!(ancestors(b"").count(), 1);
    }
}
