//! What a reload reads anew: `--config`, `--env-file`, COMMAND's file. What is broken is refused, and
//! whatever was loaded goes on as it was.

use crate::harness::{FD3, Fd3, Folder, command, field, kill, run};

const HUP: i32 = libc::SIGHUP;
const QUICK: &str = "ready signal\noverlap 0ms\nbackoff 10ms..10ms\nrespawn-limit none\n";

/// The files of a service: a configuration, variables, a program that tells what it was started with.
struct Service {
    folder: Folder,
    conf: String,
    env: String,
    app: String,
}

impl Service {
    fn new() -> Service {
        let folder = Folder::new();
        let [conf, env, app] = ["conf", "env", "app"].map(|name| folder.path(name));
        let service = Service { folder, conf, env, app };
        service.configure("");
        service.set("1");
        service.install("old", 0o755);
        service
    }

    fn configure(&self, more: &str) {
        self.folder.file("conf", &format!("{QUICK}env-file {}\n{more}", self.env), 0o600);
    }

    fn set(&self, value: &str) {
        self.folder.file("env", &format!("A={value}\n"), 0o600);
    }

    /// Never in place: it may be running.
    fn install(&self, name: &str, mode: u32) {
        let text = format!(
            "#!/bin/sh\necho \"{name} $FD3_GENERATION A=$A from $0\"\nkill -USR1 $PPID\nexec sleep 1000\n"
        );
        let new = self.folder.file("new", &text, mode);
        std::fs::rename(new, &self.app).expect("the folder is ours");
    }

    fn start(&self, words: &[&str]) -> Fd3 {
        let fd3 = run(&[&["--config", &self.conf], words, &["--", &self.app]].concat());
        fd3.ready(1);
        fd3
    }
}

#[test]
fn a_reload_starts_from_the_files_as_they_are_now() {
    let service = Service::new();
    let mut fd3 = service.start(&["-l", "127.0.0.1:0"]);
    fd3.line("old 1 A=1 ");
    service.set("2");
    service.install("new", 0o755);
    service.configure("stop-signal KILL\n");
    fd3.signal(HUP);
    fd3.line("new 2 A=2 ");
    fd3.line("reloaded");
    fd3.nth_line("status=", 0);
    // A worker that ends is replaced by its like, whatever the files say by now.
    service.set("3");
    kill(fd3.worker(1), libc::SIGUSR1);
    fd3.nth_line("new 2 A=2 ", 1);
    assert_eq!(fd3.stop(), 0);
    // The new rules: the last one was told to stop by the signal of the new configuration.
    assert_eq!(fd3.count("status=SIGKILL"), 1, "{}", fd3.log());
}

#[test]
fn the_old_generation_goes_on_with_what_it_had() {
    let service = Service::new();
    let mut fd3 = service.start(&[]);
    service.set("2");
    service.configure("start-timeout none\n");
    let conf = std::fs::read_to_string(&service.conf).expect("it is there");
    std::fs::write(&service.conf, conf.replace("ready signal", "ready notify")).expect("ours");
    fd3.signal(HUP);
    fd3.line("old 2 A=2 ");
    let new = fd3.worker(1);
    // While the reload runs ...
    kill(fd3.worker(0), libc::SIGKILL);
    fd3.nth_line("old 1 A=1 ", 1);
    let second = fd3.worker(2);
    // ... and after it was rolled back.
    kill(new, libc::SIGKILL);
    fd3.line("rolled back");
    kill(second, libc::SIGKILL);
    fd3.nth_line("old 1 A=1 ", 2);
    assert_eq!(fd3.count("A=2"), 1, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn what_is_broken_or_cannot_be_changed_is_refused_and_nothing_is_changed() {
    let service = Service::new();
    let mut fd3 = service.start(&["-l", "127.0.0.1:0"]);
    let worker = fd3.worker(0);
    let Service { conf, env, app, .. } = &service;
    let mut count = 0;
    let mut refused = |said: &str| {
        fd3.signal(HUP);
        let line = fd3.nth_line("reload refused, nothing is changed", count);
        count += 1;
        let said = said.replace('"', "\\\"");
        assert!(line.contains(&format!(" error=\"{said}\" ")), "{line}\n{said}");
    };
    // The line of the first that `configure` adds.
    let sixth = format!("--config {conf}, line 6");
    service.configure("restart x\n");
    refused(&format!("{sixth}: restart \"x\": accepted: always, on-failure, never"));
    service.configure("bogus\n");
    refused(&format!("{sixth}: \"bogus\": unknown option; accepted: long options without dashes"));
    service.configure("workers 2\n");
    let keeps = "a reload keeps their number; TTIN and TTOU change it";
    refused(&format!("cannot reload with another --workers: {keeps}"));
    service.configure("log json\n");
    let workers = if cfg!(feature = "worker-logs") { "--worker-logs, " } else { "" };
    let log = &format!("cannot reload with another --log, {workers}--quiet or --verbose");
    refused(&format!("{log}: to change the log, restart fd3"));
    std::fs::remove_file(conf).expect("it is there");
    refused(&format!("cannot read --config \"{conf}\": no such file or directory"));
    service.configure("");
    std::fs::write(env, "A=1\nsecret\n").expect("the folder is ours");
    let fifth = format!("--config {conf}, line 5: env-file \"{env}\"");
    refused(&format!("{fifth}, line 2: has no \"=\"; accepted: NAME=VALUE"));
    std::fs::remove_file(env).expect("it is there");
    refused(&format!("cannot read {fifth}: no such file or directory"));
    // A pipe that nobody writes to is not waited for.
    assert!(command("mkfifo").arg(env).status().expect("it is there").success());
    refused(&format!("cannot read {fifth}: no data, and no writer"));
    let writer = std::fs::OpenOptions::new().read(true).write(true).open(env).expect("it is there");
    let why = "it is not complete, and a reload does not wait for who writes to a pipe";
    refused(&format!("cannot read {fifth}: {why}"));
    drop(writer);
    std::fs::remove_file(env).expect("it is there");
    service.set("1");
    service.install("new", 0o644);
    refused(&format!("cannot execute {app}: permission denied"));
    std::fs::remove_file(app).expect("it is there");
    refused(&format!("cannot execute {app}: no such file or directory"));
    std::fs::create_dir(app).expect("the folder is ours");
    refused(&format!("cannot execute {app}: is a directory"));
    std::fs::remove_dir(app).expect("it is there");
    // All is well again, and it is the same worker.
    service.install("new", 0o755);
    assert_eq!(fd3.count("worker exited") + fd3.count("worker started"), 1, "{}", fd3.log());
    fd3.signal(HUP);
    fd3.line("new 2 A=1 ");
    fd3.line("reloaded");
    assert_eq!(field(&fd3.line("worker exited"), "pid"), worker.to_string());
    assert!(!fd3.log().contains("secret"), "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn listeners_cannot_be_changed_by_a_reload() {
    let service = Service::new();
    // The same run of tests may go on elsewhere.
    let unix = format!("unix:@fd3-load-anew-{}", std::process::id());
    let listen = format!("listen 127.0.0.1:0,name=a\nlisten {unix}\n");
    service.configure(&listen);
    let mut fd3 = service.start(&[]);
    let why = "a reload keeps the listeners as they are; to change them, restart fd3";
    let changes = [
        (listen.replace("name=a", "name=b"), "with --listen \"127.0.0.1:0,name=b\" on fd 3"),
        (format!("{listen}listen :0\n"), "with --listen \":0\" on fd 5"),
        ("listen 127.0.0.1:0,name=a\n".into(), &format!("without --listen \"{unix}\" on fd 4")),
    ];
    for (count, (listen, what)) in changes.iter().enumerate() {
        service.configure(listen);
        fd3.signal(HUP);
        let said = format!("cannot reload {what}: {why}").replace('"', "\\\"");
        let line = fd3.nth_line("reload refused", count);
        assert!(line.contains(&said), "{line}\n{said}");
    }
    // Spelled otherwise they are the same.
    service.configure(&listen.replace("127", "tcp://127"));
    fd3.signal(HUP);
    fd3.line("reloaded");
    assert_eq!((fd3.count("listening"), fd3.stop()), (2, 0));
}

#[test]
fn what_a_pipe_brought_counts_at_each_reload() {
    let script = "exec \"$0\" run -v --config <(printf 'ready 50ms\\noverlap 0ms\\n') \
                  --env-file <(echo A=1) -- sh -c 'echo told $FD3_GENERATION $A; exec sleep 1000'";
    let mut bash = command("bash");
    bash.args(["-c", script, FD3]);
    let mut fd3 = Fd3::start(bash);
    fd3.ready(1);
    for generation in 2..=3 {
        fd3.signal(HUP);
        fd3.line(&format!("told {generation} 1"));
        fd3.nth_line("reloaded", generation - 2);
    }
    assert_eq!(fd3.stop(), 0);
}

#[test]
fn a_file_that_only_the_kernel_refuses_is_rolled_back_by_its_name() {
    let service = Service::new();
    let mut fd3 = service.start(&[]);
    let other = service.folder.file("other", "#!/nope/sh\n", 0o755);
    std::fs::rename(&other, &service.app).expect("the folder is ours");
    fd3.signal(HUP);
    let line = fd3.line("rolled back");
    let said = format!("cannot execute {}: its interpreter does not exist", service.app);
    assert!(line.contains(&said), "{line}");
    assert_eq!(fd3.count("worker exited"), 0, "{}", fd3.log());
    assert_eq!(fd3.stop(), 0);
}
