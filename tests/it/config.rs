//! `--config`: options from a file, and the command line that wins over them.

use std::io::Write;

use crate::harness::{FD3, Fd3, Folder, children, command, field, kill, run, until};
use crate::refused::refused;
use crate::world::unshare;

#[test]
fn a_file_may_be_written_like_a_command_line_without_dashes_or_like_a_table() {
    let folder = Folder::new();
    for text in [
        "listen 127.0.0.1:0,name=a=b\nworkers 2\nready 0ms\non USR1=forward:TERM\n",
        "listen=127.0.0.1:0,name=a=b\nworkers=2\nready=0ms\non=USR1=forward:TERM\n",
        "# all of it\r\n\r\n\t listen = 127.0.0.1:0,name=a=b \r\n  workers  =2\nready= 0ms\n#\n\
         \n on\t USR1=forward:TERM",
    ] {
        let file = folder.file("conf", text, 0o644);
        let mut fd3 = run(&["--config", &file, "--", "sleep", "1000"]);
        assert_eq!(field(&fd3.line("listening"), "name"), "a=b");
        fd3.ready(2);
        fd3.signal(libc::SIGUSR1);
        fd3.nth_line("status=SIGTERM", 1);
        assert_eq!(fd3.stop(), 0);
    }
}

#[test]
fn one_listener_or_reaction_typed_replaces_all_of_the_file() {
    let folder = Folder::new();
    let text = "listen 127.0.0.1:0,name=a\nlisten 127.0.0.1:0,name=b\non USR1=stop\non USR2=stop\n\
                workers 2\nquiet\n";
    let file = folder.file("conf", text, 0o644);
    // It is run with -v, which wins over quiet.
    let typed = ["--on", "USR1=forward:KILL", "--listen", "127.0.0.1:0,name=c", "--config", &file];
    let mut fd3 = run(&[&typed[..], &["--", "sleep", "1000"]].concat());
    fd3.nth_line("worker started", 1);
    assert_eq!((fd3.count("listening"), fd3.count("name=c")), (1, 1), "{}", fd3.log());
    // The file's line for USR2 is gone, too: it is an upgrade again.
    fd3.signal(libc::SIGUSR2);
    fd3.line(if cfg!(feature = "upgrade") { " upgraded from=" } else { "signal ignored" });
    fd3.signal(libc::SIGUSR1);
    fd3.nth_line("status=SIGKILL", 1);
    assert_eq!(fd3.stop(), 0);
}

const TEXT: &str = "workers 2\nready 0ms\n";

/// The state of a process that has this path open: S when it sleeps.
fn state_with_open(pid: i32, path: &str) -> Option<char> {
    let mut open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    open.find(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == path))?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn a_pipe_is_waited_for_and_read_to_its_end() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    assert!(command("mkfifo").arg(&fifo).status().expect("it is there").success());
    // Nobody writes: to wait would be deaf to every signal.
    let said = format!("cannot read --config \"{fifo}\": no data, and no writer");
    refused(&["run", "--config", &fifo, "/bin/true"], 2, &said);
    let mut options = std::fs::OpenOptions::new();
    let mut writer = options.read(true).write(true).open(&fifo).expect("it is there");
    let mut fd3 = run(&["--config", &fifo, "--", "sleep", "1000"]);
    until("fd3 waits for more", || state_with_open(fd3.pid(), &fifo) == Some('S'));
    let (some, rest) = TEXT.split_at(9);
    writer.write_all(some.as_bytes()).expect("it is read");
    until("fd3 waits for more", || state_with_open(fd3.pid(), &fifo) == Some('S'));
    writer.write_all(rest.as_bytes()).expect("it is read");
    drop(writer);
    fd3.ready(2);
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn the_output_of_a_command_is_a_file_for_bash() {
    let script = "exec \"$0\" run -v --config <(printf 'workers 2\\nready 0ms\\n') -- sleep 1000";
    let mut bash = command("bash");
    bash.args(["-c", script, FD3]);
    let mut fd3 = Fd3::start(bash);
    fd3.ready(2);
    assert_eq!(fd3.stop(), 0);
}

/// As PID 1 as well, which the kernel does not end by a signal that is not caught.
#[test]
fn a_stop_does_not_wait_for_a_pipe() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    assert!(command("mkfifo").arg(&fifo).status().expect("it is there").success());
    let mut options = std::fs::OpenOptions::new();
    let _writer = options.read(true).write(true).open(&fifo).expect("it is there");
    let stops_in = |begin: &dyn Fn() -> (Fd3, i32), signal: i32| {
        let (mut fd3, pid) = begin();
        until("fd3 waits for more", || state_with_open(pid, &fifo) == Some('S'));
        // What is no stop is not for now.
        kill(pid, libc::SIGHUP);
        until("fd3 waits for more", || state_with_open(pid, &fifo) == Some('S'));
        kill(pid, signal);
        assert_eq!((fd3.exit(), fd3.log().as_str()), (0, ""));
    };
    let both = if cfg!(feature = "init") { &["run", "init"][..] } else { &["run"] };
    for (own, option) in both.iter().flat_map(|own| [(own, "--config"), (own, "--env-file")]) {
        let words = [own, "-v", option, &fifo, "--", "echo", "started"];
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            let begin = || {
                let mut command = command(FD3);
                command.args(words);
                let fd3 = Fd3::start(command);
                let pid = fd3.pid();
                (fd3, pid)
            };
            stops_in(&begin, signal);
        }
        let how = ["--pid", "--fork", "--kill-child"];
        if unshare(&how).is_none() {
            continue;
        }
        let begin = || {
            let mut unshare = unshare(&how).expect("as just before");
            unshare.arg(FD3).args(words);
            let fd3 = Fd3::start(unshare);
            until("there is a PID 1", || !children(fd3.pid()).is_empty());
            let pid = children(fd3.pid())[0];
            (fd3, pid)
        };
        stops_in(&begin, libc::SIGTERM);
    }
}
