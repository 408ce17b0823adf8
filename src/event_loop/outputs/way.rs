//! One of fd3's own streams, on which the lines of workers go out: in batches of whole lines, each no larger than what
//! a pipe takes whole.

use alloc::rc::Rc;

use rustix::fd::{AsFd, OwnedFd};

use super::super::log::Log;
use super::super::token::Token;
use crate::error::Errno;
use crate::plan::Level;
use crate::protocol::log_line::LINE_MAX;
use crate::protocol::worker_line::{Frame, Stream, stream_name};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::sink::Sink;

/// Bytes of one pipe's that are held at the most: more than the longest piece of a line.
pub(super) const HELD_MAX: usize = LINE_MAX;
/// Writes in one turn.
const WRITTEN_AT_ONCE: usize = 16;

/// One of fd3's own streams.
pub(super) struct Way {
    pub(super) stream: Stream,
    pub(super) sink: Rc<Sink>,
    pub(super) gate: Epoll,
    /// Whole lines on their way.
    pub(super) batch: Vec<u8>,
    /// Whose lines wait for the rest of the batch to go.
    pub(super) interrupted: Option<u32>,
    pub(super) state: State,
    /// Writes left in this turn.
    left: usize,
    /// Lines lost that were not told of.
    lost: u64,
    /// What was told.
    trouble: Trouble,
}

#[derive(Clone, Copy)]
enum Trouble {
    None,
    New(Errno),
    Told,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The gate is watched.
    Open,
    /// The same, and there is something to be done without being told.
    Busy,
    /// The sink is watched for room, the gate is not.
    Full,
}

pub(super) struct Pipe {
    pub(super) fd: OwnedFd,
    /// What was read and not passed on: less than a line, unless it was interrupted.
    pub(super) held: Vec<u8>,
    /// Nobody writes to it any more.
    pub(super) at_end: bool,
}

/// How far it went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// There is more, for the next turn.
    Spent,
    /// The sink takes no more.
    Full,
}

impl Way {
    pub(super) fn new(stream: Stream, sink: Rc<Sink>) -> Result<Way, Errno> {
        Ok(Way {
            stream,
            sink,
            gate: Epoll::new()?,
            batch: Vec::new(),
            interrupted: None,
            state: State::Open,
            left: 0,
            lost: 0,
            trouble: Trouble::None,
        })
    }

    pub(super) fn begin_turn(&mut self) {
        self.left = WRITTEN_AT_ONCE;
    }

    pub(super) fn at_gate(&self) -> u64 {
        Token::Output(self.stream as u32).bits()
    }

    /// A batch is whole lines, and no larger than what a pipe takes whole: no other writer's line, fd3's own
    /// among them, gets in between.
    pub(super) fn add_lines(&mut self, pipe: &mut Pipe, frame: &Frame) -> Step {
        let mut passed = 0;
        let step = loop {
            let before = self.batch.len();
            let rest = pipe.held.get(passed..).unwrap_or_default();
            match frame.add(rest, pipe.at_end, &mut self.batch) {
                0 => break Step::Done,
                count if self.batch.len() <= LINE_MAX => passed += count,
                count => {
                    self.batch.truncate(before);
                    match self.flush() {
                        Step::Done => {}
                        step @ (Step::Spent | Step::Full) => break step,
                    }
                    // It cannot be: a line alone fits.
                    if before == 0 {
                        passed += count;
                    }
                }
            }
        };
        pipe.held.drain(..passed.min(pipe.held.len()));
        pipe.held.shrink_to_fit();
        step
    }

    pub(super) fn flush(&mut self) -> Step {
        while !self.batch.is_empty() {
            if self.left == 0 {
                return Step::Spent;
            }
            self.left -= 1;
            match self.sink.offer(&self.batch) {
                Ok(count) => {
                    self.batch.drain(..count.min(self.batch.len()));
                    self.trouble = Trouble::None;
                }
                Err(Errno(libc::EAGAIN)) => return Step::Full,
                Err(Errno(libc::EINTR)) => {}
                Err(errno) => self.lose(errno),
            }
        }
        Step::Done
    }

    /// Nobody takes it, and nobody will: who writes it does not wait for that.
    pub(super) fn lose(&mut self, errno: Errno) {
        self.lost += self.batch.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.batch.clear();
        if let Trouble::None = self.trouble {
            self.trouble = Trouble::New(errno);
        }
    }

    /// When it begins, and how much it was when it is over.
    pub(super) fn tell(&mut self, log: &Log) {
        let why = match self.trouble {
            Trouble::Told => return,
            Trouble::None if self.lost == 0 => return,
            Trouble::None => None,
            Trouble::New(errno) => Some(errno),
        };
        log.write_at(Level::Warn, "workers' output was lost", &|line| {
            line.text("stream", stream_name(self.stream)).number("lines", self.lost);
            match why {
                Some(Errno(libc::EAGAIN)) => line.text("why", "nobody took it in time"),
                Some(errno) => line.text("error", errno),
                None => line,
            };
        });
        self.lost = 0;
        if why.is_some() {
            self.trouble = Trouble::Told;
        }
    }

    pub(super) fn shut(&mut self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.add(self.sink.as_fd(), Token::Room(self.stream as u32).bits(), Interest::OUT)?;
        // It cannot fail: the gate is watched, and there is nothing to allocate.
        let _ = epoll.change(self.gate.fd(), self.at_gate(), Interest::empty());
        Ok(())
    }

    pub(super) fn open(&mut self, epoll: &Epoll) {
        let _ = epoll.delete(self.sink.as_fd());
        let _ = epoll.change(self.gate.fd(), self.at_gate(), Interest::IN);
    }
}
