//! The help texts. Written to stdout when asked for, never otherwise.

#[cfg(feature = "check")]
use super::options::CHECK;
#[cfg(feature = "init")]
use super::options::INIT;
use super::options::{RUN, Table};
use super::orders::{self, Order};

const OVERVIEW_HEAD: &str = "\
fd3 holds listening sockets, hands them to a program on fd 3, and keeps that
program running.

";

/// What this build of fd3 can do.
const COMMANDS: &[&str] = &[
    "  fd3 run [OPTIONS] [--] COMMAND [ARG]...   bind, start workers, supervise\n",
    #[cfg(feature = "init")]
    "  fd3 init [OPTIONS] [--] COMMAND [ARG]...  PID 1 for one program\n",
    #[cfg(feature = "check")]
    "  fd3 check [OPTIONS] ADDR|URL              exit 0 when a server answers there\n",
    "  fd3 help [COMMAND]                        show this, or a command's options\n",
    "  fd3 version                               show the version\n",
];

/// Those that come behind what can be asked of a running fd3.
const LAST_COMMANDS: usize = if cfg!(feature = "check") { 3 } else { 2 };

const OVERVIEW_TAIL: &str = "
Example: fd3 run --listen :8080 --workers 4 -- /app
";

const RUN_HEAD: &str = "\
fd3 run [OPTIONS] [--] COMMAND [ARG]...

Binds every listener, starts the workers with the listeners on fd 3, 4, ...,
and starts a worker again when it ends.

";

const RUN_TAIL: &str = "
Times are numbers with ms, s, m, h or d; without one they are seconds. Defaults
are in parentheses.

Signals: TERM and INT stop (twice: at once), QUIT stops without a time limit;
HUP and USR1 reload; TTIN is one slot more, TTOU one less;
";
const RUN_UPGRADE: &str = if cfg!(feature = "upgrade") {
    "USR2 upgrades fd3 itself in place (see fd3 help upgrade);\n"
} else {
    ""
};
const RUN_END: &str = "\
every other signal goes to the workers.

Exit status: 0 stopped as asked, 2 usage, 125 fd3 itself failed, 126 COMMAND
not executable, 127 COMMAND not found; else the worker's, or 128 + its signal.
";

#[cfg(feature = "init")]
const INIT_HEAD: &str = "\
fd3 init [OPTIONS] [--] COMMAND [ARG]...

PID 1 for one program: passes every signal on to it, reaps orphans, tells what
it leaves behind to stop, and exits with its status.

";

#[cfg(feature = "init")]
const INIT_TAIL: &str = "
Times are numbers with ms, s, m, h or d; without one they are seconds. Defaults
are in parentheses.

When the program ends, every process that is left gets TERM, and KILL after
--stop-timeout, counted from the TERM, INT or QUIT that ended the program. An
order to stop that comes then a second time kills at once.

Called by the name of tini, docker-init, dumb-init or catatonit (a link or a
copy), fd3 takes that program's options instead.

Exit status: 2 usage, 125 fd3 itself failed, 126 COMMAND not executable, 127
COMMAND not found; else the program's, or 128 + its signal.
";

/// Of each command that talks to a running fd3: its line in the list of all, and what it does.
const ORDERS: &[(&str, &str, &str)] = &[
    (
        "reload",
        "replace all workers of a running fd3",
        "\
Asks the running fd3 to replace all workers by new ones, and waits until they
serve, or until one failed and the old ones go on. Finds the one that runs here
by itself; where there are several it wants to be told which.

COMMAND takes the place of the one that runs: if all goes well it is what later
reloads start, and if not, they start the former one.
",
    ),
    (
        "status",
        "show how a running fd3 is",
        "\
Shows how the running fd3 is: its generation, how full the queues of its
listeners are, and the workers of each slot: PID, generation, state, age, how
often one was started again, memory, how the last one ended that nobody had
asked to, and what it says of itself (STATUS= of sd_notify).
",
    ),
    (
        "scale",
        "have N slots from now on",
        "\
Tells the running fd3 to have N slots, each with a worker, until it is told
otherwise or ends; a reload keeps their number. Waits until it has them, which
is after a reload that runs. New workers are starting then, surplus ones finish.
",
    ),
    (
        "restart",
        "replace the worker of one slot",
        "\
Asks the running fd3 to replace one slot's worker by a new one of the same
generation, as a reload does it, and waits until that serves, or has failed and
the old one goes on. A slot that waits out its backoff need not wait any longer.
",
    ),
    (
        "upgrade",
        "become another fd3 in place",
        "\
Has the running fd3 become the binary PATH, or the one that it was started as,
as that is now: same PID, same workers, sockets, timers, counters; nothing is
started anew. That binary is run first and asked whether it understands the
state of the running one. Where it does not, cannot be executed, fails or takes
longer than 10 s, fd3 goes on as it was, and this tells why.
",
    ),
    (
        "stop",
        "stop a running fd3",
        "\
Tells the running fd3 to stop as TERM does: workers finish what they have, and
are killed after --stop-timeout. Waits until fd3 has gone. Asked for again while
fd3 stops, it is waited for as well; only --now makes haste.
",
    ),
    (
        "log-level",
        "show or set what is logged",
        "\
Sets what the running fd3 logs, until it ends: error (as with -q), warn, notice
(the default), or info (as with -v). Without LEVEL, tells which it is.
",
    ),
];

const ORDER_TAIL: &str = "
Only the user whom fd3 runs as, and root, are answered. The same without this
program: echo VERB | nc -U PATH

Exit status: 0 done, 1 not done (stderr tells why), 2 usage, 3 no fd3 found.
";

fn order_page(order: &Order) -> String {
    let (verb, takes) = (order.verb, order.takes);
    let about = ORDERS.iter().find(|(known, ..)| *known == verb).map_or("", |(.., about)| about);
    let head = format!("fd3 {verb} [OPTIONS]{takes}\n\n{about}\n");
    page(&head, order.options, &ORDER_TAIL.replace("VERB", &format!("{verb}{takes}")))
}

fn order_line(order: &Order) -> String {
    let words = format!("fd3 {} [OPTIONS]{}", order.verb, order.takes);
    let does = ORDERS.iter().find(|(known, ..)| *known == order.verb);
    let words = if words.len() > 41 { words.replace(order.takes, " ...") } else { words };
    format!("  {words:<42}{}\n", does.map_or("", |(_, does, _)| does))
}

#[cfg(feature = "check")]
const CHECK_HEAD: &str = "\
fd3 check [OPTIONS] ADDR|URL

Exits with 0 when a server takes a connection there, or at an http:// URL
answers GET with a good status. For HEALTHCHECK in images without a shell.

  http://HOST[:PORT][/PATH]  http://unix:/SOCKET[:/PATH]  http://unix:@NAME...
  tcp://HOST:PORT  HOST:PORT  :PORT  unix:/PATH  unix:@NAME

HOST is an IP address, [IPv6] or localhost, which is 127.0.0.1, or else [::1].

";

#[cfg(feature = "check")]
const CHECK_TAIL: &str = "
A socket that fd3 holds takes connections whether or not a worker serves: check
such a one by http://.

Exit status: 0 well, 1 not (stderr tells why), 2 usage.
";

/// Of Server::Starter's command, as which fd3 can be called.
#[cfg(feature = "starter")]
pub(super) const START_SERVER: &str = "\
Usage: start_server [OPTIONS] [--] COMMAND [ARG]...

Server::Starter's command, done by fd3: starts COMMAND with the sockets that
SERVER_STARTER_PORT tells of, replaces it on HUP, and stops it on TERM.

  --port=[HOST:]PORT[=FD]        TCP; [::1]:80 for IPv6, u80 for UDP; often
  --path=PATH                    a unix socket; often
  --backlog=N                    of both (the most that the kernel allows)
  --dir=FOLDER                   where COMMAND runs
  --interval=SECONDS             how long a new worker must stay alive (1), and
                                 how long after a start that failed the next is
  --signal-on-hup=SIGNAL         what tells replaced workers to stop (TERM)
  --signal-on-term=SIGNAL        what tells all workers to stop (TERM)
  --kill-old-delay=SECONDS       how long replaced workers go on (0; 5 with
                                 --enable-auto-restart)
  --enable-auto-restart          replace workers after --auto-restart-interval
  --auto-restart-interval=SECONDS  (360)
  --envdir=FOLDER                variables, a file each, read for each worker
  --pid-file=FILE                the PID of start_server
  --status-file=FILE             GENERATION:PID, a line for each worker
  --log-file=FILE                for stdout and stderr; \"| COMMAND\" reads them
  --daemonize                    go to the background, with --log-file
  --restart                      HUP to the one of --pid-file, and wait until
                                 --status-file tells of a new worker alone
  --stop                         TERM to the one of --pid-file, and wait
  --help, --version
";

/// Before an option's text, so that it fits 80 columns.
const INDENT: &str = "          ";

/// The help for a command, or for all; `None` for a command that there is not.
pub(super) fn text(command: Option<&str>) -> Option<String> {
    match command {
        None => {
            let mut all = OVERVIEW_HEAD.to_string();
            let (first, last) = COMMANDS.split_at(COMMANDS.len() - LAST_COMMANDS);
            first.iter().for_each(|command| all.push_str(command));
            orders::ORDERS.iter().for_each(|order| all.push_str(&order_line(order)));
            last.iter().for_each(|command| all.push_str(command));
            all.push_str(OVERVIEW_TAIL);
            Some(all)
        }
        Some("run") => Some(page(RUN_HEAD, RUN, RUN_TAIL) + RUN_UPGRADE + RUN_END),
        #[cfg(feature = "init")]
        Some("init") => Some(page(INIT_HEAD, INIT, INIT_TAIL)),
        #[cfg(feature = "check")]
        Some("check") => Some(page(CHECK_HEAD, CHECK, CHECK_TAIL)),
        verb => orders::find(verb).map(order_page),
    }
}

fn page(head: &str, options: Table, tail: &str) -> String {
    let mut page = head.to_string();
    for opt in options.iter().copied().flatten() {
        match opt.short {
            Some(short) => {
                page.push_str("  -");
                page.push(short);
                page.push_str(", ");
            }
            None => page.push_str("      "),
        }
        page.extend(["--", opt.long]);
        if let Some(value) = opt.value {
            page.extend([" ", value]);
        }
        for line in opt.help.split('\n') {
            page.extend(["\n", INDENT, line]);
        }
        page.push('\n');
    }
    page.push_str(tail);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_help_fits_80_columns() {
        let orders = orders::ORDERS.iter().map(|order| Some(order.verb));
        for command in orders.chain([None, Some("run"), Some("init"), Some("check")]) {
            for line in text(command).unwrap_or_default().lines() {
                assert!(line.len() <= 80, "{}: {line}", line.len());
            }
        }
    }
}
