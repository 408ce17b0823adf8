//! fork and exec. Everything is prepared before the fork; after it the child makes only async-signal-safe
//! calls: no allocation, no lock, no panic. What goes wrong there is told through the report pipe.

use core::ffi::{CStr, c_char};
use std::ffi::CString;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::process::Rlimit;

use super::settings::Settings;
use super::{bare_fork, checked, fd, last_errno, process, signal};
use crate::error::Errno;

/// Where the listeners begin (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;
/// Room for a PID in decimal, and the NUL.
const PID_ROOM: usize = 11;

/// One worker to be.
pub struct Child<'a> {
    pub program: &'a CStr,
    /// With the program's name as its first.
    pub arguments: &'a [CString],
    /// `NAME=VALUE` each: what fd3 passes on, and what it adds.
    pub inherited: &'a [CString],
    pub added: &'a [CString],
    /// Names whose value is the child's own PID.
    pub own_pid: &'a [&'static str],
    /// Go to fd 3, 4, ...; each must lie above all of these numbers.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Goes to fd 0; `None` leaves what is there.
    pub stdin: Option<BorrowedFd<'a>>,
    pub parent_death: Option<i32>,
    pub descriptor_limit: Option<Rlimit>,
    pub settings: &'a Settings,
    /// What signals are to it.
    pub manners: signal::Manners,
    /// What else it does first, in a process group of its own by then.
    pub first: Option<fn()>,
    /// Takes over when the kernel cannot execute `program`; the errno if it cannot either.
    pub instead: Option<Instead>,
}

/// Gets `program`, the errno, `arguments` and the environment, these two as execve(2) takes them.
pub type Instead = fn(&CStr, Errno, &[*const c_char], *const *const c_char) -> Errno;

/// What the child needs after the fork, as pointers and numbers.
struct Prepared<'a> {
    child: &'a Child<'a>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// Where the PID's digits go, in strings that `environment` points to.
    own_pid: Vec<*mut u8>,
    report: RawFd,
    parent: i32,
}

/// Forks. The child is leader of its own process group when this returns.
pub fn fork(child: &Child<'_>, reports: &Reports) -> Result<i32, Errno> {
    fork_in::<true>(child, reports)
}

/// The same, for a program with threads. The child is in this process's group.
pub fn fork_beside(child: &Child<'_>, reports: &Reports) -> Result<i32, Errno> {
    // A handler of this program's has no business in the child.
    signal::undisturbed(|| fork_in::<false>(child, reports))
}

#[inline(never)]
fn fork_in<const OWN_GROUP: bool>(child: &Child<'_>, reports: &Reports) -> Result<i32, Errno> {
    let mut own_pid = Vec::new();
    for name in child.own_pid {
        own_pid.push(pid_variable(name));
    }
    let mut prepared = Prepared {
        child,
        arguments: Vec::new(),
        environment: Vec::new(),
        own_pid: Vec::new(),
        report: reports.write.as_raw_fd(),
        parent: process::own_pid(),
    };
    point_to(child.arguments, &mut prepared.arguments);
    point_to(child.inherited, &mut prepared.environment);
    point_to(child.added, &mut prepared.environment);
    for (bytes, name) in own_pid.iter_mut().zip(child.own_pid) {
        let variable = bytes.as_mut_ptr();
        prepared.environment.push(variable.cast_const().cast());
        prepared.own_pid.push(variable.wrapping_add(name.len() + 1));
    }
    prepared.arguments.push(core::ptr::null());
    prepared.environment.push(core::ptr::null());
    // SAFETY: the child calls only async-signal-safe functions, whatever other threads do.
    match unsafe { bare_fork() } {
        -1 => Err(last_errno()),
        0 => become_command::<OWN_GROUP>(&prepared),
        pid if !OWN_GROUP => Ok(pid),
        pid => {
            // The child does the same: whoever comes first, no signal to the group can miss it.
            // SAFETY: no memory is passed. It fails when the child has become COMMAND: fine.
            unsafe { libc::setpgid(pid, pid) };
            Ok(pid)
        }
    }
}

// Not by iterators: a chain of them brings more code than all the rest here.
fn point_to(strings: &[CString], list: &mut Vec<*const c_char>) {
    for string in strings {
        list.push(string.as_ptr());
    }
}

/// `NAME=` and room for the digits.
fn pid_variable(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1 + PID_ROOM);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'=');
    bytes.resize(bytes.len() + PID_ROOM, 0);
    bytes
}

/// The child's whole life before COMMAND. A name for each thing it does; each returns the errno.
fn become_command<const OWN_GROUP: bool>(prepared: &Prepared<'_>) -> ! {
    let child = prepared.child;
    if OWN_GROUP {
        // SAFETY: no memory is passed. The parent does the same.
        unsafe { libc::setpgid(0, 0) };
    }
    if let Some(first) = child.first {
        first();
    }
    let failed = match prepare(child) {
        Err(failed) => failed,
        Ok(()) => {
            die_with_parent(child.parent_death, prepared.parent);
            write_own_pid(&prepared.own_pid);
            child.manners.take_on();
            (Step::Execute, 0, execute(prepared))
        }
    };
    report(prepared.report, failed);
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(child: &Child<'_>) -> Result<(), (Step, i32, Errno)> {
    place_descriptors(child).map_err(|errno| (Step::Prepare, 0, errno))?;
    child.settings.apply()
}

/// A killed fd3 leaves no orphan that holds the port. After any change of user, which clears it.
fn die_with_parent(signal: Option<i32>, parent: i32) {
    let Some(signal) = signal else { return };
    let (signal, none) = (signal as libc::c_ulong, 0 as libc::c_ulong);
    // SAFETY: no memory is passed; all five arguments are given, as the call is variadic.
    let asked =
        unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, signal, none, none, none) };
    if asked == -1 {
        // Some sandboxes forbid it. A comfort, not a need.
        return;
    }
    // SAFETY: no memory is passed.
    let now = unsafe { libc::getppid() };
    // 0: this child begins a PID namespace, from which fd3 is not to be seen.
    if now != parent && now != 0 {
        // It died before we asked.
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
}

/// dup2 also clears close-on-exec. No listener is overwritten before it was copied: all
/// lie above all targets.
fn place_descriptors(child: &Child<'_>) -> Result<(), Errno> {
    // First, as its source may lie where a listener goes.
    if let Some(stdin) = child.stdin {
        // SAFETY: plain numbers; the child owns its whole table.
        checked(unsafe { libc::dup2(stdin.as_raw_fd(), 0) })?;
    }
    for (target, source) in (FIRST_FD..).zip(child.descriptors) {
        // SAFETY: as above.
        checked(unsafe { libc::dup2(source.as_raw_fd(), target) })?;
    }
    match child.descriptor_limit {
        Some(limit) => process::restore_descriptor_limit(limit),
        None => Ok(()),
    }
}

fn write_own_pid(places: &[*mut u8]) {
    if places.is_empty() {
        return;
    }
    let mut digits = [0_u8; PID_ROOM];
    // SAFETY: no memory is passed.
    let mut rest = unsafe { libc::getpid() };
    let mut first = PID_ROOM - 1;
    while rest > 0 && first > 0 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = digits.get(first..).unwrap_or_default();
    for place in places {
        // SAFETY: place has PID_ROOM bytes, digits at most that; they end with a NUL.
        unsafe { core::ptr::copy_nonoverlapping(digits.as_ptr(), *place, digits.len()) };
    }
}

/// Returns only if it fails.
fn execute(prepared: &Prepared<'_>) -> Errno {
    let (arguments, environment) = (prepared.arguments.as_ptr(), prepared.environment.as_ptr());
    // SAFETY: both end with a null pointer, and what they point to lives in the parent's memory, which
    // is copied.
    unsafe { libc::execve(prepared.child.program.as_ptr(), arguments, environment) };
    let errno = last_errno();
    match prepared.child.instead {
        Some(instead) => instead(prepared.child.program, errno, &prepared.arguments, environment),
        None => errno,
    }
}

/// This process becomes another program, which has these descriptors, by their numbers here. Returns only if it
/// fails; all is as it was then.
pub fn become_program(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    descriptors: &[impl AsFd],
) -> Errno {
    let (mut words, mut variables) = (Vec::new(), Vec::new());
    point_to(arguments, &mut words);
    point_to(environment, &mut variables);
    words.push(core::ptr::null());
    variables.push(core::ptr::null());
    for fd in descriptors {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::empty());
    }
    // SAFETY: both lists end with a null pointer, and outlive the call, as what they point to.
    unsafe { libc::execve(program.as_ptr(), words.as_ptr(), variables.as_ptr()) };
    let errno = last_errno();
    for fd in descriptors {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    errno
}

/// How far a child came that never became COMMAND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Its descriptors, and what limits them.
    Prepare,
    Nice,
    Limit,
    /// One of them.
    Capability,
    Capabilities,
    Groups,
    Group,
    User,
    Folder,
    NoNewPrivs,
    Execute,
}

/// By their numbers.
const STEPS: [Step; 11] = [
    Step::Prepare,
    Step::Nice,
    Step::Limit,
    Step::Capability,
    Step::Capabilities,
    Step::Groups,
    Step::Group,
    Step::User,
    Step::Folder,
    Step::NoNewPrivs,
    Step::Execute,
];

/// A child that never became COMMAND, and why. Written before the child ends.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub pid: i32,
    pub step: Step,
    /// Which limit or capability.
    pub which: i32,
    pub errno: Errno,
}

const REPORT_BYTES: usize = 16;

fn report(to: RawFd, (step, which, errno): (Step, i32, Errno)) {
    let mut bytes = [0_u8; REPORT_BYTES];
    // SAFETY: no memory is passed.
    let pid = unsafe { libc::getpid() };
    for (place, word) in bytes.chunks_exact_mut(4).zip([pid, step as i32, which, errno.0]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    // So few bytes go into a pipe whole or not at all (pipe(7)).
    // SAFETY: bytes outlives the call.
    unsafe { libc::write(to, bytes.as_ptr().cast(), REPORT_BYTES) };
}

/// One pipe for the reports of all children, closed in them by exec.
pub struct Reports {
    read: OwnedFd,
    write: OwnedFd,
}

impl Reports {
    /// Out of the way of the `reserved` numbers that a child fills.
    pub fn new(reserved: RawFd) -> Result<Reports, Errno> {
        let (read, write) = fd::pipe()?;
        let read = fd::above(read, reserved)?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        Ok(Reports { read, write: fd::above(write, reserved)? })
    }

    /// Of both ends, which another program of this process left.
    #[cfg(feature = "upgrade")]
    pub fn of(read: OwnedFd, write: OwnedFd) -> Reports {
        Reports { read, write }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Of both ends.
    #[cfg(any(feature = "init", feature = "upgrade"))]
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.read.as_raw_fd(), self.write.as_raw_fd()]
    }

    /// One report, if there is one.
    pub fn next(&self) -> Option<Report> {
        let mut bytes = [0_u8; REPORT_BYTES];
        loop {
            match rustix::io::read(&self.read, &mut bytes) {
                Ok(REPORT_BYTES) => break,
                Err(rustix::io::Errno::INTR) => {}
                // Nothing there. The writing end is ours, so this is never the end of the pipe.
                Ok(_) | Err(_) => return None,
            }
        }
        let word = |index: usize| {
            let bytes = bytes.get(index * 4..index * 4 + 4)?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let step = STEPS.get(usize::try_from(word(1)?).ok()?).copied()?;
        Some(Report { pid: word(0)?, step, which: word(2)?, errno: Errno(word(3)?) })
    }
}
