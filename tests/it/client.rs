//! A client's connection to the HTTP server of examples/.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;

/// A draining server keeps an idle connection for longer than this; a client that paused for longer, on
/// a busy machine, may find it closed.
pub const PROMPT: Duration = Duration::from_secs(1);

#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

pub struct Connection {
    stream: BufReader<TcpStream>,
    /// Whose it is, once it answered.
    pub pid: Option<i32>,
    /// The server closes it after its latest answer.
    pub is_last: bool,
    /// A part of an answer came.
    pub is_begun: bool,
    sent: Instant,
    /// The time between its two latest requests, or before its first.
    pub paused: Duration,
}

impl Connection {
    pub fn open(port: u16) -> Result<Connection> {
        Connection::to("127.0.0.1", port)
    }

    pub fn to(address: &str, port: u16) -> Result<Connection> {
        // As the server sees it: it may have taken the connection before we have a turn again.
        let sent = now();
        let stream = TcpStream::connect((address, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let (stream, paused) = (BufReader::new(stream), Duration::ZERO);
        Ok(Connection { stream, pid: None, is_last: false, is_begun: false, sent, paused })
    }

    pub fn ask(&mut self, path: &str) -> Result<i32> {
        self.send(path)?;
        self.answer()
    }

    /// The only request of this connection, to the end of the server's side.
    pub fn ask_once(&mut self, path: &str) -> Result<i32> {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))?;
        let pid = self.answer()?;
        match self.stream.read(&mut [0])? {
            0 => Ok(pid),
            _ => Err(Error::other("more than an answer")),
        }
    }

    pub fn send(&mut self, path: &str) -> Result<()> {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    pub fn write(&mut self, text: &str) -> Result<()> {
        let before = core::mem::replace(&mut self.sent, now());
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        self.paused = before.elapsed();
        sent
    }

    /// The PID that a whole answer tells.
    pub fn answer(&mut self) -> Result<i32> {
        let mut length = 0;
        (self.is_last, self.is_begun) = (false, false);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.is_begun = true;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a length");
                }
                Some((name, value)) if name.eq_ignore_ascii_case("connection") => {
                    self.is_last = value == "close";
                }
                Some(_) => {}
                None if line == "\r\n" => break,
                None => assert_eq!(line, "HTTP/1.1 200 OK\r\n"),
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).expect("text");
        let (_, rest) = body.split_once(" pid ").expect("it tells its PID");
        let pid = rest.split(',').next().and_then(|pid| pid.parse().ok()).expect("a PID");
        assert!(self.pid.is_none_or(|known| known == pid), "one connection, two workers");
        self.pid = Some(pid);
        Ok(pid)
    }

    /// Whether the server closed it between two requests, as it may.
    pub fn is_closed(&self) -> Result<bool> {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        match seen {
            Ok(0) => Ok(true),
            Ok(_) => Err(Error::other("an answer that nobody asked for")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
