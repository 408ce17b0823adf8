//! What goes on to the backend and to the client: heads are written anew, never copied whole. Fields of one hop end here,
//! framing is our own, and what is told of the client is told once, however often a request is tried.

mod copy;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub(super) use copy::decimal;
pub use request::{Forwarded, Onward, request};
pub use response::{Back, Passage, response};
