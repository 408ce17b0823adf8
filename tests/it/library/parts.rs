//! The small programs. Each is a test that does nothing unless `LIBRARY_PART` tells that it is one of them; what goes
//! wrong is a panic, and so an exit status.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use fd3::inherit::{self, Listeners};
use fd3::ready::{self, Keep, Watchdog};
use fd3::serve::{Server, Stop};

/// Past the test runner.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).expect("somebody reads");
    out.flush().expect("somebody reads");
}

fn is_asked() -> bool {
    std::env::var_os("LIBRARY_PART").is_some()
}

const WELL: &str = "all is as it should be";

#[test]
fn takes_sockets() {
    if !is_asked() {
        return;
    }
    let first = inherit::bind_or_inherit("127.0.0.1:1").expect("it is handed over");
    let mut listeners = Listeners::take().expect("all are open");
    assert_eq!(listeners.len(), 4);
    assert!(listeners.tcp(0).expect("nothing is wrong").is_none());
    let error = listeners.tcp("admin").expect_err("it is another kind").to_string();
    assert!(error.ends_with("(admin) as a TCP listener: it is a unix listener"), "{error}");
    let error = listeners.unix("web").expect_err("it is another kind").to_string();
    assert!(error.ends_with("(web) as a unix listener: it is a TCP listener"), "{error}");
    let admin = listeners.unix("admin").expect("it is one").expect("it is there");
    let dns = listeners.udp(2).expect("it is one").expect("it is there");
    let log = listeners.unix_datagram("log").expect("it is one").expect("it is there");
    let second = listeners.tcp("web").expect("it is one").expect("it is there");
    assert!(listeners.is_empty());
    assert!(Listeners::take().expect("nothing is wrong").is_empty());
    for fd in [first.as_fd(), admin.as_fd(), dns.as_fd(), log.as_fd(), second.as_fd()] {
        let flags = rustix::io::fcntl_getfd(fd).expect("it is open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    let address = first.local_addr().expect("it is bound");
    assert_ne!(address.port(), 1);
    let mut client = TcpStream::connect(address).expect("it listens");
    let (mut served, _) = first.accept().expect("somebody is there");
    served.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("it is served");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    sender.send_to(b"y", dns.local_addr().expect("it is bound")).expect("it listens");
    assert_eq!(dns.recv(&mut [0; 9]).expect("something came"), 1);
    // Nothing is left, so this one is bound here.
    let third = inherit::bind_or_inherit("127.0.0.1:0").expect("a port is free");
    drop(third);
    tell(WELL);
}

/// Promised 700 and 701.
#[test]
fn misses_a_socket() {
    if !is_asked() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let copy_at = |number| {
        let copy = rustix::io::fcntl_dupfd_cloexec(&listener, number).expect("there is room");
        assert_eq!(copy.as_raw_fd(), number);
        copy
    };
    let is_open = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    let fails = || {
        let why = "cannot take inherited fd 701: not an open descriptor";
        let error = inherit::bind_or_inherit("127.0.0.1:0").expect_err("one is missing");
        assert_eq!(error.to_string(), why);
        assert_eq!(Listeners::take().expect_err("one is missing").to_string(), why);
    };
    let _first = copy_at(700);
    fails();
    assert!(is_open(700));
    // This one is not meant.
    let _second = copy_at(701);
    fails();
    assert!(is_open(700) && is_open(701));
    tell(WELL);
}

#[test]
fn says_all() {
    if !is_asked() {
        return;
    }
    assert!(ready::is_supervised());
    ready::status("beginning").expect("fd3 is there");
    ready::extend_timeout(Duration::from_secs(1)).expect("fd3 is there");
    ready::ready().expect("fd3 is there");
    ready::reloading().expect("fd3 is there");
    ready::ready().expect("fd3 is there");
    let mut watchdog = Watchdog::from_env().expect("fd3 has one");
    assert_eq!(watchdog.timeout(), Duration::from_secs(100));
    let wait = watchdog.tick().expect("fd3 is there");
    assert!(wait <= watchdog.interval() && wait > Duration::from_secs(1), "{wait:?}");
    ready::status("nearly done\nREADY=0").expect("fd3 is there");
    ready::barrier(Duration::from_secs(100)).expect("fd3 reads it all");
    ready::stopping().expect("fd3 is there");
    tell(WELL);
}

/// Three lives: the first one stores, the second one finds and removes, the third one finds nothing.
#[test]
fn stores() {
    if !is_asked() {
        return;
    }
    let mut listeners = Listeners::take().expect("all are open");
    let life = std::env::var("FD3_START").expect("fd3 tells");
    match life.as_str() {
        "1" => {
            let (end, _) = std::io::pipe().expect("a pipe");
            let file = std::fs::File::open("/dev/null").expect("it is there");
            ready::store("a file", &[file.as_fd(), file.as_fd()], Keep::Always).expect("it stores");
            ready::store("gone", &[end.as_fd()], Keep::UntilHangup).expect("it stores");
        }
        "2" => {
            assert!(listeners.get("gone").is_none());
            let file = listeners.socket("a file").expect("it was stored");
            let number = std::os::fd::AsRawFd::as_raw_fd(&file);
            assert_eq!(file.to_string(), format!("fd {number} (a file)"));
            let mut file = std::fs::File::from(OwnedFd::from(file));
            assert_eq!(file.read(&mut [0]).expect("it can be read"), 0);
            ready::remove("a file").expect("fd3 is there");
        }
        _ => assert!(listeners.is_empty()),
    }
    ready::barrier(Duration::from_secs(100)).expect("fd3 reads it all");
    ready::ready().expect("fd3 is there");
    std::process::exit(if life == "3" { 0 } else { 1 });
}

#[test]
fn waits_for_barrier() {
    if !is_asked() {
        return;
    }
    let error = ready::barrier(Duration::from_millis(1)).expect_err("nobody lifts it");
    assert_eq!(error.to_string(), "cannot tell the supervisor BARRIER=1: timed out");
}

#[test]
fn says_ready() {
    if !is_asked() {
        return;
    }
    match ready::ready() {
        Ok(()) => tell("said: done"),
        Err(error) => tell(&format!("said: {error}")),
    }
}

#[test]
fn serves() {
    if !is_asked() {
        return;
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let listener = inherit::bind_or_inherit("127.0.0.1:0").expect("a port is free");
    let stop = Stop::on_signals().expect("there are descriptors");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("it is told"), 16).expect("a number");
    let ignored: Vec<u32> =
        [2, 3].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1).collect();
    tell(&format!("ignored {ignored:?}"));
    tell(&format!("at port={}", listener.local_addr().expect("it is bound").port()));
    let told = stop.try_clone().expect("there are descriptors");
    std::thread::spawn(move || {
        assert!(told.wait(None));
        tell("told to stop");
    });
    let server = Server::new(listener).stop(stop);
    let left = server.run(|client| {
        tell("a client came");
        let mut line = String::new();
        let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(client), &mut line);
        read.expect("it is text");
        tell(&format!("served: {line}"));
    });
    tell(&format!("left {}", left.expect("it served")));
}

#[test]
fn has_a_child() {
    if !is_asked() {
        return;
    }
    let script = "echo \"child: $LISTEN_FDS $NOTIFY_SOCKET $FD3_SLOT.\"; ls /proc/self/fd";
    let output = |scrubbed: bool| {
        let mut shell = crate::harness::command("sh");
        shell.args(["-c", script]).env("LISTEN_FDS", "1");
        if scrubbed {
            inherit::scrub(&mut shell);
        }
        let output = shell.output().expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let _listeners = Listeners::take().expect("all are open");
    let (with, without) = (output(false), output(true));
    assert!(with.contains("child: 1 ") && with.contains(" 0."), "{with}");
    assert!(without.contains("child:   .\n"), "{without}");
    // 0 to 2, and the folder that ls reads.
    assert_eq!(with.lines().count(), 5, "{with}");
    tell(WELL);
}

#[test]
fn serves_by_listenfd() {
    if !is_asked() {
        return;
    }
    let mut handed = listenfd::ListenFd::from_env();
    let listener = handed.take_tcp_listener(0).expect("it is one").expect("it is there");
    loop {
        let (client, _) = listener.accept().expect("it listens");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(&client));
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let pid = std::process::id();
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npid={pid};");
        // A client that went away is its own affair.
        let _ = (&client).write_all(answer.as_bytes());
    }
}
