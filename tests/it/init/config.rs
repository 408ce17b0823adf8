//! `fd3 init --config`: the same files, by the same rules, as `fd3 run` reads.

use super::{output, ways};
use crate::harness::Folder;
use crate::refused::refused;

#[test]
fn options_come_from_a_file_and_the_command_line_wins() {
    let folder = Folder::new();
    let variables = folder.file("env", "A=file\nB=file\n", 0o600);
    let text = format!(
        "# all of it\numask 027\nenv-file={variables}\nenv A=conf\nmap-exit = 7=9\n\
         on USR1=forward:TERM\nstop-timeout 1s\npost-stop /bin/echo gone\n"
    );
    let conf = folder.file("conf", &text, 0o600);
    let script = "umask; echo $A $B; exit 7";
    for way in ways() {
        let words = ["--config", &conf, "sh", "-c", script];
        let said = "0027\nconf file\ngone\n".to_string();
        assert_eq!(output(way, &words), (9, said, String::new()), "{way:?}");
        let typed = ["--umask", "077", "--map-exit", "7=8", "--env", "B=typed"];
        // One that is typed replaces all lines of its name.
        let said = "0077\nfile typed\ngone\n".to_string();
        let all = [&typed[..], &words].concat();
        assert_eq!(output(way, &all), (8, said, String::new()), "{way:?}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let folder = Folder::new();
    let (conf, nope) = (folder.path("conf"), folder.path("nope"));
    let table = [
        ("listen :80", "\"listen\": unknown option; accepted: long options without dashes"),
        ("umask", "umask: needs a value: OCTAL"),
        ("umask 8", "umask \"8\": accepted: octal, 0 to 0777"),
        ("umask 7\numask 7", "umask \"7\": given twice; accepted: once"),
        ("on TERM=reload", "on \"TERM=reload\": accepted: SIGNAL=ACTION, where ACTION is one of "),
    ];
    for (text, wrong) in table {
        folder.file("conf", text, 0o600);
        let line = text.lines().count();
        let on = if text.starts_with("on") {
            "stop, stop-now, ignore, forward, forward:SIGNAL"
        } else {
            ""
        };
        let said = format!("--config {conf}, line {line}: {wrong}{on}");
        refused(&["init", "--config", &conf, "echo", "started"], 2, &said);
    }
    let said = format!("cannot read --config \"{nope}\": no such file or directory");
    refused(&["init", "--config", &nope, "echo", "started"], 2, &said);
    let said = format!("cannot read --env-file \"{nope}\": no such file or directory");
    refused(&["init", "--env-file", &nope, "echo", "started"], 2, &said);
    let bad = folder.file("env", "A=1\nsecret\n", 0o600);
    let said = format!("--env-file \"{bad}\", line 2: has no \"=\"; accepted: NAME=VALUE");
    refused(&["init", "--env-file", &bad, "echo", "started"], 2, &said);
}
