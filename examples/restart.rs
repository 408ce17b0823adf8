//! A server that replaces itself by its new version on USR2, without fd3 and without losing a request.
//! ```sh
//! cargo build --example restart
//! target/debug/examples/restart double 127.0.0.1:8081 &       # or single, then perhaps with a PID file
//! curl localhost:8081/uuid                    # which process this is
//! curl "localhost:8081/delayed?ms=9000" &     # answered by the old one
//! kill -USR2 %1
//! curl localhost:8081/uuid                    # the new one; with double under the same PID
//! ```
// Those are rules for fd3 itself; this is a program of another kind.
#![allow(clippy::disallowed_methods)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use fd3::restart::{Restart, Strategy, generation};
use fd3::serve::{Server, Stop};

fn main() -> Result<(), fd3::Error> {
    let words: Vec<String> = std::env::args().collect();
    let word = |index: usize| words.get(index).map(String::as_str);
    let strategy = if word(1) == Some("double") { Strategy::Double } else { Strategy::Single };

    let stop = Stop::on_signals()?;
    let listener = fd3::inherit::bind_or_inherit(word(2).unwrap_or("127.0.0.1:8081"))?;
    let ms = |index| word(index).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let mut restart = Restart::new(strategy)
        .listener("http", &listener)
        .overlap(ms(5).unwrap_or(Duration::from_millis(20)))
        .on_failure(|error| eprintln!("restart failed: {error}"));
    if let Some(path) = word(3).filter(|path| !path.is_empty()) {
        restart = restart.pid_file(path);
    }
    if let Some(limit) = ms(4) {
        restart = restart.ready_within(limit);
    }
    let running = restart.start(&stop)?;

    let (pid, address) = (std::process::id(), listener.local_addr());
    if let Ok(address) = address {
        eprintln!("serving address={address} pid={pid} generation={}", generation());
    }
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let whole = format!("generation {}, pid {pid}, uuid {uuid}", generation());
    Server::new(listener).stop(stop).run(move |client| {
        if let Err(error) = answer(client, &whole, &uuid) {
            eprintln!("a client: {error}");
        }
    })?;
    running.finish()
}

/// One request, and the end of the connection.
fn answer(mut client: TcpStream, whole: &str, uuid: &str) -> io::Result<()> {
    let mut lines = BufReader::new(&client).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = match path {
        "/uuid" => uuid,
        "/delayed" | "/slow" => {
            let ms = query.strip_prefix("ms=").and_then(|ms| ms.parse().ok());
            std::thread::sleep(Duration::from_millis(ms.unwrap_or(10_000)));
            whole
        }
        _ => whole,
    };
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n";
    let length = body.len();
    client.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
}
