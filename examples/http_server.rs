//! A small HTTP/1.1 server that loses nothing when it is stopped or replaced.
//!
//! It takes its listeners, TCP and unix ones, from fd 3 on, says when it serves, and drains on TERM: all
//! that fd3 needs to replace it under load.
//! ```sh
//! cargo build --example http_server
//! fd3 run -l :5000 -l unix:/tmp/web --workers 2 --ready notify -- target/debug/examples/http_server
//! curl localhost:5000/            # also /pid, "/slow?ms=500" and /crash
//! curl --unix-socket /tmp/web localhost
//! ```
//!
//! Without LISTEN_FDS it binds 127.0.0.1:5000 itself.
// Those are rules for fd3 itself; this is a program of another kind.
#![allow(unsafe_code, clippy::multiple_unsafe_ops_per_block, clippy::disallowed_methods)]

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with, sockopt};

/// More connections than this wait in the listener's queue, or are taken by another worker.
const CONNECTIONS_MAX: usize = 1000;
/// A request's head is not longer, in bytes.
const HEAD_MAX: usize = 8192;
/// A connection without a request is kept for so long.
const IDLE: Duration = Duration::from_secs(60);
/// Once told to stop: how long a connection that was never answered may take for its request ...
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// ... and how long an idle one is kept for its next request, which is then answered with
/// `Connection: close`. To close it at once could cross a request that is on its way.
const NEXT_REQUEST: Duration = Duration::from_secs(2);
/// How long: a client may take to read its answer, then to close its side; a full server rests.
const WRITE: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    // First of all: the threads inherit the mask.
    let stop = Stop::new()?;
    let mut listeners = inherited();
    if listeners.is_empty() {
        listeners.push(TcpListener::bind("127.0.0.1:5000")?.into());
    }
    for listener in &listeners {
        if !sockopt::socket_acceptconn(listener)? {
            return Err(io::Error::other("one of the sockets takes no connections"));
        }
        // It is shared with all workers. They poll as well: another one may take what woke this one.
        rustix::io::ioctl_fionbio(listener, true)?;
    }
    let server = Server::new(&stop);
    notify("READY=1");
    // The end of the scope waits for all connections.
    thread::scope(|scope| {
        thread::scope(|accepting| {
            for listener in &listeners {
                accepting.spawn(|| server.accept_until_told_to_stop(listener, scope));
            }
        });
        notify("STOPPING=1");
        drop(listeners);
    });
    Ok(())
}

/// The listeners that were handed to this process, as sd_listen_fds(3) finds them.
fn inherited() -> Vec<OwnedFd> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let count = if ours { number("LISTEN_FDS").unwrap_or(0) } else { 0 };
    // SAFETY: whoever started this process says that they are open and ours; nobody else here uses them.
    (3..3 + count as RawFd).map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

/// Tells the supervisor, as sd_notify(3) does. Nobody has to listen.
fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let socket = UnixDatagram::unbound();
    let sent = socket.and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        eprintln!("http_server: cannot send {state}: {error}");
    }
}

/// Readable once TERM or INT came. Nobody reads it, so it stays readable: every thread sees it.
struct Stop(OwnedFd);

impl Stop {
    fn new() -> io::Result<Stop> {
        let mut signals = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initializes the set, which outlives the calls that use it.
        let fd = unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGINT);
            libc::sigprocmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
            libc::signalfd(-1, signals.as_ptr(), libc::SFD_CLOEXEC)
        };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        Ok(Stop(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn is_told(&self) -> bool {
        wait_for([self.0.as_fd()], Duration::ZERO).is_ok_and(|[told]| told)
    }
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

struct Server<'a> {
    stop: &'a Stop,
    /// Which worker this is.
    name: String,
    requests: AtomicU64,
    connections: AtomicUsize,
}

impl<'a> Server<'a> {
    fn new(stop: &'a Stop) -> Server<'a> {
        let told = |name| env::var(name).unwrap_or_else(|_| "-".to_string());
        let (slot, generation) = (told("FD3_SLOT"), told("FD3_GENERATION"));
        let name = format!("worker {slot} of generation {generation}, pid {}", std::process::id());
        Server { stop, name, requests: AtomicU64::new(0), connections: AtomicUsize::new(0) }
    }

    /// Returns with its queue empty: when the whole service stops, nobody else would take what is in it.
    fn accept_until_told_to_stop<'scope>(
        &'scope self,
        listener: &OwnedFd,
        scope: &'scope thread::Scope<'scope, '_>,
    ) {
        loop {
            let told = self.stop.is_told();
            match self.accept(listener) {
                Ok(stream) => {
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    scope.spawn(move || {
                        // A client that went away is its own affair.
                        let _ = Connection::new(stream, self).serve();
                        self.connections.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                Err(_) if told => return,
                Err(error) => self.wait_for_work(listener, &error),
            }
        }
    }

    /// std's TcpStream does for unix connections as well, as long as nobody asks for an address; its
    /// TcpListener does not, because it does that itself.
    fn accept(&self, listener: &OwnedFd) -> io::Result<TcpStream> {
        if self.connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            return Err(io::Error::other("too many connections"));
        }
        Ok(accept_with(listener, SocketFlags::CLOEXEC)?.into())
    }

    /// What ends a wait, or fails it, is seen again by whoever comes next.
    fn wait_for_work(&self, listener: &OwnedFd, why: &io::Error) {
        let stop = self.stop.0.as_fd();
        if why.kind() == ErrorKind::WouldBlock {
            let _ = wait_for([listener.as_fd(), stop], IDLE);
        } else if why.kind() != ErrorKind::ConnectionAborted {
            // Not one that its client gave up in the queue: full, or out of descriptors. The queue stays
            // readable, so that only time helps.
            let _ = wait_for([stop], REST);
        }
    }
}

struct Connection<'a> {
    stream: TcpStream,
    server: &'a Server<'a>,
    /// What was read and not yet answered.
    buffer: Vec<u8>,
    answered: bool,
}

impl<'a> Connection<'a> {
    fn new(stream: TcpStream, server: &'a Server<'a>) -> Connection<'a> {
        Connection { stream, server, buffer: Vec::new(), answered: false }
    }

    fn serve(mut self) -> io::Result<()> {
        // A unix socket has no such option, and no such delay.
        let _ = self.stream.set_nodelay(true);
        self.stream.set_write_timeout(Some(WRITE))?;
        while let Some(request) = self.next_request()? {
            let (status, body) = self.server.answer(&request);
            // Looked at after the work is done, so that a request during which TERM came is the last.
            let last = request.close || self.server.stop.is_told();
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
            if self.buffer.len() > HEAD_MAX || left.is_zero() {
                return Ok(None);
            }
            let stream = self.stream.as_fd();
            let [readable, told_now] = match told {
                false => wait_for([stream, self.server.stop.0.as_fd()], left)?,
                true => [wait_for([stream], left)?[0], false],
            };
            if told_now {
                told = true;
                let idle = self.answered && self.buffer.is_empty();
                deadline = Instant::now() + if idle { NEXT_REQUEST } else { FIRST_REQUEST };
            }
            if readable && !self.read_more()? {
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

impl Server<'_> {
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
