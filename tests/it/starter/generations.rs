//! HUP, crashes, starts that fail, signals, and the end.

use super::{Case, SERVER, World};
use crate::harness::{Fd3, Mark, children, exists, kill, until};

pub(super) const CASES: &[Case] = &[
    ("HUP replaces the worker once the new one stays", hup),
    ("each signal has its own name", signals),
    ("INT tells TERM, whatever TERM tells", int),
    ("the end is told to those who still drain, too", drains),
    ("a start that fails is tried again, and the old one serves", fails),
    ("a worker that ends is followed by another at once", crash),
    ("who drains holds up nobody", piles_up),
    ("old workers go after a while", delay),
    ("workers are replaced by their age", ages),
    ("what a worker sends is an order, and what it leaves behind stays", workers_words),
];

const SH: [&str; 3] = ["--", "sh", "-c"];

fn words<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [options, &SH, &[script]].concat()
}

/// The PID of the worker started last, or before so many others.
fn worker(server: &Fd3, n: usize) -> i32 {
    let line = server.nth_line("starting new worker ", n);
    line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a PID")
}

fn hup(world: &World) {
    let status = world.folder.path("status");
    let mut server = world.start(&words(&["--port=0", "--status-file", &status], SERVER));
    let first = worker(&server, 0);
    until("a status", || world.read("status") == format!("1:{first}\n"));
    server.signal(libc::SIGHUP);
    server.line("received HUP, spawning a new worker");
    let second = worker(&server, 1);
    server.line(&format!("new worker is now running, sending TERM to old workers:{first}"));
    server.line("killing old workers");
    server.line("1 got TERM");
    server.line(&format!("old worker {first} died, status:0"));
    until("its end in the status", || world.read("status") == format!("2:{second}\n"));
    server.line("serves 2");
    assert_eq!((server.count("serves 1"), server.count("serves 2")), (1, 1));
    server.signal(libc::SIGTERM);
    server.line(&format!("received TERM, sending TERM to all workers:{second}"));
    server.line(&format!("worker {second} died, status:0"));
    assert_eq!(server.exit(), 0);
    server.line("exiting");
    assert!(!std::path::Path::new(&status).exists());
}

fn signals(world: &World) {
    // It takes INT and USR1 for a word, and goes on.
    let options = ["--signal-on-hup=usr1", "--signal-on-term=SIGINT"];
    let mut server = world.start(&words(&options, SERVER));
    server.line("serves 1");
    server.signal(libc::SIGHUP);
    server.line("sending USR1 to old workers:");
    server.line("1 got USR1");
    server.line("serves 2");
    server.signal(libc::SIGTERM);
    server.line("received TERM, sending INT to all workers:");
    server.line("2 got INT");
    server.line("1 got INT");
    kill(worker(&server, 0), libc::SIGTERM);
    kill(worker(&server, 1), libc::SIGTERM);
    assert_eq!(server.exit(), 0);
}

fn int(world: &World) {
    let mut server = world.start(&words(&["--signal-on-term=USR2"], SERVER));
    server.line("serves 1");
    server.signal(libc::SIGINT);
    server.line("received INT, sending TERM to all workers:");
    server.line("1 got TERM");
    assert_eq!(server.exit(), 0);
}

fn drains(world: &World) {
    let mut server = world.start(&words(&["--signal-on-hup=USR1"], SERVER));
    server.line("serves 1");
    server.signal(libc::SIGHUP);
    server.line("1 got USR1");
    server.line("serves 2");
    server.signal(libc::SIGTERM);
    server.line("1 got TERM");
    server.line("2 got TERM");
    assert_eq!(server.exit(), 0);
}

fn fails(world: &World) {
    let script = "case $SERVER_STARTER_GENERATION in 1|3|4) exit 1;; esac
        trap 'kill -KILL $!; echo $SERVER_STARTER_GENERATION got TERM; exit 0' TERM
        echo serves $SERVER_STARTER_GENERATION; sleep 1000 & wait $!";
    let status = world.folder.path("status");
    // One that fails has so many seconds for it: a start that lasts longer is none that failed.
    let options = ["--interval=3", "--status-file", &status];
    let mut server = world.start(&words(&options, script));
    let first = worker(&server, 0);
    let said = format!("new worker {first} seems to have failed to start, exit status:256");
    server.line(&said);
    server.line("serves 2");
    let second = worker(&server, 1);
    until("a status", || world.read("status") == format!("2:{second}\n"));
    server.signal(libc::SIGHUP);
    server.nth_line("seems to have failed to start, exit status:256", 2);
    assert!(exists(second), "{}", server.log());
    assert_eq!(world.read("status"), format!("2:{second}\n"));
    server.line("serves 5");
    server.line(&format!("old worker {second} died, status:0"));
    until("a status", || world.read("status") == format!("5:{}\n", worker(&server, 4)));
    assert_eq!(server.stop(), 0);
}

fn crash(world: &World) {
    let mut server = world.start(&words(&["--status-file", &world.folder.path("status")], SERVER));
    server.line("serves 1");
    until("a status", || !world.read("status").is_empty());
    let first = worker(&server, 0);
    until("it has its child", || children(first).len() == 1);
    let left = children(first);
    kill(first, libc::SIGKILL);
    // It keeps the log open.
    left.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
    server.line(&format!("worker {first} died unexpectedly with status:9, restarting"));
    server.line("serves 2");
    let second = worker(&server, 1);
    until("a status", || world.read("status") == format!("2:{second}\n"));
    assert_eq!(server.stop(), 0);
}

fn piles_up(world: &World) {
    let status = world.folder.path("status");
    let options = ["--signal-on-hup=USR1", "--status-file", &status];
    let mut server = world.start(&words(&options, SERVER));
    for generation in 1..4 {
        server.line(&format!("serves {generation}"));
        until("a status", || world.read("status").contains(&format!("{generation}:")));
        if generation < 3 {
            server.signal(libc::SIGHUP);
        }
    }
    let pids: Vec<i32> = (0..3).map(|n| worker(&server, n)).collect();
    let all = format!("1:{}\n2:{}\n3:{}\n", pids[0], pids[1], pids[2]);
    assert_eq!(world.read("status"), all);
    kill(pids[1], libc::SIGTERM);
    server.line(&format!("old worker {} died, status:0", pids[1]));
    until("a status", || world.read("status") == format!("1:{}\n3:{}\n", pids[0], pids[2]));
    assert_eq!(server.stop(), 0);
}

fn delay(world: &World) {
    let mut server = world.start(&words(&["--kill-old-delay=1"], SERVER));
    server.line("serves 1");
    server.signal(libc::SIGHUP);
    server.line("sleeping 1 secs before killing old workers");
    server.line("1 got TERM");
    assert_eq!(server.stop(), 0);
    // The option is a variable to the workers, and the variable an option.
    let shows = "echo delay $KILL_OLD_DELAY; exec sleep 1000";
    let mut server = world.start(&words(&["--kill-old-delay=7"], shows));
    server.line("delay 7");
    assert_eq!(server.stop(), 0);
    let mut command = world.command(&words(&[], SERVER));
    let mut server = Fd3::start({
        command.env("KILL_OLD_DELAY", "1");
        command
    });
    server.line("serves 1");
    server.signal(libc::SIGHUP);
    server.line("sleeping 1 secs before killing old workers");
    server.line("1 got TERM");
    assert_eq!(server.stop(), 0);
}

fn ages(world: &World) {
    let options = ["--enable-auto-restart", "--auto-restart-interval=1", "--kill-old-delay=0"];
    let mut server = world.start(&words(&options, SERVER));
    server.line("autorestart triggered (interval=1)");
    server.line("1 got TERM");
    server.line("serves 3");
    assert_eq!(server.stop(), 0);
    // By variables, and with one that does not go.
    let mut command = world.command(&words(&["--signal-on-hup=USR1"], SERVER));
    command.env("ENABLE_AUTO_RESTART", "1").env("AUTO_RESTART_INTERVAL", "1");
    command.env("KILL_OLD_DELAY", "0");
    let mut server = Fd3::start(command);
    server.line("autorestart triggered (interval=1)");
    server.line("1 got USR1");
    server.line("autorestart triggered (forced, interval=1)");
    server.line("serves 3");
    assert_eq!(server.stop(), 0);
}

fn workers_words(world: &World) {
    let left = world.folder.path("left");
    let script = format!(
        "if test $SERVER_STARTER_GENERATION = 1; then
            sleep 1000 & echo $! > {left}
            trap 'exit 0' TERM
            sleep 1 & wait $!; kill -HUP $PPID
            sleep 1000 & wait $!
        fi
        {SERVER}"
    );
    let mut command = world.command(&words(&[], &script));
    // Server::Starter's workers have no group of their own.
    let _mark = Mark::on(&mut command);
    let server = Fd3::start(command);
    server.line("received HUP, spawning a new worker");
    server.line("serves 2");
    server.line(" died, status:0");
    let pid: i32 = world.read("left").trim().parse().expect("a PID");
    server.signal(libc::SIGTERM);
    assert!(exists(pid), "what a worker left behind was ended");
    server.line("exiting");
    assert!(exists(pid), "what a worker left behind was ended");
}
