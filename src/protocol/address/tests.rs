//! What `--listen` takes and what it refuses, word for word.

use super::*;
use alloc::string::ToString;

fn shown(text: &str) -> String {
    match parse(text.as_bytes()) {
        Ok(listen) => listen.address.to_string(),
        Err(wrong) => format!("WRONG: {wrong}"),
    }
}

#[test]
fn accepted_addresses() {
    let table = [
        (":80", "tcp://[::]:80"),
        ("tcp://:80", "tcp://[::]:80"),
        ("tcp4://:80", "tcp://0.0.0.0:80"),
        ("tcp6://:80", "tcp://[::]:80"),
        ("127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("[::1]:65535", "tcp://[::1]:65535"),
        ("tcp6://[::1]:1", "tcp://[::1]:1"),
        ("[fe80::1%eth0]:80", "tcp://[fe80::1%eth0]:80"),
        ("[fe80::1%2]:80", "tcp://[fe80::1%2]:80"),
        ("udp://:53", "udp://[::]:53"),
        ("udp4://:53", "udp://0.0.0.0:53"),
        ("udp6://[::1]:53", "udp://[::1]:53"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:///run/x.sock", "unix:/run/x.sock"),
        ("unix:x.sock", "unix:x.sock"),
        ("unix:@x", "unix:@x"),
        ("seqpacket:/p", "seqpacket:/p"),
        ("seqpacket:@p", "seqpacket:@p"),
        ("unixgram:/p", "unixgram:/p"),
        ("vsock://2:80", "vsock://2:80"),
        ("vsock://any:80", "vsock://any:80"),
        ("fd:3", "fd:3"),
        ("fd:web", "fd:web"),
    ];
    for (text, address) in table {
        assert_eq!(shown(text), address, "{text}");
        let again = parse(address.as_bytes()).expect("the canonical form is accepted");
        assert_eq!(again.address.to_string(), address);
    }
}

#[test]
fn schemes_choose_the_family() {
    let ip = |text: &str| match parse(text.as_bytes()).expect(text) {
        Listen { address: Address::Tcp { ip, .. }, options, .. } => (ip, options.v6only),
        other => panic!("{other:?}"),
    };
    let any_six = Ip::V6 { addr: Ipv6Addr::UNSPECIFIED, scope: Scope::None };
    assert_eq!(ip(":1"), (Ip::Any, false));
    assert_eq!(ip(":1,v6only"), (Ip::Any, true));
    assert_eq!(ip("tcp4://:1"), (Ip::V4(Ipv4Addr::UNSPECIFIED), false));
    assert_eq!(ip("tcp6://:1"), (any_six.clone(), true));
    assert_eq!(ip("[::]:1"), (any_six, false));
}

#[test]
fn accepted_options() {
    let all = "tcp://:80,name=web,backlog=2147483647,reuseport,freebind,v6only,device=eth0,nodelay,\
               defer-accept=5,fastopen=16,keepalive";
    let listen = parse(all.as_bytes()).expect("all options of tcp");
    assert_eq!(listen.text, all);
    let expected = Options {
        name: Some("web".to_owned()),
        backlog: Some(2147483647),
        reuseport: true,
        freebind: true,
        v6only: true,
        device: Some("eth0".to_owned()),
        nodelay: true,
        defer_accept: Some(5),
        fastopen: Some(16),
        keepalive: true,
        ..Options::default()
    };
    assert_eq!(listen.options, expected);
    let listen = parse(b"unix:/x,mode=0660,user=www,group=33").expect("all options of a path");
    let expected = Options {
        mode: Some(0o660),
        user: Some("www".to_owned()),
        group: Some("33".to_owned()),
        ..Options::default()
    };
    assert_eq!(listen.options, expected);
    for text in ["fd:3,name=a,backlog=1", "unix:/x,mode=777", "unix:/x,mode=0", "udp://:1,name=a b"]
    {
        parse(text.as_bytes()).expect(text);
    }
}

#[test]
fn bytes_that_are_no_text_are_fine_in_a_path_only() {
    let listen = parse(b"unix:/\xff").expect("a path is bytes");
    let name = UnixName::Path(b"/\xff".to_vec());
    assert_eq!(listen.address, Address::Unix { kind: UnixKind::Stream, name });
    assert!(parse(b"\xff:80").is_err());
    assert_eq!(parse(b"unix:/a\0b"), Err(Wrong("holds a NUL byte".to_owned())));
}

#[test]
fn refused_addresses() {
    let long_path = format!("unix:/{}", "x".repeat(107));
    let long_name = format!("unix:@{}", "x".repeat(108));
    let table = [
        ("80", "no address; did you mean \":80\"?"),
        ("/run/x", "no address; did you mean \"unix:/run/x\"?"),
        ("localhost", "\"localhost\" has no port; accepted: tcp://IP:PORT"),
        ("tcp://127.0.0.1", "\"127.0.0.1\" has no port; accepted: tcp://IP:PORT"),
        ("[::1]", "\"[::1]\" has no port; accepted: tcp://IP:PORT"),
        (
            "tcp://localhost:80",
            "host \"localhost\"; accepted: a numeric IPv4 address, [IPv6], or none",
        ),
        ("1.2.3:80", "host \"1.2.3\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        (":80:90", "host \":80\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        ("80:90", "host \"80\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        ("1.2.3.4:80:90", "host \"1.2.3.4:80\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        ("fe80::1%eth0:80", "IPv6 without brackets; accepted: [fe80::1%eth0]:80"),
        ("[::g]:80", "host \"[::g]\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        ("[1.2.3.4]:80", "host \"[1.2.3.4]\"; accepted: a numeric IPv4 address, [IPv6], or none"),
        ("[fe80::1%]:80", "scope \"\"; accepted: an interface"),
        ("::1:80", "IPv6 without brackets; accepted: [::1]:80"),
        ("tcp4://[::1]:80", "IPv6 after \"tcp4://\""),
        ("udp6://1.2.3.4:80", "IPv4 after \"udp6://\""),
        (":65536", "port \"65536\"; accepted: 0 to 65535"),
        (":", "port \"\"; accepted: 0 to 65535"),
        (":+1", "port \"+1\"; accepted: 0 to 65535"),
        (":http", "port \"http\"; accepted: 0 to 65535"),
        ("unix:", "no path; accepted: unix:/PATH, unix:@NAME"),
        ("seqpacket:@", "no abstract name; accepted: seqpacket:/PATH, seqpacket:@NAME"),
        ("unix://run/x", "a path after \"unix://\" begins with a third \"/\""),
        ("unix:/run/", "a path that ends in \"/\"; accepted: the path of a socket"),
        (&long_path, "path of 108 bytes; accepted: at most 107"),
        (&long_name, "abstract name of 108 bytes; accepted: at most 107"),
        ("vsock://2", "no port; accepted: vsock://CID:PORT, CID a number or any"),
        ("vsock://x:1", "CID \"x\"; accepted: vsock://CID:PORT, CID a number or any"),
        ("vsock://2:4294967296", "port \"4294967296\"; accepted: 0 to 4294967295"),
        ("fd:", "\"\" is no descriptor; accepted: fd:N, fd:NAME"),
        ("fd:a:b", "\"a:b\" is no descriptor; accepted: fd:N, fd:NAME"),
        ("fd:2147483648", "descriptor \"2147483648\" is out of range"),
    ];
    for (text, wrong) in table {
        assert_eq!(shown(text), format!("WRONG: {wrong}"), "{text}");
    }
    assert_eq!(shown(""), format!("WRONG: no address; {ACCEPTED}"));
    assert_eq!(shown("http://:80"), format!("WRONG: scheme \"http\" is not known; {ACCEPTED}"));
    assert_eq!(shown("://:80"), format!("WRONG: no address; {ACCEPTED}"));
    shown(&format!("unix:/{}", "x".repeat(106))).strip_prefix("unix:").expect("107 bytes fit");
}

#[test]
fn refused_options() {
    let long = format!(":80,name={}", "x".repeat(256));
    let names = "accepted: printable ASCII without \":\", at most 255 bytes";
    let table = [
        (
            ":80,x",
            "option \"x\" is not known; accepted: name=, backlog=, mode=, user=, group=, reuseport, \
             freebind, v6only, device=, nodelay, defer-accept=, fastopen=, keepalive"
                .to_owned(),
        ),
        (":80,name", "option \"name\" needs a value: name=VALUE".to_owned()),
        (":80,name=", "option \"name\" needs a value: name=VALUE".to_owned()),
        (":80,nodelay=1", "option \"nodelay\" takes no value".to_owned()),
        (":80,nodelay,nodelay", "option \"nodelay\" is given twice".to_owned()),
        (":80,name=a:b", format!("option \"name\" has the value \"a:b\"; {names}")),
        (":80,name=é", format!("option \"name\" has the value \"é\"; {names}")),
        (&long, format!("option \"name\" has the value \"{}\"; {names}", "x".repeat(256))),
        (
            ":80,backlog=0",
            "option \"backlog\" has the value \"0\"; accepted: 1 to 2147483647".to_owned(),
        ),
        (
            ":80,backlog=2147483648",
            "option \"backlog\" has the value \"2147483648\"; accepted: 1 to 2147483647".to_owned(),
        ),
        (
            "unix:/x,mode=888",
            "option \"mode\" has the value \"888\"; accepted: octal, 0 to 0777".to_owned(),
        ),
        (
            "unix:/x,mode=1777",
            "option \"mode\" has the value \"1777\"; accepted: octal, 0 to 0777".to_owned(),
        ),
        (
            ":80,device=0123456789abcdef",
            "option \"device\" has the value \"0123456789abcdef\"; accepted: an interface, at most \
             15 bytes"
                .to_owned(),
        ),
        (":80,mode=600", "option \"mode\": only for a unix path".to_owned()),
        ("unix:@x,user=0", "option \"user\": only for a unix path".to_owned()),
        ("udp://:1,backlog=1", "option \"backlog\": not for datagram sockets".to_owned()),
        ("unixgram:/x,backlog=1", "option \"backlog\": not for datagram sockets".to_owned()),
        ("tcp4://:1,v6only", "option \"v6only\": only for IPv6".to_owned()),
        ("unix:/x,device=a", "option \"device\": only for tcp and udp".to_owned()),
        ("vsock://2:1,freebind", "option \"freebind\": only for tcp and udp".to_owned()),
        ("udp://:1,nodelay", "option \"nodelay\": only for tcp".to_owned()),
        ("fd:3,keepalive", "option \"keepalive\": only for tcp".to_owned()),
    ];
    for (text, wrong) in table {
        assert_eq!(shown(text), format!("WRONG: {wrong}"), "{text}");
    }
}

#[test]
fn ip_addresses_are_written_as_core_writes_them() {
    let written = |ip: Ip| ip.to_string();
    for zeros in 0..=u8::MAX {
        for word in [1, 0xab, 0xffff] {
            let word = |at: u32| if zeros & 1 << at == 0 { word } else { 0 };
            let words: [u16; 8] = core::array::from_fn(|at| word(at as u32));
            let addr = Ipv6Addr::from(words);
            assert_eq!(written(Ip::V6 { addr, scope: Scope::None }), format!("[{addr}]"));
        }
    }
    for v4 in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST, Ipv4Addr::new(255, 20, 3, 0)] {
        assert_eq!(written(Ip::V4(v4)), v4.to_string());
        for addr in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible()] {
            assert_eq!(written(Ip::V6 { addr, scope: Scope::None }), format!("[{addr}]"));
        }
    }
}
