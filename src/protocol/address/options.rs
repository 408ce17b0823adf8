//! The options behind an address: which there are, what they take, and what they fit.

use super::{Address, Ip, UnixName, Wrong, is_fd_name, number, wrong};
use crate::protocol::{joined, whole};
use alloc::borrow::ToOwned;
use alloc::string::String;

/// The longest name of an interface: IFNAMSIZ less its NUL.
const DEVICE_MAX: usize = 15;
const NUMBER_MAX: u32 = i32::MAX as u32;

/// What may be asked of a listener besides its address.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    pub name: Option<String>,
    pub backlog: Option<u32>,
    pub mode: Option<u32>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub reuseport: bool,
    pub freebind: bool,
    pub v6only: bool,
    pub device: Option<String>,
    pub nodelay: bool,
    /// Seconds.
    pub defer_accept: Option<u32>,
    /// Length of its queue.
    pub fastopen: Option<u32>,
    pub keepalive: bool,
}

/// What an address must be for an option to make sense, one bit each, and how to say so.
const PATH: u8 = 1;
const QUEUE: u8 = 2;
const INET: u8 = 4;
const SIX: u8 = 8;
const TCP: u8 = 16;
const FITS: [(u8, &str); 5] = [
    (PATH, "only for a unix path"),
    (QUEUE, "not for datagram sockets"),
    (INET, "only for tcp and udp"),
    (SIX, "only for IPv6"),
    (TCP, "only for tcp"),
];

/// Every option: its word, with `=` when it takes a value, and what it needs.
const KNOWN: [(&str, u8); 13] = [
    ("name=", 0),
    ("backlog=", QUEUE),
    ("mode=", PATH),
    ("user=", PATH),
    ("group=", PATH),
    ("reuseport", INET),
    ("freebind", INET),
    ("v6only", SIX),
    ("device=", INET),
    ("nodelay", TCP),
    ("defer-accept=", TCP),
    ("fastopen=", TCP),
    ("keepalive", TCP),
];

#[inline(never)]
pub(super) fn parse<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    address: &Address,
) -> Result<Options, Wrong> {
    let mut options = Options::default();
    let mut seen = 0_u16;
    for piece in pieces {
        let piece = String::from_utf8_lossy(piece);
        let (word, value) = match piece.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (&*piece, None),
        };
        let bare = |known: &str| known.strip_suffix("=").unwrap_or(known) == word;
        let Some(index) = KNOWN.iter().position(|(known, _)| bare(known)) else {
            return Err(unknown(word));
        };
        let (known, needs) = KNOWN[index];
        let lacks = needs & !traits(address);
        if let Some((_, reason)) = FITS.iter().find(|(bit, _)| lacks & bit != 0) {
            return Err(wrong(format_args!("option \"{word}\": {reason}")));
        }
        if seen & 1 << index != 0 {
            return Err(wrong(format_args!("option \"{word}\" is given twice")));
        }
        seen |= 1 << index;
        match (known.ends_with("="), value) {
            (true, None | Some("")) => {
                return Err(wrong(format_args!("option \"{word}\" needs a value: {word}=VALUE")));
            }
            (false, Some(_)) => {
                return Err(wrong(format_args!("option \"{word}\" takes no value")));
            }
            (true, Some(value)) => set_value(&mut options, word, value)?,
            (false, None) => set_flag(&mut options, word),
        }
    }
    Ok(options)
}

fn unknown(word: &str) -> Wrong {
    let known = joined(KNOWN.iter().map(|(known, _)| *known));
    wrong(format_args!("option \"{word}\" is not known; accepted: {known}"))
}

fn traits(address: &Address) -> u8 {
    let own = match address {
        Address::Tcp { ip, .. } => INET | TCP | six(ip),
        Address::Udp { ip, .. } => INET | six(ip),
        Address::Unix { name: UnixName::Path(_), .. } => PATH,
        Address::Unix { name: UnixName::Abstract(_), .. } => 0,
        Address::Vsock { .. } | Address::Inherited(_) => 0,
    };
    if address.has_queue() { own | QUEUE } else { own }
}

fn six(ip: &Ip) -> u8 {
    match ip {
        Ip::V4(_) => 0,
        Ip::Any | Ip::V6 { .. } => SIX,
    }
}

fn set_flag(options: &mut Options, word: &str) {
    let flag = match word {
        "reuseport" => &mut options.reuseport,
        "freebind" => &mut options.freebind,
        "v6only" => &mut options.v6only,
        "nodelay" => &mut options.nodelay,
        _ => &mut options.keepalive,
    };
    *flag = true;
}

#[inline(never)]
fn set_value(options: &mut Options, word: &str, value: &str) -> Result<(), Wrong> {
    let accepted = match word {
        "name" if !is_fd_name(value) => "printable ASCII without \":\", at most 255 bytes",
        "device" if !is_device(value) => "an interface, at most 15 bytes",
        "name" | "user" | "group" | "device" => {
            set_text(options, word, value);
            return Ok(());
        }
        _ => match set_number(options, word, value) {
            Ok(()) => return Ok(()),
            Err(accepted) => accepted,
        },
    };
    Err(wrong(format_args!("option \"{word}\" has the value \"{value}\"; accepted: {accepted}")))
}

fn set_text(options: &mut Options, word: &str, value: &str) {
    let text = match word {
        "name" => &mut options.name,
        "user" => &mut options.user,
        "group" => &mut options.group,
        _ => &mut options.device,
    };
    *text = Some(value.to_owned());
}

/// What is accepted, if this is not.
fn set_number(options: &mut Options, word: &str, value: &str) -> Result<(), &'static str> {
    let place = match word {
        "mode" => {
            options.mode = Some(octal(value).ok_or("octal, 0 to 0777")?);
            return Ok(());
        }
        "backlog" => &mut options.backlog,
        "defer-accept" => &mut options.defer_accept,
        _ => &mut options.fastopen,
    };
    *place = Some(number(value, 1, NUMBER_MAX).ok_or("1 to 2147483647")?);
    Ok(())
}

/// The permissions of a file, as chmod(1) takes them in numbers.
pub fn octal(value: &str) -> Option<u32> {
    let mode = whole(value.as_bytes(), 8).filter(|mode| value.len() <= 4 && *mode <= 0o777);
    mode.map(|mode| mode as u32)
}

pub(super) fn is_device(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    !name.is_empty() && name.len() <= DEVICE_MAX && name.bytes().all(good)
}
