//! What is said on the control socket, word for word.

use super::*;
use crate::error::{Errno, Error};
use crate::supervisor::{Failure, Status};
use crate::units::{Generation, Millis, Signal, SlotId};
use alloc::rc::Rc;

#[test]
fn only_a_whole_line_is_an_order() {
    let wait = Some(Ok(Request::Reload(Wait::ForTheOutcome, Conditions::default())));
    let no_wait = Some(Ok(Request::Reload(Wait::No, Conditions::default())));
    let verbose = Some(Ok(Request::Reload(Wait::WithProgress, Conditions::default())));
    let seven = Request::Restart(SlotId(7), Wait::WithProgress);
    let level = |level| Some(Ok(Request::LogLevel(level)));
    let table: [(&[u8], _); 18] = [
        (b"stop\n", Some(Ok(Request::Stop(Ending::Limited, Wait::ForTheOutcome)))),
        (b"stop --no-wait --now\n", Some(Ok(Request::Stop(Ending::Now, Wait::No)))),
        (b"stop --drain\n", Some(Ok(Request::Stop(Ending::Patient, Wait::ForTheOutcome)))),
        (b"scale 010\n", Some(Ok(Request::Scale(10, Wait::ForTheOutcome)))),
        (b"restart 7 --verbose\n", Some(Ok(seven))),
        (b"log-level\n", level(None)),
        (b"log-level info\n", level(Some(Level::Info))),
        (b"status\n", Some(Ok(Request::Status(Form::Table)))),
        (b"status --json\n", Some(Ok(Request::Status(Form::Json)))),
        (b"", None),
        (b"reload --verbose\n", verbose),
        (b"reload", None),
        (b"reload\n", wait.clone()),
        (b"reload\r\n", wait.clone()),
        (b" reload \n", wait.clone()),
        (b"reload\nreload --no-wait\n", wait),
        (b"reload --no-wait\n", no_wait.clone()),
        (b"reload \t--no-wait\n\xff\0", no_wait),
    ];
    for (heard, expected) in table {
        assert_eq!(hear(heard), expected, "{heard:?}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let table: [(&[u8], &str); 16] = [
        (b"reload --\n", "reload --: COMMAND is missing"),
        (
            b"reload --if-generation\n",
            "reload --if-generation: its number is missing; accepted: 1 to 4294967295",
        ),
        (
            b"reload -- a%0\n",
            "reload -- \"a%0\": no word; accepted: %20 for a blank, % for nothing",
        ),
        (
            b"reload -- %00\n",
            "reload -- \"%00\": no word; accepted: %20 for a blank, % for nothing",
        ),
        (b"scale --no-wait\n", "scale: its number is missing; accepted: 1 to 10000"),
        (b"scale +1\n", "scale \"+1\": accepted: 1 to 10000"),
        (b"restart 10000\n", "restart \"10000\": accepted: 0 to 9999"),
        (b"status all\n", "status \"all\": one word too many; accepted: --json"),
        (
            b"\n",
            "\"\" cannot be asked for; accepted: reload, status, stop, scale, restart, log-level",
        ),
        (
            b"Reload\n",
            "\"Reload\" cannot be asked for; accepted: reload, status, stop, scale, restart, log-level",
        ),
        (
            b"reload\0\n",
            "\"reload\0\" cannot be asked for; accepted: reload, status, stop, scale, restart, log-level",
        ),
        (
            b"GET / HTTP/1.1\r\n",
            "\"GET\" cannot be asked for; accepted: reload, status, stop, scale, restart, log-level",
        ),
        (b"\xff\n", "not UTF-8"),
        (
            b"reload now\n",
            "reload \"now\": one word too many; accepted: --if-generation N, --verbose or --no-wait, -- COMMAND [ARG]...",
        ),
        (
            b"reload --no-wait --no-wait\n",
            "reload \"--no-wait\": one word too many; accepted: --if-generation N, --verbose or --no-wait, -- COMMAND [ARG]...",
        ),
        (&[b'x'; CONTROL_LINE_MAX + 1], "a longer line than 512 bytes"),
    ];
    for (heard, said) in table {
        let verbs = if cfg!(feature = "upgrade") { "restart, upgrade" } else { "restart" };
        let said = said.replace("restart, log-level", &format!("{verbs}, log-level"));
        assert_eq!(hear(heard), Some(Err(said)), "{heard:?}");
    }
}

#[cfg(feature = "upgrade")]
#[test]
fn an_upgrade_may_name_a_program() {
    let path = Some(c"/opt/a b".to_owned());
    for (heard, asked) in [
        (&b"upgrade\n"[..], Request::Upgrade(None, Wait::ForTheOutcome)),
        (b"upgrade --no-wait /opt/a%20b\n", Request::Upgrade(path, Wait::No)),
    ] {
        assert_eq!(hear(heard), Some(Ok(asked)));
    }
    let accepted = "accepted: the absolute path of a program";
    for word in ["fd3", "%", "/a%00", "/%zz"] {
        let said = Some(Err(format!("upgrade \"{word}\": {accepted}")));
        assert_eq!(hear(format!("upgrade {word}\n").as_bytes()), said);
    }
}

#[test]
fn a_line_may_have_so_many_bytes() {
    let mut line = b"reload".to_vec();
    line.resize(CONTROL_LINE_MAX, b' ');
    assert_eq!(hear(&line), None);
    assert!(hear(&[&line[..], b"\n"].concat()).is_some_and(|heard| heard.is_ok()));
    assert!(hear(&[&line[..], b" \n"].concat()).is_some_and(|heard| heard.is_err()));
}

#[test]
fn an_outcome_is_one_line_that_both_sides_understand() {
    let after = Millis(2_150);
    let slot = SlotId(1);
    let error = Rc::new(Error::system("read", "--env-file \"a\nok \"", Errno(libc::ENOENT)));
    let failed = |why| Outcome::RolledBack { why: Rc::new(why), replaced: 0 };
    let status = Status::Killed(Signal(libc::SIGSEGV));
    let pid = Pid(7);
    let table = [
        (Outcome::Done { generation: Generation(2), after }, "ok reloaded generation=2 after=2.1s"),
        (
            Outcome::Refused { error },
            "refused nothing is changed: cannot read --env-file \"a?ok \": no such file or \
             directory",
        ),
        (
            failed(Failure::Exited { slot, pid, status, uptime: after }),
            "failed the old generation goes on: slot 1: worker 7 was killed by SIGSEGV after 2.1s",
        ),
        (
            failed(Failure::NotReady { slot, pid, after }),
            "failed the old generation goes on: slot 1: worker 7 was not ready within 2.1s",
        ),
        (Outcome::Stopped, "failed fd3 stops"),
        (Outcome::Scaled { workers: 3 }, "ok scaled workers=3"),
    ];
    let restarts = [
        (Outcome::Done { generation: Generation(2), after }, "ok restarted slot=1 after=2.1s"),
        (
            failed(Failure::Hung { slot, pid }),
            "failed the slot keeps what it had: slot 1: worker 7 hung",
        ),
    ];
    let reloads = table.into_iter().map(|one| (Order::Reload, one));
    let restarts = restarts.into_iter().map(|one| (Order::Restart(slot), one));
    for (order, (outcome, line)) in reloads.chain(restarts) {
        let answer = came(order, &outcome);
        assert_eq!(answer, format!("{line}\n"));
        let (first, rest) = line.split_once(' ').expect("two words");
        let (verdict, text) = verdict(line).expect("a last line");
        assert!(VERDICTS.contains(&(first, verdict)));
        assert_eq!(text, rest);
    }
    for line in ["", "okay", "starting slot=0", " ok", "Ok", "failed: x"] {
        assert_eq!(verdict(line), None, "{line}");
    }
    assert_eq!(verdict("ok"), Some((Verdict::Ok, "")));
}

#[test]
fn running_ones_are_found_in_the_kernels_table() {
    let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23456 @fd3/1\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 23457 @fd3/1\n\
        0000000000000000: 00000002 00000000 00010000 0001 01   568 @fd3/4194304-12\n\
        0000000000000000: 00000002 00000000 00000000 0002 01 23459 @fd3/5\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23460 @fd3/x\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23461 @fd3-test\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23462 /run/@fd3/7\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23463 /run/\xff\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 23464\n\
        torn";
    assert_eq!(listed(table), ["fd3/1", "fd3/4194304-12"]);
    let names = names(Pid(1));
    assert_eq!((&*names[0], &*names[1]), ("fd3/1", "fd3/1-2"));
    assert_eq!((names.len(), &*names[99]), (100, "fd3/1-100"));
}

#[test]
fn a_command_comes_as_it_went() {
    let words: [&[u8]; 7] = [b"/app", b"", b"%", b"a b\tc\n", b"\xff\xc3\xa9", b"--", b"%20"];
    let mut line = "reload --no-wait --if-generation 7 --".to_owned();
    for word in words {
        line.extend([" ", &encoded(word)]);
    }
    assert_eq!(line.split(' ').count(), 5 + words.len(), "{line}");
    let command = words.map(|word| CString::new(word).expect("no NUL")).to_vec();
    let conditions = Conditions { if_generation: Some(Generation(7)), command };
    let expected = Some(Ok(Request::Reload(Wait::No, conditions)));
    assert_eq!(hear(format!("{line}\n").as_bytes()), expected);
}

#[test]
fn only_a_line_with_a_command_may_be_long() {
    let long = |begin: &str, length: usize| {
        let mut line = begin.as_bytes().to_vec();
        line.resize(length, b'x');
        hear(&line)
    };
    assert_eq!(long("reload -- ", COMMAND_LINE_MAX), None);
    let over = |most: usize| Some(Err(format!("a longer line than {most} bytes")));
    assert_eq!(long("reload -- ", COMMAND_LINE_MAX + 1), over(COMMAND_LINE_MAX));
    for begin in ["reload --verbose x--", "status -- ", "reloads -- "] {
        assert_eq!(long(begin, CONTROL_LINE_MAX), None);
        assert_eq!(long(begin, CONTROL_LINE_MAX + 1), over(CONTROL_LINE_MAX));
    }
}
