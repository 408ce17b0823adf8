//! The receiving end of sd_notify(3): one datagram socket for each worker.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::net::sockopt::{set_socket_linger, set_socket_passcred, socket_linger};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::fd;
use super::socket::{self, Name};
use crate::error::Errno;

/// The longest datagram that counts; systemd's limit, too.
pub const DATAGRAM_MAX: usize = 4096;
/// Room for all that the kernel adds to a datagram: who sent it, and as many descriptors as it passes at
/// once (SCM_MAX_FD).
const CONTROL_MAX: usize = rustix::cmsg_space!(ScmRights(253), ScmCredentials(1));

/// A socket with an address of its own, so that a datagram is known by where it was sent, not by a PID
/// that may be gone.
pub struct NotifySocket {
    fd: OwnedFd,
    /// The value for NOTIFY_SOCKET.
    address: String,
}

/// One datagram. To drop it closes what came with it.
#[derive(Debug)]
pub struct Datagram {
    pub text: Vec<u8>,
    /// Who sent it, and its user, as the kernel saw it.
    pub pid: i32,
    pub user: u32,
    pub descriptors: Descriptors,
}

/// What somebody sent at once.
#[derive(Debug, Default)]
pub struct Descriptors(pub Vec<Sent>);

/// A descriptor that somebody sent; closed when dropped.
#[derive(Debug)]
pub struct Sent(OwnedFd);

impl AsFd for Sent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Sent {
    /// What somebody sent to the program that this process was before.
    #[cfg(feature = "upgrade")]
    pub fn of(fd: OwnedFd) -> Sent {
        Sent(fd)
    }

    /// Out of the way of the numbers below `lowest`.
    pub fn move_above(&mut self, lowest: i32) -> Result<(), Errno> {
        if fd::number(&self.0) < lowest {
            self.0 = fd::copy_above(&self.0, lowest)?;
        }
        Ok(())
    }
}

impl Drop for Sent {
    /// To close the last descriptor of a connection takes as long as its SO_LINGER says, which whoever sent
    /// it chose; but we have others to look after.
    fn drop(&mut self) {
        if socket_linger(&self.0).is_ok_and(|time| time.is_some_and(|time| !time.is_zero())) {
            let _ = set_socket_linger(&self.0, None);
        }
    }
}

impl NotifySocket {
    pub fn new() -> Result<NotifySocket, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        set_socket_passcred(&fd, true)?;
        // The kernel picks a free abstract name (unix(7), "Autobind"): needs no folder that can be
        // written to, and nobody can take it before us.
        rustix::net::bind(&fd, &SocketAddrUnix::new_unnamed())?;
        NotifySocket::of(fd)
    }

    /// One that is bound already.
    pub fn of(fd: OwnedFd) -> Result<NotifySocket, Errno> {
        let Name::Abstract(name) = socket::name(fd.as_fd())? else {
            return Err(Errno(libc::EADDRNOTAVAIL));
        };
        let address = format!("@{}", String::from_utf8_lossy(&name));
        Ok(NotifySocket { fd, address })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next datagram. `Some(None)` is one that does not count, whose descriptors are closed: too long,
    /// with more descriptors than we may have open, or from nobody.
    #[inline(never)]
    pub fn next(&self) -> Option<Option<Datagram>> {
        let mut text = [0; DATAGRAM_MAX];
        let mut control = Control([0; CONTROL_MAX]);
        let received = self.receive(&mut text, &mut control)?;
        let attached = attached(control.0.get(..received.control).unwrap_or_default());
        if received.flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return Some(None);
        }
        let text = text.get(..received.text).unwrap_or_default().to_vec();
        let Attached { sender, descriptors } = attached;
        Some(sender.map(|(pid, user)| Datagram { text, pid, user, descriptors }))
    }

    // Not the same width everywhere.
    #[allow(clippy::unnecessary_cast)]
    fn receive(&self, text: &mut [u8], control: &mut Control) -> Option<Received> {
        let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
        // SAFETY: all zeros is a msghdr without buffers.
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_MAX as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header and the buffers that it names outlive the call.
        let result = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
        // Not even EINTR is worth another try: the call does not wait.
        let text = usize::try_from(result).ok()?;
        Some(Received { text, control: header.msg_controllen as usize, flags: header.msg_flags })
    }
}

/// Aligned as the kernel wants it.
#[repr(align(8))]
struct Control([u8; CONTROL_MAX]);

/// How many bytes recvmsg(2) wrote into either buffer, and what it says of them.
struct Received {
    text: usize,
    control: usize,
    flags: i32,
}

/// What came with a datagram.
#[derive(Default)]
struct Attached {
    /// PID and user.
    sender: Option<(i32, u32)>,
    descriptors: Descriptors,
}

/// By contract `control` is what the kernel just wrote, and nobody has looked at it yet. Read by hand (as
/// cmsg(3) describes it), for rustix takes it for granted that a sender has a PID: one in a PID namespace
/// that we cannot see into has 0, and is nobody.
#[inline(never)]
fn attached(mut control: &[u8]) -> Attached {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut attached = Attached::default();
    while let Some(length) = control.first_chunk().map(|bytes| usize::from_ne_bytes(*bytes)) {
        let length = length.min(control.len()).max(HEADER);
        let content = control.get(HEADER..length).unwrap_or_default();
        let level = int(control, size_of::<usize>());
        let kind = int(control, size_of::<usize>() + size_of::<i32>());
        if (level, kind) == (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)) {
            for number in content.chunks_exact(size_of::<i32>()).filter_map(|four| int(four, 0)) {
                // SAFETY: by contract the kernel just opened it for us, and nobody else owns it.
                let fd = unsafe { OwnedFd::from_raw_fd(number) };
                attached.descriptors.0.push(Sent(fd));
            }
        } else if (level, kind) == (Some(libc::SOL_SOCKET), Some(libc::SCM_CREDENTIALS)) {
            let pid = int(content, 0).filter(|pid| *pid > 0);
            attached.sender = pid.zip(int(content, size_of::<i32>()).map(|user| user as u32));
        }
        control = control.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    attached
}

fn int(bytes: &[u8], place: usize) -> Option<i32> {
    bytes.get(place..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}
