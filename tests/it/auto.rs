//! `--workers auto`: as many as this process may use CPUs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::harness::{Fd3, Folder, command, run};
use crate::world::{can_strace, skip};

/// Runs `auto` under a wrapper that narrows what may be used; how many workers there were.
fn workers_under(wrapper: &[&str]) -> usize {
    let mut command = command(wrapper[0]);
    command.args(&wrapper[1..]).args([crate::harness::FD3, "run", "-v", "--restart", "never"]);
    command.args(["--workers", "auto", "--", "true"]);
    let mut fd3 = Fd3::start(command);
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.count("worker started")
}

#[test]
fn auto_counts_the_cpus_of_our_affinity() {
    assert_eq!(workers_under(&["taskset", "-c", "0"]), 1);
    let all = std::thread::available_parallelism().expect("the CPUs can be counted").get();
    let mut fd3 = run(&["--restart", "never", "-w", "auto", "--", "true"]);
    assert_eq!(fd3.exit(), 0);
    assert_eq!(fd3.count("worker started"), all, "{}", fd3.log());
}

/// A kernel for more CPUs than rustix and the C libraries have room for (1024) answers EINVAL.
#[test]
fn auto_asks_with_room_for_every_cpu_of_any_machine() {
    if !can_strace() {
        return;
    }
    let folder = Folder::new();
    let trace = folder.path("trace");
    let strace = ["strace", "-qq", "-o", &trace, "-e", "trace=sched_getaffinity"];
    let workers = workers_under(&strace);
    let trace = std::fs::read_to_string(trace).expect("strace wrote it");
    assert!(trace.starts_with("sched_getaffinity(0, 8192, ["), "{trace}");
    let all = std::thread::available_parallelism().expect("the CPUs can be counted").get();
    assert_eq!(workers, all);
    let refused =
        ["strace", "-qq", "-o", "/dev/null", "-e", "inject=sched_getaffinity:error=ENOSYS"];
    assert_eq!(workers_under(&refused), 1);
}

/// A control group of this test's own, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// With this quota of CPU time; `None` where groups cannot be made.
    fn new(quota_us: u32, period_us: u32) -> Option<Group> {
        let name = format!("fd3-test-{}", std::process::id());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu"] {
            let folder = PathBuf::from(root).join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Group(folder);
            let two = group.set("cpu.max", &format!("{quota_us} {period_us}"));
            let one = group.set("cpu.cfs_period_us", &period_us.to_string())
                && group.set("cpu.cfs_quota_us", &quota_us.to_string());
            if two || one {
                return Some(group);
            }
        }
        None
    }

    /// Only a file that the kernel made: a plain folder takes any.
    fn set(&self, name: &str, value: &str) -> bool {
        let file = fs::OpenOptions::new().write(true).open(self.0.join(name));
        file.is_ok_and(|mut file| file.write_all(value.as_bytes()).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn auto_counts_the_quota_of_our_control_group() {
    let Some(group) = Group::new(100_000, 100_000) else {
        return skip("no control group can be made here (needs root and cgroups)");
    };
    let procs = group.0.join("cgroup.procs").to_string_lossy().into_owned();
    let script = format!("echo $$ > {procs}; exec \"$@\"");
    assert_eq!(workers_under(&["sh", "-c", &script, "sh"]), 1);
}
