//! Real sockets in a folder of their own.

use super::*;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The umask belongs to the whole process, and a bind with a mode changes it for an instant.
static UMASK: Mutex<()> = Mutex::new(());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder that goes away with its test, which has all folders for itself meanwhile.
pub struct TempDir {
    pub path: String,
    _alone: MutexGuard<'static, ()>,
}

impl TempDir {
    pub fn new() -> TempDir {
        let alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir();
        let path = format!("{}/fd3-test-{}-{n}", base.display(), std::process::id());
        fs::create_dir(&path).expect("a folder of that name is new");
        TempDir { path, _alone: alone }
    }

    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Everything in the folder, hidden names too.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).expect("the folder is there");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.flatten().map(name).collect();
        names.sort();
        names
    }

    /// Whether we may give files away: root often may not, in containers.
    pub fn may_chown(&self) -> bool {
        std::os::unix::fs::chown(&self.path, Some(4321), None).is_ok()
            && std::os::unix::fs::chown(&self.path, Some(0), None).is_ok()
    }

    /// A socket that nobody serves any more.
    pub fn stale(&self, name: &str) -> String {
        let path = self.file(name);
        drop(UnixListener::bind(&path).expect("bind"));
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn bind_with(path: &str, access: Access) -> Result<(OwnedFd, BoundPath), Trouble> {
    let fd = socket::open(&Name::Path(Vec::new()), Kind::Stream).expect("socket");
    let bound = bind(fd.as_fd(), Kind::Stream, path.as_bytes(), &access, Some(16))?;
    Ok((fd, bound))
}

fn bind_at(path: &str) -> Result<(OwnedFd, BoundPath), Trouble> {
    bind_with(path, Access::default())
}

#[test]
fn a_fresh_path_serves_with_a_guard_and_leaves_nothing() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let (fd, mut bound) = bind_at(&path).expect("a fresh path");
    UnixStream::connect(&path).expect("it listens");
    assert_eq!(dir.names(), [".x.fd3", "x"]);
    assert_eq!(socket::name(fd.as_fd()), Ok(Name::Path(path.clone().into_bytes())));
    assert_eq!(bound.state(), State::Intact);
    bound.remove();
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_stale_path_is_replaced_and_never_missing() {
    let dir = TempDir::new();
    let path = dir.stale("x");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0_u32;
            while !stop.load(Ordering::Relaxed) || looks == 0 {
                let there = fs::symlink_metadata(&path).expect("the name is there");
                assert!(there.file_type().is_socket());
                looks += 1;
            }
        });
        for _ in 0..50 {
            let (fd, bound) = bind_at(&path).expect("nobody serves it");
            UnixStream::connect(&path).expect("it serves at once");
            if is_root() {
                assert!(bound.public);
            }
            if bound.public {
                let name = Name::Path(path.clone().into_bytes());
                assert_eq!(socket::name(fd.as_fd()), Ok(name));
            }
        }
        stop.store(true, Ordering::Relaxed);
        watcher.join().expect("never missing");
    });
    assert_eq!(dir.names(), [".x.fd3", "x"]);
}

#[test]
fn a_path_that_chroot_cannot_serve_is_replaced_from_a_hidden_name() {
    let dir = TempDir::new();
    let path = dir.stale("x");
    let dotted = format!("{}/../{}/x", dir.path, &dir.path[dir.path.rfind('/').unwrap() + 1..]);
    let (fd, mut bound) = bind_at(&dotted).expect("nobody serves it");
    assert!(!bound.public);
    assert_eq!(socket::name(fd.as_fd()), Ok(Name::Path(b".fd3".to_vec())));
    UnixStream::connect(&path).expect("it serves");
    assert_eq!(dir.names(), [".x.fd3", "x"]);
    bound.remove();
    assert_eq!(dir.names(), [""; 0]);
}

/// As long as an address may be, in a folder in which a longer name has no room.
#[test]
fn a_long_path_that_chroot_cannot_serve_is_replaced_too() {
    let dir = TempDir::new();
    let folder = "d".repeat((107 - dir.path.len() - "//..//x".len()) / 2);
    fs::create_dir(dir.file(&folder)).expect("mkdir");
    let path = dir.stale(&format!("{folder}/x"));
    let dotted = dir.file(&format!("{folder}/../{folder}/x"));
    assert!(dotted.len() > 105, "{dotted}");
    let (_fd, mut bound) = bind_at(&dotted).expect("nobody serves it");
    assert!(!bound.public);
    UnixStream::connect(&path).expect("it serves");
    bound.remove();
    assert_eq!(dir.names(), [folder]);
}

#[test]
fn what_lives_there_is_left_alone() {
    let dir = TempDir::new();
    let in_use = Trouble::Errno(Errno(libc::EADDRINUSE));
    let live = dir.file("live");
    let _server = UnixListener::bind(&live).expect("bind");
    assert_eq!(bind_at(&live).expect_err("it is served"), in_use);
    let datagram = dir.file("datagram");
    let _other = std::os::unix::net::UnixDatagram::bind(&datagram).expect("bind");
    assert_eq!(bind_at(&datagram).expect_err("it is served by another kind"), in_use);
    let full = dir.file("full");
    let (fd, _) = bind_at(&full).expect("fresh");
    socket::listen(fd.as_fd(), 0).expect("listen");
    let _waiting = UnixStream::connect(&full).expect("one fits");
    assert_eq!(bind_at(&full).expect_err("its queue is full"), in_use);
    let file = dir.file("file");
    fs::write(&file, "text").expect("write");
    assert_eq!(bind_at(&file).expect_err("a file"), Trouble::NotSocket);
    assert_eq!(fs::read_to_string(&file).expect("untouched"), "text");
    assert_eq!(bind_at(&dir.path).expect_err("a folder"), Trouble::NotSocket);
    let link = dir.file("link");
    std::os::unix::fs::symlink("nowhere", &link).expect("symlink");
    assert_eq!(bind_at(&link).expect_err("a link to nothing"), Trouble::NotSocket);
    assert_eq!(dir.names(), [".full.fd3", "datagram", "file", "full", "link", "live"]);
}

#[test]
fn errors_of_the_path_are_told_and_leave_nothing() {
    let dir = TempDir::new();
    let missing = bind_at(&dir.file("no/x")).expect_err("no such folder");
    assert_eq!(missing, Trouble::Errno(Errno(libc::ENOENT)));
    let long = bind_at(&dir.file(&"x".repeat(120))).expect_err("too long");
    assert_eq!(long, Trouble::Errno(Errno(libc::ENAMETOOLONG)));
    if !is_root() {
        let stale = dir.stale("x");
        let access = Access { uid: Some(0), ..Access::default() };
        let trouble = Err(Trouble::Errno(Errno(libc::EPERM)));
        assert_eq!(bind_with(&stale, access).map(|_| ()), trouble);
        assert_eq!(bind_with(&dir.file("y"), access).map(|_| ()), trouble);
        assert_eq!(dir.names(), ["x"]);
    }
}

#[test]
fn mode_and_owner_are_as_asked_fresh_and_replaced() {
    let dir = TempDir::new();
    let may_chown = dir.may_chown();
    let ids = may_chown.then_some(4321);
    for mode in [0o600, 0o666, 0o777, 0o060, 0] {
        for path in [dir.file(&format!("fresh{mode}")), dir.stale(&format!("stale{mode}"))] {
            let access = Access { mode: Some(mode), uid: ids, gid: ids };
            let (_fd, _) = bind_with(&path, access).expect("bind");
            let stat = fs::symlink_metadata(&path).expect("it is there");
            assert_eq!(stat.mode() & 0o7777, mode);
            if may_chown {
                assert_eq!((stat.uid(), stat.gid()), (4321, 4321));
            }
        }
    }
    let before = umask(Mode::from_raw_mode(0o027));
    let path = dir.file("plain");
    let (_fd, _) = bind_at(&path).expect("bind");
    assert_eq!(umask(before), Mode::from_raw_mode(0o027), "the umask is as it was");
    let stat = fs::symlink_metadata(&path).expect("it is there");
    assert_eq!(stat.mode() & 0o7777, 0o750, "what bind makes of it");
}

#[test]
fn the_guard_brings_the_path_back_again_and_again() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let (_fd, mut bound) = bind_at(&path).expect("bind");
    for _ in 0..3 {
        fs::remove_file(&path).expect("unlink");
        assert_eq!(bound.state(), State::Missing);
        assert_eq!(bound.restore(), Ok(()));
        UnixStream::connect(&path).expect("it serves");
        fs::remove_file(&path).expect("unlink");
        let _thief = UnixListener::bind(&path).expect("bind");
        assert_eq!(bound.state(), State::Replaced);
        assert_eq!(bound.restore(), Ok(()));
        assert_eq!(bound.state(), State::Intact);
    }
    assert_eq!(dir.names(), [".x.fd3", "x"]);
    fs::remove_file(&path).expect("unlink");
    fs::write(&path, "text").expect("write");
    assert_eq!(bound.restore(), Err(Trouble::NotSocket));
    fs::remove_file(&path).expect("unlink");
    fs::remove_file(dir.file(".x.fd3")).expect("unlink");
    assert_eq!(bound.restore(), Err(Trouble::NoGuard));
}

/// Left by an fd3 that was killed between two steps: the guard itself goes, and is made anew.
#[test]
fn a_third_name_that_is_taken_is_no_obstacle() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let (_fd, mut bound) = bind_at(&path).expect("bind");
    let third = dir.file(".x.fd3+");
    fs::write(&third, "foreign").expect("write");
    for _ in 0..2 {
        fs::remove_file(&path).expect("unlink");
        assert_eq!(bound.restore(), Ok(()));
        UnixStream::connect(&path).expect("it serves");
        assert_eq!(dir.names(), [".x.fd3", ".x.fd3+", "x"]);
    }
    assert_eq!(fs::read_to_string(&third).expect("untouched"), "foreign");
    bound.remove();
    assert_eq!(dir.names(), [".x.fd3+"]);
}

#[test]
fn what_lives_at_the_guards_name_is_left_alone() {
    let dir = TempDir::new();
    let (path, guard) = (dir.file("x"), dir.file(".x.fd3"));
    let server = UnixListener::bind(&guard).expect("bind");
    let (_fd, mut bound) = bind_at(&path).expect("the path itself is free");
    assert_eq!(bound.guard, None);
    UnixStream::connect(&path).expect("it serves");
    UnixStream::connect(&guard).expect("as before");
    server.accept().expect("the client came here");
    fs::remove_file(&path).expect("unlink");
    assert_eq!(bound.restore(), Err(Trouble::NoGuard));
    bound.remove();
    assert_eq!(dir.names(), [".x.fd3"]);
}

#[test]
fn remove_leaves_what_others_put_there() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let (_fd, mut bound) = bind_at(&path).expect("bind");
    for name in [&path, &dir.file(".x.fd3")] {
        fs::remove_file(name).expect("unlink");
        fs::write(name, "foreign").expect("write");
    }
    bound.remove();
    assert_eq!(dir.names(), [".x.fd3", "x"]);
}

#[test]
fn leftovers_of_a_killed_self_are_no_obstacle() {
    let dir = TempDir::new();
    let path = dir.stale("x");
    fs::hard_link(&path, dir.file(".x.fd3")).expect("link");
    let (_fd, mut bound) = bind_at(&path).expect("bind");
    assert!(bound.guard.is_some());
    bound.remove();
    assert_eq!(dir.names(), [""; 0]);
}

/// A thief who is faster than we are: between bind(2) and our next look there is another file.
#[test]
fn what_others_put_in_place_of_our_socket_is_not_given_away() {
    let dir = TempDir::new();
    let (path, precious) = (dir.file("x"), dir.file("precious"));
    let secret = fs::Permissions::from_mode(0o600);
    for make in ["link", "symlink", "socket"] {
        match make {
            "socket" => drop(UnixListener::bind(&precious).expect("bind")),
            _ => fs::write(&precious, "text").expect("write"),
        }
        fs::set_permissions(&precious, secret.clone()).expect("chmod");
        match make {
            "symlink" => std::os::unix::fs::symlink(&precious, &path).expect("symlink"),
            _ => fs::hard_link(&precious, &path).expect("link"),
        }
        let fd = socket::open(&Name::Path(Vec::new()), Kind::Stream).expect("socket");
        let access = Access { mode: Some(0o666), ..Access::default() };
        let path = c_path(path.as_bytes()).expect("no NUL");
        let done = settle(fd.as_fd(), CWD, &path, &path, &access, None);
        assert_eq!(done, Err(Trouble::Errno(Errno(libc::EADDRINUSE))), "{make}");
        let stat = fs::symlink_metadata(&precious).expect("it is there");
        assert_eq!(stat.mode() & 0o7777, 0o600, "{make}");
        assert_eq!(dir.names(), ["precious", "x"], "{make}");
        fs::remove_file(dir.file("x")).expect("unlink");
        fs::remove_file(&precious).expect("unlink");
    }
}

#[test]
fn a_mode_that_bind_did_not_make_is_made_by_descriptor() {
    let dir = TempDir::new();
    let path = dir.stale("x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    let fd = socket::open(&Name::Path(Vec::new()), Kind::Stream).expect("socket");
    let access = Access { mode: Some(0o640), ..Access::default() };
    let at = c_path(path.as_bytes()).expect("no NUL");
    settle(fd.as_fd(), CWD, &at, &at, &access, None).expect("it is ours");
    let stat = fs::symlink_metadata(&path).expect("it is there");
    assert_eq!(stat.mode() & 0o7777, 0o640);
}

/// Who knows the names that we are going to use can take them all.
#[test]
fn scratch_names_cannot_be_foreseen() {
    let dir = TempDir::new();
    let path = dir.stale("x");
    let names: Vec<u64> = (0..100).map(|_| crate::sys::process::seed()).collect();
    assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    for n in 0..100 {
        fs::write(dir.file(&format!(".fd3-{}-{n}", std::process::id())), "").expect("write");
    }
    let (_fd, bound) = bind_at(&path).expect("nobody serves it");
    assert!(!is_root() || bound.public);
    assert_eq!(dir.names().len(), 102);
}

#[test]
fn inotify_wakes_at_an_unlink() {
    let dir = TempDir::new();
    let path = dir.file("x");
    let (_fd, bound) = bind_at(&path).expect("bind");
    let inotify = crate::sys::inotify::Inotify::new().expect("inotify");
    let watch = inotify.watch(&bound.path).expect("watch");
    assert_eq!(inotify.drain(), []);
    fs::remove_file(&path).expect("unlink");
    assert_eq!(inotify.drain(), [watch]);
}
