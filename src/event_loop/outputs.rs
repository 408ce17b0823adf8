//! `--worker-logs prefix`: what workers write to stdout and stderr goes by way of fd3 to its own, line by line. Decides
//! nothing; `protocol/worker_line.rs` knows what a line is.
//!
//! A worker has a pipe for each of the two. All pipes of one stream are watched by an epoll of their own, its *gate*,
//! which is one descriptor among the others of the loop: however much workers write, whatever else has happened is
//! seen in the same turn. In each turn a bounded part goes on. Where fd3's own stdout takes no more, its gate is shut
//! until there is room: the pipes fill, and who writes waits, as it would without fd3 in between. Nothing is kept but
//! one unfinished line for each pipe, and what is on its way for each stream.

mod way;

use alloc::rc::Rc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use self::way::{HELD_MAX, Pipe, State, Step, Way};
use super::log::Log;
use super::token::Token;
use super::{EventLoop, now};
use crate::error::{Errno, Error};
use crate::plan::{Level, LogFormat, WorkerLogs};
use crate::protocol::worker_line::{Frame, STREAMS, Stream};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::sink::Sink;
use crate::sys::{clock, fd, stream};
use crate::units::{Millis, Pid, SlotId, sooner};

/// Without it nothing here has anything to do.
pub(super) const HERE: bool = cfg!(feature = "worker-logs");

/// Pipes of one stream read in one turn.
const READ_AT_ONCE: usize = 64;
/// Bytes of one pipe read at the end, when whoever is left may go on and on: more than a pipe holds
/// (/proc/sys/fs/pipe-max-size, unless root has one made larger).
const READ_AT_LAST: usize = 1 << 20;
/// How long fd3 waits at its end for whoever reads its stdout and stderr.
const PATIENCE: Millis = Millis::seconds(2);
/// For how long nothing was passed on when that counts as an end.
const QUIET_AFTER: Millis = Millis::seconds(1);
/// Ended workers, more than there are slots, whose children may still write.
const SURVIVED_MAX: usize = 128;

/// How many pipes there may be for so many slots: of each the worker, the one that replaces it, and a former one whose
/// children go on.
pub(super) fn descriptors(workers: u32) -> u64 {
    (3 * u64::from(workers) + SURVIVED_MAX as u64) * STREAMS.len() as u64
}

/// All that there is to it; what is in here is all that has to go on.
pub(super) struct Outputs {
    format: LogFormat,
    ways: [Way; 2],
    /// By their numbers; `None` is free for the next one.
    writers: Vec<Option<Writer>>,
    /// How many ended workers' pipes are kept.
    survived_max: usize,
    /// When something was passed on last, unless that is long ago.
    passed: Option<Millis>,
}

/// A worker, or the children that it left behind.
struct Writer {
    slot: SlotId,
    pid: Pid,
    /// When the worker ended.
    ended: Option<Millis>,
    pipes: [Option<Pipe>; 2],
}

/// What a new worker gets, and what it is called here.
pub(super) struct Ends {
    number: u32,
    write: [OwnedFd; 2],
}

impl Ends {
    pub(super) fn borrowed(&self) -> [BorrowedFd<'_>; 2] {
        self.write.each_ref().map(AsFd::as_fd)
    }
}

impl EventLoop {
    #[inline(never)]
    pub(super) fn open_outputs(&mut self) -> Result<(), Error> {
        let plan = self.loader.fixed.log;
        if !HERE || plan.workers == WorkerLogs::Inherit {
            return Ok(());
        }
        let cannot = |errno| Error::system("make", "an epoll", errno);
        let sinks = [Rc::new(Sink::stdout()), self.log.sink()];
        let mut outputs =
            Outputs::new(plan.format, sinks, self.launcher.workers()).map_err(cannot)?;
        outputs.watched_by(&self.epoll).map_err(cannot)?;
        self.outputs = Some(Box::new(outputs));
        Ok(())
    }

    /// Pipes for a worker to come.
    pub(super) fn open_ends(&mut self, slot: SlotId) -> Result<Option<Ends>, Error> {
        let Some(outputs) = self.outputs.as_mut().filter(|_| HERE) else { return Ok(None) };
        outputs.open(slot).map(Some).map_err(|errno| Error::system("make", "a pipe", errno))
    }

    /// The worker has its ends, which are closed here; or there is none. What it is called here.
    pub(super) fn give_ends(&mut self, ends: Option<Ends>, pid: Option<Pid>) -> Option<u32> {
        let (outputs, ends) = (self.outputs.as_mut().filter(|_| HERE)?, ends?);
        outputs.begun(ends.number, pid);
        Some(ends.number)
    }

    /// What workers wrote, as far as it goes in one turn.
    #[inline(never)]
    pub(super) fn pass_outputs(&mut self, due: &[Token]) {
        let Some(outputs) = self.outputs.as_mut().filter(|_| HERE) else { return };
        outputs.pass_all(due, &self.epoll, &self.log);
    }

    /// It has ended: what it wrote last comes before its end is told. Its children may go on.
    #[inline(never)]
    pub(super) fn pass_last_words(&mut self, pid: Pid) {
        let number = self.notify.get(pid).and_then(|heard| heard.output);
        let (Some(outputs), Some(number)) = (self.outputs.as_mut().filter(|_| HERE), number) else {
            return;
        };
        outputs.ended(number, pid, &self.epoll, &self.log);
    }

    pub(super) fn finish_outputs(&mut self) {
        if let Some(outputs) = self.outputs.as_mut().filter(|_| HERE) {
            outputs.finish(&self.log);
        }
    }

    pub(super) fn scale_outputs(&mut self, workers: u32) {
        if let Some(outputs) = self.outputs.as_mut().filter(|_| HERE) {
            outputs.scaled(workers);
        }
    }
}

impl Outputs {
    fn new(format: LogFormat, sinks: [Rc<Sink>; 2], workers: u32) -> Result<Outputs, Errno> {
        let [stdout, stderr] = sinks;
        let ways = [Way::new(Stream::Stdout, stdout)?, Way::new(Stream::Stderr, stderr)?];
        let mut outputs =
            Outputs { format, ways, writers: Vec::new(), survived_max: 0, passed: None };
        outputs.scaled(workers);
        Ok(outputs)
    }

    fn scaled(&mut self, workers: u32) {
        self.survived_max = self.survived_max.max(SURVIVED_MAX + workers as usize);
    }

    /// From now on this one tells when there is something to do.
    pub(super) fn watched_by(&mut self, epoll: &Epoll) -> Result<(), Errno> {
        for way in &mut self.ways {
            epoll.add(way.gate.fd(), way.at_gate(), Interest::IN)?;
            if way.state == State::Full {
                way.state = State::Busy;
            }
        }
        Ok(())
    }

    /// When the loop is to look in, even if nothing happens: at once where there is more to be done; else a while after
    /// the last time, for what can be done without when nothing happens.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let busy = self.ways.iter().any(|way| way.state == State::Busy);
        sooner(busy.then_some(Millis(0)), self.passed.map(|at| at.plus(QUIET_AFTER)))
    }

    /// The reading ends are watched, and do not block; the others are as a worker expects them.
    fn open(&mut self, slot: SlotId) -> Result<Ends, Errno> {
        let number = self.writers.iter().position(Option::is_none).unwrap_or(self.writers.len());
        let ((out, out_end), (err, err_end)) = (fd::pipe()?, fd::pipe()?);
        let mut watched = Ok(());
        for (way, fd) in self.ways.iter().zip([&out, &err]) {
            let one = fd::set_nonblocking(fd);
            watched = watched.and(one).and(way.gate.add(fd, number as u64, Interest::IN));
        }
        let pipes = [out, err].map(|fd| Some(Pipe { fd, held: Vec::new(), at_end: false }));
        let writer = Some(Writer { slot, pid: Pid(0), ended: None, pipes });
        match self.writers.get_mut(number) {
            Some(place) => *place = writer,
            None => self.writers.push(writer),
        }
        let number = number as u32;
        if watched.is_err() {
            self.begun(number, None);
        }
        watched.map(|()| Ends { number, write: [out_end, err_end] })
    }

    fn begun(&mut self, number: u32, pid: Option<Pid>) {
        match (self.writer(number), pid) {
            (Some(writer), Some(pid)) => writer.pid = pid,
            (Some(_), None) => {
                for which in [0, 1] {
                    self.close(number, which);
                }
            }
            (None, _) => {}
        }
    }

    fn writer(&mut self, number: u32) -> Option<&mut Writer> {
        self.writers.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn pass_all(&mut self, due: &[Token], epoll: &Epoll, log: &Log) {
        for (which, token) in (0..).zip([Token::Output(0), Token::Output(1)]) {
            let Some(way) = self.ways.get(which) else { continue };
            let room = Token::Room(which as u32);
            if way.state == State::Busy || due.contains(&token) || due.contains(&room) {
                let step = self.pass(which);
                self.settle(which, step, epoll, log);
            }
        }
        if self.passed.is_some_and(|at| now().since(at) >= QUIET_AFTER) {
            self.passed = None;
        }
    }

    /// A bounded part of what there is in the pipes of one stream, each in its turn.
    fn pass(&mut self, which: usize) -> Step {
        let Some(way) = self.ways.get_mut(which) else { return Step::Done };
        way.begin_turn();
        let (mut step, interrupted) = (way.flush(), way.interrupted);
        if let (Step::Done, Some(number)) = (step, interrupted) {
            way.interrupted = None;
            step = self.pass_held(which, number);
        }
        if step != Step::Done {
            return step;
        }
        for _ in 0..READ_AT_ONCE {
            // One at a time: the kernel gives each its turn.
            let next = self.ways.get(which).and_then(|way| way.gate.next());
            let Some(number) = next else { break };
            let (step, _) = self.read(which, number as u32);
            if step != Step::Done {
                return step;
            }
        }
        self.ways.get_mut(which).map_or(Step::Done, Way::flush)
    }

    /// What is there of one pipe, and what follows from it; how many bytes.
    fn read(&mut self, which: usize, number: u32) -> (Step, usize) {
        let pipe = self.writer(number).and_then(|writer| writer.pipes.get_mut(which)?.as_mut());
        let Some(pipe) = pipe else { return (Step::Done, 0) };
        let left = HELD_MAX.saturating_sub(pipe.held.len());
        if left == 0 {
            return (self.pass_held(which, number), 0);
        }
        let mut room = [0; HELD_MAX];
        let room = room.get_mut(..left).unwrap_or_default();
        let read = match stream::receive(&pipe.fd, room) {
            Err(Errno(libc::EAGAIN)) => return (Step::Done, 0),
            Ok(count) => count,
            Err(_) => 0,
        };
        pipe.held.extend_from_slice(room.get(..read).unwrap_or_default());
        pipe.at_end = read == 0;
        self.passed = Some(now());
        (self.pass_held(which, number), read)
    }

    /// The whole lines of one pipe; all of it at its end.
    fn pass_held(&mut self, which: usize, number: u32) -> Step {
        let format = self.format;
        let Outputs { ways, writers, .. } = self;
        let writer = writers.get_mut(number as usize).and_then(Option::as_mut);
        let (Some(way), Some(writer)) = (ways.get_mut(which), writer) else { return Step::Done };
        let Some(pipe) = writer.pipes.get_mut(which).and_then(Option::as_mut) else {
            return Step::Done;
        };
        let at = clock::realtime_ms();
        let frame = Frame::new(format, writer.slot, writer.pid, way.stream, at);
        let step = way.add_lines(pipe, &frame);
        if step != Step::Done {
            way.interrupted = Some(number);
        } else if pipe.at_end {
            self.close(number, which);
        }
        step
    }

    /// Not all were added to the gate, or still are.
    fn close(&mut self, number: u32, which: usize) {
        let Some(writer) = self.writers.get_mut(number as usize) else { return };
        let Some(pipes) = writer.as_mut().map(|writer| &mut writer.pipes) else { return };
        let pipe = pipes.get_mut(which).and_then(Option::take);
        if let (Some(pipe), Some(way)) = (pipe, self.ways.get_mut(which)) {
            // A child that hangs before its exec may still hold a copy, which epoll would go on watching.
            let _ = way.gate.delete(&pipe.fd);
            if way.interrupted == Some(number) {
                way.interrupted = None;
            }
        }
        if pipes.iter().all(Option::is_none) {
            *writer = None;
        }
    }

    /// What follows from how far it went.
    fn settle(&mut self, which: usize, step: Step, epoll: &Epoll, log: &Log) {
        let Some(way) = self.ways.get_mut(which) else { return };
        way.state = match (step, way.state) {
            (Step::Full, State::Full) => State::Full,
            (Step::Full, State::Open | State::Busy) => match way.shut(epoll) {
                Ok(()) => State::Full,
                Err(errno) => {
                    // Nobody tells when there is room.
                    way.lose(errno);
                    State::Busy
                }
            },
            (Step::Done | Step::Spent, before) => {
                if before == State::Full {
                    way.open(epoll);
                }
                if step == Step::Spent { State::Busy } else { State::Open }
            }
        };
        way.tell(log);
    }

    fn ended(&mut self, number: u32, pid: Pid, epoll: &Epoll, log: &Log) {
        // One that closed both long ago may have given its place to another one.
        if self.writer(number).is_none_or(|writer| writer.pid != pid) {
            return;
        }
        for which in [0, 1] {
            let waits = |way: &Way| way.state == State::Full || way.interrupted.is_some();
            if self.ways.get(which).is_none_or(waits) {
                continue;
            }
            let step = self.pass_one(which, number);
            self.settle(which, step, epoll, log);
        }
        if let Some(writer) = self.writer(number) {
            writer.ended = Some(now());
            self.let_go(log);
        }
    }

    /// All of one pipe, as far as it goes in one turn.
    fn pass_one(&mut self, which: usize, number: u32) -> Step {
        if let Some(way) = self.ways.get_mut(which) {
            way.begin_turn();
        }
        for _ in 0..READ_AT_ONCE {
            match self.read(which, number) {
                (Step::Done, 1..) => {}
                (Step::Done, 0) => break,
                (step, _) => return step,
            }
        }
        self.ways.get_mut(which).map_or(Step::Done, Way::flush)
    }

    /// Whoever leaves children behind, again and again, does not cost fd3 all its descriptors.
    fn let_go(&mut self, log: &Log) {
        if self.writers.len() <= self.survived_max {
            return;
        }
        let (mut count, mut oldest) = (0, None::<(Millis, u32, SlotId, Pid)>);
        for (number, writer) in (0..).zip(&self.writers) {
            if let Some(Writer { ended: Some(at), slot, pid, .. }) = writer {
                count += 1;
                if oldest.is_none_or(|(first, ..)| *at < first) {
                    oldest = Some((*at, number, *slot, *pid));
                }
            }
        }
        if let Some((_, number, slot, pid)) = oldest.filter(|_| count > self.survived_max) {
            log.write_at(Level::Warn, "a former worker's children can write no more", &|line| {
                line.number("slot", slot).number("pid", pid);
            });
            self.close(number, 0);
            self.close(number, 1);
        }
    }

    /// The end of fd3: all that was written by now goes on, and half a line is one. Who does not read fd3's stdout or
    /// stderr is waited for, but not for long.
    #[inline(never)]
    pub(super) fn finish(&mut self, log: &Log) {
        let until = now().plus(PATIENCE);
        for which in [0, 1] {
            let rest = self.ways.get_mut(which).and_then(|way| way.interrupted.take());
            let rest = rest.into_iter().chain(0..self.writers.len() as u32);
            if rest.into_iter().all(|number| self.finish_one(which, number, until)) {
                self.insist(which, until, |outputs| {
                    outputs.ways.get_mut(which).map_or(Step::Done, Way::flush)
                });
            }
            let Some(way) = self.ways.get_mut(which) else { continue };
            if !way.batch.is_empty() {
                way.lose(Errno(libc::EAGAIN));
            }
            way.tell(log);
        }
    }

    /// Whether its stream takes more.
    fn finish_one(&mut self, which: usize, number: u32, until: Millis) -> bool {
        let mut read = 0;
        // There is room to read when that is done.
        if !self.insist(which, until, |outputs| outputs.pass_held(which, number)) {
            return false;
        }
        while read < READ_AT_LAST {
            let mut count = 0;
            let goes_on = self.insist(which, until, |outputs| {
                let (step, some) = outputs.read(which, number);
                count += some;
                step
            });
            if !goes_on {
                return false;
            }
            if count == 0 {
                break;
            }
            read += count;
        }
        let pipe = self.writer(number).and_then(|writer| writer.pipes.get_mut(which)?.as_mut());
        if let Some(pipe) = pipe {
            pipe.at_end = true;
        }
        self.insist(which, until, |outputs| outputs.pass_held(which, number))
    }

    /// Until it is done; `false` if it cannot be.
    fn insist(
        &mut self,
        which: usize,
        until: Millis,
        mut step: impl FnMut(&mut Outputs) -> Step,
    ) -> bool {
        loop {
            let Some(way) = self.ways.get_mut(which) else { return false };
            way.begin_turn();
            match step(self) {
                Step::Done => return true,
                Step::Spent => {}
                Step::Full => {
                    let way = self.ways.get(which);
                    let left = until.since(now()).0;
                    if left == 0 || !way.is_some_and(|way| way.sink.wait_for_room(left)) {
                        return false;
                    }
                }
            }
        }
    }
}
