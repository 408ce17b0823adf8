//! examples/restart.rs: a program that replaces itself on USR2, by itself, with the library alone.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::{Resource, Rlimit};

use crate::harness::{
    Fd3, Folder, PATIENCE, children, command, copy_program, example, exists, field, get, kill,
    until,
};
use crate::reload::Gate;
use crate::reload::loses_nothing::{Clients, Kept};

const RESTARTS: usize = 50;
const CLIENTS: usize = 6;
const BETWEEN: usize = 4 * CLIENTS;

/// The server and whoever comes after it; all of them are gone when this is dropped.
struct Server {
    log: Fd3,
    folder: Folder,
    port: u16,
}

impl Server {
    /// Its file is a link in a folder of its own, so that it can be another one after a restart.
    fn start(strategy: &str) -> Server {
        Server::start_with(strategy, &[])
    }

    /// With the limit until it is ready and the overlap, in milliseconds.
    fn start_with(strategy: &str, times: &[&str]) -> Server {
        let folder = Folder::new();
        std::os::unix::fs::symlink(example("restart"), folder.path("app")).expect("it is ours");
        let mut command = command(folder.path("app"));
        let pid_file = folder.path("pid");
        command.args([strategy, "127.0.0.1:0", &pid_file]).args(times).env("CARRIED", "yes");
        let log = Fd3::start(command);
        let address = field(&log.line("serving address="), "address");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let server = Server { log, folder, port };
        until("it has a PID file", || server.pid() == server.log.pid());
        server
    }

    /// Who serves, by the PID file.
    fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.folder.path("pid")).unwrap_or_default();
        text.trim_end().parse().unwrap_or(0)
    }

    fn install(&self, contents: &str) {
        let new = self.folder.file("new", contents, 0o755);
        fs::rename(new, self.folder.path("app")).expect("the folder is ours");
    }

    fn page(&self, path: &str) -> String {
        let answer = get(self.port, path).expect("it serves");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        body.to_string()
    }

    /// The generation and the PID of whoever answers.
    fn answering(&self) -> (u64, i32) {
        let body = format!(" {}", self.page("/"));
        let number = |name: &str| {
            let rest = body.split_once(&format!(" {name} ")).expect("it tells").1;
            rest.split(',').next().expect("there is a first").to_string()
        };
        (number("generation").parse().expect("a number"), number("pid").parse().expect("a PID"))
    }

    /// To whoever serves.
    fn signal(&self, signal: i32) {
        let pid = self.pid();
        assert!(pid > 0, "there is no PID file: {}", self.log.log());
        kill(pid, signal);
    }

    /// Asks whoever serves for a restart.
    fn ask(&self) {
        self.signal(libc::SIGUSR2);
    }

    /// Restarts it and waits until the new version has taken over.
    fn restart(&self, strategy: &str, generation: u64) {
        let old = self.pid();
        self.ask();
        if strategy == "single" {
            until("the next one is ready", || self.pid() != old);
            until("the old one has ended", || has_ended(old));
        } else {
            until("it is the new one", || self.answering() == (generation, old));
            until("its stand-in has ended", || children(old).is_empty());
        }
    }

    /// A restart from a file of such contents does not come about, for the `count`th time.
    fn fails(&self, count: usize, contents: &str, why: &str) {
        let (old, uuid) = (self.pid(), self.page("/uuid"));
        self.install(contents);
        self.ask();
        let line = self.log.nth_line("restart failed: ", count);
        assert!(line.contains(&self.folder.path("app")) && line.contains(why), "{line}");
        assert_eq!((self.page("/uuid"), self.pid()), (uuid, old));
        assert!(children(old).is_empty(), "{line}");
    }

    /// TERM to whoever serves; all are gone then, and so is the PID file.
    fn stop(self) -> String {
        self.signal(libc::SIGTERM);
        self.ends()
    }

    fn ends(mut self) -> String {
        // The end of the log is the end of all of them.
        assert_eq!(self.log.exit(), 0, "{}", self.log.log());
        assert!(!Path::new(&self.folder.path("pid")).exists());
        assert!(get(self.port, "/").is_err());
        self.log.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in [self.pid(), self.log.pid()] {
            if pid != 0 && fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
                kill(pid, libc::SIGKILL);
            }
        }
    }
}

/// A request that is under way for as long as the test likes: its head has no end yet.
struct Begun(TcpStream);

impl Begun {
    fn at(server: &Server) -> Begun {
        let pid = server.pid();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n").expect("it reads");
        // The server has a thread for it, and one that waits for the next.
        until("it is under way", || connections(pid) >= 2);
        Begun(stream)
    }

    /// Ends it; the whole answer.
    fn answer(mut self) -> String {
        self.0.write_all(b"\r\n").expect("it is open");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer
    }
}

/// The threads of a server: one for each connection, and one that waits for the next.
fn connections(pid: i32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")));
    names.flatten().filter(|name| name == "connection\n").count()
}

/// Which of its threads have all of TERM, INT, QUIT and USR2 blocked, by their names, and which have not.
fn masked_threads(pid: i32) -> (Vec<String>, Vec<String>) {
    let all = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR2];
    let all = all.iter().fold(0_u64, |set, signal| set | 1 << (signal - 1));
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let mut threads = (Vec::new(), Vec::new());
    for text in texts {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (name, mask) = (field("Name:").expect("it is told"), field("SigBlk:"));
        let mask = u64::from_str_radix(mask.expect("it is told"), 16).expect("a number");
        // While a handler runs its own signal is blocked.
        let place = if mask & all == all { &mut threads.0 } else { &mut threads.1 };
        place.push(name.to_string());
    }
    threads.0.sort();
    threads.1.sort();
    threads
}

/// Whether a signal to this process waits for a thread of it to take it.
fn is_pending(pid: i32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = u64::from_str_radix(pending.expect("it is told").trim(), 16).expect("a number");
    pending & 1 << (signal - 1) != 0
}

/// Gone, or a zombie of this test's.
fn has_ended(pid: i32) -> bool {
    !exists(pid) || fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

fn numbers_in(folder: &str) -> HashSet<u64> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

fn loses_nothing(strategy: &str) {
    let server = Server::start(strategy);
    let first = server.pid();
    let (mut pids, mut descriptors) = (HashSet::from([first]), HashSet::new());
    Clients::run(server.port, CLIENTS, Kept::MayClose, |load| {
        for generation in 2..=RESTARTS as u64 + 1 {
            load.wait_for_answers(BETWEEN);
            server.restart(strategy, generation);
            pids.insert(server.pid());
        }
        load.wait_for_answers(BETWEEN);
    });
    // When nothing is in flight, as many as ever.
    descriptors.insert(open_descriptors(server.pid()));
    assert_eq!(server.answering(), (RESTARTS as u64 + 1, server.pid()));
    server.restart(strategy, RESTARTS as u64 + 2);
    until("no descriptor was left behind", || {
        descriptors.contains(&open_descriptors(server.pid()))
    });
    let expected = if strategy == "single" { RESTARTS + 1 } else { 1 };
    assert_eq!(pids.len(), expected);
    let log = server.stop();
    assert!(!log.contains("restart failed") && !log.contains("a client: "), "{log}");
}

#[test]
fn single_loses_nothing_in_50_restarts() {
    loses_nothing("single");
}

#[test]
fn double_loses_nothing_in_50_restarts_and_keeps_its_pid() {
    loses_nothing("double");
}

fn a_delayed_request_is_the_old_ones(strategy: &str) {
    let server = Server::start(strategy);
    let (old, first) = (server.pid(), server.page("/uuid"));
    let delayed = Begun::at(&server);
    server.ask();
    let mut next = String::new();
    until("the next one answers", || {
        next = server.page("/");
        !next.contains(&first)
    });
    assert!(next.contains("generation 2, "), "{next}");
    let answer = delayed.answer();
    assert!(
        answer.contains(&first) && answer.contains(&format!("generation 1, pid {old},")),
        "{answer}"
    );
    if strategy == "double" {
        until("it is the same process", || server.answering() == (2, old));
        until("its stand-in has ended", || children(old).is_empty());
    } else {
        until("the old one has ended", || has_ended(old));
        assert_ne!(server.answering(), (2, old));
    }
    server.stop();
}

#[test]
fn single_answers_a_delayed_request_before_it_ends() {
    a_delayed_request_is_the_old_ones("single");
}

#[test]
fn double_answers_a_delayed_request_before_it_becomes_the_new_one() {
    a_delayed_request_is_the_old_ones("double");
}

fn goes_on_when_the_new_one_fails(strategy: &str) {
    let server = Server::start(strategy);
    let failures = [
        ("#!/bin/sh\nexit 3\n", " exited with status 3 before it was ready"),
        ("#!/bin/sh\nkill -9 $$\n", " was killed by signal 9 before it was ready"),
        (
            "#!/bin/sh\ntrap '' TERM\neval \"exec $FD3_RESTART_READY>&-\"\nexit 0",
            " exited with status 0 ",
        ),
        ("#!/nope\n", "its interpreter does not exist"),
        ("\x7fELF", "exec format error"),
    ];
    for (count, (contents, why)) in failures.iter().enumerate() {
        server.fails(count, contents, why);
    }
    let app = server.folder.path("app");
    fs::remove_file(&app).expect("it is ours");
    server.ask();
    let line = server.log.nth_line("restart failed: ", failures.len());
    assert!(line.ends_with(&format!("cannot execute {app}: no such file or directory")), "{line}");
    std::os::unix::fs::symlink(example("restart"), &app).expect("it is ours");
    server.restart(strategy, 2);
    assert_eq!(server.answering().0, 2);
    server.stop();

    let server = Server::start_with(strategy, &["200"]);
    server.fails(0, "#!/bin/sh\nexec sleep 1000\n", " was not ready within 200ms");
    server.stop();

    // It ends within the overlap, however long the machine takes for that.
    let server = Server::start_with(strategy, &["100000", "100000"]);
    let ends = "#!/bin/sh\nprintf R >&$FD3_RESTART_READY\nexit 4\n";
    server.fails(0, ends, " exited with status 4 when it had become ready");
    server.stop();
}

#[test]
fn single_goes_on_when_the_new_one_fails() {
    goes_on_when_the_new_one_fails("single");
}

#[test]
fn double_goes_on_when_the_new_one_fails() {
    goes_on_when_the_new_one_fails("double");
}

/// With so few descriptors that a restart comes to an end before its child, at each step.
#[test]
fn without_descriptors_there_is_no_child_and_the_old_one_goes_on() {
    /// What it takes: copies of the listener and of the pipe, two pipes, an event and its copy.
    const NEEDED: usize = 7;
    let server = Server::start("single");
    let (old, uuid) = (server.pid(), server.page("/uuid"));
    until("only what it waits for is open", || connections(old) == 1);
    // The same as the server's.
    let Rlimit { current: before, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let limit = |current| {
        let (pid, limits) = (rustix::process::Pid::from_raw(old), Rlimit { current, maximum });
        rustix::process::prlimit(pid, Resource::Nofile, limits).expect("it is ours");
    };
    let open = numbers_in(&format!("/proc/{old}/fd"));
    let free = (0..).filter(|number| !open.contains(number)).take(NEEDED);
    for (count, number) in free.enumerate() {
        limit(Some(number));
        server.ask();
        let line = server.log.nth_line("restart failed: ", count);
        assert!(line.ends_with("cannot prepare a restart: too many open files"), "{line}");
        assert!(children(old).is_empty(), "with {count} free: {line}");
    }
    limit(before);
    assert_eq!((server.page("/uuid"), server.pid()), (uuid, old));
    server.restart("single", 2);
    assert_eq!(server.answering().0, 2);
    server.stop();
}

fn becomes_what_its_name_leads_to(strategy: &str) {
    let server = Server::start(strategy);
    let old = server.pid();
    // Another file by the same name, as a package manager puts it; the former one is gone.
    copy_program(&example("restart"), &server.folder.path("release-2"));
    fs::rename(server.folder.path("release-2"), server.folder.path("app")).expect("it is ours");
    server.restart(strategy, 2);
    let exe = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    assert_eq!(exe(server.pid()), Path::new(&server.folder.path("app")));
    copy_program(&example("restart"), &server.folder.path("release-3"));
    fs::rename(server.folder.path("release-3"), server.folder.path("app")).expect("it is ours");
    assert!(exe(server.pid()).to_string_lossy().ends_with(" (deleted)"));
    server.restart(strategy, 3);
    let new = server.pid();
    assert_eq!(exe(new), Path::new(&server.folder.path("app")));
    assert_eq!(new == old, strategy == "double");
    // What it was started with it still has, and nothing twice.
    let words = fs::read(format!("/proc/{new}/cmdline")).expect("it runs");
    let app = server.folder.path("app");
    let expected = [&app, strategy, "127.0.0.1:0", &server.folder.path("pid"), ""].join("\0");
    assert_eq!(String::from_utf8_lossy(&words), expected);
    let environment = fs::read(format!("/proc/{new}/environ")).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    let variables: Vec<&str> = environment.split_terminator('\0').collect();
    assert!(variables.contains(&"CARRIED=yes") && variables.contains(&"LISTEN_FDNAMES=http"));
    assert!(variables.contains(&format!("LISTEN_PID={new}").as_str()), "{variables:?}");
    let names: HashSet<&str> =
        variables.iter().filter_map(|one| Some(one.split_once('=')?.0)).collect();
    assert_eq!(names.len(), variables.len(), "{variables:?}");
    server.stop();
}

#[test]
fn single_starts_the_file_that_its_name_leads_to_by_then() {
    becomes_what_its_name_leads_to("single");
}

#[test]
fn double_becomes_the_file_that_its_name_leads_to_by_then() {
    becomes_what_its_name_leads_to("double");
}

/// With those threads a signal would be lost when the program becomes another one.
#[test]
fn threads_of_the_library_take_no_signal_but_for_what_the_program_does_in_them() {
    let server = Server::start("double");
    let old = server.pid();
    server.install("#!/bin/sh\necho began\nexec sleep 1000\n");
    server.ask();
    server.log.line("began");
    let begun = Begun::at(&server);
    until("a request is under way", || {
        let (blocked, open) = masked_threads(old);
        let program = open == ["app", "connection"];
        program && blocked == ["child", "connection", "restart"]
    });
    begun.answer();
    until("all is quiet", || masked_threads(old).1 == ["app"]);
    server.stop();
}

#[test]
fn a_stop_ends_a_new_one_that_is_not_ready_yet() {
    for strategy in ["single", "double"] {
        let server = Server::start(strategy);
        server.install("#!/bin/sh\necho began\nexec sleep 1000\n");
        server.ask();
        server.log.line("began");
        server.stop();
    }
}

#[test]
fn a_stop_while_the_old_one_drains_ends_the_stand_in_as_well() {
    let server = Server::start("double");
    let first = server.page("/uuid");
    let delayed = Begun::at(&server);
    server.ask();
    until("the stand-in answers", || server.page("/uuid") != first);
    // It has given way: there is no thread for a next connection any more.
    until("the old one drains", || connections(server.pid()) == 1);
    server.signal(libc::SIGTERM);
    delayed.answer();
    server.ends();
}

#[test]
fn restarts_asked_for_together_are_few_and_come_to_an_end() {
    for strategy in ["single", "double"] {
        let server = Server::start(strategy);
        let (old, gate) = (server.pid(), Gate::closed(&server.folder));
        let program = example("restart");
        server.install(&format!("#!/bin/sh\n{}\nexec {program} \"$@\"\n", gate.wait));
        // The first one's new version waits at the gate while the others come.
        for _ in 0..20 {
            server.ask();
            until("it is heard", || !is_pending(old, libc::SIGUSR2));
        }
        gate.open();
        if strategy == "double" {
            until("it is the new one", || {
                let (generation, pid) = server.answering();
                generation > 1 && pid == old && children(old).is_empty()
            });
        } else {
            until("the old one has ended", || has_ended(old));
        }
        let (generation, _) = server.answering();
        assert!(generation <= 3, "{generation}");
        server.stop();
    }
}

#[test]
fn a_pid_file_of_a_process_that_lives_is_refused() {
    let server = Server::start("single");
    let path = server.folder.path("pid");
    let mut second = command(example("restart"));
    let output = second.args(["single", "127.0.0.1:0", &path]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let error = crate::harness::stderr_of(&output);
    assert_eq!(error, format!("Error: cannot write {path}: a process that lives has it locked\n"));
    server.stop();
}
