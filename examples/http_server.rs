//! A small HTTP/1.1 server that loses nothing when it is stopped or replaced.
//!
//! It takes its listeners, TCP and unix ones, from fd 3 on, says when it serves, and drains on TERM: all
//! that fd3 needs to replace it under load. What it needs for that comes from the library; the rest is HTTP.
//! ```sh
//! cargo build --example http_server
//! fd3 run -l :5000 -l unix:/tmp/web --workers 2 --ready notify -- target/debug/examples/http_server
//! curl localhost:5000/            # also /pid, "/slow?ms=500" and /crash
//! curl --unix-socket /tmp/web localhost
//! ```
//!
//! Without LISTEN_FDS it binds 127.0.0.1:5000 itself.
// Those are rules for fd3 itself; this is a program of another kind.
#![allow(clippy::disallowed_methods)]

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fd3::inherit::{Listeners, bind_or_inherit};
use fd3::serve::{Listener, Server, Stop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A request's head is not longer, in bytes.
const HEAD_MAX: usize = 8192;
/// A connection without a request is kept for so long.
const IDLE: Duration = Duration::from_secs(60);
/// Once told to stop: how long a connection that was never answered may take for its request ...
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// ... and how long an idle one is kept for its next request, which is then answered with
/// `Connection: close`. To close it at once could cross a request that is on its way.
const NEXT_REQUEST: Duration = Duration::from_secs(2);
/// How long a client may take to read its answer, then to close its side.
const WRITE: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(1);

fn main() -> Result<(), fd3::Error> {
    let site = Arc::new(Site::new(Stop::on_signals()?));
    let mut listeners = Listeners::take()?;
    if listeners.is_empty() {
        return serve(bind_or_inherit("127.0.0.1:5000")?, &site);
    }
    // All of them are looked at before one of them serves.
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for index in 0..listeners.len() {
        match listeners.tcp(index) {
            Ok(listener) => tcp.extend(listener),
            Err(_) => unix.extend(listeners.unix(index)?),
        }
    }
    thread::scope(|scope| {
        let tcp = tcp.into_iter().map(|one| scope.spawn(|| serve(one, &site)));
        let mut servers: Vec<_> = tcp.collect();
        servers.extend(unix.into_iter().map(|one| scope.spawn(|| serve(one, &site))));
        // A panic was told by whoever had it.
        servers.into_iter().try_for_each(|server| server.join().unwrap_or(Ok(())))
    })
}

/// Until it is told to stop, and all clients have their answers: how long that may take is fd3's business.
fn serve<L: Listener>(listener: L, site: &Arc<Site>) -> Result<(), fd3::Error>
where
    OwnedFd: From<L::Stream>,
{
    let (stop, site) = (site.stop.try_clone()?, site.clone());
    let server = Server::new(listener).stop(stop).drain_timeout(Duration::MAX);
    let answer = move |client| {
        // std's TcpStream does for unix connections as well, as long as nobody asks for an address.
        let stream = TcpStream::from(OwnedFd::from(client));
        // A client that went away is its own affair.
        let _ = Connection::new(stream, &site).serve();
    };
    server.run(answer).map(drop)
}

/// Which of these can be read, as soon as one can; none once the time has passed.
fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Duration) -> io::Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    // The limits above are far from what a Timespec can hold.
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut fds, Some(&limit)) {
        // An interruption is a wait that ended early: whoever waits looks at the time.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds.map(|fd| !fd.revents().is_empty())),
        Err(errno) => Err(errno.into()),
    }
}

struct Site {
    stop: Stop,
    /// Which worker this is.
    name: String,
    requests: AtomicU64,
}

impl Site {
    fn new(stop: Stop) -> Site {
        let told = |name| env::var(name).unwrap_or_else(|_| "-".to_string());
        let (slot, generation) = (told("FD3_SLOT"), told("FD3_GENERATION"));
        let name = format!("worker {slot} of generation {generation}, pid {}", std::process::id());
        Site { stop, name, requests: AtomicU64::new(0) }
    }
}

struct Connection<'a> {
    stream: TcpStream,
    site: &'a Site,
    /// What was read and not yet answered.
    buffer: Vec<u8>,
    answered: bool,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, site: &'a Site) -> Connection<'a> {
        Connection { stream, site, buffer: Vec::new(), answered: false }
    }

    fn serve(mut self) -> io::Result<()> {
        // A unix socket has no such option, and no such delay.
        let _ = self.stream.set_nodelay(true);
        self.stream.set_write_timeout(Some(WRITE))?;
        while let Some(request) = self.next_request()? {
            let (status, body) = self.site.answer(&request);
            // Looked at after the work is done, so that a request during which TERM came is the last.
            let last = request.close || self.site.stop.is_told();
            let connection = if last { "close" } else { "keep-alive" };
            let (kind, length) = ("Content-Type: text/plain", body.len());
            let head = format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n");
            let whole = format!("{head}Connection: {connection}\r\n\r\n{body}");
            self.stream.write_all(whole.as_bytes())?;
            self.answered = true;
            if last {
                break;
            }
        }
        self.close()
    }

    /// `None` when the client closed its side, or is too slow.
    fn next_request(&mut self) -> io::Result<Option<Request>> {
        let mut deadline = Instant::now() + IDLE;
        let mut told = false;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(Some(Request::parse(&String::from_utf8_lossy(&head))));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.buffer.len() > HEAD_MAX {
                return Ok(None);
            }
            let stream = self.stream.as_fd();
            let [readable, told_now] = match told {
                false => wait_for([stream, self.site.stop.as_fd()], left)?,
                true => [wait_for([stream], left)?[0], false],
            };
            if told_now {
                told = true;
                let idle = self.answered && self.buffer.is_empty();
                deadline = Instant::now() + if idle { NEXT_REQUEST } else { FIRST_REQUEST };
            }
            // What is there by then is there, however late we come to look.
            let goes_on = if readable { self.read_more()? } else { told_now || !left.is_zero() };
            if !goes_on {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }

    /// To close with bytes unread would be a reset, which can destroy the answer on its way.
    fn close(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(LINGER))?;
        io::copy(&mut self.stream.take(HEAD_MAX as u64), &mut io::sink()).map(drop)
    }
}

struct Request {
    method: String,
    target: String,
    /// Nothing may follow it on this connection.
    close: bool,
}

impl Request {
    fn parse(head: &str) -> Request {
        let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let mut words = first.split(' ').map(str::to_string);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let fields = fields.to_ascii_lowercase();
        let asks_to_close = fields.lines().any(|line| line.replace(' ', "") == "connection:close");
        // Anything but GET is refused, and what body it may have is never looked at.
        let close = asks_to_close || version != "HTTP/1.1" || method != "GET";
        Request { method, target, close }
    }
}

impl Site {
    /// The status and the body.
    fn answer(&self, request: &Request) -> (&'static str, String) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match (request.method.as_str(), path) {
            ("GET", "/") => {}
            ("GET", "/pid") => return ("200 OK", format!("{}\n", std::process::id())),
            ("GET", "/slow") => {
                let ms = query.strip_prefix("ms=").and_then(|ms| ms.parse().ok()).unwrap_or(500);
                thread::sleep(Duration::from_millis(u64::min(ms, 10_000)));
            }
            ("GET", "/crash") => std::process::abort(),
            ("GET", _) => return ("404 Not Found", "not found\n".to_string()),
            _ => return ("405 Method Not Allowed", "only GET\n".to_string()),
        }
        ("200 OK", format!("Hello from {}, request {number}\n", self.name))
    }
}
