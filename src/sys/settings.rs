//! What a child is given between fork and exec: limits, rights, a user, a folder. Async-signal-safe: no
//! allocation, no lock, no panic. System calls go past the C library, whose setuid and the like tell all
//! threads: here is one, and it may not wait for others.

use std::ffi::CString;

use rustix::process::setpriority_process;

use super::spawn::Step;
use super::{checked, last_errno};
use crate::error::Errno;

/// What is left out stays as it is.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    pub nice: Option<i32>,
    /// A resource, its soft and its hard limit.
    pub limits: Vec<(i32, u64, u64)>,
    pub umask: Option<u32>,
    pub identity: Option<Identity>,
    /// Capabilities that it never has again, one bit each.
    pub dropped: u64,
    pub folder: Option<CString>,
    pub no_new_privs: bool,
}

/// Who it becomes.
#[derive(Clone, Debug)]
pub struct Identity {
    pub user: Option<u32>,
    pub group: u32,
    /// All supplementary ones.
    pub groups: Vec<u32>,
}

/// The limit's or the capability's number is part of it, where it is one of those.
type Failed = (Step, i32, Errno);

impl Settings {
    /// In the order in which the right to each is lost. A folder comes after the user, who must be allowed to
    /// go there.
    pub(super) fn apply(&self) -> Result<(), Failed> {
        if !cfg!(feature = "settings") {
            return Ok(());
        }
        if let Some(nice) = self.nice {
            setpriority_process(None, nice).map_err(|errno| (Step::Nice, 0, errno.into()))?;
        }
        for (resource, soft, hard) in &self.limits {
            limit(*resource, [*soft, *hard]).map_err(|e| (Step::Limit, *resource, e))?;
        }
        if let Some(mask) = self.umask {
            // SAFETY: no memory is passed. It cannot fail.
            unsafe { libc::umask(mask as libc::mode_t) };
        }
        if self.dropped != 0 {
            self.shrink_bounding_set()?;
        }
        if let Some(identity) = &self.identity {
            identity.take()?;
        }
        if self.dropped != 0 {
            drop_capabilities(self.dropped).map_err(|e| (Step::Capabilities, 0, e))?;
        }
        if let Some(folder) = &self.folder {
            // SAFETY: folder outlives the call.
            checked(unsafe { libc::chdir(folder.as_ptr()) }).map_err(|e| (Step::Folder, 0, e))?;
        }
        if self.no_new_privs {
            control(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(|e| (Step::NoNewPrivs, 0, e))?;
        }
        Ok(())
    }

    /// So that no program that is executed later has them, not even root's. Where nothing can be gained by
    /// executing, they need not be taken away: whoever may not do that is content with less.
    fn shrink_bounding_set(&self) -> Result<(), Failed> {
        for number in 0..CAPABILITIES {
            if self.dropped >> number & 1 == 0 {
                continue;
            }
            match control(libc::PR_CAPBSET_READ, number) {
                Ok(0) => {}
                Ok(_) => match control(libc::PR_CAPBSET_DROP, number) {
                    Ok(_) => {}
                    Err(Errno(libc::EPERM)) if self.gains_nothing() => {}
                    Err(errno) => return Err((Step::Capability, number, errno)),
                },
                // From here on the kernel knows none.
                Err(Errno(libc::EINVAL)) => return Ok(()),
                Err(errno) => return Err((Step::Capability, number, errno)),
            }
        }
        Ok(())
    }

    fn gains_nothing(&self) -> bool {
        self.no_new_privs || control(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1)
    }
}

impl Identity {
    /// The user last: only until then the rest is permitted. What the kernel says it did is looked at, as a
    /// sandbox may only say so.
    fn take(&self) -> Result<(), Failed> {
        let (groups, group) = (|errno| (Step::Groups, 0, errno), |errno| (Step::Group, 0, errno));
        let user = |errno| (Step::User, 0, errno);
        // SAFETY: the list outlives the call.
        let set = unsafe { libc::syscall(SETGROUPS, self.groups.len(), self.groups.as_ptr()) };
        called(set).map_err(groups)?;
        verify(self.has_groups()).map_err(groups)?;
        let new = self.group;
        // SAFETY: no memory is passed.
        called(unsafe { libc::syscall(SETRESGID, new, new, new) }).map_err(group)?;
        let [mut real, mut effective, mut saved] = [u32::MAX; 3];
        // SAFETY: all three outlive the call.
        unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
        verify([real, effective, saved] == [new; 3]).map_err(group)?;
        let Some(new) = self.user else { return Ok(()) };
        // SAFETY: no memory is passed.
        called(unsafe { libc::syscall(SETRESUID, new, new, new) }).map_err(user)?;
        // SAFETY: all three outlive the call.
        unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
        verify([real, effective, saved] == [new; 3]).map_err(user)?;
        // The only ones that outlive exec. Root's went with root; before Linux 4.3 there were none.
        match control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL) {
            Ok(_) | Err(Errno(libc::EINVAL)) => Ok(()),
            Err(errno) => Err(user(errno)),
        }
    }
}

impl Identity {
    /// Of so many that there is no room for them, the kernel's word is taken.
    fn has_groups(&self) -> bool {
        let mut seen = [0; GROUPS_SEEN];
        // SAFETY: the kernel writes at most that many, and seen outlives the call.
        let count = unsafe { libc::getgroups(GROUPS_SEEN as i32, seen.as_mut_ptr()) };
        let Ok(count) = usize::try_from(count) else { return self.groups.len() > GROUPS_SEEN };
        count == self.groups.len()
            && seen.iter().take(count).all(|group| self.groups.contains(group))
    }
}

/// More than most users have.
const GROUPS_SEEN: usize = 64;

// By these names they take numbers of more than 16 bits.
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{
    SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
};

/// The kernel has room for so many.
const CAPABILITIES: i32 = 64;
/// _LINUX_CAPABILITY_VERSION_3 (capget(2)): 64 of them, in two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Whose holder may signal anybody, and become anybody (capabilities(7)).
const KILL: u32 = 5;
const SETGID: u32 = 6;
const SETUID: u32 = 7;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// From all sets that this process has; the kernel takes them from the ambient ones itself.
fn drop_capabilities(dropped: u64) -> Result<(), Errno> {
    let mut header = [CAPABILITY_VERSION, 0];
    let before = capabilities()?;
    let mut sets = before;
    for (half, dropped) in sets.iter_mut().zip([dropped as u32, (dropped >> 32) as u32]) {
        half.effective &= !dropped;
        half.permitted &= !dropped;
        half.inheritable &= !dropped;
    }
    if sets == before {
        return Ok(());
    }
    // SAFETY: header and sets are as the call expects them, and outlive it.
    called(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) })
}

fn capabilities() -> Result<[Capabilities; 2], Errno> {
    let mut header = [CAPABILITY_VERSION, 0];
    let mut sets = [Capabilities::default(); 2];
    // SAFETY: header and sets are as the call expects them, and outlive it.
    called(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) })?;
    Ok(sets)
}

/// Whether this process may become another user, but not signal one.
pub fn could_not_signal_others() -> bool {
    let effective = capabilities().map_or(0, |[low, _]| low.effective);
    effective >> SETUID & 1 == 1 && effective >> KILL & 1 == 0
}

pub fn may_set_groups() -> bool {
    capabilities().map_or(0, |[low, _]| low.effective) >> SETGID & 1 == 1
}

/// Whether this process is in none but these.
pub fn has_no_other_groups(groups: &[u32]) -> bool {
    let mut seen = [0; GROUPS_SEEN];
    // SAFETY: the kernel writes at most that many, and seen outlives the call.
    let count = unsafe { libc::getgroups(GROUPS_SEEN as i32, seen.as_mut_ptr()) };
    usize::try_from(count)
        .is_ok_and(|count| seen.iter().take(count).all(|group| groups.contains(group)))
}

/// The user and the group of this process, where it has just one of each, and not saved another one.
pub fn own_ids() -> (Option<u32>, Option<u32>) {
    let [mut real, mut effective, mut saved] = [u32::MAX; 3];
    // SAFETY: all three outlive the call.
    unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
    let user = (real == effective && real == saved).then_some(real);
    // SAFETY: as above.
    unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
    (user, (real == effective && real == saved).then_some(real))
}

/// As the call takes 64 bits, on every machine.
fn limit(resource: i32, limits: [u64; 2]) -> Result<(), Errno> {
    let none = core::ptr::null::<u64>();
    // SAFETY: limits is what a rlimit64 is, and outlives the call, which writes nothing.
    called(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limits.as_ptr(), none) })
}

/// prctl(2) with one argument; those that it has none for must be 0.
fn control(option: i32, argument: i32) -> Result<i32, Errno> {
    let (argument, none) = (argument as libc::c_ulong, 0 as libc::c_ulong);
    // SAFETY: no memory is passed; all five arguments are given, as the call is variadic.
    checked(unsafe { libc::prctl(option, argument, none, none, none) })
}

fn called(result: libc::c_long) -> Result<(), Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

fn verify(holds: bool) -> Result<(), Errno> {
    if holds { Ok(()) } else { Err(Errno(libc::EPERM)) }
}
