//! `--metrics`: answers scrapers and probes, each one request and never more. Decides nothing.
//!
//! Anybody who can connect is answered, so what one may cost is bounded: so many clients at once, so much of a
//! request, an answer that does not grow with the slots. Nobody is waited for, and who is slow is in nobody's way:
//! for whoever comes next the oldest one goes.

use rustix::fd::{AsFd, OwnedFd, RawFd};

use super::door::{Door, Tokens};
use super::{EventLoop, Token, now};
use crate::error::{Errno, Error};
use crate::protocol::metrics::{
    self, EXPOSITION, Exposition, HEAD_MAX, ListenerLine, PLAIN, Page, Refusal, Request,
};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::{queue, stream};

/// Without it nothing here has anything to do.
pub(super) const HERE: bool = cfg!(feature = "metrics");

pub(super) type Metrics = Door<Stage>;

const TOKENS: Tokens = Tokens(Token::Metrics, Token::Scraper);

pub(super) enum Stage {
    /// What it said of its request so far.
    Asking(Vec<u8>),
    /// What it has not taken of the answer.
    Answered(Vec<u8>),
}

enum Heard {
    Nothing,
    Gone,
    Request(Result<Request, Refusal>),
}

impl EventLoop {
    #[inline(never)]
    pub(super) fn open_metrics(&mut self, lowest: RawFd) -> Result<(), Error> {
        let Some(listen) = self.loader.fixed.metrics.as_ref().filter(|_| HERE) else {
            return Ok(());
        };
        let (door, address) =
            Door::at(&listen.address, &listen.options, TOKENS, lowest, &self.epoll)?;
        self.log.metrics(&address);
        self.metrics = Some(door);
        Ok(())
    }

    /// Those that are here first: whoever is done makes room for who comes.
    pub(super) fn answer_scrapers(&mut self, due: &[Token]) {
        if !HERE || self.metrics.is_none() {
            return;
        }
        for token in due {
            if let Token::Scraper(number) = token {
                self.answer_scraper(*number);
            }
        }
        let Some(metrics) = &mut self.metrics else { return };
        if !due.contains(&Token::Metrics) {
            metrics.try_again(&self.epoll);
        } else if let Err(errno) = metrics.let_all_in(&self.epoll, Metrics::let_in) {
            self.log.cannot_accept_scraper(errno);
        }
    }

    #[inline(never)]
    fn answer_scraper(&mut self, number: u32) {
        let Some(metrics) = &mut self.metrics else { return };
        let asked = match metrics.hear(number) {
            Heard::Nothing => return,
            Heard::Gone => return metrics.dismiss(number, &self.epoll),
            Heard::Request(asked) => asked,
        };
        let answer = match asked {
            Ok(request) => self.page(request),
            Err((status, why)) => metrics::answer(status, PLAIN, &format!("{why}\n"), true),
        };
        if let Some(metrics) = &mut self.metrics {
            metrics.answer(&self.epoll, number, answer.into_bytes());
        }
    }

    fn page(&self, asked: Request) -> String {
        let (status, kind, body) = match asked.page {
            Page::Metrics => (200, EXPOSITION, self.exposition()),
            Page::Healthy => (200, PLAIN, String::from("well\n")),
            Page::Ready => {
                let (ready, text) = metrics::readiness(&self.supervisor.overview());
                (if ready { 200 } else { 503 }, PLAIN, text)
            }
        };
        metrics::answer(status, kind, &body, asked.with_body)
    }

    fn exposition(&self) -> String {
        let all = self.listeners.as_ref().map_or(&[][..], |listeners| &listeners.all);
        let addresses: Vec<_> = all.iter().map(|one| one.address.to_string()).collect();
        let mut lines: Vec<ListenerLine<'_>> = Vec::new();
        for (listener, address) in all.iter().zip(&addresses) {
            let (fd, name) = (3 + listener.place, listener.name.as_str());
            let queue = listener.queue().map(|queue| (queue.len, queue.max));
            let drops = queue::drops(listener.fd.as_fd());
            // However many slots there are, one line tells of all their sockets.
            match lines.last_mut() {
                Some(line) if line.fd == fd => line.add(queue, drops),
                Some(_) | None => lines.push(ListenerLine { fd, name, address, queue, drops }),
            }
        }
        metrics::exposition(&Exposition {
            version: env!("CARGO_PKG_VERSION"),
            uptime: now().since(self.ledger.begun),
            overview: self.supervisor.overview(),
            population: self.supervisor.population(),
            counts: self.counts,
            listeners: &lines,
            spread: self.steering.line(),
        })
    }

    /// The end: who still waits sees the connection end.
    pub(super) fn close_metrics(&mut self) {
        if let Some(metrics) = self.metrics.take() {
            metrics.close();
        }
    }
}

impl Metrics {
    fn let_in(&mut self, fd: OwnedFd, heard: u32, epoll: &Epoll) -> Result<(), Errno> {
        if self.is_full() {
            match self.oldest(heard, |_| true) {
                Some(oldest) => self.dismiss(oldest, epoll),
                None => return Ok(()),
            }
        }
        self.seat(fd, Stage::Asking(Vec::new()), epoll)
    }

    fn hear(&mut self, number: u32) -> Heard {
        let Some(client) = self.client(number) else { return Heard::Nothing };
        let head = match &mut client.stage {
            Stage::Asking(head) => head,
            Stage::Answered(rest) => {
                return match stream::send_some(&client.fd, rest) {
                    Ok(count) => {
                        rest.drain(..count.min(rest.len()));
                        if rest.is_empty() { Heard::Gone } else { Heard::Nothing }
                    }
                    Err(Errno(libc::EAGAIN | libc::EINTR)) => Heard::Nothing,
                    Err(_) => Heard::Gone,
                };
            }
        };
        let mut room = [0; 1024];
        let left = HEAD_MAX.saturating_sub(head.len()).min(room.len());
        match stream::receive(&client.fd, room.get_mut(..left).unwrap_or_default()) {
            Err(Errno(libc::EAGAIN)) => Heard::Nothing,
            Err(_) | Ok(0) => Heard::Gone,
            Ok(count) => {
                head.extend_from_slice(room.get(..count).unwrap_or_default());
                metrics::hear(head).map_or(Heard::Nothing, Heard::Request)
            }
        }
    }

    /// What it does not take at once it gets when there is room.
    fn answer(&mut self, epoll: &Epoll, number: u32, text: Vec<u8>) {
        let Some(client) = self.client(number) else { return };
        client.stage = Stage::Answered(text);
        match self.hear(number) {
            Heard::Gone => self.dismiss(number, epoll),
            Heard::Nothing | Heard::Request(_) => self.watch(number, Interest::OUT, epoll),
        }
    }
}
