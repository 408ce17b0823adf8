//! `--pid-file` and `--status-file`.

use crate::harness::{Folder, output, run, stderr_of, until};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn they_tell_who_runs_and_go_at_the_end() {
    let folder = Folder::new();
    let (pid_file, status) = (folder.file("pid", "1\n", 0o644), folder.path("status"));
    let words = ["-w", "2", "--ready", "1ms", "--overlap", "0", "--pid-file", &pid_file];
    let rest = ["--status-file", &status, "--", "sleep", "1000"];
    let mut fd3 = run(&[&words[..], &rest].concat());
    let lines = |generation: i32, mut pids: Vec<i32>| {
        pids.sort_unstable();
        pids.iter().map(|pid| format!("{generation}:{pid}\n")).collect::<String>()
    };
    let first = fd3.ready(2);
    assert_eq!(read(&pid_file), format!("{}\n", fd3.pid()));
    until("both in the status", || read(&status) == lines(1, first.clone()));
    fd3.signal(libc::SIGHUP);
    let all = fd3.ready(4);
    until("the new ones in the status", || read(&status) == lines(2, all[2..].to_vec()));
    assert_eq!(fd3.stop(), 0);
    for path in [&pid_file, &status] {
        assert!(!std::path::Path::new(path).exists(), "{path} is left");
    }
}

#[test]
fn what_cannot_be_written_is_told_before_anything_starts() {
    let folder = Folder::new();
    for option in ["--pid-file", "--status-file"] {
        let path = folder.path("nope/file");
        let output = output(&["run", option, &path, "--", "sh", "-c", "echo started"]);
        assert_eq!(output.status.code(), Some(125));
        let said = format!("fd3: cannot write {option} \"{path}\": no such file or directory\n");
        assert_eq!(stderr_of(&output), said);
        assert!(output.stdout.is_empty());
    }
    // A device is nothing that could be replaced, nor is a folder.
    let output = output(&["run", "--status-file", "/dev/null", "--", "true"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr_of(&output));
    assert!(std::path::Path::new("/dev/null").exists());
}

#[test]
fn a_pid_file_that_another_one_holds_is_refused_and_stays() {
    let folder = Folder::new();
    let (pid_file, status) = (folder.path("pid"), folder.path("status"));
    let words = ["--ready", "1ms", "--pid-file", &pid_file, "--status-file", &status];
    let mut fd3 = run(&[&words[..], &["--", "sleep", "1000"]].concat());
    fd3.ready(1);
    let output = output(&["run", "--pid-file", &pid_file, "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let said = format!("fd3: cannot write --pid-file \"{pid_file}\": another process holds it\n");
    assert_eq!(stderr_of(&output), said);
    assert_eq!(read(&pid_file), format!("{}\n", fd3.pid()));
    // What is another's by now is left alone.
    until("a status", || !read(&status).is_empty());
    for path in [&pid_file, &status] {
        std::fs::remove_file(path).expect("it is there");
        std::fs::write(path, "mine").expect("the folder is ours");
    }
    assert_eq!(fd3.stop(), 0);
    assert_eq!((read(&pid_file), read(&status)), ("mine".into(), "mine".into()));
}

#[test]
fn nobody_elses_file_is_touched() {
    let folder = Folder::new();
    let precious = folder.file("precious", "precious content\n", 0o644);
    let link = folder.path("link");
    std::os::unix::fs::symlink(&precious, &link).expect("the folder is ours");
    let refused = output(&["run", "--pid-file", &link, "--", "true"]);
    assert_eq!(refused.status.code(), Some(125));
    let why = "too many symbolic links";
    let said = stderr_of(&refused);
    assert!(said.contains(why), "{said}");
    assert_eq!(read(&precious), "precious content\n");
    // What other programs call the one before.
    let older = folder.file("pid.1", "older\n", 0o644);
    let pid_file = folder.path("pid");
    let mut fd3 = run(&["--pid-file", &pid_file, "--restart", "never", "--", "true"]);
    assert_eq!(fd3.exit(), 0);
    assert_eq!(read(&older), "older\n");
    assert_eq!(crate::world::entries(&folder), ["link", "pid.1", "precious"]);
}
