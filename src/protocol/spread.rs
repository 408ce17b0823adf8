//! How connections are spread, as it is told.

use alloc::format;
use alloc::string::String;

/// Of slots that have sockets of their own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpreadLine<'a> {
    /// What chooses the socket: `ebpf`, `cbpf` or `hash`; `None` if the slots share theirs.
    pub steering: Option<&'a str>,
    /// Why it is no better way.
    pub why: Option<&'a str>,
}

impl SpreadLine<'_> {
    /// What `--spread` was.
    pub fn mode(&self) -> &'static str {
        if self.steering.is_some() { "worker" } else { "shared" }
    }

    /// In words; nothing where there is nothing to tell.
    pub fn words(&self) -> String {
        let how = match self.steering {
            None => return String::new(),
            Some("ebpf") => "worker: by turns (eBPF)",
            Some("cbpf") => "worker: at random (classic BPF)",
            Some(_) => "worker: by the kernel's hash",
        };
        match self.why {
            Some(why) => format!("{how}: {why}"),
            None => how.into(),
        }
    }
}
