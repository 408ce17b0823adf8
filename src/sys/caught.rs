//! Signals of a program that may have threads and a runtime of its own: handlers that write to
//! a descriptor. The program's masks stay as they are, as every thread has its own, and those that run already would
//! take the signal instead. Not for fd3 itself, which blocks them all (`signal`).

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::fd::{IntoRawFd, OwnedFd};

use super::checked;
use crate::error::Errno;

const SIGNALS: usize = 65;
/// No descriptor.
const NONE: i32 = -1;

/// Where the handler of each signal writes to.
static ENDS: [AtomicI32; SIGNALS] = [const { AtomicI32::new(NONE) }; SIGNALS];

/// Which have come.
static CAME: [AtomicBool; SIGNALS] = [const { AtomicBool::new(false) }; SIGNALS];
/// The thread that is about to become another program, in which they wait: 0 for none.
static HEIR: AtomicI32 = AtomicI32::new(0);

/// Async-signal-safe.
extern "C" fn caught(signal: libc::c_int) {
    // SAFETY: the location of errno is always valid for this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let index = usize::try_from(signal).unwrap_or(0);
    if let (Some(end), Some(came)) = (ENDS.get(index), CAME.get(index)) {
        came.store(true, Ordering::SeqCst);
        let heir = HEIR.load(Ordering::SeqCst);
        if heir != 0 {
            let own = super::process::own_pid();
            // It has it blocked: the signal goes through exec. First of all, as exec ends this thread at any moment.
            // SAFETY: plain numbers.
            unsafe { libc::syscall(libc::SYS_tgkill, own, heir, signal) };
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: one outlives the call; the descriptor is open as long as this process is.
        unsafe { libc::write(end.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// From now on each of these signals writes eight bytes to `end`, an eventfd's one (and never waits), whichever
/// thread the kernel gives it to. What had handled them is replaced. `SIGINT` and `SIGQUIT` stay ignored where they
/// are: so a shell starts what is not to be ended from its terminal.
pub fn write_to(end: OwnedFd, signals: &[i32]) -> Result<(), Errno> {
    // A handler may run at any time: it is open for as long as this process lives.
    let kept = end.into_raw_fd();
    for signal in signals {
        let Some(place) = usize::try_from(*signal).ok().and_then(|index| ENDS.get(index)) else {
            return Err(Errno(libc::EINVAL));
        };
        place.store(kept, Ordering::Release);
        if !(matches!(*signal, libc::SIGINT | libc::SIGQUIT) && is_ignored(*signal)) {
            catch(*signal)?;
        }
    }
    // Whoever started this process may have left them blocked.
    change_mask(libc::SIG_UNBLOCK, &set_of(signals)).map(drop)
}

/// Whether a signal that is caught has come.
pub fn has_come(signal: i32) -> bool {
    let came = usize::try_from(signal).ok().and_then(|index| CAME.get(index));
    came.is_some_and(|came| came.load(Ordering::SeqCst))
}

/// Runs `exec`, in which this thread becomes another program. Of these signals none is lost where all other threads
/// have them blocked ([`Mask`]): one that comes now waits until that program unblocks it. Another thread that takes one
/// hands it on, unless exec ends it before its handler has: so small a window is left to threads of the program's own.
/// One that came before, and [`has_come`] tells of, is the caller's.
pub fn keep_for_heir<T>(signals: &[i32], exec: impl FnOnce() -> T) -> Result<T, Errno> {
    Mask::block(signals)?;
    // SAFETY: no memory is passed.
    let own = unsafe { libc::syscall(libc::SYS_gettid) };
    HEIR.store(own as i32, Ordering::SeqCst);
    let failed = exec();
    HEIR.store(0, Ordering::SeqCst);
    change_mask(libc::SIG_UNBLOCK, &set_of(signals))?;
    Ok(failed)
}

/// What the C library knows of it. It refuses what it needs for its threads, and what cannot be caught.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all-zero is a valid sigaction.
    let mut now: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: now outlives the call.
    let asked = unsafe { libc::sigaction(signal, core::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

fn catch(signal: i32) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = caught as *const () as usize;
    // Nobody's system call fails for it.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action outlives the call; its handler is async-signal-safe.
    checked(unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) }).map(drop)
}

/// What a thread had blocked.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

impl Mask {
    /// Blocks these in this thread as well, and in those that it starts from now on. Returns how it was.
    pub fn block(signals: &[i32]) -> Result<Mask, Errno> {
        change_mask(libc::SIG_BLOCK, &set_of(signals))
    }

    /// In this thread.
    pub fn put_back(&self) {
        // It can fail only for a `how` that is none.
        let _ = change_mask(libc::SIG_SETMASK, &self.0);
    }

    /// With what was blocked then, in whichever thread; after that, and after a panic, it is as it is now.
    pub fn during<T>(&self, what: impl FnOnce() -> T) -> T {
        struct Back(Option<Mask>);
        impl Drop for Back {
            fn drop(&mut self) {
                self.0.iter().for_each(Mask::put_back);
            }
        }
        let _back = Back(change_mask(libc::SIG_SETMASK, &self.0).ok());
        what()
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was initialized above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: as above.
    unsafe { set.assume_init() }
}

/// In this thread. Returns how it was.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> Result<Mask, Errno> {
    let mut before = set_of(&[]);
    // SAFETY: both sets are initialized and outlive the call.
    match unsafe { libc::pthread_sigmask(how, set, &raw mut before) } {
        0 => Ok(Mask(before)),
        errno => Err(Errno(errno)),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::super::event::{Event, wait_any};
    use super::*;

    #[test]
    fn a_signal_sets_its_event_whoever_gets_it() {
        // Nobody else in these tests uses these two.
        let signals = [libc::SIGURG, libc::SIGWINCH];
        let event = Event::new().expect("there are descriptors");
        let end = || OwnedFd::from(event.try_clone().expect("there are descriptors"));
        assert_eq!(write_to(end(), &signals), Ok(()));
        for signal in signals {
            event.clear();
            assert!(!event.is_set() && !has_come(signal));
            // SAFETY: no memory is passed.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
            assert_eq!(wait_any([event.as_fd()], None), Ok([true]));
            assert!(has_come(signal));
        }
        for none in [libc::SIGKILL, 65, -1] {
            assert_eq!(write_to(end(), &[none]), Err(Errno(libc::EINVAL)));
        }
    }
}
