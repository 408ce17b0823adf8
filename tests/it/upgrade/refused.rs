//! Every way in which an upgrade can fail: told to who asked and in the log, and nothing has changed.

use std::process::Stdio;

use super::{FAILED, UPGRADED, USR2, ask, client, upgrade};
use crate::harness::{
    FD3, Fd3, Folder, children, code, command, exists, field, kill, run, stderr_of, until,
};
use crate::world::can_strace;

/// ELF's head of a 64-bit program for s390, which nobody has who runs this.
fn for_another_machine() -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x02\x01".to_vec();
    head.resize(16, 0);
    head.extend_from_slice(&[0, 2, 0, 22, 0, 0, 0, 1]);
    head.resize(120, 0);
    head
}

fn start() -> Fd3 {
    let fd3 = run(&["--ready", "0ms", "--stop-timeout", "1ms", "--", "sleep", "1000"]);
    fd3.ready(1);
    fd3
}

#[test]
fn whatever_is_no_fd3_is_refused() {
    let folder = Folder::new();
    let script = |name: &str, body: &str| folder.file(name, &format!("#!/bin/sh\n{body}\n"), 0o755);
    let foreign = folder.path("foreign");
    folder.file("foreign", "", 0o755);
    std::fs::write(&foreign, for_another_machine()).expect("the folder is ours");
    let plain = folder.file("plain", "#!/bin/sh\n", 0o644);
    let interpreter = folder.path("sh");
    std::os::unix::fs::symlink("/bin/sh", &interpreter).expect("the folder is ours");
    let yes = "printf 'fd3 understands 9\\n' >&4";
    let vanishing = format!("#!{interpreter}\nrm {interpreter}\n{yes}\n");
    let table = [
        (folder.path("missing"), "no such file or directory"),
        (folder.path(""), "is a directory"),
        (plain, "permission denied"),
        (foreign, "exec format error"),
        (folder.file("no-script", "what is this\n", 0o755), "exec format error"),
        (folder.file("orphan", "#!/nope/sh\n", 0o755), "its interpreter does not exist"),
        ("/bin/true".into(), "does not answer as fd3 does (exited with status 0)"),
        ("/bin/sleep".into(), "does not answer as fd3 does (exited with status 1)"),
        (script("crash", "kill -SEGV $$"), "does not answer as fd3 does (killed by SIGSEGV)"),
        (script("mute", "exit 7"), "does not answer as fd3 does (exited with status 7)"),
        (script("noise", "head -c 9999 /dev/zero >&4"), "does not answer as fd3 does"),
        (script("no", "printf 'fd3 refuses it is Monday\\n' >&4"), "it refuses: it is Monday"),
        (script("late", &format!("{yes}; exit 3")), "does not answer as fd3 does"),
        // It says yes, and is another file, or cannot be executed, by then.
        (script("changes", &format!("{yes}; chmod 700 $0")), "its file was changed meanwhile"),
        (folder.file("vanishes", &vanishing, 0o755), "its interpreter does not exist"),
    ];
    let mut fd3 = start();
    let before = super::burden(fd3.pid()).0.len();
    for (n, (path, why)) in table.iter().enumerate() {
        let (status, said) = ask(&fd3, &["upgrade", path]);
        let begin = "fd3: upgrade failed: fd3 goes on as it was: cannot ";
        assert_eq!(
            (status, said.contains(begin) && said.contains(why)),
            (1, true),
            "{path}: {said}"
        );
        assert!(fd3.nth_line(FAILED, n).contains(why), "{path}: {}", fd3.log());
        until("nothing is left of it", || super::burden(fd3.pid()).0.len() <= before);
    }
    assert_eq!((fd3.count(UPGRADED), fd3.count("worker started")), (0, 1), "{}", fd3.log());
    // It is as able as ever.
    upgrade(&fd3);
    fd3.signal(USR2);
    fd3.nth_line(UPGRADED, 1);
    assert_eq!((fd3.count("worker started"), fd3.stop()), (1, 0), "{}", fd3.log());
}

#[test]
fn one_that_hangs_is_given_up() {
    let folder = Folder::new();
    let hangs = folder.file("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let mut fd3 = start();
    let mut first = client(&fd3, &["upgrade", &hangs]);
    let first = first.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().expect("it starts");
    let tried: i32 = field(&fd3.line("upgrade: trying"), "pid").parse().expect("a PID");
    let (status, said) = ask(&fd3, &["upgrade"]);
    let refused = "fd3: upgrade refused: another one is tried just now\n";
    assert_eq!((status, said.as_str()), (1, refused));
    // Once more afterwards, and not lost. Meanwhile fd3 does what it always does.
    fd3.signal(USR2);
    assert_eq!(ask(&fd3, &["scale", "2"]).0, 0);
    let done = first.wait_with_output().expect("it is our child");
    let said = stderr_of(&done);
    assert_eq!(
        (code(done.status), said.contains("does not answer within 10s")),
        (1, true),
        "{said}"
    );
    until("it is gone", || !exists(tried));
    fd3.line(UPGRADED);
    assert_eq!((fd3.count("worker started"), fd3.stop()), (2, 0), "{}", fd3.log());
}

#[test]
fn a_stop_comes_first() {
    let folder = Folder::new();
    let hangs = folder.file("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let mut fd3 = start();
    let mut asks = client(&fd3, &["upgrade", &hangs]);
    let asks = asks.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let asks = asks.spawn().expect("it starts");
    let tried: i32 = field(&fd3.line("upgrade: trying"), "pid").parse().expect("a PID");
    assert_eq!(fd3.stop(), 0);
    until("it is gone", || !exists(tried));
    let done = asks.wait_with_output().expect("it is our child");
    let said = stderr_of(&done);
    assert_eq!((code(done.status), said.contains("it stops")), (1, true), "{said}");
}

/// The kernel refuses: at the very last step, and the first time only; or the memory, each time; or signalfd(2), without
/// which an upgrade is what it is.
#[test]
fn the_kernel_may_refuse() {
    if !can_strace() {
        return;
    }
    for (inject, why) in [
        ("execve:error=ENOMEM:when=1", Some("out of memory")),
        ("memfd_create:error=ENOSYS", Some("(memfd_create): not implemented by this kernel")),
        ("signalfd4:error=ENOSYS", None),
    ] {
        let folder = Folder::new();
        let mut strace = command("strace");
        strace.args(["-qq", "-o", &folder.path("trace"), "-e", &format!("inject={inject}"), FD3]);
        strace.args([
            "run",
            "-v",
            "--ready",
            "0ms",
            "--stop-timeout",
            "1ms",
            "--",
            "sleep",
            "1000",
        ]);
        let mut fd3 = Fd3::start(strace);
        fd3.line("worker ready");
        let own = *children(fd3.pid()).first().expect("strace runs it");
        kill(own, USR2);
        match why {
            Some(why) => assert!(fd3.line(FAILED).contains(why), "{}", fd3.log()),
            None => drop(fd3.line(UPGRADED)),
        }
        if inject.contains("when=1") {
            kill(own, USR2);
            fd3.line(UPGRADED);
        }
        assert_eq!(fd3.count("worker started"), 1, "{inject}: {}", fd3.log());
        kill(own, libc::SIGTERM);
        assert_eq!(fd3.exit(), 0, "{inject}: {}", fd3.log());
    }
}
