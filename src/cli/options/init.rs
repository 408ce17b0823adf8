//! The options of `fd3 init`.

use super::{ENVIRONMENT, Opt, SETTINGS, Table, opt};

/// Of `fd3 init`.
pub(in crate::cli) const INIT: Table = &[PROGRAM, SETTINGS, ENVIRONMENT, INIT_OWN];

const PROGRAM: &[Opt] = &[
    opt(
        "single-child",
        Some('c'),
        None,
        "signals go to the program alone, not to its whole process group",
    ),
    opt(
        "on",
        None,
        Some("SIGNAL=ACTION"),
        concat!(
            "what fd3 does on a signal (forward): forward, forward:SIGNAL, ignore,\n",
            "  stop (TERM, then KILL after --stop-timeout), stop-now (KILL)",
        ),
    )
    .often(),
    opt(
        "drain-delay",
        None,
        Some("DURATION"),
        "how long to wait before a TERM is passed on (0s); a second one ends it",
    ),
    opt(
        "stop-timeout",
        None,
        Some("DURATION|none"),
        concat!(
            "how long processes that the program leaves behind may take to end\n",
            "  after TERM, before they are killed (8s)",
        ),
    ),
    opt(
        "map-exit",
        None,
        Some("FROM=TO"),
        "exit with TO where the program's status is FROM: 143=0",
    )
    .often(),
    opt(
        "pre-start",
        None,
        Some("COMMAND"),
        concat!(
            "run this first; the program is started only if it exits with 0. One\n",
            "  word of the command line, cut at blanks: \"/app migrate --all\"",
        ),
    )
    .often(),
    opt(
        "post-stop",
        None,
        Some("COMMAND"),
        "run this when nothing is left; FD3_STATUS tells it the exit status",
    )
    .often(),
    opt(
        "parent-death",
        None,
        Some("SIGNAL|none"),
        "what the program gets if fd3, or fd3's parent, is killed (none)",
    ),
];

/// What concerns fd3 itself.
const INIT_OWN: &[Opt] = &[
    opt(
        "config",
        None,
        Some("FILE"),
        concat!(
            "read options from a file, one a line: umask 027 or umask=027; # begins\n",
            "  a comment; one typed replaces all its lines, --env and --on too",
        ),
    ),
    opt("machine-init", None, None, "be the first process of a machine, not of a container"),
    opt("log", None, Some("text|json"), "how log lines on stderr look (text)"),
    opt("quiet", Some('q'), None, "log errors only"),
    opt("verbose", Some('v'), None, "log every start, end and forwarded signal"),
    opt("help", Some('h'), None, "show this"),
];
