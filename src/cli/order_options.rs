//! The options of what can be asked of a running fd3.

use super::options::{Opt, Table, opt};

/// Which fd3 is asked.
const WHICH: &[Opt] = &[
    opt("pid", None, Some("PID"), "which fd3 (the only one)"),
    opt("control", None, Some("ADDR"), "the --control of that fd3: unix:/path, unix:@NAME"),
];

const HELP: &[Opt] = &[opt("help", Some('h'), None, "show this")];

/// How it is waited for.
const WAIT: &[Opt] = &[
    opt(
        "verbose",
        Some('v'),
        None,
        "tell on stderr how far it is; done unasked where stderr is a terminal",
    ),
    NO_WAIT,
];

const NO_WAIT: Opt =
    opt("no-wait", None, None, "only ask for it, and don't wait for what comes of it");

/// Of `fd3 reload`.
pub(super) const RELOAD: Table = &[
    WHICH,
    &[
        opt(
            "if-generation",
            None,
            Some("N"),
            "only if generation N still serves, and nobody else reloads",
        ),
        opt(
            "canary",
            None,
            Some("K"),
            "only in the first K slots, fewer than there are; then decide",
        ),
    ],
    WAIT,
    HELP,
];

/// Of `fd3 promote` and `fd3 rollback`.
pub(super) const DECIDE: Table = &[
    WHICH,
    &[opt("if-generation", None, Some("N"), "only if the canary is generation N")],
    WAIT,
    HELP,
];

/// Of `fd3 stop`.
pub(super) const STOP: Table = &[
    WHICH,
    &[
        opt("drain", None, None, "without a time limit"),
        opt("now", None, None, "at once: workers are killed"),
    ],
    WAIT,
    HELP,
];

/// Of `fd3 scale`.
pub(super) const SCALE: Table = &[WHICH, &[NO_WAIT], HELP];

/// Of `fd3 restart`.
pub(super) const RESTART: Table = &[WHICH, WAIT, HELP];

/// Of `fd3 log-level`.
pub(super) const LOG_LEVEL: Table = &[WHICH, HELP];

/// Of `fd3 status`.
pub(super) const STATUS: Table = &[
    WHICH,
    &[
        opt("json", None, None, "one JSON document, on one line"),
        opt("watch", None, None, "again every second; a terminal is cleared first"),
    ],
    HELP,
];
