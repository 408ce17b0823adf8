//! `--user` and `--group`: who a worker is, in which groups, what it may no longer do, and who is heard.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::{BOTH, RIGHTS, SETS, right, said, said_under};
use crate::harness::{
    FD3, Fd3, Folder, PATIENCE, children, command, exists, http_server, kill, until,
};
use crate::world::{NOBODY, Way, as_nobody, can_unshare, in_way, is_root, python, skip, ways};

/// All three of its numbers, and its groups.
const WHO: &str = "while read name value; do case $name in Uid:|Gid:|Groups:) echo $name $value;; esac; \
                   done </proc/self/status";

fn who(user: u32, group: u32, groups: &str) -> [String; 3] {
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let groups = format!("Groups: {groups}").trim_end().to_string();
    [format!("Uid: {}", four(user)), format!("Gid: {}", four(group)), groups]
}

fn only_root() -> bool {
    if !is_root() {
        skip("only root can become another user");
    }
    is_root()
}

#[test]
fn a_number_never_keeps_roots_groups() {
    if !only_root() {
        return;
    }
    let groups = ["setpriv", "--groups", "0,4,27"];
    let table: &[(&[&str], [String; 3])] = &[
        (&["--user", "54321"], who(54_321, 54_321, "54321")),
        (&["--user", "54321", "--group", "7"], who(54_321, 7, "7")),
        (&["--group", "54321"], who(0, 54_321, "54321")),
        (&[], who(0, 0, "0 4 27")),
    ];
    for (words, expected) in table {
        let said = said_under(&groups, words, WHO);
        let all = said.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(all.collect::<Vec<_>>(), *expected, "{words:?}");
    }
    let rights = said(&["--user", "54321"], RIGHTS);
    for name in SETS.iter().filter(|name| **name != "CapBnd") {
        assert_eq!(right(&rights, name), 0, "{name}: {rights:?}");
    }
}

/// fd3 where these are /etc/passwd and /etc/group.
fn among(folder: &Folder, words: &[&str], script: &str) -> Option<Vec<String>> {
    if !only_root() || !can_unshare(&["--mount"]) {
        return None;
    }
    let passwd = "root:x:0:0::/root:/bin/bash\nweb:x:5000:5001:Web:/srv/web:/bin/sh\n\
                  none:x:5002:5002::/nonexistent:/usr/sbin/nologin\n";
    let group =
        "root:x:0:\nweb:x:5001:\nmedia:x:5010:none,web\nlogs:x:5011:web\nroots:x:5012:root\n";
    let (passwd, group) = (folder.file("p", passwd, 0o644), folder.file("g", group, 0o644));
    let mount = "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group && shift 2 && exec \"$@\"";
    let before = ["unshare", "--mount", "sh", "-c", mount, "sh", &passwd, &group];
    Some(said_under(&before, words, script))
}

#[test]
fn a_name_brings_all_groups_of_that_user() {
    let folder = Folder::new();
    let script = "id -u; id -g; id -G; echo \"$HOME $USER $LOGNAME ${SHELL-none}\"";
    let none = "/nonexistent none none none";
    let web = "/srv/web web web /bin/sh";
    let table: &[(&[&str], [&str; 4])] = &[
        (&["--user", "web"], ["5000", "5001", "5001 5010 5011", web]),
        (&["--user", "5000"], ["5000", "5001", "5001 5010 5011", web]),
        (&["--user", "web", "--group", "logs"], ["5000", "5011", "5011 5010", web]),
        (&["--user", "web", "--group", "77"], ["5000", "77", "77 5010 5011", web]),
        (&["--user", "none"], ["5002", "5002", "5002 5010", none]),
        (&["--user", "5003"], ["5003", "5003", "5003", "/   none"]),
        (&["--user", "5003", "--group", "web"], ["5003", "5001", "5001", "/   none"]),
        (&["--user", "root"], ["0", "0", "0 5012", "/root root root /bin/bash"]),
        (
            &["--user", "web", "--env", "HOME=/x"],
            ["5000", "5001", "5001 5010 5011", "/x web web /bin/sh"],
        ),
        (&["--user", "web", "--clear-env"], ["5000", "5001", "5001 5010 5011", web]),
    ];
    for (words, expected) in table {
        let Some(said) = among(&folder, words, script) else { return };
        assert_eq!(said, *expected, "{words:?}");
    }
}

/// No /etc, no /proc, as in an image of nothing but two programs.
#[test]
fn a_number_needs_no_files() {
    if !only_root() || !can_unshare(&["--mount"]) {
        return;
    }
    let empty = "mount -t tmpfs none /etc && mount -t tmpfs none /proc && exec \"$@\"";
    let before = ["unshare", "--mount", "sh", "-c", empty, "sh"];
    let all =
        ["--umask", "077", "--nice", "3", "--rlimit", "core=0", "--chdir", "/", "--env", "A=b"];
    let all = [&all[..], &["--no-new-privs", "--cap-drop", "all", "--user", "54321"]].concat();
    let script = "id -u; id -G; umask; nice; ulimit -Sc; echo $A $HOME";
    let expected = ["54321", "54321", "0077", "3", "0", "b /"];
    assert_eq!(said_under(&before, &all, script), expected);
    for (option, name, file) in [("user", "root", "passwd"), ("group", "root", "group")] {
        let said = format!(
            "cannot set user and group: {option} \"{name}\" needs /etc/{file}: no such file or directory; \
             accepted: a number"
        );
        for own in BOTH {
            let mut fd3 = command(before[0]);
            fd3.args(&before[1..]).args([FD3, own[0], &format!("--{option}"), name, "/bin/true"]);
            crate::refused::refused_by(fd3, 125, &said);
        }
    }
}

#[test]
fn who_is_asked_for_and_already_is_needs_no_rights() {
    let own = NOBODY.to_string();
    let table: &[&[&str]] = &[
        &["--user", &own],
        &["--group", &own],
        &["--user", &own, "--group", &own, "--nice", "0", "--no-new-privs", "--cap-drop", "all"],
    ];
    for words in table {
        for command in BOTH {
            let Some(mut fd3) = as_nobody(FD3) else { return };
            fd3.args(*command).args(*words).args(["--", "id", "-u"]);
            let mut fd3 = Fd3::start(fd3);
            assert_eq!(fd3.exit(), 0, "{command:?} {words:?}: {}", fd3.log());
            fd3.line(&own);
        }
    }
}

/// A port below 1024 is bound while fd3 still may, and served by workers that could not.
#[test]
fn a_port_of_roots_is_served_by_nobody() {
    let free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if free.is_ok_and(|text| text.trim().parse::<u16>().is_ok_and(|free| free <= 80)) {
        return skip("every port is everybody's here (ip_unprivileged_port_start)");
    }
    if !only_root() {
        return;
    }
    // Nobody else uses this address.
    let address = "127.83.79.80:80";
    drop(TcpListener::bind(address).expect("root may"));
    // What another test is just starting may hold it until it is executed.
    until("it is free", || TcpStream::connect(address).is_err());
    let Some(mut alone) = as_nobody(FD3) else { return };
    alone.args(["run", "-l", address, "/bin/true"]);
    crate::refused::refused_by(
        alone,
        125,
        &format!("cannot bind tcp://{address}: permission denied"),
    );
    let mut fd3 = command(FD3);
    let server = http_server();
    fd3.args(["run", "-v", "-l", address, "-w", "2", "--ready", "notify", "--user", "54321"]);
    fd3.args(["--cap-drop", "all", "--no-new-privs", "--", &server]);
    let mut fd3 = Fd3::start(fd3);
    for pid in fd3.ready(2) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        assert!(status.contains("Uid:\t54321\t54321\t54321\t54321"), "{status}");
    }
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(fd3.stop(), 0, "{}", fd3.log());
}

/// A change of user makes the kernel forget the parent-death signal.
#[test]
fn a_killed_fd3_leaves_no_worker_of_another_user() {
    if !only_root() {
        return;
    }
    let words = ["run", "-v", "--user", "54321", "--ready", "0s", "--", "sleep", "1000"];
    let mut fd3 = command(FD3);
    fd3.args(words);
    let mut fd3 = Fd3::start(fd3);
    let worker = fd3.ready(1)[0];
    fd3.signal(libc::SIGKILL);
    assert_eq!(fd3.exit(), 128 + libc::SIGKILL);
    until("the worker is gone", || !exists(worker));
}

/// The same of the program of `fd3 init`, where it is asked for.
#[cfg(feature = "init")]
#[test]
fn a_killed_init_leaves_no_program_of_another_user() {
    if !only_root() {
        return;
    }
    let script = "echo up $$; exec sleep 1000";
    let words = ["init", "--user", "54321", "--parent-death", "TERM", "sh", "-c", script];
    let mut fd3 = command(FD3);
    fd3.args(words);
    let mut fd3 = Fd3::start(fd3);
    let program = fd3.line("up ")[3..].parse().expect("a PID");
    fd3.signal(libc::SIGKILL);
    assert_eq!(fd3.exit(), 128 + libc::SIGKILL);
    until("the program is gone", || !exists(program));
}

/// Forwarded to, stopped in time, and swept up after: whoever fd3 is.
#[cfg(feature = "init")]
#[test]
fn inits_program_of_another_user_is_signalled_and_killed() {
    if !only_root() {
        return;
    }
    let deaf = "trap '' TERM; trap 'echo heard' USR1; echo up; while :; do sleep 0.01; done";
    let words = ["--user", "54321", "--on", "TERM=stop", "--stop-timeout", "100ms"];
    for way in ways() {
        let mut fd3 = in_way(way, FD3);
        fd3.arg("init").args(words).args(["--", "sh", "-c", deaf]);
        let mut fd3 = Fd3::start(fd3);
        fd3.line("up");
        let pid = if way == Way::First { children(fd3.pid())[0] } else { fd3.pid() };
        kill(pid, libc::SIGUSR1);
        fd3.line("heard");
        kill(pid, libc::SIGTERM);
        assert_eq!(fd3.exit(), 137, "{way:?}: {}", fd3.log());
    }
}

/// Says READY=1 by a child that became this user, and then waits.
const SAYS: &str = "
import os, signal, socket, sys
if not os.fork():
    user = int(sys.argv[1])
    if user != os.getuid(): os.setuid(user)
    to = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(to)
    s.send(b'READY=1')
    r, w = os.pipe()
    socket.send_fds(s, [b'BARRIER=1'], [w])
    os.close(w); os.read(r, 1)
    print('heard', flush=True); os._exit(0)
while True: signal.pause()";

/// What systemd-notify(1) is to a script: another process of the worker's user.
#[test]
fn the_workers_user_is_heard_and_fd3s_is_not_needed() {
    if !only_root() {
        return;
    }
    let start = |wrapper: Option<Command>, words: &[&str], user: &str| {
        let mut fd3 = wrapper.unwrap_or_else(|| command(FD3));
        fd3.args(["run", "-v", "--ready", "notify"]).args(words);
        fd3.args(["--", python(), "-I", "-c", SAYS, user]);
        let fd3 = Fd3::start(fd3);
        fd3.line("heard");
        fd3
    };
    start(None, &["--user", "54322"], "54322").ready(1);
    start(None, &[], "0").ready(1);
    // Root's own worker speaks by root alone, and another user by nobody.
    let deaf = start(None, &[], "54322");
    assert_eq!(deaf.count("worker ready"), 0, "{}", deaf.log());
    let Some(nobody) = as_nobody(FD3) else { return };
    start(Some(nobody), &[], &NOBODY.to_string()).ready(1);
}

#[test]
fn a_worker_of_another_user_is_told_to_stop_and_killed() {
    if !only_root() {
        return;
    }
    let deaf = "trap '' TERM; echo up; while :; do sleep 1000; done";
    let words = ["--user", "54321", "--stop-timeout", "100ms", "--ready", "0s"];
    let mut fd3 = command(FD3);
    fd3.args(["run", "-v"]).args(words).args(["--", "sh", "-c", deaf]);
    let mut fd3 = Fd3::start(fd3);
    fd3.line("up");
    let worker = fd3.worker(0);
    assert_eq!(fd3.stop(), 0, "{}", fd3.log());
    assert!(!exists(worker), "{}", fd3.log());
    kill(worker, 0);
}
