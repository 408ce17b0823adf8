//! Called by the name of tini, docker-init, dumb-init or catatonit: their options, their variables, their
//! statuses. What they all lack is to be had by one more variable, as docker-init is given no options:
//! FD3_STOP_TIMEOUT=8s tells whoever is left to stop, and waits.

use std::ffi::{CString, OsString};

use lexopt::Arg;

use super::init::forward_all;
use super::typed::c_string;
use super::{fail, show};
use crate::error::{Error, Kind};
use crate::event_loop::{InitLoop, InitPlan};
use crate::init::{Leftovers, Plan, To};
use crate::plan::{Level, LogFormat, LogPlan, Reaction, Settings, WorkerLogs};
use crate::protocol::{duration, signal_name};
use crate::sys::environment::variable;
use crate::sys::signal::Manners;
use crate::sys::sink::Sink;
use crate::units::{Millis, Signal};

/// What each of them exits with where its own command line, or the kernel, is wrong.
const FAILED: u8 = 1;

/// What came of a command line.
enum Asked {
    Run(Box<InitPlan>),
    /// Nothing but this.
    Tell(&'static str),
    /// The same on stderr, as dumb-init does.
    TellAside(&'static str),
}

pub(super) fn tini(_: OsString, words: Vec<OsString>, found: Manners) -> u8 {
    begin(as_tini(words, found))
}

pub(super) fn dumb_init(_: OsString, words: Vec<OsString>, _: Manners) -> u8 {
    begin(as_dumb_init(words))
}

pub(super) fn catatonit(_: OsString, words: Vec<OsString>, found: Manners) -> u8 {
    begin(as_catatonit(words, found))
}

#[inline(never)]
fn begin(asked: Result<Asked, Error>) -> u8 {
    let begun = match asked {
        Ok(Asked::Run(plan)) => InitLoop::set_up(*plan),
        Ok(Asked::Tell(text)) => return show(text).unwrap_or(FAILED),
        Ok(Asked::TellAside(text)) => {
            Sink::stderr().write(text.as_bytes());
            return 0;
        }
        Err(error) => Err(error),
    };
    match begun {
        Ok(service) => service.run(),
        Err(error) => {
            fail(&error, LogFormat::Text);
            FAILED
        }
    }
}

const TINI_VERSION: &str = concat!("tini version 0.19.0_fd3-", env!("CARGO_PKG_VERSION"), "\n");
const TINI_HELP: &str = "\
Usage: tini [OPTIONS] PROGRAM -- [ARGS] | --version

  --version      show the version
  -h             show this
  -s             be a subreaper
  -p SIGNAL      get SIGNAL when the parent dies
  -v             tell more; up to 3 times
  -w             tell of reaped processes
  -g             signals go to the program's process group
  -e EXIT_CODE   exit with 0 where the program's status is EXIT_CODE
  -l             show the licence

Variables: TINI_SUBREAPER, TINI_VERBOSITY, TINI_KILL_PROCESS_GROUP;
FD3_STOP_TIMEOUT: tell whoever is left at the end to stop, and wait so long.
";
const LICENCE: &str = concat!("fd3: ", env!("CARGO_PKG_LICENSE"), "\n");

fn as_tini(words: Vec<OsString>, found: Manners) -> Result<Asked, Error> {
    let mut plan = InitPlan { manners: found, ..plan(LIKE_TINI, tini_status)? };
    plan.adopts = variable("TINI_SUBREAPER").is_some();
    let mut verbosity = number(variable("TINI_VERBOSITY")).unwrap_or(1);
    if variable("TINI_KILL_PROCESS_GROUP").is_some() {
        plan.decide.to = To::Group;
    }
    let mut parser = lexopt::Parser::from_args(words.iter());
    loop {
        match parser.next().map_err(wrong)? {
            Some(Arg::Long("version")) => return Ok(Asked::Tell(TINI_VERSION)),
            Some(Arg::Short('h')) => return Ok(Asked::Tell(TINI_HELP)),
            Some(Arg::Short('l')) => return Ok(Asked::Tell(LICENCE)),
            Some(Arg::Short('s')) => plan.adopts = true,
            Some(Arg::Short('g')) => plan.decide.to = To::Group,
            Some(Arg::Short('v')) => verbosity += 1,
            Some(Arg::Short('w')) => verbosity = verbosity.max(2),
            Some(Arg::Short('p')) => {
                let signal = parser.value().map_err(wrong)?;
                let known = signal.to_str().and_then(signal_name::parse);
                let wrong = format_args!("accepted: {}", signal_name::ACCEPTED).to_string();
                plan.own_parent_death = Some(known.ok_or_else(|| Error::usage("-p", wrong))?);
            }
            Some(Arg::Short('e')) => {
                let code = parser.value().map_err(wrong)?;
                let code = code.to_str().and_then(|code| code.parse::<u8>().ok());
                let wrong = "accepted: an exit status, 0 to 255";
                plan.decide.map_exit.push((code.ok_or_else(|| Error::usage("-e", wrong))?, 0));
            }
            Some(Arg::Value(first)) => {
                plan.command = command(first, &mut parser, Some(&words))?;
                break;
            }
            Some(other) => return Err(unknown(&other)),
            None => break,
        }
    }
    plan.log.level = match verbosity {
        0 => Level::Error,
        1 => Level::Warn,
        _ => Level::Info,
    };
    run(plan)
}

fn tini_status(error: &Error) -> u8 {
    match error.kind() {
        Kind::NotFound => 127,
        Kind::NotExecutable => 126,
        Kind::Usage | Kind::Own => FAILED,
    }
}

const DUMB_VERSION: &str = concat!("dumb-init v1.2.5_fd3-", env!("CARGO_PKG_VERSION"), "\n");
const DUMB_HELP: &str = "\
Usage: dumb-init [option] command [[arg] ...]

   -c, --single-child   signals go to the program alone
   -r, --rewrite s:r    signal s becomes signal r; with 0 it is ignored
   -v, --verbose        tell what happens, on stderr
   -h, --help           show this
   -V, --version        show the version

Variables: DUMB_INIT_SETSID=0 (as -c), DUMB_INIT_DEBUG=1 (as -v);
FD3_STOP_TIMEOUT: tell whoever is left at the end to stop, and wait so long.
";
/// The statuses 1 to 31; dumb-init knows no others.
const REWRITTEN_MAX: i32 = 31;

fn as_dumb_init(words: Vec<OsString>) -> Result<Asked, Error> {
    let mut plan = plan(LIKE_DUMB_INIT, |_| 2)?;
    if variable("DUMB_INIT_SETSID") == Some(b"0") {
        plan.decide.to = To::Process;
    }
    if variable("DUMB_INIT_DEBUG") == Some(b"1") {
        plan.log.level = Level::Info;
    }
    let mut rewritten = Vec::new();
    let mut parser = lexopt::Parser::from_args(words.iter());
    loop {
        match parser.next().map_err(wrong)? {
            Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Asked::TellAside(DUMB_HELP)),
            Some(Arg::Short('V') | Arg::Long("version")) => {
                return Ok(Asked::TellAside(DUMB_VERSION));
            }
            Some(Arg::Short('c') | Arg::Long("single-child")) => plan.decide.to = To::Process,
            Some(Arg::Short('v') | Arg::Long("verbose")) => plan.log.level = Level::Info,
            Some(Arg::Short('r') | Arg::Long("rewrite")) => {
                let value = parser.value().map_err(wrong)?;
                let pair = value.to_str().and_then(|text| text.split_once(':'));
                let one = |text: &str| number(Some(text.as_bytes()));
                let pair = pair.and_then(|(from, to)| Some((one(from)?, one(to)?)));
                let known = |(from, to): &(i32, i32)| {
                    (1..=REWRITTEN_MAX).contains(from) && (0..=REWRITTEN_MAX).contains(to)
                };
                let wrong = "accepted: FROM:TO, two signals' numbers, 1 to 31; TO may be 0";
                rewritten.push(pair.filter(known).ok_or_else(|| Error::usage("-r", wrong))?);
            }
            Some(Arg::Value(first)) => {
                plan.command = command(first, &mut parser, None)?;
                break;
            }
            Some(other) => return Err(unknown(&other)),
            None => break,
        }
    }
    if plan.decide.to == To::Group {
        // Its child has a session of its own there, in which these would do nothing.
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            rewritten.insert(0, (signal, libc::SIGSTOP));
        }
    } else if plan.decide.leftovers == LIKE_DUMB_INIT {
        plan.decide.leftovers = Leftovers::Leave;
    }
    for (from, to) in rewritten {
        let reaction = if to == 0 { Reaction::Ignore } else { Reaction::Forward(Signal(to)) };
        plan.decide.reactions.set(Signal(from), reaction);
    }
    run(plan)
}

/// dockerd wants to read this beginning.
const CATATONIT_VERSION: &str =
    concat!("tini version 0.2.1_catatonit_fd3-", env!("CARGO_PKG_VERSION"), "\n");
const CATATONIT_HELP: &str = "\
usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]

  -g              signals go to the program's process group
  -h              show this
  -L              show the licence
  -P              run no program, until SIGINT or SIGTERM comes
  -V, --version   show the version

Variable: FD3_STOP_TIMEOUT: tell whoever is left at the end to stop, and wait so long.
";

fn as_catatonit(words: Vec<OsString>, found: Manners) -> Result<Asked, Error> {
    let mut plan = InitPlan { manners: found, ..plan(LIKE_TINI, |_| FAILED)? };
    plan.adopts = true;
    let mut parser = lexopt::Parser::from_args(words.iter());
    loop {
        match parser.next().map_err(wrong)? {
            Some(Arg::Short('h')) => return Ok(Asked::Tell(CATATONIT_HELP)),
            Some(Arg::Short('L')) => return Ok(Asked::Tell(LICENCE)),
            Some(Arg::Short('V') | Arg::Long("version")) => {
                return Ok(Asked::Tell(CATATONIT_VERSION));
            }
            Some(Arg::Short('g')) => plan.decide.to = To::Group,
            Some(Arg::Short('P')) => plan.decide.pauses = true,
            Some(Arg::Value(first)) => {
                plan.command = command(first, &mut parser, Some(&words))?;
                break;
            }
            Some(other) => return Err(unknown(&other)),
            None => break,
        }
    }
    run(plan)
}

/// What they do with those who are left.
const LIKE_TINI: Leftovers = Leftovers::Leave;
const LIKE_DUMB_INIT: Leftovers = Leftovers::TellGroup;

fn plan(leftovers: Leftovers, status_of: fn(&Error) -> u8) -> Result<InitPlan, Error> {
    let sweep = match variable("FD3_STOP_TIMEOUT") {
        None => None,
        Some(b"none") => Some(None),
        Some(text) => {
            let span = str::from_utf8(text).ok().and_then(duration::parse);
            let wrong = || {
                let wrong = format_args!("accepted: {}, or none", duration::ACCEPTED).to_string();
                Error::usage("FD3_STOP_TIMEOUT", wrong)
            };
            Some(Some(span.ok_or_else(wrong)?))
        }
    };
    let decide = Plan {
        pre_start: 0,
        post_stop: 0,
        reactions: forward_all(),
        to: if leftovers == LIKE_DUMB_INIT { To::Group } else { To::Process },
        drain_delay: Millis(0),
        leftovers: sweep.map_or(leftovers, Leftovers::Sweep),
        map_exit: Vec::new(),
        pauses: false,
    };
    Ok(InitPlan {
        decide,
        command: Vec::new(),
        pre_start: Vec::new(),
        post_stop: Vec::new(),
        settings: Settings::default(),
        parent_death: None,
        own_parent_death: None,
        manners: Manners::CLEAN,
        log: LogPlan { level: Level::Warn, format: LogFormat::Text, workers: WorkerLogs::Inherit },
        status_of,
        adopts: false,
    })
}

fn run(plan: InitPlan) -> Result<Asked, Error> {
    if plan.command.is_empty() && !plan.decide.pauses {
        return Err(Error::usage("COMMAND", "missing; -h tells what is accepted"));
    }
    Ok(Asked::Run(Box::new(plan)))
}

/// The program and its arguments. getopt(3) of glibc, which all but dumb-init use as it is, looks for options
/// behind the program as well, and takes a `--` there for their end; unless there was one before. `words` is all
/// that was typed where that is so.
fn command(
    first: OsString,
    parser: &mut lexopt::Parser,
    words: Option<&[OsString]>,
) -> Result<Vec<CString>, Error> {
    let rest: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
    let mut drops = words.is_some_and(|words| {
        let before = words.len().checked_sub(rest.len() + 2).and_then(|place| words.get(place));
        before.is_none_or(|word| word != "--")
    });
    let mut command = vec![c_string(&first)?];
    for word in rest {
        if drops && word == "--" {
            drops = false;
        } else {
            command.push(c_string(&word)?);
        }
    }
    Ok(command)
}

fn number(text: Option<&[u8]>) -> Option<i32> {
    str::from_utf8(text?).ok()?.parse().ok()
}

fn unknown(option: &Arg<'_>) -> Error {
    let spelled = match option {
        Arg::Short(letter) => format!("-{letter}"),
        Arg::Long(long) => format!("--{long}"),
        Arg::Value(value) => value.to_string_lossy().into_owned(),
    };
    Error::usage(spelled, "unknown option; -h tells what is accepted")
}

fn wrong(error: lexopt::Error) -> Error {
    let (option, wrong) = if let lexopt::Error::MissingValue { option } = error {
        (option.unwrap_or_default(), "needs a value; -h tells what is accepted")
    } else if let lexopt::Error::UnexpectedValue { option, .. } = error {
        (option, "takes no value")
    } else {
        ("the command line".into(), "cannot be taken apart")
    };
    Error::usage(option, wrong)
}
