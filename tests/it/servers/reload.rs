//! A real server is reloaded under load, in each way, and no request fails.
//!
//! gunicorn says that it is ready when its own worker is about to start: until that one serves, connections
//! wait. It may close a kept connection just when a request comes: that one it has not begun, and the client
//! makes it again elsewhere. So it has begun as many as it answered, which this counts.

use crate::harness::{FD3, Fd3, Folder, command};
use crate::reload::loses_nothing::{Clients, Kept};

use super::{TIME_TO_STOP, program, text};

const RELOADS: usize = 2;
const WORKERS: usize = 2;
/// Clients that keep their connection, and as many that make a new one for each request.
const CLIENTS: usize = 8;
const BETWEEN_RELOADS: usize = 20 * CLIENTS;

fn reloads_lose_nothing(surge: &str) {
    let Some(gunicorn) = program("gunicorn") else { return };
    let folder = Folder::new();
    folder.file("app.py", include_str!("slow.py"), 0o644);
    let seen = folder.file("seen", "", 0o644);
    let mut fd3 = command(FD3);
    fd3.args(["run", "-v", "-l", "127.0.0.1:0", "-w", &WORKERS.to_string(), "--protocol", "plain"]);
    fd3.args(TIME_TO_STOP).args([
        "--ready",
        "notify",
        "--surge",
        surge,
        "--overlap",
        "300ms",
        "--",
    ]);
    fd3.args([text(&gunicorn), "--bind", "fd://3", "--no-control-socket", "--workers", "1"]);
    fd3.args(["--worker-class", "gthread", "--threads", "8", "--keep-alive", "10"]);
    fd3.args(["--chdir", &folder.path(""), "app:wsgi"]).env("SEEN", &seen);
    let mut fd3 = Fd3::start(fd3);
    fd3.ready(WORKERS);
    let told = Clients::run(fd3.port(), CLIENTS, Kept::MayClose, |clients| {
        for n in 0..RELOADS {
            clients.wait_for_answers(BETWEEN_RELOADS);
            fd3.signal(libc::SIGHUP);
            fd3.nth_line(" reloaded after=", n);
        }
        fd3.nth_line("worker exited", RELOADS * WORKERS - 1);
        clients.wait_for_answers(BETWEEN_RELOADS);
    });
    assert!(told.answered_by.len() > RELOADS, "{told:?}");
    assert_eq!(
        (fd3.stop(), fd3.count(" status=0 ")),
        (0, (RELOADS + 1) * WORKERS),
        "{}",
        fd3.log()
    );
    let begun = std::fs::read(seen).expect("it is there").len();
    assert_eq!(begun, told.answers, "{told:?}");
}

#[test]
fn gunicorn_loses_nothing_when_a_generation_takes_over() {
    reloads_lose_nothing("all");
}

#[test]
fn gunicorn_loses_nothing_when_it_is_reloaded_slot_by_slot() {
    reloads_lose_nothing("1");
}

#[test]
fn gunicorn_loses_nothing_when_the_old_one_goes_first() {
    reloads_lose_nothing("0");
}
