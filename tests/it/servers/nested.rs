//! fd3 that is handed its sockets: by another fd3, by systemd's socket activation.

use super::{
    ReservedPort, TIME_TO_STOP, pid_over_http, program, run, serves_survives_and_stops, stops, text,
};
use crate::harness::{FD3, Fd3, Folder, command, get};

/// A program that serves everything it inherits by LISTEN_FDS.
fn script(folder: &Folder) -> String {
    folder.file("seed.py", include_str!("seed.py"), 0o644)
}

#[test]
fn fd3_under_fd3_adopts_by_name_and_is_replaced_when_killed() {
    let Some(python) = program("python3") else { return };
    let folder = Folder::new();
    let outer = ["-l", "127.0.0.1:0,name=web", "--ready", "50ms", "--"];
    // The inner one without -v: the log tells of the outer one's workers only. Their answer is the
    // inner fd3's PID.
    let inner = [FD3, "run", "-l", "fd:web", "-w", "2", "--"];
    let server = [text(&python), &script(&folder), "systemd", "parent"];
    let fd3 = run(&[&outer[..], &inner, &server].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port));
}

#[test]
fn fd3_is_socket_activated_with_two_named_sockets() {
    let Some(activate) = program("systemd-socket-activate") else { return };
    let Some(python) = program("python3") else { return };
    let (folder, a, b) = (Folder::new(), ReservedPort::new(), ReservedPort::new());
    let mut command = command(activate);
    command.args(["-l", &a.listen(), "-l", &b.listen(), "--fdname=a:b"]);
    command
        .args([FD3, "run"])
        .args(TIME_TO_STOP)
        .args(["-v", "-l", "fd:b", "-l", "fd:a", "--ready", "50ms", "--"]);
    command.args([text(&python), &script(&folder), "systemd"]);
    let mut fd3 = Fd3::start(command);
    // It becomes fd3, under the same PID, when the first client comes, who is then answered.
    fd3.nth_line("Listening on", 1);
    for (port, name) in [(&a, "a"), (&b, "b")] {
        let answer = get(port.number, "/").unwrap_or_else(|error| panic!("{error} {}", fd3.log()));
        assert!(answer.ends_with(&format!(";name={name};")), "{answer:?}\n{}", fd3.log());
    }
    fd3.line(&format!("listening address=tcp://127.0.0.1:{} name=b fd=3", b.number));
    super::serves_and_survives(&fd3, 1, &|| pid_over_http(a.number));
    stops(&mut fd3);
}
