//! A machine that says no: ports taken, paths in use, programs that are none, nothing left to give. One
//! line that names the thing and the reason, the documented status, no worker and no path left behind.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use crate::harness::{
    FD3, Fd3, Folder, children, code, command, exists, field, kill, run, stderr_of, unseen_control,
    until, write_program,
};
use crate::refused::{refused, refused_by};
use crate::world::{as_nobody, can_strace, entries, python, shell, skip, stale_socket};

#[test]
fn a_listener_that_cannot_be_bound_takes_the_others_with_it() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let udp_port = udp.local_addr().expect("it is bound").port();
    let file = folder.file("file", "precious", 0o644);
    std::os::unix::fs::symlink("file", folder.path("link")).expect("the folder is ours");
    std::fs::create_dir(folder.path("folder")).expect("the folder is ours");
    let live = UnixListener::bind(folder.path("live")).expect("the folder is ours");
    let before = entries(&folder);
    let inode = std::fs::metadata(folder.path("live")).expect("it is there").ino();
    let path = |name: &str| folder.path(name);
    let table = [
        (format!("tcp://127.0.0.1:{port}"), "address in use"),
        (format!("udp://127.0.0.1:{udp_port}"), "address in use"),
        ("tcp://192.0.2.1:0".into(), "address not available on this machine"),
        ("tcp://[fe80::1%nosuch0]:0".into(), "no such device"),
        (format!("unix:{}", path("missing/x")), "no such file or directory"),
        (format!("unix:{file}"), "is not a socket"),
        (format!("unix:{}", path("link")), "is not a socket"),
        (format!("unix:{}", path("folder")), "is not a socket"),
        (format!("unix:{file}/x"), "not a directory"),
        (format!("unix:{}", path("live")), "address in use"),
        (format!("seqpacket:{}", path("live")), "address in use"),
        (format!("unix:{}", path("new")), "address in use"),
    ];
    let (first, second) = (format!("unix:{}", path("new")), format!("unixgram:{}", path("gram")));
    for (listen, why) in &table {
        let words = ["run", "-l", &first, "-l", ":0", "-l", &second, "-l", listen, "/bin/true"];
        refused(&words, 125, &format!("cannot bind {listen}: {why}"));
        assert_eq!(entries(&folder), before, "{listen}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "precious");
    assert_eq!(std::fs::metadata(path("live")).expect("it is there").ino(), inode);
    let _client = UnixStream::connect(path("live")).expect("it is still alive");
    live.accept().expect("the client came here");
}

#[test]
fn who_may_not_use_a_port_is_told() {
    let free: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024);
    if free <= 1 {
        return skip("every port is everybody's here (ip_unprivileged_port_start)");
    }
    let Some(mut fd3) = as_nobody(FD3) else { return };
    fd3.args(["run", "-l", "tcp://127.0.0.1:1", "/bin/true"]);
    refused_by(fd3, 125, "cannot bind tcp://127.0.0.1:1: permission denied");
    let folder = Folder::new();
    let Some(mut fd3) = as_nobody(FD3) else { return };
    let listen = format!("unix:{}", folder.path("x"));
    fd3.args(["run", "-l", &listen, "/bin/true"]);
    refused_by(fd3, 125, &format!("cannot bind {listen}: permission denied"));
}

#[test]
fn a_stale_socket_is_replaced_and_gone_at_the_end() {
    let folder = Folder::new();
    let path = folder.path("stale");
    stale_socket(&path);
    let mut fd3 = run(&["-l", &format!("unix:{path}"), "--", "sleep", "1000"]);
    fd3.line("worker started");
    UnixStream::connect(&path).expect("somebody is behind it");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(entries(&folder), Vec::<String>::new());
}

/// fd3 with something on fd 9.
fn with_nine(make: &str, words: &[&str]) -> Command {
    let script = format!(
        "import os, socket, sys\n{make}\nos.dup2(made.fileno(), 9)\nos.execv(sys.argv[1], sys.argv[1:])"
    );
    let mut wrapper = command(python());
    wrapper.args(["-c", &script, FD3, "run"]).args(words);
    wrapper
}

#[test]
fn only_a_listening_socket_is_adopted() {
    let pair = "made, other = socket.socketpair()";
    for (make, why) in [
        ("made = open('/dev/null')", "not a socket"),
        ("r, w = os.pipe(); made = os.fdopen(r)", "not a socket"),
        ("made = socket.socket()", "is not listening"),
        ("made = socket.socket(); made.bind(('127.0.0.1', 0))", "is not listening"),
        (pair, "is not listening"),
    ] {
        for listen in ["fd:9", "fd:9,backlog=7"] {
            let said = format!("cannot adopt fd:9: {why}");
            refused_by(with_nine(make, &["-l", listen, "/bin/true"]), 125, &said);
        }
    }
    let good = "made = socket.socket(); made.bind(('127.0.0.1', 0)); made.listen()";
    let twice = ["-l", "fd:9", "-l", "fd:9", "/bin/true"];
    refused_by(with_nine(good, &twice), 125, "cannot adopt fd:9: adopted already");
    let mut fd3 = Fd3::start(with_nine(good, &["-v", "-l", "fd:9", "--", "sleep", "1000"]));
    let address = field(&fd3.line("listening"), "address");
    std::net::TcpStream::connect(address.trim_start_matches("tcp://")).expect("it is served");
    assert_eq!(fd3.stop(), 0);
}

/// What fd3 opens for itself is never taken for what it was told to adopt.
#[test]
fn what_is_not_open_is_not_adopted_whatever_its_number() {
    // Whoever runs the tests may have left something open there.
    let script = "import os, sys; os.closerange(3, 100); os.execv(sys.argv[1], sys.argv[1:])";
    for number in 3..24 {
        let listen = format!("fd:{number}");
        let said = format!("cannot adopt {listen}: not an open descriptor");
        let mut fd3 = command(python());
        fd3.args(["-c", script, FD3, "run", "-l", "127.0.0.1:0", "-l", &listen, "/bin/true"]);
        refused_by(fd3, 125, &said);
    }
    refused(
        &["run", "-l", "fd:web", "/bin/true"],
        125,
        "cannot adopt fd:web: fd3 inherited no sockets (LISTEN_FDS)",
    );
    for (name, said) in [
        ("web", "cannot adopt fd:web: not an open descriptor"),
        ("ftp", "cannot adopt fd:ftp: no inherited socket has this name; there are: web, ctl"),
    ] {
        let mut fd3 = command(FD3);
        fd3.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:ctl");
        fd3.args(["run", "-l", &format!("fd:{name}"), "/bin/true"]);
        refused_by(fd3, 125, said);
    }
}

#[test]
fn a_command_that_cannot_run_is_told_once_however_many_workers() {
    let folder = Folder::new();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    elf.resize(4096, 0);
    write_program(&folder.file("arm", "", 0o755), &elf);
    folder.file("plain", "hello", 0o644);
    folder.file("pla in", "hello", 0o644);
    folder.file("no-shebang", "echo hello\n", 0o755);
    folder.file("no-interpreter", "#!/no/such/shell\n", 0o755);
    folder.file("empty", "", 0o755);
    folder.file("loop", &format!("#!{}\n", folder.path("loop")), 0o755);
    std::fs::create_dir(folder.path("folder")).expect("the folder is ours");
    std::os::unix::fs::symlink("itself", folder.path("itself")).expect("the folder is ours");
    let format = "exec format error (a script without a #! line, or another machine's binary)";
    let long = "x".repeat(300);
    let table = [
        ("missing", 127, "no such file or directory"),
        ("plain/x", 127, "not a directory"),
        ("no-interpreter", 127, "its interpreter does not exist"),
        ("plain", 126, "permission denied"),
        ("pla in", 126, "permission denied"),
        ("folder", 126, "is a directory"),
        ("no-shebang", 126, format),
        ("empty", 126, format),
        ("arm", 126, format),
        ("itself", 126, "too many symbolic links"),
        ("loop", 126, "too many symbolic links"),
        (&long, 126, "file name too long"),
    ];
    let before = entries(&folder);
    let listen = format!("unix:{}", folder.path("socket"));
    for workers in ["1", "5"] {
        for (name, status, why) in table {
            let path = folder.path(name);
            let quote = if name.contains(' ') { "\"" } else { "" };
            let said = format!("cannot execute {quote}{path}{quote}: {why}");
            refused(&["run", "-w", workers, "-l", &listen, &path], status, &said);
            assert_eq!(entries(&folder), before, "{name}");
        }
    }
    let hint = "it is one word: drop the quotes, or use sh -c";
    let line = format!("cannot execute \"sleep 4\": not found in PATH; {hint}");
    let special: [(&str, i32, &str); 5] = [
        ("sleep 4", 127, &line),
        ("", 127, "cannot execute \"\": the command's name is empty"),
        ("no-such-program", 127, "cannot execute no-such-program: not found in PATH"),
        ("-", 127, "cannot execute -: not found in PATH"),
        ("/dev/null", 126, "cannot execute /dev/null: permission denied"),
    ];
    for (word, status, said) in special {
        refused(&["run", "-l", &listen, "--", word], status, said);
    }
    let mut fd3 = command(FD3);
    fd3.env("PATH", folder.path("")).args(["run", "plain"]);
    refused_by(fd3, 126, &format!("cannot execute {}/plain: permission denied", folder.path("")));
}

/// At every number of descriptors fd3 either works or says that there are too few.
#[test]
fn with_too_few_descriptors_it_works_or_says_so() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    let second = format!("unixgram:{}", folder.path("second"));
    let (mut worked, mut refusals) = (0, 0);
    for most in 4..32 {
        let words = ["run", "-w", "2", "-l", &listen, "-l", &second, "--restart", "never"];
        let mut fd3 = shell(&format!("ulimit -n {most}"));
        fd3.args(words).args(unseen_control()).args(["--", "/bin/true"]);
        let output = fd3.output().expect("sh starts");
        let stderr = stderr_of(&output);
        assert_eq!(entries(&folder), Vec::<String>::new(), "{most}: {stderr}");
        match code(output.status) {
            0 => {
                assert_eq!(stderr, "", "{most}");
                worked += 1;
            }
            status => {
                assert_eq!(status, 125, "{most}: {stderr}");
                assert_eq!(stderr.lines().count(), 1, "{most}: {stderr}");
                assert!(stderr.ends_with(": too many open files\n"), "{most}: {stderr}");
                refusals += 1;
            }
        }
    }
    assert!(worked > 5 && refusals > 5, "{worked} worked, {refusals} did not");
}

/// The numbers that workers get are reserved first, so that a small limit may lie below them.
#[test]
fn with_more_listeners_than_descriptors_it_says_which_is_too_many() {
    const MANY: u32 = 40;
    let folder = Folder::new();
    let listen: Vec<String> =
        (0..MANY).map(|n| format!("unix:{}.", folder.path(&n.to_string()))).collect();
    let words = listen.iter().flat_map(|listen| ["-l", listen]);
    let control = unseen_control();
    let words = words.chain(control.iter().map(String::as_str));
    let words: Vec<&str> = words.chain(["--restart", "never", "--", "/bin/true"]).collect();
    let (mut named, mut worked) = (0, 0);
    for most in (10..3 * MANY).step_by(2) {
        let mut fd3 = shell(&format!("ulimit -n {most}"));
        let output = fd3.arg("run").args(&words).output().expect("sh starts");
        let stderr = stderr_of(&output);
        assert_eq!(entries(&folder), Vec::<String>::new(), "{most}: {stderr}");
        if code(output.status) == 0 {
            worked += 1;
            continue;
        }
        assert_eq!((code(output.status), stderr.lines().count()), (125, 1), "{most}: {stderr}");
        assert_eq!(worked, 0, "{most}: {stderr}");
        let said = stderr.strip_prefix("fd3: cannot ").expect(&stderr);
        let what = said.strip_suffix(": too many open files\n").expect(&stderr);
        named += u32::from(listen.iter().any(|listen| what == format!("bind {listen}")));
        // Below, there is not even room for what fd3 itself needs.
        assert!(most < MANY + 10 || what.starts_with("bind "), "{most}: {stderr}");
    }
    assert!(named > 0 && worked > 0, "{named} named, {worked} worked");
}

#[test]
fn without_a_fork_nothing_is_left() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    if can_strace() {
        for (errno, why) in
            [("EAGAIN", "resource temporarily unavailable"), ("ENOMEM", "out of memory")]
        {
            let mut strace = command("strace");
            let inject = format!("inject=clone,clone3,fork,vfork:error={errno}");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, FD3]);
            strace.args(["run", "-w", "3", "-l", &listen, "/bin/true"]);
            refused_by(strace, 125, &format!("cannot fork a worker: {why}"));
            assert_eq!(entries(&folder), Vec::<String>::new());
        }
    }
    let Some(mut fd3) = as_nobody("prlimit") else { return };
    fd3.args(["--nproc=1:1", FD3, "run", "-w", "3", "/bin/true"]);
    refused_by(fd3, 125, "cannot fork a worker: resource temporarily unavailable");
}

#[test]
fn a_fork_that_fails_later_is_tried_again() {
    if !can_strace() {
        return;
    }
    let mut strace = command("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e"]);
    strace.args(["inject=clone,clone3,fork,vfork:error=EAGAIN:when=2..9", FD3]);
    strace.args(["run", "-v", "--ready", "0ms", "--backoff", "1ms..2ms"]);
    // A shortage is no crash, and never counts.
    strace.args(["--respawn-limit", "1/60s", "--restart", "on-failure", "sleep", "1000"]);
    let fd3 = Fd3::start(strace);
    let first = fd3.ready(1)[0];
    kill(first, libc::SIGKILL);
    let failed = fd3.nth_line("worker not started", 7);
    let why = "error=\"cannot fork a worker: resource temporarily unavailable\" restart-in=";
    assert!(failed.contains(why), "{failed}");
    let second = fd3.ready(2)[1];
    let supervisor = children(fd3.pid())[0];
    kill(supervisor, libc::SIGTERM);
    fd3.line("worker exited slot=0 pid=");
    until("the worker is gone", || !exists(second));
}

/// Each chore of the start, refused by the kernel: a line and 125, or it was not needed.
#[test]
fn every_system_call_of_the_start_may_fail() {
    if !can_strace() {
        return;
    }
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket"));
    let needed = [
        ("epoll_create1", "cannot make an epoll: not implemented by this kernel"),
        ("pipe2", "cannot make a pipe: not implemented by this kernel"),
    ];
    let comforts =
        ["signalfd4", "close_range", "inotify_init1", "linkat", "setrlimit,prlimit64", "setpgid"];
    let inject = |call: &str| {
        let mut strace = command("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e"]).arg(format!("inject={call}:error=ENOSYS"));
        strace.args([FD3, "run", "-l", &listen, "--restart", "never", "/bin/true"]);
        strace
    };
    for (call, said) in needed {
        refused_by(inject(call), 125, said);
        assert_eq!(entries(&folder), Vec::<String>::new(), "{call}");
    }
    for call in comforts {
        if call == "signalfd4" && !cfg!(feature = "init") {
            refused_by(inject(call), 125, "cannot make a signalfd: not implemented by this kernel");
            continue;
        }
        let output = inject(call).output().expect("strace starts");
        assert_eq!((code(output.status), stderr_of(&output).as_str()), (0, ""), "{call}");
        assert_eq!(entries(&folder), Vec::<String>::new(), "{call}");
    }
}
