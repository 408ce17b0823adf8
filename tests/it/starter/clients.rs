//! `--restart` and `--stop`.

use super::{Case, SERVER, World};
use crate::harness::{Fd3, command, exists, stderr_of, until};

pub(super) const CASES: &[Case] = &[("it is restarted and stopped by its files", by_files)];
/// What fd3 does better.
pub(super) const BETTER: &[Case] = &[
    ("a PID file is held by one, however many wait for it", two_wait),
    ("a PID file that was left behind stops nobody", left_behind),
];

fn by_files(world: &World) {
    let (pid_file, status) = (world.folder.path("pid"), world.folder.path("status"));
    let files = ["--pid-file", &pid_file, "--status-file", &status];
    let mut server = world.start(&[&files[..], &["--", "sh", "-c", SERVER]].concat());
    until("a status", || world.read("status").starts_with("1:"));
    assert_eq!(world.read("pid"), format!("{}\n", server.pid()));
    let restarted = world.ask(&[&["--restart"], &files[..]].concat());
    assert_eq!(restarted.status.code(), Some(0), "{restarted:?}");
    let lines = world.read("status");
    assert!(lines.starts_with("2:") && lines.lines().count() == 1, "{lines}");
    let stopped = world.ask(&[&["--stop"], &files[..]].concat());
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    let said = format!("stopping now (pid:{})...", server.pid());
    assert!(String::from_utf8_lossy(&stopped.stderr).contains(&said), "{stopped:?}");
    assert_eq!(server.exit(), 0);
    assert!(!exists(server.pid()));
    for name in ["pid", "status"] {
        assert!(!std::path::Path::new(&world.folder.path(name)).exists(), "{name} is left");
    }
}

fn two_wait(world: &World) {
    let pid_file = world.folder.path("pid");
    let words = ["--pid-file", &pid_file, "--", "sh", "-c", SERVER];
    let mut first = world.start(&words);
    until("a PID file", || world.read("pid") == format!("{}\n", first.pid()));
    let mut waiting = [world.start(&words), world.start(&words)];
    for server in &waiting {
        until("it waits", || waits_for_a_lock(server.pid()));
    }
    assert_eq!(first.stop(), 0);
    let holds = |server: &Fd3| world.read("pid") == format!("{}\n", server.pid());
    until("one of them has it", || waiting.iter().any(holds));
    if !holds(&waiting[0]) {
        waiting.swap(0, 1);
    }
    let [next, last] = &mut waiting;
    next.line("serves 1");
    assert_eq!(last.count("serves"), 0, "{}", last.log());
    assert_eq!(next.stop(), 0);
    last.line("serves 1");
    assert!(holds(last));
    assert_eq!(last.stop(), 0);
    assert!(!std::path::Path::new(&pid_file).exists());
}

/// In flock(2), as the kernel tells in /proc/locks: those who wait are marked.
fn waits_for_a_lock(pid: i32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = pid.to_string();
    locks.lines().any(|line| line.contains("->") && line.split(' ').any(|word| word == pid))
}

fn left_behind(world: &World) {
    let mut stranger = command("sleep").arg("1000").spawn().expect("it starts");
    let content = format!("{}\n", stranger.id());
    let pid_file = world.folder.file("pid", &content, 0o644);
    let stopped = world.ask(&["--stop", "--pid-file", &pid_file]);
    assert_eq!(stopped.status.code(), Some(255), "{stopped:?}");
    assert_eq!(stderr_of(&stopped), format!("no running server holds {pid_file}\n"));
    assert_eq!(world.read("pid"), content);
    assert!(stranger.try_wait().expect("it is our child").is_none());
    stranger.kill().expect("it is our child");
    stranger.wait().expect("it is our child");
}
