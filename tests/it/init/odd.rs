//! Odd places: no /proc, no /dev, closed descriptors, a sandbox that says no, another user.

use super::{Way, begin_command, in_way, output_of, ways};
use crate::harness::{
    FD3, Fd3, Mark, children, command, is_named, kill, output, run, stderr_of, until,
};
use crate::world::{NOBODY, as_nobody, can_strace, skip, unshare};

/// Neither /dev nor /proc nor /etc, a root that cannot be written to, and 0 to 2 closed: as in an empty image.
#[test]
fn an_empty_image_is_enough() {
    for how in [&["--mount", "--propagation", "private"][..], &["--mount", "--pid", "--fork"]] {
        for closed in ["", "exec 0<&-", "exec 1>&-", "exec 2>&-", "exec 0<&- 1>&- 2>&-"] {
            let folder = crate::harness::Folder::new();
            std::fs::create_dir(folder.path("empty")).expect("the folder is ours");
            let script = format!(
                "mount --rbind / {0}/empty && for name in dev proc etc; do
                     mount -t tmpfs none {0}/empty/$name &&
                     mount -o remount,bind,ro {0}/empty/$name || exit 99
                 done; {closed}
                 exec chroot {0}/empty \"$0\" init --stop-timeout 5s /bin/sh -c \
                 'setsid -f sleep 1000; [ ! -e /proc/self ] && [ ! -e /dev/null ] && [ ! -e /etc/passwd ] && exit 7'",
                folder.path("")
            );
            let Some(mut wrapper) = unshare(how) else { return };
            // Without /proc whoever has left the group is not found, but by the end of a PID namespace.
            let _mark = Mark::on(&mut wrapper);
            let (status, _, stderr) = output_of(wrapper.args(["sh", "-c", &script, FD3]));
            assert_eq!((status, &*stderr), (7, ""), "{how:?}: {closed}");
        }
    }
}

#[test]
fn closed_standard_descriptors_do_no_harm() {
    for way in ways() {
        for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
            let mut wrapper = in_way(way, "sh");
            let script = format!("exec {closed}; exec \"$0\" init sh -c 'exit 7'");
            let (status, ..) = output_of(wrapper.args(["-c", &script, FD3]));
            assert_eq!(status, 7, "{way:?}: {closed}");
        }
    }
}

/// A full or closed stderr keeps nobody waiting, and kills nobody.
#[test]
fn nobody_has_to_read_what_it_says() {
    for way in ways() {
        let mut wrapper = in_way(way, "sh");
        let script = "\"$0\" init -v sh -c 'exit 7' 2>/dev/full; echo $?";
        let (_, stdout, _) = output_of(wrapper.args(["-c", script, FD3]));
        assert_eq!(stdout, "7\n", "{way:?}");
    }
}

#[test]
fn what_a_sandbox_forbids_is_done_without() {
    if !can_strace() {
        return;
    }
    let calls = [
        "signalfd4",
        "prctl",
        "setpgid",
        "close_range",
        "getrandom",
        "chdir,fchdir",
        "getpgid",
        "ioctl",
        "readlinkat",
        "prlimit64",
        "pwritev2",
        "getpgrp",
    ];
    for call in calls {
        for errno in ["ENOSYS", "EPERM", "EINVAL"] {
            let mut strace = command("strace");
            let inject = format!("inject={call}:error={errno}");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
            let (status, _, stderr) =
                output_of(strace.args([FD3, "init", "/bin/sh", "-c", "exit 7"]));
            assert_eq!((status, &*stderr), (7, ""), "{call}: {errno}");
        }
    }
    // Without these there is nothing that it could do.
    for (call, said) in [
        ("epoll_create1", "cannot make an epoll: not implemented by this kernel"),
        ("pipe2", "cannot make a pipe: not implemented by this kernel"),
        ("clone,clone3,fork,vfork", "cannot fork /bin/sh: not implemented by this kernel"),
    ] {
        let mut strace = command("strace");
        let inject = format!("inject={call}:error=ENOSYS");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]);
        let (status, _, stderr) = output_of(strace.args([FD3, "init", "/bin/sh", "-c", "exit 7"]));
        assert_eq!((status, stderr), (125, format!("fd3: {said}\n")), "{call}");
    }
}

/// A kernel or a sandbox without signalfd: signals come by handlers then, and do all the same.
#[test]
fn without_a_signalfd_signals_come_as_well() {
    if !can_strace() {
        return;
    }
    let traced = || {
        let mut strace = command("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", "inject=signalfd4:error=EPERM", FD3]);
        strace
    };
    let script = "
import os, signal
every = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b'up\\n')
while True: os.write(1, b'got %d.\\n' % signal.sigwait(every))";
    let teller = [crate::world::python(), "-I", "-c", script];
    let mut strace = traced();
    strace.arg("init").args(teller);
    let (fd3, strace) = begin_command(Way::Ordinary, strace, "up");
    let pid = children(strace)[0];
    // For 32 and 33 it cannot wait.
    let caught = (1..=64).filter(|signal| ![9, 17, 19, 20, 21, 22, 32, 33].contains(signal));
    for signal in caught.clone() {
        kill(pid, signal);
        fd3.line(&format!("got {signal}."));
    }
    for signal in caught {
        assert_eq!(fd3.count(&format!("got {signal}.")), 1, "{signal}");
    }
    drop(fd3);
    // What the C library keeps for its threads, in musl 34 as well, comes by the kernel's own calls.
    for signal in [32, 33, 34] {
        let mut strace = traced();
        strace.args(["init", "sh", "-c", "echo up; exec sleep 1000"]);
        let (mut fd3, strace) = begin_command(Way::Ordinary, strace, "up");
        kill(children(strace)[0], signal);
        assert_eq!(fd3.exit(), 128 + signal);
    }
    let mut strace = traced();
    strace.args([
        "init",
        "sh",
        "-c",
        "for n in 1 2 3 4 5 6 7 8 9; do sleep 0.01 & done; echo up; wait; exit 7",
    ]);
    assert_eq!(Fd3::start(strace).exit(), 7);
    // And so with `fd3 run`, whose workers' signals are still no orders.
    let mut strace = traced();
    strace.args(["run", "-v", "--backoff", "1ms..1ms", "--", "sh", "-c"]);
    strace.arg("echo up; kill -TERM $PPID; exec sleep 1000");
    let mut fd3 = Fd3::start(strace);
    fd3.line("up");
    kill(fd3.worker(0), libc::SIGKILL);
    fd3.nth_line("up", 1);
    let (pid, worker) = (children(fd3.pid())[0], fd3.worker(1));
    until("it has signalled", || is_named(worker, "sleep"));
    // Whoever is answered knows that what came before was read: two that wait would melt into one.
    let status = output(&["status", "--pid", &pid.to_string()]);
    assert!(status.status.success(), "{}", stderr_of(&status));
    assert_eq!(fd3.count("stopping"), 0, "{}", fd3.log());
    kill(pid, libc::SIGTERM);
    assert_eq!(fd3.exit(), 0);
    fd3.line("stopping signal=SIGTERM");
}

#[test]
fn another_user_may_use_it() {
    let Some(mut wrapper) = as_nobody(FD3) else { return };
    let (status, stdout, stderr) =
        output_of(wrapper.args(["init", "sh", "-c", "setsid sleep 1000 & id -u; exit 7"]));
    assert_eq!((status, &*stdout, &*stderr), (7, &*format!("{NOBODY}\n"), ""));
}

/// A PID namespace inside a user namespace, made by somebody without rights.
#[test]
fn a_user_namespace_is_enough() {
    let how = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    let tried = as_nobody("unshare").map(|mut wrapper| output_of(wrapper.args(how).arg("true")).0);
    if tried != Some(0) && tried.is_some() {
        return skip("user namespaces are not permitted to everybody");
    }
    let Some(mut wrapper) = as_nobody("unshare") else { return };
    wrapper.args(how).args([FD3, "init", "sh", "-c", "setsid sleep 1000 & exit 7"]);
    let (status, _, stderr) = output_of(&mut wrapper);
    assert_eq!((status, &*stderr), (7, ""));
}

/// Who starts a machine with it learns of it: fd3 looks at the namespace's number, here of a /proc that lies.
#[test]
fn a_machines_first_process_it_is_only_when_told() {
    for command_line in ["init", "run --restart never"] {
        for (option, expected) in [("", 2), ("--machine-init", 7)] {
            let Some(mut wrapper) = unshare(&["--pid", "--fork", "--mount"]) else { return };
            let script = format!(
                "mount -t tmpfs none /proc && mkdir -p /proc/self/ns && \
                 ln -s 'pid:[4026531836]' /proc/self/ns/pid && \
                 exec \"$0\" {command_line} {option} sh -c 'exit 7'"
            );
            let (status, _, stderr) = output_of(wrapper.args(["sh", "-c", &script, FD3]));
            assert_eq!(status, expected, "{command_line} {option}: {stderr}");
            assert_eq!(stderr.contains("--machine-init makes it"), expected == 2, "{stderr}");
        }
    }
}

/// One that is nobody's first process has no business with that.
#[test]
fn a_container_is_no_machine() {
    for way in ways() {
        let mut wrapper = in_way(way, FD3);
        assert_eq!(output_of(wrapper.args(["init", "sh", "-c", "exit 7"])).0, 7, "{way:?}");
    }
    let mut fd3 = run(&["--restart", "never", "--", "sh", "-c", "exit 7"]);
    assert_eq!(fd3.exit(), 7);
    until("it is gone", || !crate::harness::exists(fd3.pid()));
}
