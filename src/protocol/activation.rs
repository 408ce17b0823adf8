//! How a worker is told of its listeners: the variables of systemd and of everyone else who ever passed
//! a socket (`--protocol`). Pure: makes the strings, before the fork; the PID is filled in after it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

use super::address::{Address, Ip};
use super::whole;
use crate::units::{Generation, Pid, SlotId};

/// The first descriptor that is passed (sd_listen_fds(3)).
pub const FIRST_FD: i32 = 3;

/// One convention for telling a program about its sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// systemd: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES.
    Listen,
    /// Nothing but the descriptors.
    Plain,
    /// Server::Starter: SERVER_STARTER_PORT, SERVER_STARTER_GENERATION.
    Starter,
    /// Stripe's einhorn: EINHORN_FD_COUNT, EINHORN_FD_0, ...
    Einhorn,
    /// socketmaster: EINHORN_FDS, SOCKETMASTER_PID.
    Socketmaster,
    /// goatflap and catflap: LISTEN_FD, GOAT_PROC.
    Goatflap,
    /// gograceful: LISTEN_FDS, GOGRACEFUL_PPID.
    Gograceful,
    /// goagain: GOAGAIN_FD, GOAGAIN_NAME, GOAGAIN_PPID, GOAGAIN_SIGNAL.
    Goagain,
    /// nginx: NGINX="3;4;".
    Nginx,
    /// php-fpm: FPM_SOCKETS="127.0.0.1:9000=3".
    PhpFpm,
}

/// Every protocol by the name that `--protocol` takes.
pub const PROTOCOLS: &[(&str, Protocol)] = &[
    ("listen", Protocol::Listen),
    ("plain", Protocol::Plain),
    ("starter", Protocol::Starter),
    ("einhorn", Protocol::Einhorn),
    ("socketmaster", Protocol::Socketmaster),
    ("goatflap", Protocol::Goatflap),
    ("gograceful", Protocol::Gograceful),
    ("goagain", Protocol::Goagain),
    ("nginx", Protocol::Nginx),
    ("php-fpm", Protocol::PhpFpm),
];

/// The protocols asked for; each at most once.
pub type Protocols = Vec<Protocol>;

/// Whether a program that reads one of these expects O_NONBLOCK on what it inherits: nginx counts on
/// what an older nginx set, and of two processes that are woken for one client the slower one would
/// hang in accept(2). Who else passes a socket passes it blocking.
pub fn wants_nonblocking(protocols: &[Protocol]) -> bool {
    protocols.contains(&Protocol::Nginx)
}

/// One listener as it is told of: in order, the first is on [`FIRST_FD`].
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub name: &'a str,
    pub address: &'a Address,
}

/// Who is told.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    pub slot: SlotId,
    pub generation: Generation,
    /// How many workers were started before it, and itself: never used again.
    pub serial: u64,
    /// fd3's own PID.
    pub parent: Pid,
}

/// The variables for one worker.
#[derive(Debug, Default)]
pub struct Variables {
    /// `NAME=VALUE`, complete.
    pub set: Vec<String>,
    /// `NAME`s whose value is the worker's own PID.
    pub own_pid: Vec<&'static str>,
}

/// What fd3 itself may have inherited of these conventions; none of it is a worker's business. A name
/// that ends in `_` stands for all that begin with it.
const NEVER_PASSED_ON: &str = "\
    LISTEN_PID LISTEN_PIDFDID LISTEN_FDS LISTEN_FDNAMES LISTEN_FDS_FIRST_FD LISTEN_FD \
    NOTIFY_SOCKET NOTIFY_FD WATCHDOG_PID WATCHDOG_USEC FDSTORE SERVER_STARTER_PORT \
    SERVER_STARTER_GENERATION EINHORN_ SOCKETMASTER_ GOAT_PROC GOGRACEFUL_PPID GOAGAIN_ NGINX \
    FPM_SOCKETS FD3_";

/// Whether `NAME=VALUE` of fd3's own environment may reach a worker.
pub fn may_pass_on(variable: &[u8]) -> bool {
    let name = variable.split(|byte| *byte == b'=').next().unwrap_or(variable);
    for never in NEVER_PASSED_ON.split(' ') {
        let is_meant = match never.as_bytes() {
            [.., b'_'] => name.starts_with(never.as_bytes()),
            whole => name == whole,
        };
        if is_meant {
            return false;
        }
    }
    true
}

/// The sockets that fd3 itself was handed (sd_listen_fds(3)), with their names: what LISTEN_PID,
/// LISTEN_FDS and LISTEN_FDNAMES say. None if they are another process's. A missing PID is fine, for
/// wrappers that cannot know it.
pub fn inherited(
    pid: Option<&str>,
    fds: Option<&str>,
    names: Option<&str>,
    own: Pid,
) -> Vec<(i32, String)> {
    /// More than anybody passes.
    const MOST: u64 = 65_536;
    let for_us = pid.is_none_or(|pid| {
        pid.is_empty() || whole(pid.as_bytes(), 10).is_some_and(|pid| pid == own.0 as u64)
    });
    let count = fds.and_then(|fds| whole(fds.as_bytes(), 10)).unwrap_or(0);
    if !for_us || !(1..=MOST).contains(&count) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for name in names.unwrap_or_default().split(':') {
        all.push((FIRST_FD + all.len() as i32, String::from(name)));
    }
    if names.is_none() || all.len() != count as usize {
        all.clear();
        for fd in FIRST_FD..FIRST_FD + count as i32 {
            all.push((fd, String::from("unknown")));
        }
    }
    all
}

/// All variables that tell `worker` of `listeners`.
#[inline(never)]
pub fn variables(
    protocols: &[Protocol],
    listeners: &[Told<'_>],
    stored: &[&str],
    worker: Worker,
) -> Variables {
    let mut told = Variables::default();
    told.set("FD3_SLOT", worker.slot);
    told.set("FD3_GENERATION", worker.generation);
    told.set("FD3_START", worker.serial);
    // First, as its names belong to its own count.
    if protocols.contains(&Protocol::Listen) && listeners.len() + stored.len() > 0 {
        told.listen(listeners, stored);
    }
    for protocol in protocols {
        if !listeners.is_empty() {
            told.by(*protocol, listeners, worker);
        }
    }
    told
}

impl Variables {
    #[inline(never)]
    fn by(&mut self, protocol: Protocol, listeners: &[Told<'_>], worker: Worker) {
        match protocol {
            Protocol::Plain | Protocol::Listen => {}
            Protocol::Gograceful => {
                self.set("LISTEN_FDS", listeners.len());
                self.set("GOGRACEFUL_PPID", worker.parent);
            }
            Protocol::Starter => {
                self.joined("SERVER_STARTER_PORT", ";", listeners, starter_port);
                self.set("SERVER_STARTER_GENERATION", worker.generation);
            }
            Protocol::Einhorn => {
                self.set("EINHORN_MASTER_PID", worker.parent);
                self.set("EINHORN_CHILD_INDEX", worker.slot);
                self.set("EINHORN_FD_COUNT", listeners.len());
                for (index, fd) in (FIRST_FD..).take(listeners.len()).enumerate() {
                    self.set(&format!("EINHORN_FD_{index}"), fd);
                }
            }
            Protocol::Socketmaster => {
                self.joined("EINHORN_FDS", " ", listeners, |value, fd, _| write!(value, "{fd}"));
                self.set("SOCKETMASTER_PID", worker.parent);
            }
            Protocol::Goatflap => {
                self.set("LISTEN_FD", FIRST_FD);
                self.set("GOAT_PROC", worker.serial);
            }
            Protocol::Goagain => self.goagain(listeners, worker),
            Protocol::Nginx => {
                self.joined("NGINX", "", listeners, |value, fd, _| write!(value, "{fd};"));
            }
            Protocol::PhpFpm => self.joined("FPM_SOCKETS", ",", listeners, |value, fd, told| {
                write!(value, "{}={fd}", Bare(told.address))
            }),
        }
    }

    /// sd_listen_fds_with_names(3): exactly as many names as descriptors.
    fn listen(&mut self, listeners: &[Told<'_>], stored: &[&str]) {
        self.own_pid.push("LISTEN_PID");
        self.set("LISTEN_FDS", listeners.len() + stored.len());
        let mut names = String::new();
        for name in listeners.iter().map(|told| told.name).chain(stored.iter().copied()) {
            if !names.is_empty() {
                names.push(':');
            }
            names.push_str(name);
        }
        self.set("LISTEN_FDNAMES", names);
    }

    /// goagain knows one listener; its child signals GOAGAIN_PPID when it serves.
    fn goagain(&mut self, listeners: &[Told<'_>], worker: Worker) {
        let Some(first) = listeners.first() else { return };
        self.set("GOAGAIN_FD", FIRST_FD);
        let kind = match first.address {
            Address::Unix { .. } => "unix",
            Address::Tcp { .. }
            | Address::Udp { .. }
            | Address::Vsock { .. }
            | Address::Inherited(_) => "tcp",
        };
        self.set("GOAGAIN_NAME", format_args!("{kind}:{}->", Bare(first.address)));
        self.set("GOAGAIN_PPID", worker.parent);
        self.set("GOAGAIN_SIGNAL", libc::SIGUSR1);
    }

    pub fn set(&mut self, name: &str, value: impl Display) {
        self.set_text(name, &value);
    }

    /// A variable set twice (LISTEN_FDS) stays as it was set first. One function for every type, as there are
    /// many.
    #[inline(never)]
    fn set_text(&mut self, name: &str, value: &dyn Display) {
        let variable = format!("{name}={value}");
        let same_name = &variable[..=name.len()];
        if !self.set.iter().any(|set| set.starts_with(same_name)) {
            self.set.push(variable);
        }
    }

    /// What `one` makes of each listener, with `between` between two.
    #[inline(never)]
    fn joined(
        &mut self,
        name: &str,
        between: &str,
        listeners: &[Told<'_>],
        one: fn(&mut String, i32, &Told<'_>) -> core::fmt::Result,
    ) {
        let mut value = String::new();
        for (fd, told) in (FIRST_FD..).zip(listeners) {
            if fd > FIRST_FD {
                value.push_str(between);
            }
            // Writing to a String does not fail.
            let _ = one(&mut value, fd, told);
        }
        self.set_text(name, &value);
    }
}

/// An address without its scheme, as most programs of this list spell it.
struct Bare<'a>(&'a Address);

impl Display for Bare<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut whole = String::new();
        write!(whole, "{}", self.0)?;
        let bare = whole.split_once(':').map_or(whole.as_str(), |(_, bare)| bare);
        f.write_str(bare.strip_prefix("//").unwrap_or(bare))
    }
}

/// Server::Starter names a socket on every address by its port alone.
fn starter_port(value: &mut String, fd: i32, told: &Told<'_>) -> core::fmt::Result {
    match told.address {
        Address::Tcp { ip, port } | Address::Udp { ip, port } if is_wildcard(ip) => {
            write!(value, "{port}={fd}")
        }
        Address::Tcp { .. }
        | Address::Udp { .. }
        | Address::Unix { .. }
        | Address::Vsock { .. }
        | Address::Inherited(_) => write!(value, "{}={fd}", Bare(told.address)),
    }
}

fn is_wildcard(ip: &Ip) -> bool {
    match ip {
        Ip::Any => true,
        Ip::V4(addr) => addr.is_unspecified(),
        Ip::V6 { addr, .. } => addr.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::address::parse;

    fn told(protocols: &[Protocol], listen: &[(&str, &str)]) -> Variables {
        told_with(protocols, listen, &[])
    }

    fn told_with(protocols: &[Protocol], listen: &[(&str, &str)], stored: &[&str]) -> Variables {
        let addresses: Vec<Address> = listen
            .iter()
            .map(|(_, text)| parse(text.as_bytes()).map(|listen| listen.address).unwrap())
            .collect();
        let listeners: Vec<Told<'_>> = listen
            .iter()
            .zip(&addresses)
            .map(|((name, _), address)| Told { name, address })
            .collect();
        let worker =
            Worker { slot: SlotId(2), generation: Generation(7), serial: 41, parent: Pid(100) };
        let mut variables = variables(protocols, &listeners, stored, worker);
        assert_eq!(variables.set.remove(0), "FD3_SLOT=2");
        assert_eq!(variables.set.remove(0), "FD3_GENERATION=7");
        assert_eq!(variables.set.remove(0), "FD3_START=41");
        variables
    }

    /// A protocol, the listeners by name and address, and what is told of them.
    type Case<'a> = (Protocol, &'a [(&'a str, &'a str)], &'a [&'a str]);

    #[test]
    fn each_protocol_tells_in_its_own_words() {
        let tcp = ("web", "tcp://127.0.0.1:9130");
        let any = ("unknown", "tcp4://:80");
        let unix = ("ctl", "unix:/run/app.sock");
        let table: &[Case<'_>] = &[
            (Protocol::Plain, &[tcp], &[]),
            (Protocol::Listen, &[tcp, unix], &["LISTEN_FDS=2", "LISTEN_FDNAMES=web:ctl"]),
            (
                Protocol::Starter,
                &[tcp, any, unix],
                &[
                    "SERVER_STARTER_PORT=127.0.0.1:9130=3;80=4;/run/app.sock=5",
                    "SERVER_STARTER_GENERATION=7",
                ],
            ),
            (
                Protocol::Einhorn,
                &[tcp, unix],
                &[
                    "EINHORN_MASTER_PID=100",
                    "EINHORN_CHILD_INDEX=2",
                    "EINHORN_FD_COUNT=2",
                    "EINHORN_FD_0=3",
                    "EINHORN_FD_1=4",
                ],
            ),
            (Protocol::Socketmaster, &[tcp], &["EINHORN_FDS=3", "SOCKETMASTER_PID=100"]),
            (Protocol::Goatflap, &[tcp], &["LISTEN_FD=3", "GOAT_PROC=41"]),
            (Protocol::Gograceful, &[tcp, any], &["LISTEN_FDS=2", "GOGRACEFUL_PPID=100"]),
            (
                Protocol::Goagain,
                &[tcp],
                &[
                    "GOAGAIN_FD=3",
                    "GOAGAIN_NAME=tcp:127.0.0.1:9130->",
                    "GOAGAIN_PPID=100",
                    "GOAGAIN_SIGNAL=10",
                ],
            ),
            (Protocol::Nginx, &[tcp, unix], &["NGINX=3;4;"]),
            (Protocol::PhpFpm, &[tcp, unix], &["FPM_SOCKETS=127.0.0.1:9130=3,/run/app.sock=4"]),
        ];
        for (protocol, listen, expected) in table {
            assert_eq!(told(&[*protocol], listen).set, *expected, "{protocol:?}");
        }
    }

    #[test]
    fn only_listen_wants_the_workers_own_pid() {
        let tcp = ("web", "tcp://127.0.0.1:9130");
        for (name, protocol) in PROTOCOLS {
            let wants = told(&[*protocol], &[tcp]).own_pid;
            assert_eq!(wants.contains(&"LISTEN_PID"), *name == "listen");
        }
    }

    #[test]
    fn two_protocols_that_say_the_same_say_it_once() {
        let tcp = ("web", "tcp://127.0.0.1:9130");
        let both = told(&[Protocol::Listen, Protocol::Gograceful], &[tcp]);
        assert_eq!(both.set, ["LISTEN_FDS=1", "LISTEN_FDNAMES=web", "GOGRACEFUL_PPID=100"]);
    }

    #[test]
    fn stored_descriptors_come_after_the_listeners_and_only_listen_knows_them() {
        let (tcp, both) = (("web", "tcp://127.0.0.1:9130"), ["conn", "a b"]);
        let listen = [Protocol::Listen];
        let with = told_with(&listen, &[tcp], &both);
        assert_eq!(with.set, ["LISTEN_FDS=3", "LISTEN_FDNAMES=web:conn:a b"]);
        let alone = told_with(&listen, &[], &both);
        assert_eq!(alone.set, ["LISTEN_FDS=2", "LISTEN_FDNAMES=conn:a b"]);
        assert_eq!(alone.own_pid, ["LISTEN_PID"]);
        for (name, protocol) in PROTOCOLS.iter().filter(|(name, _)| *name != "listen") {
            let without = told(&[*protocol], &[tcp]).set;
            assert_eq!(told_with(&[*protocol], &[tcp], &both).set, without, "{name}");
            assert!(told_with(&[*protocol], &[], &both).set.is_empty(), "{name}");
        }
        // What is told twice is told as a whole.
        let expected = ["LISTEN_FDS=2", "LISTEN_FDNAMES=web:conn", "GOGRACEFUL_PPID=100"];
        for two in
            [[Protocol::Listen, Protocol::Gograceful], [Protocol::Gograceful, Protocol::Listen]]
        {
            assert_eq!(told_with(&two, &[tcp], &both[..1]).set, expected);
        }
    }

    #[test]
    fn without_listeners_nothing_is_told_of_them() {
        let all: Vec<Protocol> = PROTOCOLS.iter().map(|(_, protocol)| *protocol).collect();
        let nothing = told(&all, &[]);
        assert!(nothing.set.is_empty() && nothing.own_pid.is_empty());
    }

    #[test]
    fn inherited_sockets_are_ours_or_nobodys() {
        let own = Pid(7);
        let two = [(3, "a"), (4, "b")].map(|(fd, name)| (fd, String::from(name)));
        let unknown = [(3, String::from("unknown"))];
        assert_eq!(inherited(Some("7"), Some("2"), Some("a:b"), own), two);
        assert_eq!(inherited(None, Some("2"), Some("a:b"), own), two);
        assert_eq!(inherited(Some(""), Some("1"), None, own), unknown);
        assert_eq!(inherited(Some("7"), Some("1"), Some("a:b"), own), unknown);
        for (pid, fds) in [
            (Some("8"), Some("1")),
            (Some("x"), Some("1")),
            (Some("7"), None),
            (Some("7"), Some("0")),
            (Some("7"), Some("-1")),
            (Some("7"), Some("99999999999")),
            (Some("7"), Some("x")),
        ] {
            assert_eq!(inherited(pid, fds, Some("a"), own), [], "{pid:?} {fds:?}");
        }
    }

    #[test]
    fn what_was_inherited_is_not_passed_on() {
        for dropped in
            ["LISTEN_FDS=1", "EINHORN_FD_7=9", "NOTIFY_SOCKET=@x", "NGINX=3;", "FD3_SLOT="]
        {
            assert!(!may_pass_on(dropped.as_bytes()), "{dropped}");
        }
        for kept in ["PATH=/bin", "LISTEN_FDSX=1", "EINHORN=1", "NGINX_HOME=/x", "odd", ""] {
            assert!(may_pass_on(kept.as_bytes()), "{kept}");
        }
    }
}
