//! Without an engine: fd3 as PID 1 of a namespace, in a root that holds the two files and nothing else.
//! No /proc, no /dev, no /etc.

use std::path::Path;
use std::process::Command;

use super::{DOCKERFILE, KUBERNETES, binaries, words};
use crate::harness::{Fd3, Folder, children, command, field, get, kill};
use crate::init::output_of;
use crate::reload::loses_nothing::{Clients, Kept};
use crate::world::{can_unshare, entries, is_root};

/// Clients that keep their connection, and as many that make one for each request.
const CLIENTS: usize = 4;
const BETWEEN: usize = 20 * CLIENTS;
const USER: &str = "1000";

/// In such a root.
struct Container {
    root: Folder,
    fd3: Fd3,
    /// Of its PID 1, as seen from here.
    pid: i32,
    rights: Rights,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rights {
    /// As whoever starts it.
    All,
    /// `--read-only --user 1000 --cap-drop ALL`.
    None,
}

impl Container {
    fn start(words: &[String], rights: Rights) -> Option<Container> {
        let (binaries, mut how) = (binaries()?, vec!["--mount", "--propagation", "private"]);
        if !is_root() {
            how.extend(["--user", "--map-root-user"]);
        }
        if !can_unshare(&[&how[..], &["--pid", "--fork"]].concat()) {
            return None;
        }
        let root = Folder::new();
        for (name, path) in binaries {
            std::fs::copy(path, root.path(name)).expect("the folder is ours");
        }
        let path = root.path("");
        let read_only = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && ";
        let before = if rights == Rights::None { read_only } else { "" };
        let mut unshare = command("unshare");
        unshare.args(how).args(["sh", "-c", &format!("{before} exec \"$@\""), &path]);
        unshare.args(["unshare", "--pid", "--fork"]);
        match rights {
            Rights::All => unshare.args(["chroot", &path]),
            Rights::None if is_root() => {
                let user = format!("--userspec={USER}:{USER}");
                unshare.args(["chroot", &user, "--groups=", &path])
            }
            Rights::None => {
                let [user, group] = ["user", "group"].map(|id| format!("--map-{id}={USER}"));
                unshare.args(["--user", &user, &group, "--root", &path])
            }
        };
        unshare.args(on_any_port(words));
        let fd3 = Fd3::start(unshare);
        fd3.line("listening address=");
        let pid = children(fd3.pid())[0];
        Some(Container { root, fd3, pid, rights })
    }

    /// What `docker exec` does.
    fn enter(&self) -> Command {
        let mut nsenter = command("nsenter");
        nsenter.args(["--target", &self.pid.to_string(), "--pid", "--root"]);
        match (is_root(), self.rights) {
            (true, Rights::All) => nsenter.arg("--mount"),
            (true, Rights::None) => nsenter.args(["--mount", "-S", USER, "-G", USER]),
            (false, _) => nsenter.args(["--user", "--preserve-credentials"]),
        };
        nsenter
    }

    /// A line of its /proc/PID/status.
    fn status(pid: i32, name: &str) -> String {
        let all = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = all.lines().find_map(|line| line.strip_prefix(&format!("{name}:\t")));
        line.unwrap_or_else(|| panic!("no {name} in {all}")).to_string()
    }
}

/// The network is this machine's, so the port has to be a free one; `-v` tells which.
fn on_any_port(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    assert_eq!(words[..2], ["/fd3", "run"]);
    for port in words.iter_mut().filter(|word| [":8080", ":9100"].contains(&word.as_str())) {
        *port = "127.0.0.1:0".to_string();
    }
    words.insert(2, "-v".to_string());
    words
}

fn serves_reloads_and_stops(mut container: Container, check: &[String]) {
    let (fd3, pid) = (&container.fd3, container.pid);
    let port = fd3.port();
    let workers = fd3.ready(4);
    assert!(get(port, "/").expect("it answers").contains(" of generation 1, "));
    let check = check.iter().map(|word| word.replace(":8080/", &format!(":{port}/")));
    let checked = output_of(container.enter().args(check));
    assert_eq!(checked, (0, String::new(), String::new()));

    let seen = Clients::run(port, CLIENTS, Kept::StaysOpen, |clients| {
        clients.wait_for_answers(BETWEEN);
        kill(pid, libc::SIGHUP);
        fd3.line(" reloaded after=");
        fd3.nth_line("worker exited", workers.len() - 1);
        clients.wait_for_answers(BETWEEN);
    });
    let second = fd3.ready(2 * workers.len()).split_off(workers.len());
    for generation in [&workers, &second] {
        assert!(generation.iter().any(|pid| seen.answered_by.contains(pid)), "{seen:?}");
    }
    assert!(get(port, "/").expect("it answers").contains(" of generation 2, "));
    let (status, said, _) = output_of(container.enter().args(["/fd3", "reload"]));
    assert!(status == 0 && said.starts_with("ok reloaded generation=3 "), "{status}: {said}");

    kill(pid, libc::SIGTERM);
    assert_eq!(container.fd3.exit(), 0, "{}", container.fd3.log());
    let well = (container.fd3.count("worker exited"), container.fd3.count(" status=0 "));
    assert_eq!(well, (3 * workers.len(), 3 * workers.len()), "{}", container.fd3.log());
    assert!(get(port, "/").is_err(), "somebody else answers");
    assert_eq!(entries(&container.root), ["fd3", "http_server"]);
}

/// As in the Dockerfile.
#[test]
fn two_files_are_a_whole_image() {
    let container = Container::start(&words(DOCKERFILE, "ENTRYPOINT"), Rights::All);
    let Some(container) = container else { return };
    assert_eq!(entries(&container.root), ["fd3", "http_server"]);
    serves_reloads_and_stops(container, &words(DOCKERFILE, "CMD"));
}

/// As in the file for Kubernetes.
#[test]
fn a_read_only_root_and_a_user_without_capabilities_are_enough() {
    let command = [words(KUBERNETES, "command:"), words(KUBERNETES, "args:")].concat();
    let Some(container) = Container::start(&command, Rights::None) else { return };
    let root = format!("/proc/{}/root", container.pid);
    let written = std::fs::write(Path::new(&root).join("new"), "").expect_err("it is read-only");
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    container.fd3.ready(4);
    let all = [vec![container.pid], children(container.pid)].concat();
    assert_eq!(all.len(), 5);
    for pid in all {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(Container::status(pid, set), "0".repeat(16), "{set}");
        }
        if is_root() {
            assert_eq!(Container::status(pid, "Uid"), [USER; 4].join("\t"));
            assert_eq!(Container::status(pid, "Groups").trim(), "");
        }
    }
    if cfg!(feature = "metrics") {
        assert!(KUBERNETES.contains("httpGet: {path: /readyz, port: metrics}"));
        let metrics = field(&container.fd3.line("metrics address=tcp://"), "address");
        let port = metrics.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        assert!(get(port, "/readyz").expect("it answers").starts_with("HTTP/1.1 200 "));
    }
    let check = KUBERNETES.split_once("livenessProbe:").expect("it has one").1;
    serves_reloads_and_stops(container, &words(check, "command:"));
}
