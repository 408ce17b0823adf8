//! Signals by raw kernel calls: musl's own hide 32 to 34, which Docker and glibc programs do send.

#[cfg(feature = "init")]
use rustix::fd::AsRawFd;
use rustix::fd::{FromRawFd, OwnedFd};

use super::epoll::{Epoll, Interest};
use super::{checked, last_errno, signal_pipe};
use crate::error::Errno;

/// A kernel signal set: one bit a signal, 64 of them, 128 on MIPS.
pub(super) const WORDS: usize =
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 2 } else { 1 };
pub(super) const SET_BYTES: usize = WORDS * 8;
pub(super) const ALL: [u64; WORDS] = [u64::MAX; WORDS];
const NONE: [u64; WORDS] = [0; WORDS];
pub(super) const LAST: i32 = (WORDS * 64) as i32;

/// What signals are to a process, as far as exec hands it on: which wait, and which are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manners {
    blocked: [u64; WORDS],
    ignored: [u64; WORDS],
}

impl Manners {
    /// Nothing waits, nothing is ignored.
    pub const CLEAN: Manners = Manners { blocked: NONE, ignored: NONE };

    /// What children of a program with handlers of its own are to find: nothing waits, and what is ignored stays so.
    /// SIGPIPE does not, as it was std that ignored it.
    pub fn for_children(also_ignored: i32) -> Manners {
        let mut ignored = NONE;
        for signal in 1..LAST + 1 {
            let is = disposition(signal) == IGNORE && signal != libc::SIGPIPE;
            put(&mut ignored, signal, is || signal == also_ignored);
        }
        Manners { blocked: NONE, ignored }
    }

    /// For a child, just before it becomes COMMAND, in which nothing is ignored so far. Async-signal-safe.
    pub(super) fn take_on(&self) {
        if signal_pipe::is_in_use() {
            reset_dispositions();
        }
        for signal in 1..LAST + 1 {
            if has(&self.ignored, signal) {
                set_disposition(signal, IGNORE);
            }
        }
        set_mask(&self.blocked);
    }
}

fn has(set: &[u64; WORDS], signal: i32) -> bool {
    let bit = (signal - 1) as usize;
    set.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

pub(super) fn put(set: &mut [u64; WORDS], signal: i32, is_in: bool) {
    let bit = (signal - 1) as usize;
    if let Some(word) = set.get_mut(bit / 64) {
        *word = *word & !(1 << (bit % 64)) | u64::from(is_in) << (bit % 64);
    }
}

/// Blocks every signal that can be blocked: from now on they wait for the signalfd. And every disposition
/// goes back to default, whatever was inherited: an ignored SIGCHLD would lose every exit status, and what is
/// ignored here would be ignored in every worker. Returns how it was.
pub fn take_over() -> Manners {
    let blocked = set_mask(&ALL);
    Manners { blocked, ignored: reset_dispositions() }
}

/// Does what this signal does by default, to this process or (then to the others of its group, too) to
/// its group: stops until SIGCONT comes. PID 1 does not stop, nor does a group where nobody would continue
/// it: the kernel sees to that.
#[cfg(feature = "init")]
pub fn stop_by(signal: i32, group: bool) {
    let own = if group { 0 } else { super::process::own_pid() };
    let has_handler = signal_pipe::is_in_use();
    if has_handler {
        set_disposition(signal, libc::SIG_DFL);
    }
    // The answer is whether we stop.
    let _ = send(own, signal);
    let mut all_but_it = ALL;
    put(&mut all_but_it, signal, false);
    set_mask(&all_but_it);
    set_mask(&ALL);
    if has_handler {
        signal_pipe::catch(signal);
    }
}

/// For a program that signals may end, at once and silently, but not by who no longer reads what it says:
/// that is an error of write(2)'s.
pub fn unblock_all_but_pipe() {
    let mut mask = NONE;
    mask[0] = 1 << (libc::SIGPIPE - 1);
    set_mask(&mask);
}

/// As `take_over` left it.
pub(super) fn block_all() {
    set_mask(&ALL);
}

/// The empty mask.
#[cfg(feature = "starter")]
pub(super) fn unblock_all() {
    set_mask(&NONE);
}

/// Returns what was blocked before.
fn set_mask(mask: &[u64; WORDS]) -> [u64; WORDS] {
    let mut old = NONE;
    // SAFETY: the kernel reads SET_BYTES from mask and writes as many to old. It cannot fail: the size is
    // its own and `how` is valid.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask.as_ptr(),
            old.as_mut_ptr(),
            SET_BYTES,
        )
    };
    old
}

/// The kernel's sigaction, or more than that; all-zero is SIG_DFL without flags.
type Action = [usize; 16];
/// Where in it the handler stands.
const HANDLER: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 1 } else { 0 };
const IGNORE: usize = libc::SIG_IGN;

/// Returns which were ignored. What is default already is left alone: to set SIGCHLD or SIGWINCH to that throws away
/// one that waits, which an upgrade must not lose.
fn reset_dispositions() -> [u64; WORDS] {
    let mut ignored = NONE;
    for signal in 1..LAST + 1 {
        let before = disposition(signal);
        put(&mut ignored, signal, before == IGNORE);
        if before != libc::SIG_DFL {
            set_disposition(signal, libc::SIG_DFL);
        }
    }
    ignored
}

/// No signal reaches this thread meanwhile.
pub(super) fn undisturbed<T>(what: impl FnOnce() -> T) -> T {
    let before = set_mask(&ALL);
    let result = what();
    set_mask(&before);
    result
}

/// For a child: what its parent handles does what it does by default. Async-signal-safe.
pub fn forget_handlers() {
    reset_dispositions();
}

/// Returns the one before.
fn set_disposition(signal: i32, handler: usize) -> usize {
    let mut new: Action = [0; 16];
    new[HANDLER] = handler;
    set_action(signal, Some(&new))[HANDLER]
}

/// The handler of a signal, or one of the numbers that are none.
pub(super) fn disposition(signal: i32) -> usize {
    set_action(signal, None)[HANDLER]
}

/// Gives a signal the same handler as another one, by which the kernel returns from it, too.
pub(super) fn set_as(signal: i32, other: i32) {
    let like = set_action(other, None);
    set_action(signal, Some(&like));
}

/// Returns the one before.
fn set_action(signal: i32, new: Option<&Action>) -> Action {
    let mut old: Action = [0; 16];
    let new = new.map_or(core::ptr::null(), |new| new.as_ptr());
    // SAFETY: the kernel reads a sigaction from new, unless it is null, and writes one to old. SIGKILL and
    // SIGSTOP are refused, which is fine.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old.as_mut_ptr(), SET_BYTES) };
    old
}

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub signal: i32,
    /// Nothing for one from the kernel, from a terminal, or from outside the PID namespace.
    pub sender: Option<i32>,
}

/// All signals as a descriptor: a signalfd(2), or where there is none (a kernel without it, a sandbox that
/// forbids it) a pipe that handlers write to.
pub enum SignalFd {
    Kernel(OwnedFd),
    Pipe(OwnedFd),
}

/// Signals taken by one system call, and how often in a row.
const BATCH: usize = 16;
const ROUNDS: usize = 8;
const INFO_BYTES: usize = size_of::<libc::signalfd_siginfo>();

impl SignalFd {
    pub fn new() -> Result<SignalFd, Errno> {
        match SignalFd::of(&ALL) {
            Err(Errno(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::EACCES | libc::ENODEV))
                if cfg!(feature = "init") =>
            {
                Ok(SignalFd::Pipe(signal_pipe::install()?))
            }
            made => Ok(SignalFd::Kernel(made?)),
        }
    }

    /// Those that everybody stops a program with. It is for waiting: who is to read them is another one.
    pub(super) fn stops() -> Result<OwnedFd, Errno> {
        let mut mask = NONE;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            mask[0] |= 1 << (signal - 1);
        }
        SignalFd::of(&mask)
    }

    fn of(mask: &[u64; WORDS]) -> Result<OwnedFd, Errno> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: the kernel reads SET_BYTES from mask.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, mask.as_ptr(), SET_BYTES, flags) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn is_pipe(&self) -> bool {
        cfg!(feature = "init") && matches!(self, SignalFd::Pipe(_))
    }

    /// Of the descriptors that it consists of.
    #[cfg(feature = "init")]
    pub fn numbers(&self) -> [i32; 2] {
        match self {
            SignalFd::Kernel(fd) => [fd.as_raw_fd(); 2],
            SignalFd::Pipe(fd) => [fd.as_raw_fd(), signal_pipe::other_end()],
        }
    }

    /// From now on `epoll` tells when there are some.
    pub fn watched_by(&self, epoll: &mut Epoll, token: u64) -> Result<(), Errno> {
        let (SignalFd::Kernel(fd) | SignalFd::Pipe(fd)) = self;
        if self.is_pipe() {
            epoll.let_in(signal_pipe::not_caught());
        }
        epoll.add(fd, token, Interest::IN)
    }

    /// All that came; of a flood so many that the rest can wait.
    pub fn read(&self) -> Result<Vec<Received>, Errno> {
        let mut all = Vec::new();
        for _ in 0..ROUNDS {
            match self.read_batch(&mut all) {
                Ok(true) => {}
                Err(errno) if all.is_empty() => return Err(errno),
                // An error that stays comes again.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(all)
    }

    /// Whether there may be more.
    fn read_batch(&self, all: &mut Vec<Received>) -> Result<bool, Errno> {
        let mut bytes = [0_u8; BATCH * INFO_BYTES];
        let (SignalFd::Kernel(fd) | SignalFd::Pipe(fd)) = self;
        let (mut each, mut take) = (INFO_BYTES, received as Take);
        if self.is_pipe() {
            (each, take) = (signal_pipe::RECORD_BYTES, signal_pipe::received as Take);
        }
        match rustix::io::read(fd, &mut bytes) {
            Ok(length) => {
                for info in bytes.get(..length).unwrap_or_default().chunks_exact(each) {
                    if let Some(one) = take(info) {
                        all.push(one);
                    }
                }
                Ok(length == bytes.len())
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What one record says.
type Take = fn(&[u8]) -> Option<Received>;

/// The fields of one signalfd_siginfo: signo, errno, code, pid, each four bytes.
fn received(info: &[u8]) -> Option<Received> {
    let word = |index: usize| {
        let bytes = info.get(index * 4..index * 4 + 4)?;
        Some(i32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let sender = Some(word(3)?).filter(|pid| *pid != 0);
    Some(Received { signal: word(0)?, sender })
}

/// Sends a signal to one process.
pub fn send(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to a process group.
pub fn send_to_group(group: i32, signal: i32) -> Result<(), Errno> {
    send(-group, signal)
}

/// Sends a signal to every other process of the PID namespace whose first process this is.
pub fn send_to_all(signal: i32) -> Result<(), Errno> {
    // For anybody else that would be every process of this user's.
    if super::process::own_pid() != 1 {
        return Err(Errno(libc::EPERM));
    }
    send(-1, signal)
}
