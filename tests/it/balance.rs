//! `fd3 balance`: between clients and backends that behave, and those that do not. Whatever becomes of one request, the
//! next ones are served.

mod backends;
mod faults;
mod messages;
mod never_hangs;
mod real;
mod stops;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{FD3, Fd3, PATIENCE, ask, command};
use crate::servers::ReservedPort;

/// `fd3 balance` with these words, at a port of its own, which serves by now.
fn balance(words: &[&str]) -> Fd3 {
    let mut balance = command(FD3);
    balance.args(["balance", "-v", "-l", "127.0.0.1:0"]).args(words);
    let balance = Fd3::start(balance);
    balance.line("balancing");
    balance
}

/// A backend that does this with each connection, in a thread of its own.
struct Backend {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    fn new(does: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, does) = (connections.clone(), Arc::new(does));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let does = does.clone();
                std::thread::spawn(move || does(&mut stream));
            }
        });
        Backend { port, connections }
    }

    /// Answers each request of each connection with what this makes of its head and body.
    fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Backend {
        Backend::new(move |stream| {
            while let Some(request) = hear(stream) {
                if stream.write_all(answer(&request).as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    /// Tells back what it heard.
    fn echo() -> Backend {
        Backend::answering(ok)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// One message with its body, as it came; `None` when the other end is done.
fn hear(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, &mut bytes)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if text.contains("transfer-encoding: chunked") {
        while !bytes.ends_with(b"0\r\n\r\n") {
            more(stream, &mut bytes)?;
        }
    } else if !text.starts_with("http/1.1 204") {
        while bytes.len() < head + length.unwrap_or(0) {
            more(stream, &mut bytes)?;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut room = [0; 4096];
    match stream.read(&mut room) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            bytes.extend(&room[..count]);
            Some(())
        }
    }
}

/// Until the other end has gone.
fn hold(stream: &mut TcpStream) {
    let mut room = [0; 4096];
    while stream.read(&mut room).is_ok_and(|count| count > 0) {}
}

fn client(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

/// The whole answer to this request, on a connection that ends with it.
fn get(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    ask(port, &request).unwrap_or_default()
}

fn say(stream: &mut TcpStream, words: &str) {
    stream.write_all(words.as_bytes()).expect("it is open");
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A port at which nobody listens, until all tests have ended.
fn dead() -> String {
    let port = ReservedPort::new();
    let url = format!("http://127.0.0.1:{}", port.number);
    std::mem::forget(port);
    url
}
