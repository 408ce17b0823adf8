//! What systemd's own library and tools make of fd3.

use std::os::unix::process::CommandExt;

use super::{TIME_TO_STOP, build, pid_over_http, program, run, serves_survives_and_stops};
use crate::harness::{FD3, Fd3, Folder, command, copy_program, field};
use crate::world::skip_missing;

#[test]
fn libsystemd_finds_its_named_sockets_and_says_ready() {
    let Some(gcc) = program("gcc") else { return };
    let folder = Folder::new();
    let source = folder.file("server.c", include_str!("server.c"), 0o644);
    let binary = folder.path("server");
    let preprocessed = command(&gcc).args(["-E", "-o", &folder.path("server.i"), &source]).output();
    if !preprocessed.is_ok_and(|output| output.status.success()) {
        return skip_missing("libsystemd-dev");
    }
    let mut compile = command(&gcc);
    compile.args(["-Wall", "-Werror", "-o", &binary, &source, "-lsystemd"]);
    build(compile);
    let path = folder.path("control.sock");
    let control = format!("unix:{path},name=control");
    let words = ["-l", "127.0.0.1:0,name=web", "-l", &control, "-w", "2", "--ready", "notify"];
    let fd3 = run(&[&words[..], &["--", &binary, &path]].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}

/// systemd-notify waits until its barrier is lifted, and fails after five seconds.
const NOTIFY: &str =
    "systemd-notify --ready --status=up; echo systemd-notify said $?; exec sleep 1000";

#[test]
fn systemd_notify_speaks_for_the_worker_that_runs_it() {
    let Some(_) = program("systemd-notify") else { return };
    let mut fd3 = run(&["--ready", "notify", "--", "sh", "-c", NOTIFY]);
    speaks(&mut fd3);
}

#[test]
#[allow(unsafe_code)]
fn systemd_notify_speaks_for_the_worker_without_rights_as_well() {
    let Some(_) = program("systemd-notify") else { return };
    // SAFETY: no memory is passed.
    if unsafe { libc::geteuid() } != 0 {
        return; // The other test did it.
    }
    let folder = Folder::new();
    // Where nobody may read it.
    let fd3 = folder.path("fd3");
    copy_program(FD3, &fd3);
    let mut command = command(fd3);
    command.args(["run", "-v"]).args(TIME_TO_STOP);
    command.args(["--ready", "notify", "--", "sh", "-c", NOTIFY]);
    command.uid(65534).gid(65534).current_dir("/");
    speaks(&mut Fd3::start(command));
}

fn speaks(fd3: &mut Fd3) {
    let pid = fd3.ready(1)[0];
    assert_eq!(field(&fd3.line("worker started"), "pid"), pid.to_string());
    let said = fd3.line("systemd-notify said");
    assert_eq!(said, "systemd-notify said 0", "{}", fd3.log());
    super::stops(fd3);
}
