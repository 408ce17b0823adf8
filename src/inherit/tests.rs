//! What is taken, by whom it is meant, and what is refused.

use super::*;

fn socket(name: &str, fd: impl Into<OwnedFd>) -> Option<Socket> {
    Some(Socket { name: name.to_string(), fd: fd.into() })
}

fn some() -> Listeners {
    let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let udp = UdpSocket::bind("[::]:0").expect("a port is free");
    let (datagram, _) = UnixDatagram::pair().expect("there are sockets");
    let (file, _) = std::io::pipe().expect("there are pipes");
    Listeners(vec![
        socket("web", tcp()),
        socket("web", tcp()),
        socket("dns", udp),
        socket("pair", datagram),
        socket("file", file),
    ])
}

#[test]
fn positions_stay_and_names_go_on() {
    let mut listeners = some();
    let second = listeners.get(1).map(fd::number);
    assert_eq!(listeners.len(), 5);
    assert!(listeners.tcp(0).expect("it is one").is_some());
    assert!(listeners.tcp(0).expect("nothing is wrong").is_none());
    let web = listeners.tcp("web").expect("it is one").expect("one is left");
    assert_eq!(Some(fd::number(&web)), second);
    assert!(listeners.tcp("web").expect("nothing is wrong").is_none());
    assert!(listeners.tcp(99).expect("nothing is wrong").is_none());
    assert!(listeners.udp(2).expect("it is one").is_some());
    let left: Vec<_> = listeners.into_iter().map(|socket| socket.name).collect();
    assert_eq!(left, ["pair", "file"]);
}

#[test]
fn what_is_something_else_stays_and_is_told() {
    let mut listeners = some();
    let wrong = [
        listeners.unix("web").map(drop),
        listeners.tcp("dns").map(drop),
        listeners.udp("web").map(drop),
        listeners.unix_datagram("pair").map(drop),
        listeners.tcp("file").map(drop),
    ];
    let ends = [
        "(web) as a unix listener: it is a TCP listener",
        "(dns) as a TCP listener: it is a UDP socket",
        "(web) as a UDP socket: it is a TCP listener",
        // Nobody could send to it.
        "(pair) as a unix datagram socket: it has no address, or one of another family",
        "(file) as a TCP listener: it is no socket",
    ];
    for (wrong, end) in wrong.into_iter().zip(ends) {
        let error = wrong.expect_err("it is something else").to_string();
        assert!(error.starts_with("cannot take fd ") && error.ends_with(end), "{error}");
    }
    assert_eq!(listeners.len(), 5);
}

#[test]
fn a_bound_one_names_its_address_when_it_cannot_be() {
    let taken = bind_or_inherit("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let error = bind_or_inherit(address).expect_err("it is taken");
    assert_eq!(error.to_string(), format!("cannot bind {address}: address in use"));
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::AddrInUse);
    let error = bind_or_inherit("127.0.0.1").expect_err("it has no port");
    assert_eq!(
        error.to_string(),
        "cannot resolve the address to listen at: invalid socket address"
    );
}
