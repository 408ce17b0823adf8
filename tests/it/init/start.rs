//! How the program comes to be, what it finds, and what its end means.

use std::io::Write;
use std::process::Stdio;

use super::{Way, begin, in_way, output, output_of, ways};
use crate::harness::{FD3, Fd3, Folder, code, command, kill, stderr_of};
use crate::world::{python, shell};

#[test]
fn the_programs_status_is_the_status() {
    for way in ways() {
        for (script, expected) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 255", 255),
            ("kill -TERM $$", 143),
            ("kill -KILL $$", 137),
            ("kill -SEGV $$", 139),
            ("kill -64 $$", 192),
        ] {
            let (status, stdout, stderr) = output(way, &["sh", "-c", script]);
            assert_eq!((status, &*stdout, &*stderr), (expected, "", ""), "{way:?}: {script}");
        }
        for (map, script, expected) in [
            ("143=0", "kill -TERM $$", 0),
            ("TERM=0", "kill -TERM $$", 0),
            ("RTMIN+3=7", "kill -37 $$", 7),
            ("143=0", "exit 143", 0),
            ("143=0", "exit 142", 142),
            ("0=9", "exit 0", 9),
        ] {
            let (status, ..) =
                output(way, &["--map-exit", map, "--map-exit", "99=98", "sh", "-c", script]);
            assert_eq!(status, expected, "{way:?}: {map}: {script}");
        }
    }
}

#[test]
fn what_cannot_be_executed_is_told_with_its_status() {
    let folder = Folder::new();
    let plain = folder.file("plain", "hello", 0o644);
    let binary = folder.file("binary", "\0\0\0\0\n\n", 0o755);
    let lost = folder.file("lost", "#!/no/such/shell\n", 0o755);
    let format = "exec format error (a script without a #! line, or another machine's binary)";
    for way in ways() {
        for (program, status, said) in [
            ("/nope", 127, "cannot execute /nope: no such file or directory".to_string()),
            ("nope-nope", 127, "cannot execute nope-nope: not found in PATH".into()),
            (&plain, 126, format!("cannot execute {plain}: permission denied")),
            (&binary, 126, format!("cannot execute {binary}: {format}")),
            (&lost, 127, format!("cannot execute {lost}: its interpreter does not exist")),
            ("/", 126, "cannot execute /: is a directory".into()),
        ] {
            let expected = (status, String::new(), format!("fd3: {said}\n"));
            assert_eq!(output(way, &[program, "x"]), expected, "{way:?}");
        }
    }
}

/// As glibc's execvp(3) does it, and so every init that Debian has.
#[test]
fn a_script_without_an_interpreter_is_the_shells() {
    let folder = Folder::new();
    let script = folder.file("script", "echo \"$0 $1 $#\"\nexit 5\n", 0o755);
    for way in ways() {
        let expected = (5, format!("{script} a b 2\n"), String::new());
        assert_eq!(output(way, &[&script, "a b", "c"]), expected, "{way:?}");
    }
}

#[test]
fn options_end_at_the_first_word_that_is_none() {
    let (status, stdout, _) = output(Way::Ordinary, &["sh", "-c", "echo $1", "-v", "--on"]);
    assert_eq!((status, &*stdout), (0, "--on\n"));
}

/// None inherited is ignored or blocked, and none is left blocked by fd3 (TSTP for one).
#[test]
fn the_program_begins_with_clean_signals() {
    let script = "
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {9, 19, 32, 33})
for n in [1, 2, 3, 13, 17, 20, 21, 22, 34, 64]: signal.signal(n, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])";
    for way in ways() {
        let mut wrapper = in_way(way, python());
        wrapper.args(["-I", "-c", script, FD3, "init", "grep", "Sig[BI]", "/proc/self/status"]);
        let (status, stdout, stderr) = output_of(&mut wrapper);
        assert_eq!((status, &*stderr), (0, ""), "{way:?}");
        let zero = "0000000000000000\n";
        assert_eq!(stdout, format!("SigBlk:\t{zero}SigIgn:\t{zero}"), "{way:?}");
    }
}

/// Whoever ignores SIGCHLD never learns of a status; tini and catatonit hang.
#[test]
fn an_inherited_deafness_for_children_is_cured() {
    for way in ways() {
        let mut wrapper = shell("trap '' CHLD");
        if way == Way::First {
            wrapper = in_way(way, "sh");
            wrapper.args(["-c", "trap '' CHLD; exec \"$0\" \"$@\"", FD3]);
        }
        let (status, ..) = output_of(wrapper.args(["init", "sh", "-c", "sleep 0.05; exit 7"]));
        assert_eq!(status, 7, "{way:?}");
    }
}

/// It may end before fd3 even knows its PID.
#[test]
fn a_program_that_ends_at_once_is_noticed() {
    for round in 0..200 {
        let output = command(FD3).args(["init", "true"]).output().expect("it starts");
        assert_eq!((code(output.status), &*stderr_of(&output)), (0, ""), "{round}");
    }
}

/// Whatever moment the signal comes at: it ends fd3 before main, and the program after it.
#[test]
fn a_term_at_any_moment_of_the_start_is_heard() {
    for round in 0..100 {
        let mut init = command(FD3);
        init.args(["init", "sleep", "1000"]).stdin(Stdio::null());
        let mut child = init.spawn().expect("it starts");
        if round % 2 == 1 {
            // A little later, by as much as this takes.
            let _ = command("true").status();
        }
        kill(child.id() as i32, libc::SIGTERM);
        assert_eq!(code(child.wait().expect("it is ours")), 143, "{round}");
    }
}

#[test]
fn sockets_pass_through_and_are_addressed_to_the_program() {
    let script = "
import os, socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
os.dup2(s.fileno(), 9)
os.closerange(3, 9); os.closerange(10, 99); os.dup2(9, 3)

if sys.argv[1] == 'mine': os.environ['LISTEN_PID'] = str(os.getpid())
else: os.environ['LISTEN_PID'] = '77'
os.environ['LISTEN_FDS'] = '1'
os.environ['LISTEN_FDNAMES'] = 'web'
os.execv(sys.argv[2], sys.argv[2:])";
    let tell = "
import os
print(os.environ['LISTEN_PID'] == str(os.getpid()), os.environ['LISTEN_PID'] == '77',
  os.environ['LISTEN_FDNAMES'], [fd for fd in range(3, 40) if os.path.exists('/proc/self/fd/%d' % fd)],
  os.environ['LISTEN_FDS'], flush=True)
import time; time.sleep(1000)";
    for way in ways() {
        for (whose, expected) in [("mine", "True False"), ("other", "False True")] {
            let mut wrapper = in_way(way, python());
            wrapper.args(["-I", "-c", script, whose, FD3, "init", python(), "-I", "-c", tell]);
            let fd3 = Fd3::start(wrapper);
            let expected = format!("{expected} web [3, 9] 1");
            fd3.line(&expected);
        }
    }
}

/// A listener that the program closes is to be closed, and a folder that it leaves can be unmounted.
#[test]
fn fd3_keeps_nothing_open_that_it_passed_on() {
    let folder = Folder::new();
    let (path, place) = (folder.path("held"), folder.path(""));
    for way in ways() {
        let mut wrapper = in_way(way, "sh");
        let script = format!("cd {place}; exec 7>{path} 3</dev/null; exec \"$0\" \"$@\"");
        wrapper.args(["-c", &script, FD3, "init", "sh", "-c", "pwd; echo x >&7; exec sleep 1000"]);
        let (fd3, pid) = super::begin_command(way, wrapper, place.trim_end_matches('/'));
        let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}"));
        crate::harness::until("fd3 lets go", || {
            link("fd/7").is_err() && link("cwd").is_ok_and(|cwd| cwd.as_os_str() == "/")
        });
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it is ours")
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .collect();
        assert!(open.iter().all(|one| one.as_os_str() != path.as_str()), "{way:?}: {open:?}");
        drop(fd3);
    }
}

#[test]
fn what_is_typed_reaches_the_program() {
    let mut init = command(FD3);
    init.args(["init", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = init.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"typed\n").expect("cat reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((code(output.status), output.stdout.as_slice()), (0, &b"typed\n"[..]));
}

#[test]
fn it_is_quiet_unless_asked() {
    let (_, _, stderr) = output(Way::Ordinary, &["-v", "sh", "-c", "exit 3"]);
    assert!(stderr.contains("fd3: started what=program pid="), "{stderr}");
    assert!(stderr.contains("fd3: ended what=program pid="), "{stderr}");
    let (_, _, stderr) = output(Way::Ordinary, &["-v", "--log", "json", "sh", "-c", "exit 3"]);
    assert!(stderr.contains("\"message\":\"ended\",\"what\":\"program\""), "{stderr}");
    let (fd3, pid) = begin(Way::Ordinary, &["-v", "sh", "-c", "echo up; exec sleep 1000"], "up");
    kill(pid, libc::SIGWINCH);
    fd3.line("fd3: forwarded signal=SIGWINCH pid=");
}
