//! On a real terminal: job control in an interactive shell, as in `docker run -it`; Ctrl-C, Ctrl-Z, fg, bg.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use super::{Way, in_way, ways};
use crate::harness::{FD3, code, command, until};
use crate::world::python;

/// A terminal, the leader of its session, and what it has shown.
struct Terminal {
    master: File,
    leader: Child,
    shown: Arc<Mutex<String>>,
    /// How much of it was looked at.
    seen: usize,
}

#[allow(unsafe_code)]
fn open_pair() -> (File, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let (no_name, no_form, no_size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: both numbers outlive the call; nothing else is passed.
    let opened =
        unsafe { libc::openpty(&raw mut master, &raw mut slave, no_name, no_form, no_size) };
    assert_eq!(opened, 0, "there are terminals");
    for fd in [master, slave] {
        // SAFETY: no memory is passed.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: it was just opened, and nobody else has it.
    let master = unsafe { File::from_raw_fd(master) };
    // SAFETY: as above.
    (master, unsafe { OwnedFd::from_raw_fd(slave) })
}

impl Terminal {
    /// Begins a session on a terminal of its own with this program.
    fn start(program: Command) -> Terminal {
        let (master, slave) = open_pair();
        let copy = || slave.try_clone().expect("there are descriptors");
        let mut leader = command("setsid");
        leader.arg("--ctty").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            leader.env(name, value.unwrap_or_default());
        }
        leader.stdin(copy()).stdout(copy()).stderr(copy());
        leader.env("PS1", "$ ").env("TERM", "dumb").env("HISTFILE", "/dev/null");
        let leader = leader.spawn().expect("it starts");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, to) = (master.try_clone().expect("there are descriptors"), shown.clone());
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut room) {
                let text = String::from_utf8_lossy(&room[..count]).into_owned();
                to.lock().expect("nobody panics here").push_str(&text);
            }
        });
        Terminal { master, leader, shown, seen: 0 }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("nobody panics here").clone()
    }

    /// Waits until this is shown, behind what was looked at so far.
    fn shows(&mut self, text: &str) {
        let (shown, seen) = (self.shown.clone(), self.seen);
        let place = || {
            let shown = shown.lock().expect("nobody panics here");
            shown[seen..].find(text).map(|at| seen + at + text.len())
        };
        let deadline = format!("{text:?}");
        let (result, all) =
            (std::panic::catch_unwind(|| until(&deadline, || place().is_some())), self.shown());
        assert!(result.is_ok(), "never shown: {text:?} behind {seen} in:\n{all}");
        self.seen = place().expect("it was shown");
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// The process group in the foreground.
    #[allow(unsafe_code)]
    fn foreground(&self) -> i32 {
        // SAFETY: no memory is passed.
        unsafe { libc::tcgetpgrp(self.master.as_raw_fd()) }
    }

    /// Lets the job go on in the foreground. What is typed before it is there would be the shell's.
    fn continues(&mut self, job: i32) {
        self.types("fg\r");
        until("the job is in the foreground", || self.foreground() == job);
    }

    /// Ends the job in the foreground, and waits for the shell's prompt.
    fn interrupts(&mut self) {
        self.types(CTRL_C);
        self.shows("^C");
        self.shows("$ ");
    }

    fn exit(mut self) -> i32 {
        code(self.leader.wait().expect("it is ours"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const BASH: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];
/// Says that it is there, and then everything that it is told.
const CAT: &str = "echo up; exec cat";

/// fd3 as the leader of the session, as the container's first process is.
fn leader(way: Way, words: &[&str]) -> Terminal {
    let mut init = in_way(way, FD3);
    init.arg("init").args(words);
    Terminal::start(init)
}

/// An interactive shell above fd3.
fn shell() -> Terminal {
    let mut bash = command(BASH[0]);
    bash.args(&BASH[1..]).env("FD3", FD3);
    let mut terminal = Terminal::start(bash);
    terminal.shows("$ ");
    terminal
}

#[test]
fn an_interactive_shell_has_job_control() {
    for way in ways() {
        let mut terminal = leader(way, &BASH);
        terminal.shows("$ ");
        terminal.types("sh -c 'echo u''p; exec sleep 1000'\r");
        terminal.shows("up\r\n");
        let job = terminal.foreground();
        terminal.types(CTRL_Z);
        terminal.shows("Stopped");
        terminal.shows("$ ");
        terminal.types("bg; jobs\r");
        terminal.shows("Running");
        terminal.shows("$ ");
        terminal.continues(job);
        terminal.interrupts();
        terminal.types("echo status=$?\r");
        terminal.shows("status=130");
        terminal.types("exit 7\r");
        terminal.shows("exit");
        let shown = terminal.shown();
        assert!(!shown.contains("job control"), "{way:?}: {shown}");
        assert_eq!(terminal.exit(), 7, "{way:?}");
    }
}

#[test]
fn ctrl_c_comes_once() {
    let script = "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {2, 10})
os.write(1, b'up\\n')
while signal.sigwait({2, 10}) == 2: os.write(1, b'interrupted\\n')
os._exit(5)";
    for way in ways() {
        let mut terminal = leader(way, &[python(), "-I", "-c", script]);
        terminal.shows("up\r\n");
        terminal.types(CTRL_C);
        terminal.shows("interrupted");
        let pid = match way {
            Way::Ordinary => terminal.leader.id() as i32,
            Way::First => crate::harness::children(terminal.leader.id() as i32)[0],
        };
        // It comes after whatever else was on its way.
        crate::harness::kill(pid, libc::SIGUSR1);
        until("it ends", || matches!(terminal.leader.try_wait(), Ok(Some(_))));
        assert_eq!(terminal.shown().matches("interrupted").count(), 1, "{way:?}");
        assert_eq!(terminal.exit(), 5, "{way:?}");
    }
}

/// With tini the terminal hangs: nobody is there who could continue the program.
#[test]
fn without_a_shell_ctrl_z_stops_nobody_for_good() {
    for way in ways() {
        let mut terminal = leader(way, &["sh", "-c", CAT]);
        terminal.shows("up\r\n");
        for word in ["one", "two"] {
            terminal.types(CTRL_Z);
            terminal.shows("^Z");
            terminal.types(&format!("{word}\r"));
            // The terminal's own echo, and cat's.
            terminal.shows(word);
            terminal.shows(word);
        }
        terminal.types(CTRL_C);
        assert_eq!(terminal.exit(), 130, "{way:?}");
    }
}

#[test]
fn under_a_shell_it_is_a_job_like_any_other() {
    let mut terminal = shell();
    terminal.types("$FD3 init sh -c 'echo u''p; exec cat'\r");
    terminal.shows("up\r\n");
    let job = terminal.foreground();
    for word in ["one", "two"] {
        terminal.types(CTRL_Z);
        terminal.shows("Stopped");
        terminal.shows("$ ");
        terminal.types("jobs\r");
        terminal.shows("Stopped");
        terminal.shows("$ ");
        terminal.continues(job);
        terminal.types(&format!("{word}\r"));
        terminal.shows(word);
        terminal.shows(word);
    }
    terminal.interrupts();
    terminal.types("echo status=$?\r");
    terminal.shows("status=130");
}

#[test]
fn in_the_background_it_waits_for_the_terminal() {
    let mut terminal = shell();
    terminal.types("$FD3 init sh -c 'echo u''p $$; exec cat' &\r");
    terminal.shows("up ");
    let seen = terminal.seen;
    terminal.shows("\r\n");
    let job = terminal.shown()[seen..].lines().next().and_then(|pid| pid.parse().ok());
    // It reads, and is stopped for that; the shell sees it when it is asked.
    let mut stopped = false;
    while !stopped {
        terminal.types("jobs; echo d''one\r");
        let seen = terminal.seen;
        terminal.shows("done");
        stopped = terminal.shown()[seen..terminal.seen].contains("Stopped");
        terminal.shows("$ ");
    }
    terminal.continues(job.expect("a PID"));
    terminal.types("hello\r");
    terminal.shows("hello");
    terminal.shows("hello");
    terminal.interrupts();
}

/// The foreground was ours, and is to be our starter's again.
#[test]
fn a_script_has_its_terminal_back() {
    let mut terminal = shell();
    terminal.types("sh -c '$FD3 init true; echo u''p; read word; echo \"got $word.\"'\r");
    terminal.shows("up\r\n");
    terminal.types("hello\r");
    terminal.shows("got hello.");
}

/// Where writing in the background stops a job (TOSTOP), and the program is not in the background.
#[test]
fn the_program_may_write_to_the_terminal() {
    for way in ways() {
        let script = "stty tostop; exec \"$0\" init sh -c 'echo fine; echo all of it'";
        let mut wrapper = in_way(way, "sh");
        wrapper.args(["-c", script, FD3]);
        let mut terminal = Terminal::start(wrapper);
        terminal.shows("fine");
        terminal.shows("all of it");
        assert_eq!(terminal.exit(), 0, "{way:?}");
    }
}

#[test]
#[allow(unsafe_code)]
fn a_new_size_reaches_the_program() {
    let script = "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {28})
os.write(1, b'up\\n')
while True: signal.sigwait({28}); os.write(1, b'%d columns\\n' % os.get_terminal_size().columns)";
    for way in ways() {
        let mut terminal = leader(way, &[python(), "-I", "-c", script]);
        terminal.shows("up\r\n");
        let size = libc::winsize { ws_row: 50, ws_col: 123, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the size outlives the call.
        unsafe { libc::ioctl(terminal.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        terminal.shows("123 columns");
    }
}
