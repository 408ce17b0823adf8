//! bpf(2), and programs that choose among the sockets of one SO_REUSEPORT group: an eBPF one, which needs
//! CAP_BPF, and a classic one, which needs nothing.

mod code;

use super::{checked, last_errno};
use crate::error::Errno;
use alloc::string::String;
use alloc::vec::Vec;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use self::code::SLOTS_MAX;
use self::code::{Classic, Instruction};

/// What the kernel has against it, and what the verifier says of the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub errno: Errno,
    pub verdict: String,
}

/// The slots that new connections may go to, for all groups.
#[derive(Debug)]
pub struct Row {
    map: OwnedFd,
}

/// What chooses in one group.
#[derive(Debug)]
pub struct Chooser {
    /// By slot.
    sockets: OwnedFd,
    program: OwnedFd,
}

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const PROG_LOAD: i32 = 5;

const MAP_ARRAY: u32 = 2;
const MAP_REUSEPORT_SOCKARRAY: u32 = 20;
const PROG_SK_REUSEPORT: u32 = 21;
/// It is asked as well where the connections of a socket that closes are to go (Linux 5.14).
const SELECT_OR_MIGRATE: u32 = 40;

const WORD: usize = size_of::<u32>();
/// A count, and so many slots.
const ROW_WORDS: usize = 1 + SLOTS_MAX as usize;
/// Room for what the verifier says; the end of it is what counts.
const VERDICT_ROOM: usize = 16 * 1024;
/// Of which so much is told.
const VERDICT_TOLD: usize = 300;

impl Row {
    pub fn new() -> Result<Row, Errno> {
        Ok(Row { map: create(MAP_ARRAY, ROW_WORDS * WORD, 1)? })
    }

    /// From now on connections go to these, by turns. With none to all: they wait, and are not refused.
    pub fn set(&self, slots: &[u32]) -> Result<(), Errno> {
        let mut row = [0; ROW_WORDS];
        row[0] = slots.len().min(SLOTS_MAX as usize) as u32;
        for (place, slot) in row.iter_mut().skip(1).zip(slots) {
            *place = *slot;
        }
        update(&self.map, 0, &row)
    }
}

impl Chooser {
    /// Datagrams of one sender stay together; connections go by turns.
    pub fn new(row: &Row) -> Result<Chooser, Refusal> {
        let plain = |errno| Refusal { errno, verdict: String::new() };
        let sockets = create(MAP_REUSEPORT_SOCKARRAY, size_of::<u64>(), SLOTS_MAX);
        let sockets = sockets.map_err(plain)?;
        let counter = create(MAP_ARRAY, WORD, 1).map_err(plain)?;
        let [row, turns, all] = [&row.map, &counter, &sockets].map(AsRawFd::as_raw_fd);
        let program = load(&code::by_turns(row, turns, all))?;
        Ok(Chooser { sockets, program })
    }

    /// This socket is the slot's, in place of another one that was. It is of the group already, and leaves
    /// when it closes.
    pub fn set(&self, slot: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        update(&self.sockets, slot, &[socket.as_raw_fd() as u64])
    }

    /// It chooses in the group of this socket from now on.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let program = self.program.as_raw_fd();
        set_option(socket, libc::SO_ATTACH_REUSEPORT_EBPF, &program)
    }
}

/// Without rights: each connection goes at random to one of these places of the group of this socket; with none to
/// any of all.
pub fn choose_at_random(socket: BorrowedFd<'_>, places: &[u32]) -> Result<(), Errno> {
    let code = code::at_random(places);
    let program = libc::sock_fprog {
        len: u16::try_from(code.len()).map_err(|_| Errno(libc::E2BIG))?,
        filter: code.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// The kernel's own hash chooses again.
pub fn choose_by_hash(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_option(socket, libc::SO_DETACH_REUSEPORT_BPF, &0_i32)
}

#[repr(C)]
#[derive(Default)]
struct MapSpec {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    rest: [u32; 8],
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Program {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

fn create(kind: u32, value: usize, entries: u32) -> Result<OwnedFd, Errno> {
    let key_size = WORD as u32;
    let value_size = value as u32;
    let spec = MapSpec { kind, key_size, value_size, max_entries: entries, rest: [0; 8] };
    made(bpf(MAP_CREATE, &spec)?)
}

fn update<T>(map: &OwnedFd, key: u32, value: &[T]) -> Result<(), Errno> {
    let element = Element {
        map: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const key as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    bpf(MAP_UPDATE, &element).map(drop)
}

/// The verifier is asked for its words only when it refuses: they may be many.
fn load(code: &[Instruction]) -> Result<OwnedFd, Refusal> {
    let mut program = Program {
        kind: PROG_SK_REUSEPORT,
        count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        name: *b"fd3_spread\0\0\0\0\0\0",
        attach_type: SELECT_OR_MIGRATE,
        ..Program::default()
    };
    let errno = match bpf(PROG_LOAD, &program).and_then(made) {
        Ok(fd) => return Ok(fd),
        Err(errno) => errno,
    };
    let mut words = alloc::vec![0_u8; VERDICT_ROOM];
    program.log_level = 1;
    program.log_size = VERDICT_ROOM as u32;
    program.log = words.as_mut_ptr() as u64;
    let again = bpf(PROG_LOAD, &program).and_then(made);
    match again {
        Ok(fd) => Ok(fd),
        Err(_) => Err(Refusal { errno, verdict: last_words(&words) }),
    }
}

/// The end of what the verifier said, in one line.
fn last_words(words: &[u8]) -> String {
    let end = words.iter().position(|byte| *byte == 0).unwrap_or(words.len());
    let start = end.saturating_sub(VERDICT_TOLD);
    let text = String::from_utf8_lossy(&words[start..end]);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

fn bpf<T>(command: i32, attributes: &T) -> Result<i32, Errno> {
    let (start, size) = (core::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the kernel reads `size` bytes of `attributes`, and what its pointers lead to, which the
    // callers keep until it returns; all of it is as long as the attributes say.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, start, size) };
    checked(done as i32)
}

fn made(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel has just made it, close-on-exec, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_option<T>(socket: BorrowedFd<'_>, option: i32, value: &T) -> Result<(), Errno> {
    let (start, len) = (core::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    let fd = socket.as_raw_fd();
    // SAFETY: `value` outlives the call, and `len` is its length.
    let done = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, start, len) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

// What is given to the kernel has its layout.
const _: () = assert!(size_of::<Program>() == 72 && size_of::<Element>() == 32);
const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(size_of::<Classic>() == size_of::<libc::sock_filter>());

#[cfg(test)]
mod tests;
