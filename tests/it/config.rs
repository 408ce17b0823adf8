//! `--config`: options from a file, and the command line that wins over them.

use crate::harness::{Folder, field, run};

#[test]
fn a_file_may_be_written_like_a_command_line_without_dashes_or_like_a_table() {
    let folder = Folder::new();
    for text in [
        "listen 127.0.0.1:0,name=a=b\nworkers 2\nready 0ms\non USR1=forward:TERM\n",
        "listen=127.0.0.1:0,name=a=b\nworkers=2\nready=0ms\non=USR1=forward:TERM\n",
        "# all of it\r\n\r\n\t listen = 127.0.0.1:0,name=a=b \r\n  workers  =2\nready= 0ms\n#\n\
         \n on\t USR1=forward:TERM",
    ] {
        let file = folder.file("conf", text, 0o644);
        let mut fd3 = run(&["--config", &file, "--", "sleep", "1000"]);
        assert_eq!(field(&fd3.line("listening"), "name"), "a=b");
        fd3.ready(2);
        fd3.signal(libc::SIGUSR1);
        fd3.nth_line("status=SIGTERM", 1);
        assert_eq!(fd3.stop(), 0);
    }
}

#[test]
fn one_listener_or_reaction_typed_replaces_all_of_the_file() {
    let folder = Folder::new();
    let text = "listen 127.0.0.1:0,name=a\nlisten 127.0.0.1:0,name=b\non USR1=stop\non USR2=stop\n\
                workers 2\nquiet\n";
    let file = folder.file("conf", text, 0o644);
    // It is run with -v, which wins over quiet.
    let typed = ["--on", "USR1=forward:KILL", "--listen", "127.0.0.1:0,name=c", "--config", &file];
    let mut fd3 = run(&[&typed[..], &["--", "sleep", "1000"]].concat());
    fd3.nth_line("worker started", 1);
    assert_eq!((fd3.count("listening"), fd3.count("name=c")), (1, 1), "{}", fd3.log());
    // The file's line for USR2 is gone, too: it is an upgrade again, which this version only notes.
    fd3.signal(libc::SIGUSR2);
    fd3.line("signal ignored");
    fd3.signal(libc::SIGUSR1);
    fd3.nth_line("status=SIGKILL", 1);
    assert_eq!(fd3.stop(), 0);
}
