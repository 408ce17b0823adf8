//! Starts fd3 and waits for what it says, never for a while. Every wait has a deadline, at which the
//! test fails and shows the whole log.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything that works ever takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// More than any test's fd3 says before it is read, where the kernel grants it.
const LOG_ROOM: usize = 256 << 10;

/// For who counts fd3's descriptors: by its default name every client of another test looks for its own.
pub const UNSEEN: &[&str] = if cfg!(feature = "control") { &["--control", "none"] } else { &[] };

/// The same for who wants to have a control socket.
pub fn unseen_control() -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = format!("unix:@fd3-unseen-{}-{next}", std::process::id());
    if cfg!(feature = "control") { vec!["--control".into(), address] } else { Vec::new() }
}

/// The program under test; with FD3_TEST_BINARY, when this is compiled, a static one from somewhere else.
pub const FD3: &str = match STATIC {
    Some(path) => path,
    None => BUILT,
};
pub const IS_STATIC: bool = STATIC.is_some() || cfg!(target_feature = "crt-static");
const STATIC: Option<&str> = option_env!("FD3_TEST_BINARY");
const BUILT: &str = env!("CARGO_BIN_EXE_fd3");

/// The server of examples/.
pub fn http_server() -> String {
    example("http_server")
}

/// A program of examples/.
pub fn example(name: &str) -> String {
    let folder = Path::new(BUILT).parent().expect("it lies in a folder");
    let server = folder.join("examples").join(name);
    assert!(server.exists(), "{server:?} is not built: run the whole `cargo test`");
    server.into_os_string().into_string().expect("the path is text")
}

/// A running fd3 (or any other program), killed with all its workers when dropped.
pub struct Fd3 {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

/// `fd3 run -v` with these words.
pub fn run<S: AsRef<OsStr>>(words: &[S]) -> Fd3 {
    let mut command = command(FD3);
    command.args(["run", "-v"]).args(words);
    Fd3::start(command)
}

/// A command with the inherited conventions removed.
#[allow(clippy::disallowed_methods)]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// Runs fd3 to its end: for what fails at once.
pub fn output<S: AsRef<OsStr>>(words: &[S]) -> Output {
    command(FD3).args(words).stdin(Stdio::null()).output().expect("fd3 starts")
}

/// Its stderr, as text.
pub fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

impl Fd3 {
    /// Starts a prepared command; its stdout and stderr become the log, through one pipe, so that lines are in
    /// the order in which they were written.
    pub fn start(mut command: Command) -> Fd3 {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // fd3 waits for no reader: what finds no room because this test has no turn is lost.
        let _ = rustix::pipe::fcntl_setpipe_size(&reader, LOG_ROOM);
        command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
        let child = command.stdin(Stdio::null()).spawn().expect("the program starts");
        let log = Arc::new(Log::default());
        follow(reader, log.clone());
        Fd3 { child, log }
    }

    /// The same with a stdout of the command's own: its stderr alone is the log. Its stdin is open until it ends.
    pub fn start_beside(mut command: Command) -> Fd3 {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let child = command.stderr(writer).stdin(Stdio::piped()).spawn();
        let log = Arc::new(Log::default());
        follow(reader, log.clone());
        // The command has the writing end as well.
        drop(command);
        Fd3 { child: child.expect("the program starts"), log }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The first line, from the beginning on, that has `text` in it.
    pub fn line(&self, text: &str) -> String {
        self.nth_line(text, 0)
    }

    /// The line with `text` in it that comes after `before` others.
    pub fn nth_line(&self, text: &str, before: usize) -> String {
        let deadline = now() + PATIENCE;
        let mut state = self.log.state.lock().expect("no reader panics");
        loop {
            if let Some(line) = state.0.iter().filter(|line| line.contains(text)).nth(before) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(now());
            assert!(!left.is_zero(), "no line {before} with {text:?} in:\n{}", state.0.join("\n"));
            state = self.log.changed.wait_timeout(state, left).expect("no reader panics").0;
        }
    }

    /// How many lines so far have `text` in them.
    pub fn count(&self, text: &str) -> usize {
        let state = self.log.state.lock().expect("no reader panics");
        state.0.iter().filter(|line| line.contains(text)).count()
    }

    pub fn log(&self) -> String {
        self.log.state.lock().expect("no reader panics").0.join("\n")
    }

    /// The port of the first TCP listener.
    pub fn port(&self) -> u16 {
        let line = self.line("listening address=tcp://");
        let address = field(&line, "address");
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// The PID of the `n`th worker started.
    pub fn worker(&self, n: usize) -> i32 {
        field(&self.nth_line("worker started", n), "pid").parse().expect("a PID")
    }

    /// The PIDs of workers 0 to n-1, once all of them are ready.
    pub fn ready(&self, n: usize) -> Vec<i32> {
        (0..n)
            .map(|index| {
                field(&self.nth_line("worker ready", index), "pid").parse().expect("a PID")
            })
            .collect()
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Whether the log is complete.
    pub fn has_ended(&self) -> bool {
        self.log.state.lock().expect("no reader panics").1
    }

    /// Waits for its end; the exit code, or 128 + the signal that killed it. The log is complete then.
    pub fn exit(&mut self) -> i32 {
        let deadline = now() + PATIENCE;
        let mut state = self.log.state.lock().expect("no reader panics");
        // The pipe's end is fd3's end, unless a worker kept it.
        while !state.1 {
            let left = deadline.saturating_duration_since(now());
            assert!(!left.is_zero(), "fd3 does not end:\n{}", state.0.join("\n"));
            state = self.log.changed.wait_timeout(state, left).expect("no reader panics").0;
        }
        drop(state);
        code(self.child.wait().expect("fd3 is our child"))
    }

    /// TERM, and the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(libc::SIGTERM);
        self.exit()
    }
}

impl Drop for Fd3 {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // All of them: a wrapper (strace, unshare) is not the only one between us and the workers.
            let below = descendants(self.pid());
            kill(self.pid(), libc::SIGKILL);
            for pid in below {
                kill(-pid, libc::SIGKILL);
                kill(pid, libc::SIGKILL);
            }
            let _ = self.child.wait();
        }
    }
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Log>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            log.state.lock().expect("nobody panics here").0.push(line);
            log.changed.notify_all();
        }
        log.state.lock().expect("nobody panics here").1 = true;
        log.changed.notify_all();
    });
}

pub fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The value of `name=value` in a log line.
pub fn field(line: &str, name: &str) -> String {
    let start = format!(" {name}=");
    let at = line.find(&start).unwrap_or_else(|| panic!("no {name} in {line:?}"));
    let rest = &line[at + start.len()..];
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or(quoted).to_string(),
        None => rest.split(' ').next().unwrap_or(rest).to_string(),
    }
}

#[allow(unsafe_code)]
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is passed.
    unsafe { libc::kill(pid, signal) };
}

/// The children of a process, zombies included.
pub fn children(pid: i32) -> Vec<i32> {
    // Each thread has those that it forked.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let texts: Vec<_> = texts.map(Result::unwrap_or_default).collect();
    texts
        .iter()
        .flat_map(|text| text.split_whitespace())
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn descendants(pid: i32) -> Vec<i32> {
    let own = children(pid);
    let further = own.iter().flat_map(|pid| descendants(*pid)).collect::<Vec<_>>();
    [own, further].concat()
}

pub fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Alive, and executing a program of this name.
pub fn is_named(pid: i32, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// Ends whoever has begun with this command and is left when this is dropped, whatever its parent or group.
pub struct Mark(String);

impl Mark {
    pub fn on(command: &mut Command) -> Mark {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}-{next}", std::process::id());
        command.env("TEST_MARK", &value);
        Mark(format!("TEST_MARK={value}"))
    }

    fn left(&self) -> Vec<i32> {
        let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == self.0.as_bytes())
        })
        .collect()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.left() {
            kill(pid, libc::SIGKILL);
        }
    }
}

/// Waits until a fact holds that no event tells of (a process in /proc): looks again and again, with a
/// deadline.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    let (lock, never) = (Mutex::new(()), Condvar::new());
    while !holds() {
        assert!(now() < deadline, "never came: {what}");
        let guard = lock.lock().expect("nobody else locks it");
        drop(never.wait_timeout(guard, Duration::from_millis(5)));
    }
}

/// Sends `request` and reads to the end.
pub fn ask(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// One HTTP request on a connection of its own; the whole answer.
pub fn get(port: u16, path: &str) -> std::io::Result<String> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// A folder of this test's own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fd3-test-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written to");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// A file with these contents and mode.
    pub fn file(&self, name: &str, contents: &str, mode: u32) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        if mode & 0o111 == 0 {
            std::fs::write(&path, contents).expect("the folder can be written to");
        } else {
            write_program(&path, contents.as_bytes());
        }
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("the file is ours");
        path
    }
}

/// By a process of its own: a copy of our descriptor would go to whatever another test starts meanwhile, and until
/// that is executed nobody can execute this ("text file busy").
pub fn write_program(path: &str, contents: &[u8]) {
    let mut tee = command("tee");
    tee.arg(path).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut tee = tee.spawn().expect("tee is everywhere");
    tee.stdin.take().expect("a pipe").write_all(contents).expect("it reads");
    assert!(tee.wait().expect("it is ours").success(), "the folder can be written to");
}

/// The same of a file that is there.
pub fn copy_program(from: &str, to: &str) {
    let copied = command("cp").args([from, to]).status().expect("cp is everywhere");
    assert!(copied.success(), "there is room");
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
