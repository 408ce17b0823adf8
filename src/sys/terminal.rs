//! The terminal on fd 0, if it is this process's controlling one: which process group is in its foreground.

use core::ffi::{CStr, c_char};

use super::last_errno;
use crate::error::Errno;

const STDIN: i32 = 0;

/// The process group in the foreground; `None` if fd 0 is not the controlling terminal. 0 is a group outside
/// this PID namespace.
pub fn foreground() -> Option<i32> {
    // SAFETY: no memory is passed.
    let group = unsafe { libc::tcgetpgrp(STDIN) };
    Some(group).filter(|group| *group >= 0)
}

/// Whether the foreground is this process's own group's.
pub fn is_ours() -> bool {
    // SAFETY: no memory is passed.
    let own = unsafe { libc::getpgrp() };
    foreground() == Some(own)
}

/// Puts a group into the foreground. SIGTTOU is blocked, or the kernel would stop us for this. It fails where
/// the group has gone, and in sandboxes; nothing more can be done then.
pub fn give_to(group: i32) {
    // SAFETY: no memory is passed.
    unsafe { libc::tcsetpgrp(STDIN, group) };
}

/// The same for the own group. For a child: async-signal-safe.
pub fn take() {
    // SAFETY: no memory is passed.
    give_to(unsafe { libc::getpid() });
}

/// Gives the foreground back to this process's own group.
pub fn take_back() {
    // SAFETY: no memory is passed.
    give_to(unsafe { libc::getpgrp() });
}

/// What a kernel looks at to tell what a file is.
const HEAD: usize = 128;

/// A script without a #! line is given to /bin/sh, as execvp(3) of glibc does it; what is no text is not. For a
/// child: async-signal-safe.
pub fn by_shell(
    program: &CStr,
    errno: Errno,
    arguments: &[*const c_char],
    environment: *const *const c_char,
) -> Errno {
    /// A command line may be as long as the stack is not.
    const MOST: usize = 4096;
    if errno.0 != libc::ENOEXEC || arguments.len() >= MOST || !is_text(program) {
        return errno;
    }
    let mut words = [core::ptr::null::<c_char>(); MOST + 1];
    words[0] = c"/bin/sh".as_ptr();
    words[1] = program.as_ptr();
    // The first of them is the program's name; the last one is the null.
    for (place, word) in words.iter_mut().skip(2).zip(arguments.iter().skip(1)) {
        *place = *word;
    }
    // SAFETY: both lists end with a null pointer, and what they point to outlives the call.
    unsafe { libc::execve(c"/bin/sh".as_ptr(), words.as_ptr(), environment) };
    match last_errno() {
        // There is no shell: what is wrong is the script.
        Errno(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => errno,
        other => other,
    }
}

/// Whether its first line has no NUL, as a binary's has.
fn is_text(program: &CStr) -> bool {
    let mut head = [0_u8; HEAD];
    // SAFETY: the path outlives the call.
    let fd = unsafe { libc::open(program.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return false;
    }
    // SAFETY: head outlives the call. It is closed by exec, or by the end.
    let count = unsafe { libc::read(fd, head.as_mut_ptr().cast(), HEAD) };
    let head = head.get(..usize::try_from(count).unwrap_or(0)).unwrap_or_default();
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    !line.contains(&0)
}
