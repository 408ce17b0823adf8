//! What can be wrong with what a peer says: one word each, with the status that answers it and the words that tell it.

/// Why a head, a body or a PROXY header is refused. Whatever is refused ends its connection: what follows is never read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Not a method, a target and a version with one space between each.
    RequestLine,
}

impl Wrong {
    /// What a client is told whose request it is: 400, 405, 413, 414, 417, 431, 501 or 505. Of a backend it is always 502.
    pub fn status(self) -> u16 {
        todo!()
    }

    /// A short word, of a small set: for metrics and the log.
    pub fn label(self) -> &'static str {
        todo!()
    }

    /// What was wrong, for people.
    pub fn why(self) -> &'static str {
        todo!()
    }
}
