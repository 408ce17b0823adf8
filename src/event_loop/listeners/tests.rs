//! What users see of listeners, with real sockets: each kind, each error, each repair.

use super::*;
use crate::protocol::address::parse;
use crate::sys::unix_path::tests::{TempDir, is_root};
use rustix::net::{Shutdown, shutdown};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

fn open(texts: &[&str]) -> Result<Listeners, String> {
    open_with(texts, &[])
}

fn open_with(texts: &[&str], names: &[(i32, &str)]) -> Result<Listeners, String> {
    let plan = |one: &&str| Rc::new(parse(one.as_bytes()).expect(one));
    let plans: Vec<Rc<Listen>> = texts.iter().map(plan).collect();
    let names = names.iter().map(|(number, name)| (*number, name.to_string())).collect();
    Listeners::open(&plans, &Inherited { names }, Slots::Together)
        .map_err(|error| error.to_string())
}

fn refusal(texts: &[&str]) -> String {
    open(texts).expect_err("refused")
}

fn port(listener: &Listener) -> u16 {
    match listener.address {
        Address::Tcp { port, .. } | Address::Udp { port, .. } => port,
        Address::Unix { .. } | Address::Vsock { .. } | Address::Inherited(_) => 0,
    }
}

/// The listener accepts the client that just connected, and bytes go through.
fn assert_serves(listener: &Listener, mut client: impl Read + Write) {
    let served = rustix::net::accept(&listener.fd).expect("a client waits");
    assert_eq!(rustix::io::write(&served, b"hi"), Ok(2));
    let mut got = [0; 2];
    client.read_exact(&mut got).expect("two bytes");
    assert_eq!(&got, b"hi");
}

fn tcp_client(listener: &Listener) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port(listener))).expect("it is reachable")
}

#[test]
fn every_kind_of_tcp_serves_and_knows_its_port() {
    let table = [":0", "127.0.0.1:0", "tcp4://:0", "[::1]:0", "tcp6://:0", "[::]:0"];
    for text in table {
        let listeners = open(&[text]).expect(text);
        let listener = &listeners.all[0];
        assert_ne!(port(listener), 0, "{text}");
        let is_v6 = text.contains("tcp6") || text.contains("::1");
        let client = if is_v6 { "[::1]" } else { "127.0.0.1" };
        let client = TcpStream::connect(format!("{client}:{}", port(listener))).expect(text);
        assert_serves(listener, client);
        assert!(listener.stream && listener.backlog > 1, "{text}: {}", listener.backlog);
        let flags = rustix::io::fcntl_getfd(&listener.fd).expect("open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{}", listener.fd.as_raw_fd()));
        assert!(!flags.expect("proc").contains("4000\n"), "blocking");
    }
    let listeners = open(&["tcp6://:0"]).expect("IPv6 only");
    let refused = TcpStream::connect(("127.0.0.1", port(&listeners.all[0])));
    refused.expect_err("IPv4 is not served");
}

#[test]
fn options_reach_the_socket() {
    let text = "127.0.0.1:0,name=web,backlog=7,reuseport,freebind,device=lo,nodelay,defer-accept=3,\
                fastopen=5,keepalive";
    let listeners = open(&[text]).expect("every option");
    let listener = &listeners.all[0];
    use rustix::net::sockopt;
    assert_eq!((listener.name.as_str(), listener.backlog), ("web", 7));
    assert_eq!(listener.queue(), Some(Queue { len: 0, max: 7 }));
    for got in [
        sockopt::socket_reuseport(&listener.fd),
        sockopt::ip_freebind(&listener.fd),
        sockopt::tcp_nodelay(&listener.fd),
        sockopt::socket_keepalive(&listener.fd),
        sockopt::socket_reuseaddr(&listener.fd),
    ] {
        assert_eq!(got, Ok(true));
    }
    let (fresh, plan) = (&listener.address, &listener.listen.options);
    listen::open(fresh, plan).expect("reuseport lets a second in");
    open(&["[2001:db8::1]:0,freebind"]).expect("an address that is not there yet");
    let refused = refusal(&["127.0.0.1:1,device=nope0"]);
    assert_eq!(refused, "cannot set device=nope0 of tcp://127.0.0.1:1: no such device");
}

#[test]
fn unix_kinds_serve_at_paths_and_abstract_names() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let listeners = open(&[&format!("unix:{path},backlog=9")]).expect("path");
    assert_serves(&listeners.all[0], UnixStream::connect(&path).expect("connect"));
    assert_eq!(listeners.all[0].queue(), Some(Queue { len: 0, max: 9 }));
    let _waiting = UnixStream::connect(&path).expect("connect");
    assert_eq!(listeners.all[0].queue(), Some(Queue { len: 1, max: 9 }));
    let taken = refusal(&[&format!("unix:{path}")]);
    assert_eq!(taken, format!("cannot bind unix:{path}: address in use"));
    listeners.close();

    let name = format!("fd3-test-{}", std::process::id());
    let listeners = open(&[
        &format!("unix:@{name}"),
        &format!("seqpacket:@{name}-seq"),
        &format!("seqpacket:{}", dir.file("seq")),
        &format!("unixgram:{}", dir.file("gram")),
        "udp://127.0.0.1:0",
    ])
    .expect("each of them");
    assert_eq!(listeners.all[0].address.to_string(), format!("unix:@{name}"));
    assert_eq!(
        listeners.all.iter().map(|l| l.stream).collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
    let sender = UnixDatagram::unbound().expect("socket");
    assert_eq!(sender.send_to(b"hi", dir.file("gram")).expect("it takes datagrams"), 2);
    let sender = UdpSocket::bind("127.0.0.1:0").expect("socket");
    assert_eq!(sender.send_to(b"hi", ("127.0.0.1", port(&listeners.all[4]))).expect("sent"), 2);
    listeners.close();
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn vsock_serves_where_the_kernel_has_it() {
    match open(&["vsock://any:4321"]) {
        Ok(listeners) => assert_eq!(listeners.all[0].address.to_string(), "vsock://any:4321"),
        Err(error) => {
            assert_eq!(error, "cannot bind vsock://any:4321: address family not supported");
        }
    }
}

#[test]
fn errors_name_the_address_and_the_reason_and_undo_the_rest() {
    let dir = TempDir::new();
    let first = format!("unix:{}", dir.file("first"));
    let taken = TcpListener::bind("0.0.0.0:0").expect("bind");
    let number = taken.local_addr().expect("bound").port();
    let (file, long) = (dir.file("file"), dir.file(&"x".repeat(60)));
    fs::write(&file, "text").expect("write");
    let table = [
        (
            format!("tcp4://:{number}"),
            format!("cannot bind tcp://0.0.0.0:{number}: address in use"),
        ),
        (format!(":{number}"), format!("cannot bind tcp://[::]:{number}: address in use")),
        (
            "192.0.2.1:80".into(),
            "cannot bind tcp://192.0.2.1:80: address not available on this \
          machine"
                .into(),
        ),
        (
            "[fe80::1%nope0]:80".into(),
            "cannot bind tcp://[fe80::1%nope0]:80: no such device".into(),
        ),
        ("unix:/nope/x".into(), "cannot bind unix:/nope/x: no such file or directory".into()),
        (format!("unix:{file}"), format!("cannot bind unix:{file}: is not a socket")),
        (
            format!("unix:{long},user=nobody-at-all"),
            format!("cannot bind unix:{long}: user \"nobody-at-all\" is not in /etc/passwd"),
        ),
        ("fd:999".into(), "cannot adopt fd:999: not an open descriptor".into()),
        ("fd:web".into(), "cannot adopt fd:web: fd3 inherited no sockets (LISTEN_FDS)".into()),
    ];
    for (text, message) in table {
        assert_eq!(refusal(&[&first, &text]), message);
        assert_eq!(dir.names(), ["file"], "{text}: nothing is left");
    }
    if !is_root() {
        let refused = refusal(&["127.0.0.1:80"]);
        assert_eq!(refused, "cannot bind tcp://127.0.0.1:80: permission denied");
    }
}

#[test]
fn owner_by_name_and_mode_are_given() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let may_chown = dir.may_chown();
    let who = if may_chown { ",user=daemon,group=daemon" } else { "" };
    let listeners = open(&[&format!("unix:{path},mode=0620{who}")]).expect("bind");
    let stat = fs::symlink_metadata(&path).expect("there");
    assert_eq!(stat.mode() & 0o7777, 0o620);
    assert!(!may_chown || stat.uid() != 0 && stat.gid() != 0);
    listeners.close();
}

#[test]
fn inherited_sockets_are_adopted_once_and_only_when_they_listen() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
    let six = TcpListener::bind("[::]:0").expect("bind");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let (web, any, dns) = (tcp.as_raw_fd(), six.as_raw_fd(), udp.as_raw_fd());
    let names = [(web, "web"), (any, "any"), (dns, "dns")];
    let listeners =
        open_with(&[&format!("fd:{web},backlog=11"), "fd:any,name=x", "fd:dns"], &names)
            .expect("adopted");
    let [first, second, third] = &listeners.all[..] else { panic!("three") };
    assert_eq!(first.address.to_string(), format!("tcp://{}", tcp.local_addr().expect("bound")));
    assert_eq!((first.name.as_str(), first.backlog, first.stream), ("web", 11, true));
    assert_eq!(second.address.to_string(), format!("tcp://{}", six.local_addr().expect("bound")));
    assert_eq!((second.name.as_str(), second.backlog), ("x", 128));
    assert_eq!((third.name.as_str(), third.stream, third.backlog), ("dns", false, 0));
    drop(tcp);
    assert_serves(first, tcp_client(first));

    let known = "no inherited socket has this name; there are: web, any, dns";
    let table = [
        (vec!["fd:nope".to_string()], format!("cannot adopt fd:nope: {known}")),
        (vec!["fd:dns".into(), "fd:dns".into()], "cannot adopt fd:dns: adopted already".into()),
        (
            vec!["fd:dns".into(), format!("fd:{dns}")],
            format!("cannot adopt fd:{dns}: adopted already"),
        ),
    ];
    for (texts, message) in table {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(open_with(&texts, &names).expect_err("refused"), message);
    }
}

#[test]
fn what_is_no_listener_is_not_adopted() {
    let (client, _peer) = UnixStream::pair().expect("pair");
    let null = fs::File::open("/dev/null").expect("null");
    let (client, null) = (client.as_raw_fd(), null.as_raw_fd());
    assert_eq!(
        refusal(&[&format!("fd:{client}")]),
        format!("cannot adopt fd:{client}: is not listening")
    );
    let refused = refusal(&[&format!("fd:{null}")]);
    assert_eq!(refused, format!("cannot adopt fd:{null}: not a socket"));
}

#[test]
fn a_shrunk_backlog_is_seen_and_repaired() {
    let dir = TempDir::new();
    let unix = format!("unix:{},backlog=20", dir.file("x"));
    let mut listeners = open(&["127.0.0.1:0", &unix]).expect("open");
    assert_eq!(listeners.check(Tries::Anew, None), []);
    for index in [0, 1] {
        let from = listeners.all[index].backlog;
        socket::listen(listeners.all[index].fd.as_fd(), 1).expect("listen");
        let what = What::BacklogShrunk { from, to: 1 };
        let damage = Damage {
            listener: index,
            what,
            repaired: Ok(()),
            replaced_socket: false,
            again: false,
        };
        assert_eq!(listeners.check(Tries::Anew, None), [damage]);
        assert_eq!(listeners.check(Tries::Anew, None), []);
        assert_eq!(listeners.all[index].queue().map(|queue| queue.max), Some(from as u32));
        socket::listen(listeners.all[index].fd.as_fd(), i32::MAX).expect("listen");
        assert_eq!(listeners.check(Tries::Anew, None), [], "more does no harm");
    }
    listeners.close();
}

#[test]
fn a_listener_that_was_shut_down_is_replaced() {
    let dir = TempDir::new();
    let (unix, text) = (dir.file("x"), format!("unix:{}", dir.file("x")));
    for how in [Shutdown::Read, Shutdown::Both] {
        let mut listeners = open(&["127.0.0.1:0", ":0", "tcp6://:0", &text]).expect("open");
        let addresses = |listeners: &Listeners| -> Vec<Address> {
            listeners.all.iter().map(|one| one.address.clone()).collect()
        };
        let before = addresses(&listeners);
        for index in 0..4 {
            shutdown(&listeners.all[index].fd, how).expect("shutdown");
            let damage = Damage {
                listener: index,
                what: What::ShutDown,
                repaired: Ok(()),
                replaced_socket: true,
                again: false,
            };
            assert_eq!(listeners.check(Tries::Anew, None), [damage], "{index}");
            assert_eq!(listeners.check(Tries::Anew, None), []);
        }
        assert_eq!(addresses(&listeners), before);
        assert_serves(&listeners.all[0], tcp_client(&listeners.all[0]));
        assert_serves(&listeners.all[1], tcp_client(&listeners.all[1]));
        assert_serves(&listeners.all[3], UnixStream::connect(&unix).expect("connect"));
        assert_eq!(dir.names(), [".x.fd3", "x"]);
        listeners.close();
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn an_adopted_tcp_socket_is_replaced_an_adopted_path_is_told_once() {
    let dir = TempDir::new();
    let unix = UnixListener::bind(dir.file("x")).expect("bind");
    let six = TcpListener::bind("[::]:0").expect("bind");
    let texts = [format!("fd:{}", six.as_raw_fd()), format!("fd:{}", unix.as_raw_fd())];
    let mut listeners = open(&[&texts[0], &texts[1]]).expect("adopt");
    shutdown(&six, Shutdown::Both).expect("shutdown");
    shutdown(&unix, Shutdown::Both).expect("shutdown");
    let damages = listeners.check(Tries::Anew, None);
    assert!(damages[0].repaired.is_ok() && damages[0].replaced_socket);
    assert_serves(&listeners.all[0], tcp_client(&listeners.all[0]));
    let message = damages[1].repaired.as_ref().expect_err("not ours").to_string();
    assert!(message.ends_with("it was inherited; whoever made it must make it anew"), "{message}");
    assert_eq!(listeners.check(Tries::Anew, None), []);
    listeners.close();
    assert_eq!(dir.names(), ["x"], "it is not ours");
}

#[test]
fn an_unlinked_path_wakes_us_and_comes_back() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let mut listeners = open(&[&format!("unix:{path}")]).expect("open");
    let damage =
        |what| Damage { listener: 0, what, repaired: Ok(()), replaced_socket: false, again: false };
    let readable = |listeners: &Listeners| {
        let watch = listeners.watch().expect("inotify");
        let flags = rustix::event::PollFlags::IN;
        let mut polled = [rustix::event::PollFd::from_borrowed_fd(watch, flags)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).expect("poll") > 0
    };
    assert!(!readable(&listeners));
    fs::remove_file(&path).expect("unlink");
    assert!(readable(&listeners));
    assert_eq!(listeners.check(Tries::Anew, None), [damage(What::PathMissing)]);
    assert_serves(&listeners.all[0], UnixStream::connect(&path).expect("connect"));
    assert_eq!(listeners.check(Tries::Anew, None), []);
    assert!(!readable(&listeners), "our own repair wakes us once more at most");

    fs::remove_file(&path).expect("unlink");
    let _thief = UnixListener::bind(&path).expect("bind");
    assert_eq!(listeners.check(Tries::Anew, None), [damage(What::PathReplaced)]);
    assert_serves(&listeners.all[0], UnixStream::connect(&path).expect("connect"));

    // Everything at once.
    fs::remove_file(&path).expect("unlink");
    socket::listen(listeners.all[0].fd.as_fd(), 1).expect("listen");
    assert_eq!(listeners.check(Tries::Anew, None).len(), 2);
    fs::remove_file(&path).expect("unlink");
    shutdown(&listeners.all[0].fd, Shutdown::Both).expect("shutdown");
    assert_eq!(listeners.check(Tries::Anew, None).len(), 1);
    assert_serves(&listeners.all[0], UnixStream::connect(&path).expect("connect"));

    fs::remove_file(&path).expect("unlink");
    fs::write(&path, "foreign").expect("write");
    let told = listeners.check(Tries::Anew, None);
    let message = told[0].repaired.as_ref().expect_err("a file is left alone").to_string();
    assert_eq!(message, format!("cannot restore unix:{path}: is not a socket"));
    assert_eq!(listeners.check(Tries::Anew, None), [], "told once");
    fs::remove_file(&path).expect("unlink");
    assert_eq!(listeners.check(Tries::Anew, None), [damage(What::PathMissing)]);
    fs::remove_file(&path).expect("unlink");
    fs::write(&path, "foreign").expect("write");
    listeners.close();
    assert_eq!(dir.names(), ["x"], "a foreign file stays");
}

#[test]
fn dropping_leaves_the_path_for_the_successor() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let mut listeners = open(&[&format!("unix:{path}")]).expect("open");
    let old = listeners.all.remove(0);
    let fd = old.fd.try_clone().expect("dup");
    let new = Listener::from_parts(
        fd,
        old.name.clone(),
        old.address.clone(),
        old.listen.clone(),
        old.path.clone(),
    )
    .expect("parts");
    drop((old, listeners));
    let mut listeners = Listeners::of(vec![new]);
    assert_eq!(listeners.check(Tries::Anew, None), []);
    fs::remove_file(&path).expect("unlink");
    assert_eq!(listeners.check(Tries::Anew, None).len(), 1);
    listeners.close();
    assert_eq!(dir.names(), [""; 0]);
}
