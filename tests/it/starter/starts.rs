//! What a worker finds when it starts.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use super::{Case, World};
use crate::harness::{exists, until};

pub(super) const CASES: &[Case] = &[
    ("sockets are told of as they were asked for", sockets),
    ("without a port the variable is there, and empty", no_port),
    ("a socket can have a descriptor of its own", numbers),
    ("a worker runs in its folder, without SIGPIPE", folder),
    ("a unix socket is everybody's, and goes at the end", path),
    ("a command that is not there is tried again and again", not_there),
    ("a script without a first line is the shell's", script),
];

/// Prints the variable, and for each of its descriptors whether it is a socket.
const PRINTS: &str = "
    for one in $(echo \"$SERVER_STARTER_PORT\" | tr ';' ' '); do
        test -S /proc/self/fd/${one##*=} && all=$all${one%=*}\\;
    done
    echo \"told ${SERVER_STARTER_PORT-unset} sockets $all generation $SERVER_STARTER_GENERATION\"
    exec sleep 1000";

fn sockets(world: &World) {
    let path = format!("--path={}", world.folder.path("sock"));
    let ports = ["--port=0", "--port=127.0.0.1:0", "--port", "[::1]:0", "--port=localhost:0"];
    let rest = ["--port=u0", "--port=127.0.0.1:u0", &path, "--", "sh", "-c", PRINTS];
    let mut server = world.start(&[&ports[..], &rest].concat());
    let told = format!(
        "sockets 0;127.0.0.1:0;[::1]:0;localhost:0;0;127.0.0.1:0;{}; generation 1",
        world.folder.path("sock")
    );
    assert!(server.line("told ").ends_with(&told), "{}", server.log());
    assert_eq!(server.stop(), 0);
}

fn no_port(world: &World) {
    let mut server = world.start(&["--", "sh", "-c", PRINTS]);
    assert_eq!(server.line("told "), "told  sockets  generation 1");
    assert_eq!(server.stop(), 0);
}

fn numbers(world: &World) {
    let words = ["--port=127.0.0.1:0=12", "--port=0=0", "--", "sh", "-c", PRINTS];
    let mut server = world.start(&words);
    let said = "told 127.0.0.1:0=12;0=0 sockets 127.0.0.1:0;0; generation 1";
    assert_eq!(server.line("told "), said);
    assert_eq!(server.stop(), 0);
}

fn folder(world: &World) {
    let file =
        world.folder.file("run.sh", "pwd; grep SigIgn /proc/self/status; exec sleep 1000", 0o644);
    let folder = file.rsplit_once('/').expect("it has a folder").0;
    let mut server = world.start(&["--dir", folder, "--", "sh", "-c", ". ./run.sh"]);
    assert_eq!(server.line("/"), folder);
    let ignored = server.line("SigIgn");
    assert!(ignored.ends_with("1000"), "{ignored}");
    assert_eq!(server.stop(), 0);
}

fn path(world: &World) {
    let path = world.folder.path("sock");
    // One that somebody listens at is taken over.
    let former = UnixListener::bind(&path).expect("the folder is ours");
    let mut server = world.start(&["--path", &path, "--", "sh", "-c", PRINTS]);
    server.line("told ");
    assert_eq!(server.count("removing existing socket file:"), 1, "{}", server.log());
    UnixStream::connect(&path).expect("somebody listens");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o777);
    former.set_nonblocking(true).expect("it is a socket");
    assert!(former.accept().is_err(), "the former one was reached");
    assert_eq!(server.stop(), 0);
    assert!(!std::path::Path::new(&path).exists());
}

fn not_there(world: &World) {
    let missing = world.folder.path("app");
    let mut server = world.start(&["--", &missing]);
    server.line("seems to have failed to start, exit status:65280");
    world.folder.file("app", "#!/bin/sh\necho there\nexec sleep 1000", 0o755);
    server.line("there");
    assert_eq!(server.stop(), 0);
}

fn script(world: &World) {
    let app = world.folder.file("app", "echo words $1; exec sleep 1000", 0o755);
    let mut server = world.start(&["--", &app, "one"]);
    assert_eq!(server.line("words"), "words one");
    assert_eq!(server.stop(), 0);
    until("its end", || !exists(server.pid()));
}
