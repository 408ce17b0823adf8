//! What an epoll event is about, as the 64 bits that the kernel carries.

use crate::sys::epoll::{Event, Interest};
use crate::units::Pid;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Signals,
    /// Children that never became COMMAND.
    Reports,
    /// A worker's notify socket.
    Notify(Pid),
    /// A listener, by its place: only its death wakes us.
    Listener(u32),
    /// A connection waits at a listener.
    Demand,
    /// The paths of listeners.
    Paths,
    /// Somebody connects to the control socket.
    Control,
    /// A client of the control socket, by its number.
    Client(u32),
    /// A stored descriptor, by its number: only its end wakes us.
    Stored(i32),
    /// Somebody connects for metrics.
    Metrics,
    /// One who asks for them, by its number.
    Scraper(u32),
    /// Workers wrote to stdout (0) or stderr (1).
    Output(u32),
    /// fd3's own has room again.
    Room(u32),
    Unknown,
}

impl Token {
    pub(super) fn bits(self) -> u64 {
        let (kind, number) = match self {
            // No descriptor's own: what a listener's event turns out to be.
            Token::Unknown | Token::Demand => (0, 0),
            Token::Signals => (1, 0),
            Token::Reports => (2, 0),
            Token::Notify(pid) => (3, pid.0 as u32),
            Token::Listener(index) => (4, index),
            Token::Paths => (5, 0),
            Token::Control => (6, 0),
            Token::Client(number) => (7, number),
            Token::Stored(number) => (8, number as u32),
            Token::Metrics => (9, 0),
            Token::Scraper(number) => (10, number),
            Token::Output(stream) => (11, stream),
            Token::Room(stream) => (12, stream),
        };
        kind << 32 | u64::from(number)
    }

    /// What this event is about.
    pub(super) fn of(event: &Event) -> Token {
        let flags = event.flags;
        let token = Token::from_bits(event.data.u64());
        // A dead one can be read from, too; and errors that nobody has fetched hide nothing.
        let dead = flags.intersects(Interest::HUP | Interest::RDHUP);
        let demand = matches!(token, Token::Listener(_)) && flags.contains(Interest::IN) && !dead;
        if demand { Token::Demand } else { token }
    }

    fn from_bits(bits: u64) -> Token {
        let number = bits as u32;
        match bits >> 32 {
            1 => Token::Signals,
            2 => Token::Reports,
            3 => Token::Notify(Pid(number as i32)),
            4 => Token::Listener(number),
            5 => Token::Paths,
            6 => Token::Control,
            7 => Token::Client(number),
            8 => Token::Stored(number as i32),
            9 => Token::Metrics,
            10 => Token::Scraper(number),
            11 => Token::Output(number),
            12 => Token::Room(number),
            _ => Token::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let pid = Token::Notify(Pid(i32::MAX));
        let client = Token::Client(u32::MAX);
        let (listener, control) = (Token::Listener(255), Token::Control);
        let (stored, scraper) = (Token::Stored(i32::MAX), Token::Scraper(u32::MAX));
        let plain = [Token::Signals, Token::Reports, Token::Paths, Token::Metrics, control];
        let output = [Token::Output(0), Token::Output(1), Token::Room(0), Token::Room(1)];
        let numbered = [pid, listener, client, stored, scraper];
        for token in plain.into_iter().chain(numbered).chain(output) {
            assert_eq!(Token::from_bits(token.bits()), token);
        }
    }
}
