//! What a worker says by sd_notify(3): `NAME=VALUE` lines in one datagram, read as systemd reads them.
//! Says what the words mean, not what follows from them.

use alloc::string::String;

use super::address::is_fd_name;
use super::whole;

/// The most that is kept of a STATUS=, in bytes.
pub const STATUS_MAX: usize = 256;
/// The largest number that the kernel uses for an error (MAX_ERRNO).
const ERRNO_MAX: u64 = 4095;
/// The name of stored descriptors that came without one (sd_listen_fds(3)).
const UNNAMED: &str = "stored";

/// What one datagram says; what it doesn't say is `None` or `false`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notice<'a> {
    /// READY=1: it serves, or has done what RELOADING=1 announced.
    pub ready: bool,
    /// RELOADING=1
    pub reloading: bool,
    /// MONOTONIC_USEC=: when it began to reload, by CLOCK_MONOTONIC.
    pub monotonic_usec: Option<u64>,
    /// STOPPING=1: it stops by itself. Then it is neither ready nor reloading, whatever else it says.
    pub stopping: bool,
    /// STATUS=, as it came: for [`write_status`]. Empty: it has no status any more.
    pub status: Option<&'a [u8]>,
    /// WATCHDOG=
    pub watchdog: Option<Watchdog>,
    /// WATCHDOG_USEC=: how often it means to say WATCHDOG=1 from now on.
    pub watchdog_usec: Option<u64>,
    /// EXTEND_TIMEOUT_USEC=: how much longer it needs for what it does.
    pub extend_timeout_usec: Option<u64>,
    /// ERRNO=: why it fails; 0 takes that back.
    pub errno: Option<u16>,
    /// FDSTORE=1 or FDSTOREREMOVE=1
    pub store: Option<Store<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watchdog {
    /// It is well.
    Alive,
    /// It is not, and asks for what follows when WATCHDOG=1 stays out.
    Trigger,
}

/// What is to happen in the worker's store of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store<'a> {
    /// Those that came with the datagram come in, all by this name.
    Add { name: &'a str, keep: Keep },
    /// All of this name go.
    Remove { name: &'a str },
}

/// How long a descriptor is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    UntilHangup,
    /// FDPOLL=0: whatever becomes of it.
    Always,
}

/// `None` for what says nothing, for then all that is left to do is to close the descriptors that came
/// with it: for what is no message, having a NUL inside, and for BARRIER=1, which asks for just that
/// and wants to be alone in its datagram.
///
/// Of a name that comes twice the first value counts, sound or not. Unknown names and values that make
/// no sense are ignored.
#[inline(never)]
pub fn parse(datagram: &[u8]) -> Option<Notice<'_>> {
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.contains(&0) {
        return None;
    }
    let mut notice = Notice::default();
    let mut values: [Option<&[u8]>; 7] = [None; 7];
    let mut said = [false; SAID.len()];
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        for (word, said) in SAID.iter().zip(&mut said) {
            *said |= line == *word;
        }
        take_value(line, &mut values);
    }
    let [barrier, ready, reloading, stopping, add, remove, no_poll] = said;
    if barrier {
        return None;
    }
    (notice.ready, notice.reloading, notice.stopping) = (ready, reloading, stopping);
    let keep = if no_poll { Keep::Always } else { Keep::UntilHangup };
    let [status, monotonic, watchdog, watchdog_usec, extend_timeout, errno, fd_name] = values;
    if notice.stopping {
        (notice.ready, notice.reloading) = (false, false);
    }
    notice.monotonic_usec = number(monotonic);
    notice.status = status;
    notice.watchdog = match watchdog {
        Some(b"1") => Some(Watchdog::Alive),
        Some(b"trigger") => Some(Watchdog::Trigger),
        Some(_) | None => None,
    };
    notice.watchdog_usec = number(watchdog_usec);
    notice.extend_timeout_usec = number(extend_timeout);
    notice.errno = number(errno)
        .filter(|errno| *errno <= ERRNO_MAX)
        .and_then(|errno| u16::try_from(errno).ok());
    let name = fd_name.and_then(text_of).filter(|name| is_fd_name(name));
    notice.store = match (remove, add) {
        // Not even those without a name are taken out unless they are named.
        (true, _) => name.map(|name| Store::Remove { name }),
        (false, true) => Some(Store::Add { name: name.unwrap_or(UNNAMED), keep }),
        (false, false) => None,
    };
    Some(notice)
}

/// What is said by a whole line, in the order in which `parse` takes them apart.
const SAID: [&[u8]; 7] = [
    b"BARRIER=1",
    b"READY=1",
    b"RELOADING=1",
    b"STOPPING=1",
    b"FDSTORE=1",
    b"FDSTOREREMOVE=1",
    b"FDPOLL=0",
];

/// Names with values of their own, in the order in which `parse` takes them apart.
const VALUED: [&[u8]; 7] = [
    b"STATUS=",
    b"MONOTONIC_USEC=",
    b"WATCHDOG=",
    b"WATCHDOG_USEC=",
    b"EXTEND_TIMEOUT_USEC=",
    b"ERRNO=",
    b"FDNAME=",
];

/// The first of each name stays.
fn take_value<'a>(line: &'a [u8], values: &mut [Option<&'a [u8]>; 7]) {
    for (name, value) in VALUED.iter().zip(values) {
        if let (None, Some(found)) = (*value, line.strip_prefix(*name)) {
            *value = Some(found);
        }
    }
}

fn text_of(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok()
}

/// Decimal digits and nothing else.
fn number(value: Option<&[u8]>) -> Option<u64> {
    whole(value?, 10)
}

/// Makes `line` hold what a STATUS= tells: one line, as much of it as there is room for. What is no text,
/// or would move a terminal's cursor, becomes a question mark.
pub fn write_status(raw: &[u8], line: &mut String) {
    line.clear();
    for chunk in raw.utf8_chunks() {
        let spoilt = if chunk.invalid().is_empty() { None } else { Some('?') };
        for character in chunk.valid().chars().chain(spoilt) {
            if line.len() + character.len_utf8() > STATUS_MAX {
                return;
            }
            line.push(if character.is_control() { '?' } else { character });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const NOTHING: Notice<'_> = Notice {
        ready: false,
        reloading: false,
        monotonic_usec: None,
        stopping: false,
        status: None,
        watchdog: None,
        watchdog_usec: None,
        extend_timeout_usec: None,
        errno: None,
        store: None,
    };

    #[test]
    fn only_a_whole_line_says_ready() {
        let table: [(&[u8], Option<bool>); 18] = [
            (b"READY=1", Some(true)),
            (b"READY=1\n", Some(true)),
            (b"READY=1\0", Some(true)),
            (b"\n\nREADY=1\n\n", Some(true)),
            (b"STATUS=up\nREADY=1\nMAINPID=7", Some(true)),
            (b"STATUS=up\r\nREADY=1\r\n", Some(true)),
            (b"READY=1\nREADY=1", Some(true)),
            (b"READY=0\nREADY=1", Some(true)),
            (b"READY=1\n\xff", Some(true)),
            (b"READY=0", Some(false)),
            (b"READY=11", Some(false)),
            (b"READY=1 ", Some(false)),
            (b"X_READY=1", Some(false)),
            (b"STATUS=READY=1", Some(false)),
            (b"READY=1\nSTOPPING=1", Some(false)),
            (b"", Some(false)),
            (b"READY=1\0READY=1", None),
            (b"READY=1\0\0", None),
        ];
        for (datagram, ready) in table {
            assert_eq!(parse(datagram).map(|notice| notice.ready), ready, "{datagram:?}");
        }
    }

    #[test]
    fn every_word_is_understood() {
        let add = |name, keep| Some(Store::Add { name, keep });
        let remove = |name| Some(Store::Remove { name });
        let until = Keep::UntilHangup;
        let store = |store| Notice { store, ..NOTHING };
        let table: [(&str, Notice<'_>); 19] = [
            ("RELOADING=1", Notice { reloading: true, ..NOTHING }),
            (
                "RELOADING=1\nMONOTONIC_USEC=12",
                Notice { reloading: true, monotonic_usec: Some(12), ..NOTHING },
            ),
            ("READY=1\nRELOADING=1", Notice { ready: true, reloading: true, ..NOTHING }),
            ("STOPPING=1", Notice { stopping: true, ..NOTHING }),
            ("RELOADING=1\nSTOPPING=1", Notice { stopping: true, ..NOTHING }),
            ("STATUS=a = b", Notice { status: Some(b"a = b"), ..NOTHING }),
            ("STATUS=", Notice { status: Some(b""), ..NOTHING }),
            ("WATCHDOG=1", Notice { watchdog: Some(Watchdog::Alive), ..NOTHING }),
            ("WATCHDOG=trigger", Notice { watchdog: Some(Watchdog::Trigger), ..NOTHING }),
            ("WATCHDOG_USEC=20000000", Notice { watchdog_usec: Some(20_000_000), ..NOTHING }),
            ("EXTEND_TIMEOUT_USEC=0", Notice { extend_timeout_usec: Some(0), ..NOTHING }),
            ("ERRNO=2", Notice { errno: Some(2), ..NOTHING }),
            ("FDSTORE=1", store(add("stored", until))),
            ("FDNAME=a b\nFDSTORE=1", store(add("a b", until))),
            ("FDSTORE=1\nFDPOLL=0\nFDNAME=x", store(add("x", Keep::Always))),
            ("FDSTOREREMOVE=1\nFDNAME=x", store(remove("x"))),
            ("FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=x", store(remove("x"))),
            ("FDNAME=x\nFDPOLL=0", NOTHING),
            ("MAINPID=7\nNOTIFYACCESS=all\nX_MINE=1", NOTHING),
        ];
        for (datagram, notice) in table {
            assert_eq!(parse(datagram.as_bytes()), Some(notice), "{datagram:?}");
            let among_others = alloc::format!("X=1\r\n{datagram}\nno word\n=\n=1\n");
            assert_eq!(parse(among_others.as_bytes()), Some(notice), "{among_others:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_spoils_nothing() {
        let table: [&[u8]; 24] = [
            b"ready=1",
            b" READY=1",
            b"READY",
            b"RELOADING=yes",
            b"STOPPING=0",
            b"WATCHDOG=",
            b"WATCHDOG=2",
            b"WATCHDOG=TRIGGER",
            b"WATCHDOG_USEC=",
            b"WATCHDOG_USEC=-1",
            b"WATCHDOG_USEC=+1",
            b"WATCHDOG_USEC= 1",
            b"WATCHDOG_USEC=0x10",
            b"WATCHDOG_USEC=1s",
            b"WATCHDOG_USEC=\xff",
            b"EXTEND_TIMEOUT_USEC=18446744073709551616",
            b"MONOTONIC_USEC=99999999999999999999999999999999999999999999",
            b"ERRNO=4096",
            b"ERRNO=65536",
            b"ERRNO=ENOENT",
            b"FDSTORE=0",
            b"FDSTOREREMOVE=1",
            b"FDSTOREREMOVE=1\nFDNAME=a:b",
            b"BARRIER=0",
        ];
        for bad in table {
            assert_eq!(parse(bad), Some(NOTHING), "{bad:?}");
            let beside = [b"STATUS=up\n", bad, b"\nREADY=1"].concat();
            let notice = Notice { ready: true, status: Some(b"up"), ..NOTHING };
            assert_eq!(parse(&beside), Some(notice), "{bad:?}");
        }
        let largest = b"EXTEND_TIMEOUT_USEC=18446744073709551615\nERRNO=4095";
        let notice = Notice { extend_timeout_usec: Some(u64::MAX), errno: Some(4095), ..NOTHING };
        assert_eq!(parse(largest), Some(notice));
    }

    #[test]
    fn of_what_is_said_twice_the_first_counts() {
        let table: [(&str, Notice<'_>); 5] = [
            ("STATUS=a\nSTATUS=b", Notice { status: Some(b"a"), ..NOTHING }),
            ("STATUS=\nSTATUS=b", Notice { status: Some(b""), ..NOTHING }),
            ("ERRNO=1\nERRNO=2", Notice { errno: Some(1), ..NOTHING }),
            ("ERRNO=x\nERRNO=2", NOTHING),
            (
                "WATCHDOG=trigger\nWATCHDOG=1",
                Notice { watchdog: Some(Watchdog::Trigger), ..NOTHING },
            ),
        ];
        for (datagram, notice) in table {
            assert_eq!(parse(datagram.as_bytes()), Some(notice), "{datagram:?}");
        }
    }

    #[test]
    fn a_barrier_says_nothing_else() {
        for datagram in ["BARRIER=1", "BARRIER=1\n", "READY=1\nBARRIER=1", "BARRIER=1\nFDSTORE=1"] {
            assert_eq!(parse(datagram.as_bytes()), None, "{datagram:?}");
        }
        for datagram in ["BARRIER=11", "X_BARRIER=1", "STATUS=BARRIER=1"] {
            assert!(parse(datagram.as_bytes()).is_some(), "{datagram:?}");
        }
    }

    #[test]
    fn a_stored_descriptor_has_a_name_that_can_be_told() {
        let name_of = |name: &[u8]| {
            let datagram = [b"FDSTORE=1\nFDNAME=", name].concat();
            match parse(&datagram).and_then(|notice| notice.store) {
                Some(Store::Add { name, .. }) => String::from(name),
                other => panic!("{other:?}"),
            }
        };
        let longest = "n".repeat(255);
        for good in ["x", "a=b", "~ !", &longest] {
            assert_eq!(name_of(good.as_bytes()), good);
        }
        let too_long = "n".repeat(256);
        let bad: [&[u8]; 6] =
            [b"", b"a:b", b"\t", b"\x7f", "\u{e9}".as_bytes(), too_long.as_bytes()];
        for bad in bad {
            assert_eq!(name_of(bad), "stored", "{bad:?}");
        }
    }

    #[test]
    fn a_status_is_one_line_that_harms_no_terminal() {
        let edge = "e".repeat(STATUS_MAX);
        let over = "e".repeat(STATUS_MAX + 1);
        let odd = alloc::format!("{}\u{e9}", "e".repeat(STATUS_MAX - 1));
        let table: [(&[u8], &str); 9] = [
            (b"", ""),
            (b"66% done", "66% done"),
            ("h\u{e9}llo \u{4e16}".as_bytes(), "h\u{e9}llo \u{4e16}"),
            (b"\x1b[2J\ttab\x7f", "?[2J?tab?"),
            ("\u{9b}31m".as_bytes(), "?31m"),
            (b"a\xffb\xe4\xb8", "a?b?"),
            (edge.as_bytes(), &edge),
            (over.as_bytes(), &edge),
            // No half characters.
            (odd.as_bytes(), &edge[1..]),
        ];
        for (raw, shown) in table {
            let mut line = String::from("what was before");
            write_status(raw, &mut line);
            assert_eq!(line, shown);
        }
    }

    /// Datagrams made of everything that means something, and of noise.
    #[test]
    fn no_datagram_confuses_it() {
        const PIECES: [&[u8]; 20] = [
            b"READY=1",
            b"READY=",
            b"READY",
            b"1",
            b"=",
            b"\n",
            b"\n",
            b"\n",
            b"\r",
            b" ",
            b"STATUS=",
            b"STOPPING=1",
            b"BARRIER=1",
            b"WATCHDOG_USEC=",
            b"99999999999",
            b"FDSTORE=1",
            b"FDNAME=x",
            b"\xff",
            b"\0",
            b"\xc3\xa9",
        ];
        let mut seed = 1_u64;
        let mut roll = |below: usize| {
            // Knuth's MMIX generator; the upper bits are the good ones.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut line = String::new();
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            let datagram: Vec<u8> =
                (0..roll(12)).flat_map(|_| PIECES[roll(PIECES.len())]).copied().collect();
            let text = datagram.strip_suffix(b"\0").unwrap_or(&datagram);
            let says = |word: &[u8]| text.split(|b| b"\n\r".contains(b)).any(|line| line == word);
            let expected = match () {
                () if text.contains(&0) || says(b"BARRIER=1") => None,
                () => Some(says(b"READY=1") && !says(b"STOPPING=1")),
            };
            let notice = parse(&datagram);
            assert_eq!(notice.map(|notice| notice.ready), expected, "{datagram:?}");
            write_status(notice.and_then(|notice| notice.status).unwrap_or(&datagram), &mut line);
            assert!(line.len() <= STATUS_MAX && !line.contains(char::is_control), "{line:?}");
            counts[expected.map_or(2, usize::from)] += 1;
        }
        assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    }
}
