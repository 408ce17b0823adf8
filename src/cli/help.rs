//! The help texts. Written to stdout when asked for, never otherwise.

use super::options::{Opt, RELOAD, RUN};

const OVERVIEW: &str = "\
fd3 holds listening sockets, hands them to a program on fd 3, and keeps that
program running.

  fd3 run [OPTIONS] [--] COMMAND [ARG]...   bind, start workers, supervise
  fd3 reload [OPTIONS]                      replace all workers of a running fd3
  fd3 help [COMMAND]                        show this, or a command's options
  fd3 version                               show the version

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
HUP and USR1 reload; TTIN is one slot more, TTOU one less; USR2 (upgrade) is
only noted by this version; every other signal goes to the workers.

Exit status: 0 stopped as asked, 2 usage, 125 fd3 itself failed, 126 COMMAND
not executable, 127 COMMAND not found; else the worker's, or 128 + its signal.
";

const RELOAD_HEAD: &str = "\
fd3 reload [OPTIONS]

Asks the running fd3 to replace all workers by new ones, and waits until they
serve, or until one failed and the old ones go on. Finds the one that runs here
by itself; where there are several it wants to be told which.

";

const RELOAD_TAIL: &str = "
Only the user whom fd3 runs as, and root, are answered. The same without this
program: echo reload | nc -U PATH

Exit status: 0 done, 1 not done (stderr tells why), 2 usage, 3 no fd3 found.
";

/// Before an option's text, so that it fits 80 columns.
const INDENT: &str = "          ";

/// The help for a command, or for all; `None` for a command that there is not.
pub(super) fn text(command: Option<&str>) -> Option<String> {
    match command {
        None => Some(OVERVIEW.to_string()),
        Some("run") => Some(page(RUN_HEAD, RUN, RUN_TAIL)),
        Some("reload") => Some(page(RELOAD_HEAD, RELOAD, RELOAD_TAIL)),
        Some(_) => None,
    }
}

fn page(head: &str, options: &[Opt], tail: &str) -> String {
    let mut page = head.to_string();
    for opt in options {
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
        for command in [None, Some("run"), Some("reload")] {
            for line in text(command).unwrap_or_default().lines() {
                assert!(line.len() <= 80, "{}: {line}", line.len());
            }
        }
    }
}
