//! The control socket: hears orders, answers whoever waits for one. Decides nothing but who is heard.
//!
//! A client costs a descriptor and a line's worth of memory, and there is a limit to both. Nothing here
//! waits: a client that is silent, deaf or gone holds nobody up and wakes nobody.

use rustix::fd::{AsFd, OwnedFd, RawFd};

use super::children::{self, OVERFLOW_USER};
use super::door::{CLIENTS_MAX, Door, Tokens};
use super::status::{Scene, Tale, Told};
use super::{EventLoop, Token, log, now, process};
use crate::error::{Errno, Error};
use crate::plan::Control as Plan;
use crate::protocol::address::{Address, Options, UnixKind, UnixName};
use crate::protocol::control::{self, CONTROL_LINE_MAX, Conditions, Order, Request, Verdict, Wait};
use crate::protocol::status::Form;
use crate::supervisor::{Event, Fact, Outcome, Terms};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::stream::{self, Peer};
use crate::units::{Asker, CommandId, Millis, Pid};

/// How long clients may take to end that have heard that everything does: far longer than they do, on a machine that
/// stalls as well.
const PARTING: Millis = Millis::seconds(2);

/// For a further client than it has room for the oldest goes that has not asked yet, if there is one.
pub(super) type Control = Door<Stage>;

pub(super) const TOKENS: Tokens = Tokens(Token::Control, Token::Client);

#[derive(Clone)]
pub(super) enum Stage {
    /// What it said of its line so far.
    Asking(Vec<u8>),
    /// For what comes of it. Only its end wakes us.
    Waiting(Order, Wait),
    /// How things stand, as it takes it.
    Listening(Box<Tale>),
}

/// What came of listening to a client.
enum Heard {
    Nothing,
    Gone,
    Room,
    Line(Result<Request, String>),
}

impl EventLoop {
    /// At the start. An address that was asked for must be had; one that was not is a comfort.
    #[inline(never)]
    pub(super) fn open_control(&mut self, lowest: RawFd) -> Result<(), Error> {
        let opened = match &self.loader.fixed.control {
            Plan::Nowhere => return Ok(()),
            Plan::At(listen) => {
                Control::open(&listen.address, &listen.options, lowest, &self.epoll)?
            }
            Plan::Automatic => match Control::open_automatic(self.own_pid, lowest, &self.epoll) {
                Ok(opened) => opened,
                Err(error) => {
                    self.log.no_control(&error);
                    return Ok(());
                }
            },
        };
        let (control, address) = opened;
        self.log.control(&address);
        self.control = Some(control);
        Ok(())
    }

    /// Clients that have something to say first: whoever is gone makes room for who comes.
    #[inline(never)]
    pub(super) fn hear_clients(&mut self, due: &[Token]) {
        for token in due {
            if let Token::Client(number) = token {
                self.hear(*number);
            }
        }
        let Some(control) = &mut self.control else { return };
        if !due.contains(&Token::Control) {
            control.try_again(&self.epoll);
        } else if let Err(errno) = control.let_all_in(&self.epoll, Control::let_in) {
            self.log.cannot_accept(errno);
        }
    }

    #[inline(never)]
    fn hear(&mut self, number: u32) {
        let Some(control) = &mut self.control else { return };
        let epoll = &self.epoll;
        match control.hear(number) {
            Heard::Nothing => {}
            Heard::Gone => control.dismiss(number, epoll),
            Heard::Room => self.tell_status(number),
            Heard::Line(Ok(Request::Status(form))) => control.begin_to_tell(epoll, number, form),
            Heard::Line(Err(wrong)) => {
                let wrong = control::answer(Verdict::Error, &wrong);
                control.answer(epoll, number, &wrong);
            }
            Heard::Line(Ok(Request::LogLevel(level))) => {
                let now = level.unwrap_or(self.log.level());
                let before = self.log.set_level(now);
                control.answer(epoll, number, &control::level(now, before));
            }
            Heard::Line(Ok(Request::Reload(wait, Conditions { if_generation: None, command })))
                if command.is_empty() =>
            {
                let asker = control.asks(epoll, number, Order::Reload, wait);
                self.tell(Event::ReloadAsked { asker });
            }
            Heard::Line(Ok(Request::Reload(wait, conditions))) => {
                self.reload_ordered(number, wait, conditions);
            }
            Heard::Line(Ok(Request::Stop(how, wait))) => {
                // Who waits sees the end itself, see `close_control`.
                control.asks(epoll, number, Order::Stop, wait);
                self.tell(Event::StopAsked { how });
            }
            Heard::Line(Ok(Request::Scale(workers, wait))) => {
                let asker = control.asks(epoll, number, Order::Scale, wait);
                self.tell(Event::ScaleAsked { workers, asker });
            }
            #[cfg(feature = "upgrade")]
            Heard::Line(Ok(Request::Upgrade(program, wait))) => {
                if self.upgrades.is_busy() {
                    let busy = control::answer(Verdict::Refused, &"another one is tried just now");
                    return control.answer(epoll, number, &busy);
                }
                let asker = control.asks(epoll, number, Order::Upgrade, wait);
                self.upgrade_named(program, asker);
            }
            #[cfg(not(feature = "upgrade"))]
            Heard::Line(Ok(Request::Upgrade(..))) => {}
            Heard::Line(Ok(Request::Restart(slot, wait))) => {
                let asker = control.asks(epoll, number, Order::Restart(slot), wait);
                self.tell(Event::RestartAsked { slot, asker });
            }
        }
    }

    /// That it is refused is told also to those who do not wait for what comes of it.
    fn reload_ordered(&mut self, number: u32, wait: Wait, conditions: Conditions) {
        let Some(control) = &mut self.control else { return };
        let waits = if wait == Wait::No { Wait::ForTheOutcome } else { wait };
        let asker = control.asks(&self.epoll, number, Order::Reload, waits);
        let Conditions { if_generation, command: words } = conditions;
        let command = (!words.is_empty()).then_some(CommandId(u64::from(number)));
        if let Some(id) = command {
            self.loader.commands.offer(id, words);
        }
        self.tell(Event::ReloadOrdered { asker, terms: Terms { if_generation, command } });
        self.loader.commands.keep_only(self.supervisor.wanted_command());
        if let (Wait::No, Some(control)) = (wait, &mut self.control) {
            let asked = control::answer(Verdict::Ok, &"asked for");
            control.answer(&self.epoll, number, &asked);
        }
    }

    /// Tells whoever asked what came of it.
    pub(super) fn answer(&mut self, asker: Asker, outcome: &Outcome) {
        if let (Some(control), Ok(number)) = (&mut self.control, u32::try_from(asker.0))
            && let Some(Stage::Waiting(order, _)) = control.client(number).map(|one| &one.stage)
        {
            let line = control::came(*order, outcome);
            control.answer(&self.epoll, number, &line);
        }
    }

    /// Tells those who wait, and want to know how far it is, what the log tells with -v. What came of it they
    /// are told anyway.
    pub(super) fn progress(&self, fact: &Fact, heard: Option<&children::Heard>) {
        let Some(control) = &self.control else { return };
        let mut line = String::new();
        for client in control.clients() {
            let last = matches!(fact, Fact::ReloadEnded { .. } | Fact::RenewalEnded { .. });
            if let (Stage::Waiting(_, Wait::WithProgress), false) = (&client.stage, last) {
                if line.is_empty() {
                    line = log::text(fact, heard);
                }
                // Who does not read misses lines; there is always room for the last one.
                stream::send_where_much_room(&client.fd, line.as_bytes());
            }
        }
    }

    /// The end of everything: who waited for it is told, and sees the connection end when the process has.
    /// Others do at once. With PID 1 everybody in its namespace ends, perhaps before they could tell what they
    /// heard: those are waited for.
    pub(super) fn close_control(&mut self) {
        let deadline = now().plus(PARTING);
        for client in self.control.take().map(Control::close).unwrap_or_default() {
            if let (Stage::Waiting(Order::Stop, _), Some(status)) = (client.stage, self.finished) {
                // Who is gone need not know.
                let _ = stream::send(&client.fd, control::stopped(status).as_bytes());
                if self.own_pid == Pid(1) {
                    stream::part(&client.fd, deadline.0);
                }
                self.parting.push(client.fd);
            }
        }
    }
}

impl Control {
    /// At the first of its names that is free: PIDs of another PID namespace may be the same, and their
    /// abstract names, which go by the network namespace, taken.
    #[inline(never)]
    fn open_automatic(pid: Pid, lowest: RawFd, epoll: &Epoll) -> Result<(Control, Address), Error> {
        let mut last = Err(Error::refused("make", "a control socket", "it has no name"));
        for name in control::names(pid) {
            let name = UnixName::Abstract(name.into_bytes());
            let address = Address::Unix { kind: UnixKind::Stream, name };
            last = Control::open(&address, &Options::default(), lowest, epoll);
            let taken = |error: &Error| error.errno() == Some(Errno(libc::EADDRINUSE));
            if !last.as_ref().is_err_and(taken) {
                break;
            }
        }
        last
    }

    fn open(
        address: &Address,
        options: &Options,
        lowest: RawFd,
        epoll: &Epoll,
    ) -> Result<(Control, Address), Error> {
        Door::at(address, options, TOKENS, lowest, epoll)
    }

    #[inline(never)]
    fn let_in(&mut self, fd: OwnedFd, heard: u32, epoll: &Epoll) -> Result<(), Errno> {
        let own = process::own_user();
        if !is_heard(stream::peer(fd.as_fd())?, own) {
            let why = format_args!("not permitted: only user {own} and root are answered");
            return stream::send(fd, control::answer(Verdict::Error, &why).as_bytes());
        }
        if self.is_full() && !self.evict(heard, epoll) {
            let why = format_args!("busy: {CLIENTS_MAX} clients are connected");
            return stream::send(fd, control::answer(Verdict::Error, &why).as_bytes());
        }
        self.seat(fd, Stage::Asking(Vec::new()), epoll)
    }

    /// Sends the oldest one away that was listened to and did not ask, or else the one that takes its time to
    /// hear how things stand. No time limit: it costs nothing as long as nobody else comes.
    fn evict(&mut self, heard: u32, epoll: &Epoll) -> bool {
        if let Some(number) = self.oldest(heard, |stage| matches!(stage, Stage::Asking(_))) {
            let why =
                format_args!("busy: {CLIENTS_MAX} clients are connected, and you did not ask");
            self.answer(epoll, number, &control::answer(Verdict::Error, &why));
            return true;
        }
        let slow = self.oldest(heard, |stage| matches!(stage, Stage::Listening(_)));
        slow.is_some_and(|number| {
            self.dismiss(number, epoll);
            true
        })
    }

    fn hear(&mut self, number: u32) -> Heard {
        let Some(client) = self.client(number) else { return Heard::Nothing };
        let line = match &mut client.stage {
            Stage::Asking(line) => line,
            Stage::Waiting(..) => return Heard::Gone,
            Stage::Listening(_) => return Heard::Room,
        };
        let mut room = [0; CONTROL_LINE_MAX + 1];
        match stream::receive(&client.fd, &mut room) {
            Err(Errno(libc::EAGAIN)) => Heard::Nothing,
            Err(_) => Heard::Gone,
            Ok(0) if line.is_empty() => Heard::Gone,
            Ok(0) => Heard::Line(Err("half a line: its end is missing".to_string())),
            Ok(count) => {
                line.extend_from_slice(room.get(..count).unwrap_or_default());
                control::hear(line).map_or(Heard::Nothing, Heard::Line)
            }
        }
    }

    /// Who does not wait is answered at once. What others say from now on does not count; that they have no more
    /// to say does not either (a hangup is told unasked, half of one is not).
    fn asks(&mut self, epoll: &Epoll, number: u32, order: Order, wait: Wait) -> Option<Asker> {
        if wait == Wait::No {
            self.answer(epoll, number, &control::answer(Verdict::Ok, &"asked for"));
            return None;
        }
        self.client(number)?.stage = Stage::Waiting(order, wait);
        self.watch(number, Interest::empty(), epoll);
        Some(Asker(u64::from(number)))
    }

    /// The rest comes when the loop learns that there is room, which is at once.
    fn begin_to_tell(&mut self, epoll: &Epoll, number: u32, form: Form) {
        if let Some(client) = self.client(number) {
            client.stage = Stage::Listening(Box::new(Tale::new(form)));
        }
        self.watch(number, Interest::OUT, epoll);
    }

    pub(super) fn go_on_telling(&mut self, epoll: &Epoll, number: u32, scene: &Scene<'_>) {
        let Some(client) = self.client(number) else { return };
        let Stage::Listening(tale) = &mut client.stage else { return };
        match tale.go_on(&client.fd, scene) {
            Told::Some => {}
            Told::All | Told::Gone => self.dismiss(number, epoll),
        }
    }

    /// One answer, and the end.
    pub(super) fn answer(&mut self, epoll: &Epoll, number: u32, text: &str) {
        if let Some(client) = self.client(number) {
            // Who is gone needs none.
            let _ = stream::send(&client.fd, text.as_bytes());
        }
        self.dismiss(number, epoll);
    }
}

/// Where every unknown user of a user namespace looks like ours, it has to be somebody of our PID
/// namespace.
fn is_heard(peer: Peer, own: u32) -> bool {
    let known = peer.user != OVERFLOW_USER || peer.pid != 0;
    peer.user == 0 || known && peer.user == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_user_and_root_are_heard() {
        let table = [
            (0, 7, 1000, true),
            (0, 0, 1000, true),
            (1000, 7, 1000, true),
            (1000, 0, 1000, true),
            (1001, 7, 1000, false),
            (1000, 7, 0, false),
            (OVERFLOW_USER, 7, OVERFLOW_USER, true),
            (OVERFLOW_USER, 0, OVERFLOW_USER, false),
            (OVERFLOW_USER, 7, 0, false),
        ];
        for (user, pid, own, heard) in table {
            assert_eq!(is_heard(Peer { pid, user }, own), heard, "{user} {pid} {own}");
        }
    }
}
