//! nginx, HAProxy, lighttpd and php-fpm: servers whose configuration names what they inherit.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::{
    ReservedPort, configuration, own_user, pid_in, pid_over_http, pid_over_unix, program, run,
    serves_and_survives, serves_survives_and_stops, stops, text,
};
use crate::harness::{Fd3, Folder, PATIENCE, until};

fn nginx(folder: &Folder, listen: &str) -> String {
    let values = [("LISTEN", listen), ("FOLDER", &folder.path("")), ("USER", &own_user())];
    configuration(folder, "nginx.conf", include_str!("nginx.conf"), &values)
}

const NGINX: [&str; 7] = ["--ready", "50ms", "--protocol", "nginx", "--stop-signal", "QUIT", "--"];

#[test]
fn nginx_takes_the_port_that_its_configuration_names() {
    let Some(nginx_) = program("nginx") else { return };
    let (folder, port) = (Folder::new(), ReservedPort::new());
    let file = nginx(&folder, &port.listen());
    let listen = ["-l", &port.listen()];
    let fd3 = run(&[&listen[..], &NGINX, &[text(&nginx_), "-e", "stderr", "-c", &file]].concat());
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port.number));
}

#[test]
fn nginx_takes_the_path_that_its_configuration_names() {
    let Some(nginx_) = program("nginx") else { return };
    let folder = Folder::new();
    let address = format!("unix:{}", folder.path("nginx.sock"));
    let file = nginx(&folder, &address);
    let listen = ["-l", &address];
    let fd3 = run(&[&listen[..], &NGINX, &[text(&nginx_), "-e", "stderr", "-c", &file]].concat());
    serves_survives_and_stops(fd3, 1, &|| pid_over_unix(&folder.path("nginx.sock")));
}

#[test]
fn nginxs_sockets_do_not_block_and_everyone_elses_do() {
    let Some(python) = program("python3") else { return };
    let script =
        "import os; print('blocking', os.get_blocking(3)); os.execlp('sleep', 'sleep', '9')";
    for (protocol, blocking) in [("nginx", "False"), ("listen", "True"), ("php-fpm", "True")] {
        let words =
            ["-l", "127.0.0.1:0", "--protocol", protocol, "--", text(&python), "-uc", script];
        let mut fd3 = run(&words);
        assert_eq!(fd3.line("blocking"), format!("blocking {blocking}"), "{protocol}");
        stops(&mut fd3);
    }
}

fn haproxy(words: &[&str], mode: &str) -> Option<(Fd3, Folder)> {
    let haproxy = program("haproxy")?;
    let folder = Folder::new();
    let file = folder.file("haproxy.cfg", include_str!("haproxy.cfg"), 0o644);
    let common = ["-l", "127.0.0.1:0", "--protocol", "plain", "--stop-signal", "USR1"];
    let server = ["--", text(&haproxy), mode, "-f", &file];
    Some((run(&[&common[..], words, &server].concat()), folder))
}

#[test]
fn haproxy_binds_the_descriptor() {
    let Some((fd3, _folder)) = haproxy(&["--ready", "50ms"], "-db") else { return };
    let port = fd3.port();
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port));
}

#[test]
fn haproxys_master_and_workers_bind_the_descriptor() {
    let Some((fd3, _folder)) = haproxy(&["--ready", "50ms"], "-W") else { return };
    master_serves_survives_and_stops(fd3);
}

#[test]
fn haproxys_master_says_when_it_is_ready() {
    let Some((fd3, _folder)) = haproxy(&["--ready", "notify"], "-Ws") else { return };
    master_serves_survives_and_stops(fd3);
}

fn master_serves_survives_and_stops(mut fd3: Fd3) {
    let port = fd3.port();
    serves_and_survives(&fd3, 1, &|| pid_over_http(port));
    // Its workers serve, and it says READY=1, before the master handles signals: it ignores SIGUSR1
    // for a moment, which drops one that came before.
    let master = fd3.ready(2)[1];
    until("the master looks after its workers", || catches(master, libc::SIGCHLD));
    stops(&mut fd3);
}

/// Whether a process has a handler for this signal, and blocks none.
fn catches(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok())
    };
    mask("SigBlk:") == Some(0) && mask("SigCgt:").is_some_and(|set| set >> (signal - 1) & 1 == 1)
}

#[test]
fn lighttpd_takes_listen_fds() {
    let Some(lighttpd) = program("lighttpd") else { return };
    let (folder, port) = (Folder::new(), ReservedPort::new());
    let number = port.number.to_string();
    folder.file("index.sh", include_str!("index.sh"), 0o755);
    let values = [("FOLDER", folder.path("")), ("PORT", number)];
    let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
    let file = configuration(&folder, "lighttpd.conf", include_str!("lighttpd.conf"), &values);
    let words = ["-l", &port.listen(), "--ready", "50ms", "--stop-signal", "INT"];
    let fd3 = run(&[&words[..], &["--", text(&lighttpd), "-D", "-f", &file]].concat());
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port.number));
}

/// php-fpm by its versioned name (Debian) or its plain one.
fn php_fpm() -> Option<std::path::PathBuf> {
    let sbin = std::fs::read_dir("/usr/sbin").ok()?.filter_map(Result::ok);
    let versioned = sbin.map(|file| file.path()).find(|path| text(path).contains("/php-fpm"));
    versioned.or_else(|| program("php-fpm"))
}

fn php(words: &[&str]) {
    let Some(php_fpm) = php_fpm() else { return };
    let (folder, port) = (Folder::new(), ReservedPort::new());
    let script = folder.file("pid.php", "<?php echo 'pid=', getmypid(), ';';", 0o644);
    let user = own_user();
    let values = [("LISTEN", port.listen()), ("USER", user)];
    let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
    let file = configuration(&folder, "fpm.conf", include_str!("fpm.conf"), &values);
    let common = ["-l", &port.listen(), "--protocol", "php-fpm", "--stop-signal", "QUIT"];
    let server = ["--", text(&php_fpm), "--nodaemonize", "-R", "-n", "-y", &file];
    let mut fd3 = run(&[&common[..], words, &server].concat());
    serves_and_survives(&fd3, 1, &|| pid_over_fastcgi(port.number, &script));
    stops(&mut fd3);
}

#[test]
fn php_fpm_serves_the_pool_that_it_inherits() {
    php(&["--ready", "50ms"]);
}

#[test]
fn php_fpm_says_when_it_is_ready() {
    php(&["--ready", "notify"]);
}

/// One request of FastCGI, as its specification of 1996 has it: begin, parameters, no input.
fn pid_over_fastcgi(port: u16, script: &str) -> io::Result<i32> {
    const BEGIN: u8 = 1;
    const END: u8 = 3;
    const PARAMS: u8 = 4;
    const STDIN: u8 = 5;
    const STDOUT: u8 = 6;
    let mut params = Vec::new();
    for (name, value) in [
        ("SCRIPT_FILENAME", script),
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/pid.php"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ] {
        params.extend([name.len() as u8, value.len() as u8]);
        params.extend(name.bytes().chain(value.bytes()));
    }
    let record = |kind: u8, content: &[u8]| {
        let length = (content.len() as u16).to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    };
    let responder = [0, 1, 0, 0, 0, 0, 0, 0];
    let request = [
        record(BEGIN, &responder),
        record(PARAMS, &params),
        record(PARAMS, &[]),
        record(STDIN, &[]),
    ];
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request.concat())?;
    let mut answer = String::from("HTTP/1.1 200 \r\n");
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut content = vec![0; length + usize::from(header[6])];
        stream.read_exact(&mut content)?;
        match header[1] {
            STDOUT => answer.push_str(&String::from_utf8_lossy(&content[..length])),
            END => return pid_in(&answer),
            _ => {}
        }
    }
}
