//! What workers leave with fd3 for those that come after them (FDSTORE=1).

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use crate::guard::ticks_in_a_second;
use crate::harness::{
    FD3, Fd3, PATIENCE, UNSEEN, command, field, kill, output, run, stderr_of, until,
};
use crate::world::{can_strace, python};

/// Tells what it was given, does what argv[1] says, waits. `names` are those of fd 3, 4, ...
const WORKER: &str = "
import array, os, select, signal, socket, sys
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
def say(text, fds=[]):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    to.sendmsg([text], rights)
def tell(text): os.write(1, text.encode() + b'\\n')
def barrier():
    r, w = os.pipe()
    say(b'BARRIER=1', [w])
    os.close(w)
    poll = select.poll()
    poll.register(r, select.POLLIN)
    assert poll.poll(30000) == [(r, select.POLLHUP)]
    os.close(r)
def keep(name, fd, more=b''): say(b'FDSTORE=1\\nFDNAME=' + name + more, [fd])
names = os.environ.get('LISTEN_FDNAMES')
names = names.split(':') if names else []
numbers = sorted(int(n) for n in os.listdir('/proc/self/fd'))
numbers = [n for n in numbers if n > 2 and n != to.fileno() and os.path.exists('/proc/self/fd/%d' % n)]
assert numbers == list(range(3, 3 + len(names))), (numbers, names)
assert os.environ.get('LISTEN_FDS', '0') == str(len(names)), os.environ
tell('given names=%s store=%s slot=%s' % (
    ','.join(names), os.environ.get('FDSTORE'), os.environ['FD3_SLOT']))
exec(sys.argv[1])
tell('done')
while True: signal.pause()
";

const QUICK: [&str; 4] = ["--ready", "0ms", "--backoff", "1ms..1ms"];

fn start(words: &[&str], does: &str) -> Fd3 {
    run(&[&QUICK, words, &["--", python(), "-I", "-c", WORKER, does]].concat())
}

/// What the `n`th worker was given after the listeners that have names of their own.
fn given(fd3: &Fd3, n: usize) -> String {
    field(&fd3.nth_line("given names=", n), "names")
}

/// Ends the `n`th worker once it has done all.
fn crash(fd3: &Fd3, n: usize) {
    fd3.nth_line("done", n);
    kill(fd3.worker(n), libc::SIGKILL);
}

fn open_descriptors(fd3: &Fd3) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", fd3.pid())).expect("it runs").count()
}

#[test]
fn a_connection_survives_its_workers_crash() {
    let does = "
if names == ['web']:
    client, _ = socket.socket(fileno=3).accept()
    keep(b'client', client.fileno()); barrier()
else: client = socket.socket(fileno=4)
client.sendall(b'%d\\n' % os.getpid())";
    let fd3 = start(&["-l", "tcp://127.0.0.1:0,name=web", "--fd-store", "1"], does);
    let stream = TcpStream::connect(("127.0.0.1", fd3.port())).expect("fd3 listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut lines = BufReader::new(stream);
    let mut answered = |n: usize| {
        let mut line = String::new();
        lines.read_line(&mut line).expect("the connection is there");
        assert_eq!(line.trim(), fd3.worker(n).to_string(), "{}", fd3.log());
    };
    answered(0);
    for n in 0..3 {
        kill(fd3.worker(n), libc::SIGKILL);
        answered(n + 1);
        assert_eq!(given(&fd3, n + 1), "web,client");
    }
    fd3.line("descriptor stored slot=0 pid=");
}

#[test]
fn a_reload_passes_on_what_is_stored_and_each_slot_has_its_own() {
    let does = "
slot = os.environ['FD3_SLOT'].encode()
if not names:
    memory = os.memfd_create('x')
    os.write(memory, b'state of ' + slot)
    keep(b'state', memory); barrier()
else:
    assert names == ['state'] and os.pread(3, 99, 0) == b'state of ' + slot, names
    tell('found')
say(b'READY=1')";
    let words = ["-w", "2", "--ready", "notify", "--overlap", "0ms", "--fd-store", "1", "--"];
    let mut fd3 = run(&[&words[..], &[python(), "-I", "-c", WORKER, does]].concat());
    fd3.ready(2);
    for nth in 0..3 {
        fd3.signal(libc::SIGHUP);
        fd3.nth_line("reloaded", nth);
        fd3.nth_line("found", 2 * nth + 1);
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn names_order_and_removal_are_the_workers() {
    let does = "
null = [os.open('/dev/null', os.O_RDWR) for _ in range(5)]
if not names:
    keep(b'a', null[0]); keep(b'b', null[1]); say(b'FDSTORE=1', [null[2]])
    say(b'FDSTORE=1\\nFDNAME=b', null[3:])
elif names[-1:] == ['b']: say(b'FDSTOREREMOVE=1\\nFDNAME=b')
elif names: say(b'FDSTOREREMOVE=1\\nFDNAME=none\\n'); say(b'FDSTOREREMOVE=1'); keep(b'c:d', null[0])
barrier()
for n in null: os.close(n)";
    let fd3 = start(&["--fd-store", "9"], does);
    for (n, expected) in
        ["", "a,b,stored,b,b", "a,stored", "a,stored,stored"].into_iter().enumerate()
    {
        assert_eq!(given(&fd3, n), expected, "{}", fd3.log());
        crash(&fd3, n);
    }
}

#[test]
fn what_is_stored_already_is_not_stored_twice() {
    let does = "
pair = socket.socketpair()
r, w = os.pipe()
null = os.open('/dev/null', 0)
if not names:
    for _ in range(3):
        for fd in [pair[0].fileno(), os.dup(pair[0].fileno()), r, null]: keep(b'x', fd, b'\\nFDPOLL=0')
else:
    for n in range(3, 3 + len(names)): keep(b'again', n)
barrier()
os.close(null); os.close(r); os.close(w)";
    let words = ["--fd-store", "99"];
    let fd3 = start(&words, does);
    crash(&fd3, 0);
    assert_eq!(given(&fd3, 1), "x,x,x");
    crash(&fd3, 1);
    assert_eq!(given(&fd3, 2), "x,x,x");
}

/// Before Linux 6.10, and in containers that forbid kcmp(2) too.
#[test]
fn without_a_kernel_that_tells_sockets_are_known_by_their_inode() {
    if !can_strace() {
        return;
    }
    let does = "
pair = socket.socketpair()
if not names:
    for _ in range(3): keep(b'x', pair[0].fileno()); keep(b'y', pair[1].fileno())
barrier()";
    let mut strace = command("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", "trace=kcmp,fcntl"]);
    strace.args(["-e", "inject=kcmp:error=EPERM"]);
    strace.args([FD3, "run", "-v", "--fd-store", "9"]).args(QUICK);
    strace.args(["--", python(), "-I", "-c", WORKER, does]);
    let fd3 = Fd3::start(strace);
    crash(&fd3, 0);
    assert_eq!(given(&fd3, 1), "x,y");
}

#[test]
fn more_than_there_is_room_for_is_closed_and_told_once() {
    let does = "
for n in range(20): keep(b'n%d' % n, os.memfd_create('x'))
barrier()
for n in numbers + list(range(3 + len(names), 40)):
    if n != to.fileno():
        try: os.close(n)
        except OSError: pass";
    let fd3 = start(&["--fd-store", "3"], does);
    crash(&fd3, 0);
    assert_eq!(given(&fd3, 1), "n0,n1,n2");
    let told = "cannot store a descriptor, closed";
    let line = fd3.line(told);
    assert_eq!(field(&line, "name"), "n3");
    assert_eq!(field(&line, "why"), "--fd-store allows no more");
    fd3.nth_line("done", 1);
    assert_eq!(fd3.count(told), 2, "{}", fd3.log());
}

#[test]
fn without_the_protocol_that_tells_of_it_a_store_is_refused() {
    let refused = output(&["run", "--fd-store", "2", "--protocol", "plain", "--", "true"]);
    let why = "--fd-store \"2\": only --protocol listen tells a worker what is stored";
    assert_eq!(stderr_of(&refused).trim(), format!("fd3: {why}"));
    assert_eq!(refused.status.code(), Some(2));
    let mut none = run(&["--fd-store", "0", "--protocol", "plain", "--", "sleep", "1000"]);
    none.line("worker started");
    assert_eq!(none.stop(), 0);
}

#[test]
fn nothing_is_stored_unless_asked_for() {
    let does = "
r, w = os.pipe()
keep(b'x', w); os.close(w); barrier()
assert os.read(r, 1) == b''
os.close(r)";
    for words in [&[][..], &["--fd-store", "0"]] {
        let fd3 = start(words, does);
        let line = fd3.line("given names=");
        assert_eq!(field(&line, "store"), "None");
        crash(&fd3, 0);
        assert_eq!(given(&fd3, 1), "");
        assert_eq!(fd3.count("descriptor"), 0, "{}", fd3.log());
    }
}

#[test]
fn what_has_hung_up_is_let_go_unless_the_worker_wants_it_kept() {
    let does = "
pairs = [socket.socketpair() for _ in range(3)]
if not names:
    keep(b'live', pairs[0][0].fileno()); keep(b'dead', pairs[1][0].fileno())
    keep(b'kept', pairs[2][0].fileno(), b'\\nFDPOLL=0')
    barrier(); tell('all there'); signal.sigwait([10])
    pairs[1][1].close(); pairs[2][1].close()";
    let does = format!("signal.pthread_sigmask(0, [10]){does}");
    let fd3 = start(&[UNSEEN, &["--fd-store", "3"]].concat(), &does);
    fd3.line("all there");
    let before = open_descriptors(&fd3);
    kill(fd3.worker(0), libc::SIGUSR1);
    // The worker still holds it, so that it is still there to hang up, again and again.
    until("it is let go", || open_descriptors(&fd3) == before - 1);
    fd3.nth_line("done", 0);
    assert!(ticks_in_a_second(&fd3) < 20, "{}", fd3.log());
    // Its own ends of the live pair go with it.
    kill(fd3.worker(0), libc::SIGKILL);
    let found = given(&fd3, 1);
    assert!(["live,kept", "kept"].contains(&found.as_str()), "{found}");
}

#[test]
fn listeners_and_stored_ones_have_their_numbers_to_themselves() {
    let does = "
if len(names) == 2:
    fds = [os.memfd_create('x') for _ in range(60)]
    for n, fd in enumerate(fds): os.write(fd, b'%d' % n); keep(b'm%d' % n, fd)
    barrier()
    for fd in fds: os.close(fd)
else:
    first = int(names[2][1:])
    assert names == ['one', 'two'] + ['m%d' % (first + n) for n in range(60)], names
    for n in range(60): assert os.pread(5 + n, 9, 0) == b'%d' % (first + n), n
    # The new one comes last, and may get the number of the first in fd3.
    say(b'FDSTOREREMOVE=1\\nFDNAME=m%d' % first); barrier()
    fd = os.memfd_create('x')
    os.write(fd, b'%d' % (first + 60)); keep(b'm%d' % (first + 60), fd); barrier()
    os.close(fd)
    for n in (3, 4): assert socket.socket(fileno=os.dup(n)).getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    tell('all found')";
    let one = ["-l", "tcp://127.0.0.1:0,name=one", "-l", "tcp://127.0.0.1:0,name=two"];
    let words = [&one[..], &["--fd-store", "60"]].concat();
    let fd3 = start(&words, does);
    for n in 0..4 {
        crash(&fd3, n);
        fd3.nth_line("all found", n);
    }
}

/// Clients must not be left with a connection that nobody will ever serve.
#[test]
fn a_slot_that_gets_no_further_worker_stores_nothing() {
    let does = "
if os.environ['FD3_SLOT'] == '1' or len(sys.argv) > 2:
    client, _ = socket.socket(fileno=3).accept()
    keep(b'client', client.fileno()); barrier()
    client.sendall(b'x'); client.close()
    # Now only fd3 has it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell('left it')
    if len(sys.argv) > 2: os._exit(0)";
    let listen = ["-l", "127.0.0.1:0", "--fd-store", "1"];
    let ends: [(&[&str], &[&str], i32); 3] = [
        (&["-w", "2"], &[], libc::SIGTTOU),
        (&["-w", "2", "--stop-timeout", "none"], &[], libc::SIGTERM),
        (&["-w", "2", "--restart", "on-failure"], &["once"], 0),
    ];
    for (words, arguments, signal) in ends {
        let head = [&QUICK, &listen, words].concat();
        let fd3 =
            run(&[&head[..], &["--", python(), "-I", "-c", WORKER, does], arguments].concat());
        let mut stream = TcpStream::connect(("127.0.0.1", fd3.port())).expect("fd3 listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        fd3.line("left it");
        if signal != 0 {
            fd3.signal(signal);
        }
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("it ends");
        assert_eq!(all, "x", "{}", fd3.log());
    }
}

/// They all go into one variable, and the kernel takes only so long a one.
#[test]
fn long_names_leave_the_slot_startable() {
    let does = "
if not names:
    for n in range(600): fd = os.memfd_create('x'); keep(b'%0250d' % n, fd); os.close(fd)
    barrier()";
    let fd3 = start(&["--fd-store", "4096"], does);
    crash(&fd3, 0);
    let found = given(&fd3, 1).split(',').count();
    assert!((200..600).contains(&found), "{found}");
    fd3.line("cannot store a descriptor, closed");
}
