//! Where a Docker engine answers: it builds the Dockerfile, and the image serves, is reloaded, is found
//! healthy, and stops.
//!
//! No registry can be asked for `rust:1`. What takes its place has a shell, and a `cargo` that has compiled
//! before; so has the checkout's `scripts/build-static`. All else is as everybody copies it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::{DOCKERFILE, binaries, words};
use crate::client::Connection;
use crate::harness::{Fd3, Folder, command, get, until};
use crate::init::output_of;
use crate::reload::loses_nothing::{Clients, Kept};
use crate::world::{say, skip};

const CLIENTS: usize = 4;
const BETWEEN: usize = 20 * CLIENTS;
/// What marks all that this run makes.
const LABEL: &str = "fd3-test";

/// `docker` with these words: whether it succeeded, and what it said.
fn try_docker(words: &[&str]) -> (bool, String) {
    let (status, stdout, stderr) = output_of(command("docker").args(words));
    (status == 0, if status == 0 { stdout } else { stderr }.trim().to_string())
}

fn docker(words: &[&str]) -> String {
    let (is_done, said) = try_docker(words);
    assert!(is_done, "docker {words:?}: {said}");
    said
}

/// Whether one answers whose containers' ports are ours.
fn engine_answers() -> bool {
    let asked = command("docker").args(["version", "--format", "{{.Server.Os}}"]).output();
    if !asked.is_ok_and(|output| output.status.success() && output.stdout == b"linux\n") {
        skip("no Docker engine answers");
        return false;
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is there");
    if try_docker(&["info", "--format", "{{.Name}}"]) != (true, host.trim().to_string()) {
        skip("the Docker engine that answers is another machine's");
        return false;
    }
    true
}

/// Unique also where several share an engine.
fn name() -> String {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("/proc is there");
    format!("{LABEL}-{}", &random[..8])
}

/// An image of the Dockerfile. One is shared by all tests that run at a time; the last one removes it.
struct Image {
    name: String,
    label: String,
}

static SHARED: Mutex<Weak<Image>> = Mutex::new(Weak::new());

impl Image {
    fn get() -> Option<Arc<Image>> {
        let binaries = binaries()?;
        if !engine_answers() {
            return None;
        }
        // Poisoned by one that could not be built: let this test say so as well.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let image = shared.upgrade().unwrap_or_else(|| {
            let name = name();
            let image = Arc::new(Image { label: format!("{LABEL}={name}"), name });
            image.build(&binaries);
            image
        });
        *shared = Arc::downgrade(&image);
        Some(image)
    }

    fn build(&self, binaries: &[(&str, String); 2]) {
        let (rust, checkout) = (Folder::new(), Folder::new());
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let release = format!("target/{target}/release");
        std::fs::create_dir_all(checkout.path(&release) + "/examples").expect("it is ours");
        std::fs::create_dir(checkout.path("scripts")).expect("it is ours");
        for (name, path) in binaries {
            install(&rust, path, &format!("built/{name}"));
        }
        for tool in ["sh", "cp", "uname"] {
            install_with_libraries(&rust, tool);
        }
        // Whoever has these lines in README.md asks for no more than `scripts/test` does.
        let compiled = |words: &str, name: &str, to: &str| {
            let test = format!("[ \"$*\" = \"{words}\" ]");
            format!("#!/bin/sh\nset -e\n{test}\ncp /built/{name} {release}/{to}\n")
        };
        let build = format!("build --release --locked --target {target} --example http_server");
        rust.file("bin/cargo", &compiled(&build, "http_server", "examples/"), 0o755);
        let build = format!("--features service {target}");
        checkout.file("scripts/build-static", &compiled(&build, "fd3", ""), 0o755);

        // Whatever is made from it has its label.
        let tag = format!("{}-rust", self.name);
        let import = "tar -C \"$0\" -c . | docker import --change \"LABEL $1\" - \"$2\"";
        let mut shell = command("sh");
        let imported = output_of(shell.args(["-c", import, &rust.path(""), &self.label, &tag]));
        assert_eq!(imported.0, 0, "{imported:?}");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/docker/Dockerfile");
        let build_arg = format!("RUST={tag}");
        let options = ["--network", "none", "--force-rm", "--label", &self.label, "-t", &self.name];
        let build = ["build", "-f", file, "--build-arg", &build_arg, &checkout.path("")];
        docker(&[&build[..1], &options, &build[1..]].concat());
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let label = format!("label={}", self.label);
        // One goes only after those that were made from it.
        for _ in 0..3 {
            let (_, ids) = try_docker(&["images", "--quiet", "--filter", &label]);
            if ids.is_empty() {
                return;
            }
            for id in ids.lines() {
                let _ = try_docker(&["rmi", "--force", id]);
            }
        }
        say(&format!("images are left: docker images --filter {label}"));
    }
}

fn install(root: &Folder, from: &str, to: &str) {
    let to = root.path(to.trim_start_matches('/'));
    let folder = Path::new(&to).parent().expect("it lies in a folder");
    std::fs::create_dir_all(folder).expect("the folder is ours");
    std::fs::copy(from, &to).unwrap_or_else(|error| panic!("{from}: {error}"));
}

/// A program of this machine, and what it is linked with.
fn install_with_libraries(root: &Folder, tool: &str) {
    let find = format!("command -v {tool}");
    let (status, path, _) = output_of(command("sh").args(["-c", &find]));
    assert_eq!(status, 0, "{tool}");
    install(root, path.trim(), &format!("bin/{tool}"));
    // `libc.so.6 => /lib/libc.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`: nothing of a static one.
    let (_, libraries, _) = output_of(command("ldd").arg(path.trim()));
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        install(root, library, library);
    }
}

/// A container, removed when dropped. Its log is that of `docker start --attach`, and so is its status.
struct Container {
    name: String,
    fd3: Fd3,
    port: u16,
    _image: Arc<Image>,
}

impl Container {
    /// `docker run` with these options.
    fn run(image: &Arc<Image>, options: &[&str]) -> Container {
        let name = name();
        let create = ["create", "--name", &name, "--publish", "127.0.0.1::8080"];
        docker(&[&create[..], options, &[&image.name]].concat());
        let mut start = command("docker");
        start.args(["start", "--attach", &name]);
        let fd3 = Fd3::start(start);
        let mut container = Container { name, fd3, port: 0, _image: image.clone() };
        until("its port is published", || {
            let (_, address) = try_docker(&["port", &container.name, "8080/tcp"]);
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
            container.port = port.unwrap_or(0);
            container.assert_nothing_failed();
            container.port > 0
        });
        container
    }

    /// Docker's proxy takes connections before anybody serves.
    fn serve(image: &Arc<Image>, options: &[&str]) -> Container {
        let container = Container::run(image, options);
        container.answered_by(1);
        container
    }

    /// The PID, in the container, that answers once this generation does.
    fn answered_by(&self, generation: u32) -> i32 {
        let (mut pid, said) = (0, format!(" of generation {generation}, pid "));
        until(&format!("generation {generation} serves"), || {
            let answer = get(self.port, "/").unwrap_or_default();
            let number = answer.split_once(&said).and_then(|(_, rest)| rest.split(',').next());
            pid = number.and_then(|number| number.parse().ok()).unwrap_or(0);
            self.assert_nothing_failed();
            pid > 0
        });
        pid
    }

    fn assert_nothing_failed(&self) {
        let state = self.inspect("{{.State.Status}}{{.State.Error}}");
        assert!(state == "created" || state == "running", "{state}\n{}", self.fd3.log());
    }

    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    fn exec(&self, words: &[&str]) -> String {
        docker(&[&["exec", &self.name], words].concat())
    }

    /// `docker stop`: TERM, and KILL after 10 s.
    fn stops(mut self) {
        docker(&["stop", &self.name]);
        assert_eq!(self.fd3.exit(), 0, "{}", self.fd3.log());
        assert_eq!(self.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"), "0 false");
        // That and nothing worse: it says no more without -v.
        let said = self.fd3.log();
        let good = |line: &str| line.starts_with("fd3: reloaded after=");
        assert!(said.lines().all(good), "{said}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = try_docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

#[test]
fn the_image_holds_two_files() {
    let Some(image) = Image::get() else { return };
    let container = Container::serve(&image, &[]);
    let list = "docker export \"$0\" | tar -t";
    let (_, list, _) = output_of(command("sh").args(["-c", list, &container.name]));
    // What the engine itself puts into every container.
    let engines = [".dockerenv", "dev/", "etc/", "proc/", "sys/"];
    let ours = list.lines().filter(|name| !engines.iter().any(|engine| name.starts_with(engine)));
    let mut ours: Vec<&str> = ours.collect();
    ours.sort_unstable();
    assert_eq!(ours, ["fd3", "http_server"], "{list}");
    let [fd3, server] = binaries()
        .expect("it was built from them")
        .map(|(_, path)| std::fs::metadata(path).expect("it is there").len());
    // As README.md says. What the engine counts goes by how it keeps images.
    assert!(fd3 + server < 1 << 20, "{fd3} + {server}");
    let size = docker(&["image", "inspect", "--format", "{{.Size}}", &image.name]);
    say(&format!("size of the image: {size} bytes, of its files: {fd3} + {server}"));
}

#[test]
fn a_container_serves_is_reloaded_and_stops() {
    let Some(image) = Image::get() else { return };
    let container = Container::serve(&image, &[]);
    let first = container.answered_by(1);
    // With Docker's proxy between them nobody can tell how long a kept connection idled on the other side.
    let seen = Clients::run(container.port, CLIENTS, Kept::MayClose, |clients| {
        clients.wait_for_answers(BETWEEN);
        docker(&["kill", "--signal", "HUP", &container.name]);
        container.fd3.line("reloaded after=");
        let second = container.answered_by(2);
        assert_ne!(first, second);
        clients.wait_for_answers(BETWEEN);
    });
    assert!(seen.answers >= 2 * BETWEEN, "{seen:?}");
    assert!(container.exec(&["/fd3", "reload"]).starts_with("ok reloaded generation=3 "));
    container.answered_by(3);
    container.stops();
}

#[test]
fn a_stop_answers_what_is_under_way() {
    let Some(image) = Image::get() else { return };
    if docker(&["info", "--format", "{{.SecurityOptions}}"]).contains("name=rootless") {
        return skip("a rootless Docker engine's containers are behind its proxy");
    }
    let container = Container::serve(&image, &[]);
    // The proxy goes with the container, and what it had not passed on goes with it.
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let mut client = Connection::to(&container.inspect(address), 8080).expect("it listens");
    client.ask("/").expect("it answers");
    client.send("/slow?ms=1000").expect("it reads");
    let answer = thread::spawn(move || client.answer());
    container.stops();
    answer.join().expect("it does not panic").expect("it was answered");
}

#[test]
fn its_health_is_told_by_fd3_check() {
    let Some(image) = Image::get() else { return };
    let often = ["--health-interval", "200ms", "--health-retries", "1"];
    let container = Container::serve(&image, &often);
    let probe = [vec!["CMD".to_string()], words(DOCKERFILE, "CMD")].concat();
    let asked = container.inspect("{{json .Config.Healthcheck.Test}}");
    assert_eq!(words(&format!("= {asked}"), "="), probe);
    let health = |container: &Container| container.inspect("{{.State.Health.Status}}");
    until("it is healthy", || health(&container) == "healthy");
    container.stops();
    // One that serves elsewhere.
    let other = [&often[..], &["--entrypoint", "/http_server"]].concat();
    let container = Container::run(&image, &other);
    until("it is unhealthy", || health(&container) == "unhealthy");
    let said = container.inspect("{{json .State.Health.Log}}");
    let why = "cannot connect to http://127.0.0.1:8080/: connection refused";
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_container_needs_no_rights_and_writes_nothing() {
    let Some(image) = Image::get() else { return };
    let none = ["--read-only", "--user", "1000", "--cap-drop", "ALL"];
    let options = [&none[..], &["--security-opt", "no-new-privileges"]].concat();
    let container = Container::serve(&image, &options);
    let said = container
        .inspect("{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}}");
    assert_eq!(said, "true 1000 [ALL]");
    assert_eq!(container.exec(&["/fd3", "check", "http://127.0.0.1:8080/"]), "");
    assert!(container.exec(&["/fd3", "reload"]).starts_with("ok reloaded generation=2 "));
    container.answered_by(2);
    container.stops();
}
