//! One request and its answer, on their way through: bytes of a client in, bytes for a backend out, and back. Which
//! backend, when, and over what connection is decided elsewhere.
//!
//! The request: hearing its head -> `begin` (again with each backend that is tried) -> its body goes on as it comes ->
//! over. The answer: hearing its head, past interim ones -> its body goes on -> over; or, where another protocol was asked
//! for and granted, bytes both ways. An answer may be over before its request is: then neither connection serves again.
//!
//! What has been heard of a request is kept until it cannot be sent again anyway: it has become too long, or a backend
//! has begun to answer.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use super::http::Wrong;
use super::http::body::{Out as Framed, Relay, Then};
use super::http::head::{
    Asked, Framing, Kind, Limits, Request, RequestParser, Response, ResponseParser, Version,
};
use super::http::rewrite::{self, Back, Onward, Passage};

/// A request that is longer is not kept to be sent again.
const KEPT_MAX: usize = 64 << 10;
/// Interim answers to one request.
const INTERIM_MAX: u32 = 16;
/// Buffers that were larger are not used again.
const BUFFER_KEPT: usize = 16 << 10;

/// Where bytes go on to.
pub trait Out {
    fn put(&mut self, bytes: &[u8]);
    /// What is put there goes on behind everything that was put before.
    fn pending(&mut self) -> &mut Vec<u8>;
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn pending(&mut self) -> &mut Vec<u8> {
        self
    }
}

/// How far an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Over,
    /// From now on bytes go both ways as they are.
    Tunnel,
}

/// Why a backend's answer cannot be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// It is none.
    Wrong(Wrong),
    TooManyInterim,
    /// It ended before anything of it had come.
    Nothing,
    /// It ended in its head.
    InHead,
    /// It ended in its body, of which the client has seen the beginning.
    CutShort,
}

/// What an answer's head is made for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The client's connection would be kept.
    pub keep: bool,
    pub via: Option<&'a str>,
}

#[derive(Debug, Default)]
enum Answer {
    #[default]
    Head,
    Body(Relay),
    Over,
    Tunnel,
}

#[derive(Debug, Default)]
pub struct Exchange {
    requests: RequestParser,
    answers: ResponseParser,
    /// The request from its head on, or if it is not kept its head; then what came behind it.
    input: Vec<u8>,
    /// So much of it has gone on.
    taken: usize,
    is_kept: bool,
    request: Option<Request>,
    /// None before `begin`, and when the request is over.
    upload: Option<Relay>,
    is_sent: bool,
    /// The beginning of an answer's head.
    partial: Vec<u8>,
    answer: Answer,
    interim: u32,
    /// Of the answer, once its head was heard.
    response: Option<Response>,
    passage: Option<Passage>,
    /// The backend said more than its answer.
    is_too_much: bool,
    /// Of the body of the answer.
    data: u64,
}

impl Exchange {
    /// For the next request of the same connection. Whether some of it is there already.
    pub fn go_on(&mut self) -> bool {
        let end = self.taken.min(self.input.len());
        self.input.drain(..end);
        self.clear();
        !self.input.is_empty()
    }

    /// For another connection.
    pub fn recycle(&mut self) {
        for buffer in [&mut self.input, &mut self.partial] {
            buffer.clear();
            buffer.shrink_to(BUFFER_KEPT);
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.answers.clear();
        self.partial.clear();
        (self.taken, self.is_kept, self.is_sent, self.is_too_much) = (0, false, false, false);
        (self.request, self.upload, self.response, self.passage) = (None, None, None, None);
        (self.answer, self.interim, self.data) = (Answer::Head, 0, 0);
    }

    // The request.

    /// More of what the client says, before the head of its request is whole. Whether it is now.
    pub fn hear(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Wrong> {
        self.input.extend_from_slice(bytes);
        self.request = self.requests.parse(&self.input, limits)?;
        self.is_kept = true;
        Ok(self.request.is_some())
    }

    /// Something of a request has come, of which the client might want to hear.
    pub fn has_begun(&self) -> bool {
        self.requests.has_begun()
    }

    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The whole first line.
    pub fn line(&self) -> &[u8] {
        self.request.as_ref().map_or(&[], |request| request.line.of(&self.input))
    }

    /// Whether its body may be so long, as far as that is known already.
    pub fn judge_body(&self, most: u64) -> Result<(), Wrong> {
        let framing = self.request.as_ref().map_or(Framing::Empty, |request| request.framing);
        Relay::new(framing, Framed::AsItCame, most).map(drop)
    }

    /// The request from its beginning, to a backend: its head, and what is there of its body.
    pub fn begin(
        &mut self,
        onward: &Onward<'_>,
        most: u64,
        out: &mut impl Out,
    ) -> Result<(), Wrong> {
        let Some(request) = &self.request else { return Ok(()) };
        self.upload = Some(Relay::new(request.framing, Framed::AsItCame, most)?);
        (self.taken, self.is_sent) = (request.len, false);
        rewrite::request(request, self.requests.fields(), &self.input, onward, out.pending());
        self.upload_input(out)
    }

    fn upload_input(&mut self, out: &mut impl Out) -> Result<(), Wrong> {
        let Some(relay) = &mut self.upload else { return Ok(()) };
        let rest = self.input.get(self.taken..).unwrap_or_default();
        let (used, is_over) = pass(relay, rest, out)?;
        self.taken = self.taken.saturating_add(used);
        if is_over {
            (self.upload, self.is_sent) = (None, true);
        }
        Ok(())
    }

    /// More of what the client says, of which its body goes on.
    pub fn upload(&mut self, bytes: &[u8], out: &mut impl Out) -> Result<(), Wrong> {
        if self.is_kept && self.input.len().saturating_add(bytes.len()) > KEPT_MAX {
            self.keep_no_more();
        }
        let Some(relay) = self.upload.as_mut().filter(|_| !self.is_kept) else {
            self.input.extend_from_slice(bytes);
            return self.upload_input(out);
        };
        let (used, is_over) = pass(relay, bytes, out)?;
        if is_over {
            (self.upload, self.is_sent) = (None, true);
        }
        self.input.extend_from_slice(bytes.get(used..).unwrap_or_default());
        Ok(())
    }

    /// It cannot be sent again from now on. Its head stays.
    fn keep_no_more(&mut self) {
        let head = self.request.as_ref().map_or(0, |request| request.len);
        if self.is_kept && self.taken > head {
            self.input.drain(head..self.taken);
            self.taken = head;
        }
        self.is_kept = false;
    }

    /// All of it has gone on.
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// The client waits to be told that it may send the body.
    pub fn waits_to_continue(&self) -> bool {
        let waits = self.request.as_ref().is_some_and(|request| request.expects_continue);
        waits && self.interim == 0 && self.upload.as_ref().is_some_and(|relay| relay.data() == 0)
    }

    /// Whether it may be sent to another backend, `is_untouched` if the one before got nothing of it.
    pub fn may_be_sent_again(&self, is_untouched: bool) -> bool {
        let is_idempotent = self.request.is_some_and(|request| request.method.is_idempotent());
        self.is_kept && !self.has_answer_begun() && (is_untouched || is_idempotent)
    }

    // The answer.

    /// Something of an answer has come.
    pub fn has_answer_begun(&self) -> bool {
        self.interim > 0 || self.is_answered() || !self.partial.is_empty()
    }

    /// Its head has come, and was passed on.
    pub fn is_answered(&self) -> bool {
        !matches!(self.answer, Answer::Head)
    }

    /// What the backend says.
    pub fn answer(
        &mut self,
        bytes: &[u8],
        terms: &Terms<'_>,
        out: &mut impl Out,
    ) -> Result<Progress, Bad> {
        if let Answer::Head = self.answer {
            let mut held = core::mem::take(&mut self.partial);
            let rest = if held.is_empty() {
                bytes
            } else {
                held.extend_from_slice(bytes);
                &held
            };
            let used = self.answer_heads(rest, terms, out)?;
            let rest = rest.get(used..).unwrap_or_default();
            if let Answer::Head = self.answer {
                self.partial = rest.to_vec();
                return Ok(Progress::More);
            }
            return self.answer_rest(rest, out);
        }
        self.answer_rest(bytes, out)
    }

    /// Interim ones, and the one that counts. How many bytes they have.
    fn answer_heads(
        &mut self,
        bytes: &[u8],
        terms: &Terms<'_>,
        out: &mut impl Out,
    ) -> Result<usize, Bad> {
        let Some(request) = self.request else { return Err(Bad::Nothing) };
        let asked = Asked::by(&request);
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let heard = self.answers.parse(rest, &Limits::USUAL, asked).map_err(Bad::Wrong)?;
            let Some(response) = heard else { return Ok(used) };
            let keep = terms.keep && self.is_sent;
            let passage = Passage::of(&response, request.version, request.persistent, keep);
            let back = Back { via: terms.via, cookie: None };
            let fields = self.answers.fields();
            let is_told = response.kind != Kind::Interim || request.version == Version::Http11;
            if is_told {
                let to = out.pending();
                rewrite::response(&response, fields, rest, request.version, passage, &back, to);
            }
            self.answers.clear();
            used = used.saturating_add(response.len);
            self.answer = match response.kind {
                Kind::Interim => {
                    self.interim = self.interim.saturating_add(1);
                    if self.interim > INTERIM_MAX {
                        return Err(Bad::TooManyInterim);
                    }
                    continue;
                }
                Kind::Switch => Answer::Tunnel,
                Kind::Final => {
                    let relay = Relay::new(response.framing, passage.out, u64::MAX);
                    Answer::Body(relay.map_err(Bad::Wrong)?)
                }
            };
            (self.response, self.passage) = (Some(response), Some(passage));
            self.keep_no_more();
            return Ok(used);
        }
    }

    fn answer_rest(&mut self, bytes: &[u8], out: &mut impl Out) -> Result<Progress, Bad> {
        match &mut self.answer {
            Answer::Head => Ok(Progress::More),
            Answer::Tunnel => {
                self.data = self.data.saturating_add(bytes.len() as u64);
                out.put(bytes);
                Ok(Progress::Tunnel)
            }
            Answer::Body(relay) => {
                let passed = pass(relay, bytes, out);
                self.data = relay.data();
                let (used, is_over) = passed.map_err(|_| Bad::CutShort)?;
                if !is_over {
                    return Ok(Progress::More);
                }
                (self.answer, self.is_too_much) = (Answer::Over, used < bytes.len());
                Ok(Progress::Over)
            }
            Answer::Over => {
                self.is_too_much |= !bytes.is_empty();
                Ok(Progress::Over)
            }
        }
    }

    /// The backend has ended its connection.
    pub fn answer_ended(&mut self, out: &mut impl Out) -> Result<Progress, Bad> {
        let has_begun = self.has_answer_begun();
        match &mut self.answer {
            Answer::Head if has_begun => Err(Bad::InHead),
            Answer::Head => Err(Bad::Nothing),
            Answer::Tunnel => Ok(Progress::Tunnel),
            Answer::Over => Ok(Progress::Over),
            Answer::Body(relay) => {
                relay.closed().map_err(|_| Bad::CutShort)?;
                out.put(relay.tail());
                (self.answer, self.is_too_much) = (Answer::Over, true);
                Ok(Progress::Over)
            }
        }
    }

    /// What the client said behind its request, for who hears bytes as they are.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.input.split_off(self.taken.min(self.input.len()));
        self.is_sent = true;
        rest
    }

    /// The client has said more than its request.
    pub fn has_more(&self) -> bool {
        self.input.len() > self.taken
    }

    pub fn status(&self) -> Option<u16> {
        self.response.map(|response| response.status)
    }

    /// Bytes of the answer's body.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// To who cannot see by itself where an answer ends that is cut short.
    pub fn ends_by_closing(&self) -> bool {
        self.passage.is_some_and(|passage| passage.out == Framed::Data)
    }

    /// The client's connection serves another request.
    pub fn keeps_client(&self) -> bool {
        self.is_sent && self.passage.is_some_and(|passage| passage.persistent)
    }

    /// The backend's connection serves another request.
    pub fn keeps_backend(&self) -> bool {
        let is_whole = self.is_sent && !self.is_too_much && matches!(self.answer, Answer::Over);
        is_whole && self.response.is_some_and(|response| response.persistent)
    }

    /// After an answer of our own before anything was sent: the connection can go on where there is no body.
    pub fn is_without_body(&self) -> bool {
        self.request.is_some_and(|request| request.framing == Framing::Empty)
    }

    /// The request has had its answer, from us.
    pub fn answered_by_us(&mut self) {
        let head = self.request.as_ref().map_or(self.input.len(), |request| request.len);
        (self.taken, self.upload, self.answer) = (head, None, Answer::Over);
    }
}

/// Passes on what there is of a body. How many bytes of the input are of it, and whether it is over.
fn pass(relay: &mut Relay, input: &[u8], out: &mut impl Out) -> Result<(usize, bool), Wrong> {
    let mut used = 0_usize;
    loop {
        let rest = input.get(used..).unwrap_or_default();
        let step = relay.step(rest)?;
        if !step.before.as_bytes().is_empty() {
            out.pending().extend_from_slice(step.before.as_bytes());
        }
        if step.pass > 0 {
            out.put(rest.get(..step.pass).unwrap_or_default());
        }
        if !step.after.is_empty() {
            out.pending().extend_from_slice(step.after);
        }
        let moved = step.pass.saturating_add(step.skip);
        used = used.saturating_add(moved);
        match step.then {
            Then::End => {
                out.pending().extend_from_slice(relay.tail());
                return Ok((used, true));
            }
            Then::More if used >= input.len() || moved == 0 => return Ok((used, false)),
            Then::More => {}
        }
    }
}

#[cfg(test)]
mod tests;
