//! gunicorn and uvicorn, and node, which takes a descriptor by number as they do.

use super::{pid_over_http, program, run, serves_survives_and_stops, text};
use crate::harness::Folder;

/// A WSGI and an ASGI application.
fn application() -> Folder {
    let folder = Folder::new();
    folder.file("app.py", include_str!("app.py"), 0o644);
    folder
}

fn gunicorn(protocol: &str, bind: &[&str]) {
    let Some(gunicorn) = program("gunicorn") else { return };
    let folder = application();
    let path = folder.path("");
    let server = [text(&gunicorn), "--no-control-socket", "--workers", "1", "--chdir", &path];
    let words = ["-l", "127.0.0.1:0", "--ready", "50ms", "--protocol", protocol, "--"];
    let fd3 = run(&[&words[..], &server, bind, &["app:wsgi"]].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 1, &|| pid_over_http(port));
}

#[test]
fn gunicorn_serves_the_descriptor_it_is_told_to_bind() {
    gunicorn("plain", &["--bind", "fd://3"]);
}

#[test]
fn gunicorn_without_a_bind_takes_listen_fds() {
    gunicorn("listen", &[]);
}

#[test]
fn uvicorn_serves_the_descriptor_it_is_told() {
    let Some(uvicorn) = program("uvicorn") else { return };
    let folder = application();
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "50ms", "--"];
    let server = ["--fd", "3", "--lifespan", "off", "--app-dir", &folder.path(""), "app:asgi"];
    let fd3 = run(&[&words[..], &[text(&uvicorn)], &server].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}

#[test]
fn node_listens_on_the_descriptor() {
    let Some(node) = program("node") else { return };
    let folder = Folder::new();
    let script = folder.file("server.js", include_str!("server.js"), 0o644);
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "50ms", "--protocol", "plain", "--"];
    let fd3 = run(&[&words[..], &[text(&node), &script]].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}
