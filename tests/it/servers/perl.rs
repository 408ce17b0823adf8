//! Starlet and Starman, which read what Server::Starter tells.

use super::{pid_over_http, program, run, serves_survives_and_stops, text};
use crate::harness::{Folder, command};
use crate::world::skip_missing;

fn plack(name: &str, module: &str, words: &[&str]) {
    let Some(program) = program(name) else { return };
    let known = command("perl").args(["-e", &format!("require {module}")]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return skip_missing(&format!("Perl's {module}"));
    }
    let folder = Folder::new();
    let app = "sub { [200, ['Content-Type' => 'text/plain'], [\"pid=$$;\"]] }";
    let app = folder.file("app.psgi", app, 0o644);
    let options = ["-l", "127.0.0.1:0", "--protocol", "starter", "--ready", "50ms", "--"];
    let fd3 = run(&[&options[..], &[text(&program)], words, &[&app]].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port));
}

#[test]
fn starlet_serves_what_server_starter_would_hand_it() {
    plack("plackup", "Plack::Handler::Starlet", &["-s", "Starlet", "--max-workers", "1"]);
}

#[test]
fn starman_serves_what_server_starter_would_hand_it() {
    plack("starman", "Starman::Server", &["--workers", "1"]);
}
