//! The library in real programs, under fd3. Small programs are parts of this test program, which fd3 starts as its
//! COMMAND: a test named `part` in `parts`, that does nothing unless it is told.

mod parts;

use crate::client::Connection;
use crate::harness::{Fd3, Folder, command, example, field, run, until};
use crate::reload::loses_nothing::{Clients, Kept};

/// `fd3 run` with these words, and that part of this program as COMMAND.
pub fn run_part(words: &[&str], part: &str) -> Fd3 {
    let own = std::env::current_exe().expect("/proc is there").to_string_lossy().into_owned();
    let test = format!("library::parts::{part}");
    let program = ["--", "env", "LIBRARY_PART=yes", &own, &test, "--exact", "--nocapture"];
    run(&[words, &program].concat())
}

#[test]
fn sockets_of_every_kind_are_taken_by_position_and_name() {
    let folder = Folder::new();
    let (unix, datagram) = (folder.path("unix"), folder.path("datagram"));
    let words = [
        "-l",
        "127.0.0.1:0,name=web",
        "-l",
        &format!("unix:{unix},name=admin"),
        "-l",
        "udp://127.0.0.1:0,name=dns",
        "-l",
        &format!("unixgram:{datagram},name=log"),
        "-l",
        "127.0.0.1:0,name=web",
        "--restart",
        "never",
    ];
    let mut fd3 = run_part(&words, "takes_sockets");
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.line("all is as it should be");
}

#[test]
fn where_one_is_missing_none_is_taken_and_the_error_stays() {
    let mut part = part_alone("misses_a_socket");
    part.envs([("LISTEN_FDS", "2"), ("LISTEN_FDS_FIRST_FD", "700")]);
    let mut program = Fd3::start(part);
    assert_eq!(program.exit(), 0, "{}", program.log());
    program.line("all is as it should be");
}

#[test]
fn what_a_program_says_is_understood() {
    let words = ["--ready", "notify", "--watchdog", "100s", "--restart", "never"];
    let mut fd3 = run_part(&words, "says_all");
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.ready(1);
    let end = fd3.line("worker exited");
    assert!(end.contains("nearly done READY=0"), "{end}");
    fd3.line("all is as it should be");
}

#[cfg(feature = "fd-store")]
#[test]
fn what_a_program_stores_its_successor_finds_until_it_is_removed() {
    let words = ["--fd-store", "4", "--ready", "notify", "--restart", "on-failure"];
    let mut fd3 = run_part(&[&words[..], &["--backoff", "1ms..1ms"]].concat(), "stores");
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    assert_eq!(fd3.count("worker started"), 3, "{}", fd3.log());
}

#[test]
fn a_barrier_that_nobody_lifts_is_not_waited_for_without_end() {
    let folder = Folder::new();
    let path = folder.path("notify");
    let _nobody_reads = std::os::unix::net::UnixDatagram::bind(&path).expect("the folder is ours");
    let told = part_alone("waits_for_barrier").env("NOTIFY_SOCKET", &path).output();
    assert_eq!(crate::harness::code(told.expect("it starts").status), 0);
}

#[test]
fn a_supervisor_that_cannot_be_told_is_an_error_and_none_is_not() {
    for (address, error) in [
        ("", "done"),
        ("/nope/notify", "cannot tell the supervisor READY=1: no such file or directory"),
        ("@nobody-at-all", "cannot tell the supervisor READY=1: connection refused"),
        ("vsock:2:1", "NOTIFY_SOCKET=vsock:2:1: not an address; accepted: /PATH, @NAME"),
    ] {
        let told = part_alone("says_ready").env("NOTIFY_SOCKET", address).output();
        let told = told.expect("it starts").stdout;
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains(&format!("said: {error}\n")), "{address}: {told}");
    }
}

/// That part of this program without fd3.
fn part_alone(part: &str) -> std::process::Command {
    let mut command = command(std::env::current_exe().expect("/proc is there"));
    command.args([&format!("library::parts::{part}"), "--exact", "--nocapture"]);
    command.env("LIBRARY_PART", "yes");
    command
}

#[test]
fn the_same_program_runs_by_hand() {
    let mut server = Fd3::start(part_alone("serves"));
    let port = field(&server.line("at port="), "port").parse().expect("a port");
    let mut connection = Connection::open(port).expect("it listens");
    connection.write("hello").expect("it reads");
    // Told to stop with a client in flight, it waits for it; a second signal changes nothing.
    server.line("a client came");
    for _ in 0..2 {
        server.signal(libc::SIGTERM);
    }
    server.line("told to stop");
    connection.write(", you\n").expect("it reads");
    assert_eq!(server.exit(), 0, "{}", server.log());
    server.line("served: hello, you");
    server.line("left 0");
}

#[test]
fn int_and_quit_stop_it_too_but_not_where_they_are_ignored() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        let mut server = Fd3::start(part_alone("serves"));
        server.line("at port=");
        server.signal(signal);
        assert_eq!(server.exit(), 0, "{}", server.log());
    }
    let mut shell = command("sh");
    let part = part_alone("serves");
    shell.args(["-c", "trap '' INT QUIT; exec \"$0\" \"$@\""]).arg(part.get_program());
    shell.args(part.get_args()).env("LIBRARY_PART", "yes");
    let mut server = Fd3::start(shell);
    server.line("at port=");
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        server.signal(signal);
    }
    assert_eq!(server.exit(), 0, "{}", server.log());
    server.line("ignored [2, 3]");
}

const RESTARTS: usize = 50;

/// As many workers replaced under load, so many at once.
fn restarts_of(program: &str, kept: Kept, workers: usize) {
    let (clients, reloads, count) = (6, RESTARTS / workers, workers.to_string());
    let words = ["-l", "127.0.0.1:0", "-w", &count, "--ready", "notify", "--overlap", "10ms"];
    let mut fd3 = run(&[&words[..], &["--", program]].concat());
    fd3.ready(workers);
    let seen = Clients::run(fd3.port(), clients, kept, |load| {
        for n in 0..reloads {
            load.wait_for_answers(4 * clients);
            fd3.signal(libc::SIGHUP);
            fd3.nth_line(" reloaded after=", n);
        }
        fd3.nth_line("worker exited", RESTARTS - 1);
        load.wait_for_answers(4 * clients);
    });
    assert!(seen.answered_by.len() > reloads, "{seen:?}");
    assert_eq!(fd3.stop(), 0);
    assert_eq!(fd3.count(" status=0 "), RESTARTS + workers, "{}", fd3.log());
}

#[test]
fn the_server_with_threads_loses_nothing_in_50_restarts() {
    restarts_of(&example("http_server"), Kept::StaysOpen, 1);
}

#[test]
fn the_axum_server_loses_nothing_in_50_restarts() {
    // A reload begins when the workers of the one before have ended, a second after they were told to.
    restarts_of(&example("axum_server"), Kept::MayClose, 5);
}

#[test]
fn a_request_under_way_is_answered_by_the_axum_server_that_is_told_to_stop() {
    let mut fd3 = run(&["-l", "127.0.0.1:0", "--ready", "notify", "--", &example("axum_server")]);
    let old = fd3.ready(1)[0];
    let mut slow = Connection::open(fd3.port()).expect("it listens");
    slow.send("/slow?ms=300").expect("it is open");
    let mut quick = Connection::open(fd3.port()).expect("it listens");
    assert_eq!(quick.ask("/").expect("it serves"), old);
    fd3.signal(libc::SIGHUP);
    let new = fd3.ready(2)[1];
    fd3.line(" reloaded after=");
    assert_eq!(slow.answer().expect("it is finished"), old);
    // The old one takes connections until it has seen that it is to stop.
    until("the new one answers", || {
        let mut next = Connection::open(fd3.port()).expect("it listens");
        next.ask("/").expect("it serves") == new
    });
    assert_eq!(fd3.stop(), 0);
}

/// Those are compiled.
#[test]
fn the_lines_of_the_readme_are_those_of_the_documentation() {
    let readme = include_str!("../../README.md");
    let begin = readme.find("    use axum::{Router").expect("the README has them");
    let lines = readme[begin..].split("\n\nIts dependencies").next().expect("there is a first");
    let documented: Vec<String> = lines
        .lines()
        .map(|line| {
            format!("//! {}", line.strip_prefix("    ").unwrap_or("")).trim_end().to_string()
        })
        .collect();
    let library = include_str!("../../src/lib.rs");
    assert!(library.contains(&documented.join("\n")), "src/lib.rs has other lines");
}

#[test]
fn a_child_without_the_variables_takes_nothing() {
    let mut fd3 = run_part(&["-l", "127.0.0.1:0", "--restart", "never"], "has_a_child");
    assert_eq!(fd3.exit(), 0, "{}", fd3.log());
    fd3.line("all is as it should be");
}
