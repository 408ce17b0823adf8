//! fd3 called as `start_server`, beside Server::Starter itself: the same cases, the same expectations, for both
//! where the original is installed.

mod clients;
mod commands;
mod files;
mod generations;
mod starts;

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::harness::{FD3, Fd3, Folder, command};
use crate::servers::program;

/// One claim about a start_server.
type Case = (&'static str, fn(&World));

/// Which one it is, and a folder of the case's own.
pub(super) struct World {
    pub(super) server: String,
    /// Whom `--restart` and `--stop` are asked of.
    pub(super) client: String,
    pub(super) folder: Folder,
}

impl World {
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = command(&self.server);
        for name in ["ENVDIR", "KILL_OLD_DELAY", "ENABLE_AUTO_RESTART", "AUTO_RESTART_INTERVAL"] {
            command.env_remove(name);
        }
        command.args(words);
        command
    }

    pub(super) fn start(&self, words: &[&str]) -> Fd3 {
        Fd3::start(self.command(words))
    }

    /// To its end.
    pub(super) fn output(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().expect("it starts")
    }

    pub(super) fn ask(&self, words: &[&str]) -> Output {
        command(&self.client).args(words).stdin(Stdio::null()).output().expect("it starts")
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path(name)).unwrap_or_default()
    }
}

/// A server that tells what becomes of it: `serves GENERATION`, and each signal.
pub(super) const SERVER: &str = "
    for signal in USR1 USR2 INT; do trap \"echo $SERVER_STARTER_GENERATION got $signal\" $signal; done
    trap 'kill -KILL $!; echo $SERVER_STARTER_GENERATION got TERM; exit 0' TERM
    echo serves $SERVER_STARTER_GENERATION
    sleep 1000 & while :; do wait $! && exit 3; done";

fn cases() -> Vec<Case> {
    [commands::CASES, starts::CASES, generations::CASES, files::CASES].concat()
}

/// All at once: they mostly wait.
fn all_hold(server: &str, client: &str, cases: &[Case]) {
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (name, case) in cases {
            let (server, client) = (server.to_string(), client.to_string());
            let world = World { server, client, folder: Folder::new() };
            running.push((name, scope.spawn(move || case(&world))));
        }
        for (name, thread) in running {
            if thread.join().is_err() {
                failed.push(*name);
            }
        }
    });
    assert!(failed.is_empty(), "{server}: {failed:?}");
}

/// fd3 by that name.
fn ours(folder: &Folder) -> String {
    let path = folder.path("start_server");
    symlink(FD3, &path).expect("the folder is ours");
    path
}

fn originals() -> Option<String> {
    program("start_server").map(|path| path.to_string_lossy().into_owned())
}

#[test]
fn fd3_does_what_server_starter_does() {
    let folder = Folder::new();
    let ours = ours(&folder);
    all_hold(&ours, &ours, &cases());
    all_hold(&ours, &ours, clients::CASES);
    all_hold(&ours, &ours, clients::BETTER);
}

#[test]
fn server_starter_itself_does_so() {
    let Some(originals) = originals() else { return };
    all_hold(&originals, &originals, &cases());
    all_hold(&originals, &originals, clients::CASES);
}

#[test]
fn each_is_restarted_and_stopped_by_the_other() {
    let Some(originals) = originals() else { return };
    let folder = Folder::new();
    let ours = ours(&folder);
    all_hold(&ours, &originals, clients::CASES);
    all_hold(&originals, &ours, clients::CASES);
}
