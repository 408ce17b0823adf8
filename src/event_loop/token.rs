//! What an epoll event is about, as the 64 bits that the kernel carries.

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
    /// The paths of listeners.
    Paths,
    /// Somebody connects to the control socket.
    Control,
    /// A client of the control socket, by its number.
    Client(u32),
    Unknown,
}

impl Token {
    pub(super) fn bits(self) -> u64 {
        let (kind, number) = match self {
            Token::Unknown => (0, 0),
            Token::Signals => (1, 0),
            Token::Reports => (2, 0),
            Token::Notify(pid) => (3, pid.0 as u32),
            Token::Listener(index) => (4, index),
            Token::Paths => (5, 0),
            Token::Control => (6, 0),
            Token::Client(number) => (7, number),
        };
        kind << 32 | u64::from(number)
    }

    pub(super) fn from_bits(bits: u64) -> Token {
        let number = bits as u32;
        match bits >> 32 {
            1 => Token::Signals,
            2 => Token::Reports,
            3 => Token::Notify(Pid(number as i32)),
            4 => Token::Listener(number),
            5 => Token::Paths,
            6 => Token::Control,
            7 => Token::Client(number),
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
        for token in [Token::Signals, Token::Reports, pid, listener, Token::Paths, control, client]
        {
            assert_eq!(Token::from_bits(token.bits()), token);
        }
    }
}
