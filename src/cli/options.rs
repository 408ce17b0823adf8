//! The options of each command, once: the parser, the configuration file and the help read this table.

mod slots;

use self::slots::{SPREAD, STORE};

/// One option.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Opt {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// What its value is called; `None` if it takes none.
    pub(super) value: Option<&'static str>,
    pub(super) times: Times,
    /// For the help; the first line says what it does, each further one adds a detail.
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Times {
    Once,
    Often,
}

/// One that may be given once.
const fn opt(
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static str,
) -> Opt {
    Opt { long, short, value, times: Times::Once, help }
}

impl Opt {
    const fn often(self) -> Opt {
        Opt { times: Times::Often, ..self }
    }
}

/// The options of one command, in parts, some of which others have as well.
pub(super) type Table = &'static [&'static [Opt]];

/// Of `fd3 run`.
pub(super) const RUN: Table =
    &[SERVICE, SPREAD, STORE, SETTINGS, ENVIRONMENT, CONTROL, METRICS, RECORDS, OWN];

const SERVICE: &[Opt] = &[
    opt(
        "listen",
        Some('l'),
        Some("ADDR[,OPTION]..."),
        concat!(
            "hold this socket; the first one is fd 3, the next one fd 4, ...\n",
            "  :80  127.0.0.1:80  [::1]:80  tcp://...  tcp4://...  tcp6://...\n",
            "  udp://...  unix:/path  unix:@abstract  seqpacket:/path\n",
            "  unixgram:/path  vsock://CID:PORT  fd:N  fd:NAME (what fd3 inherited)\n",
            "options: name=TEXT (unknown) backlog=N (the most)\n",
            "  of a path: mode=OCTAL (by umask) user=ID group=ID (fd3's)\n",
            "  of tcp and udp (off): reuseport freebind v6only device=INTERFACE\n",
            "  of tcp (off): nodelay keepalive defer-accept=SECONDS fastopen=N",
        ),
    )
    .often(),
    opt(
        "workers",
        Some('w'),
        Some("N|auto"),
        "how many workers (1); auto: as many as this process may use CPUs",
    ),
    opt(
        "protocol",
        None,
        Some("NAME[,NAME]..."),
        concat!(
            "how a worker is told of its sockets (listen): listen (LISTEN_FDS),\n",
            "  plain (not at all), starter, einhorn, socketmaster, goatflap,\n",
            "  gograceful, goagain, nginx, php-fpm",
        ),
    ),
    opt(
        "ready",
        None,
        Some("DURATION|notify|signal"),
        concat!(
            "when a worker is ready (1s): alive for so long, or READY=1 earlier;\n",
            "  notify: READY=1 (sd_notify) only; signal: it signals fd3, and\n",
            "  workers start one after the other",
        ),
    ),
    opt(
        "start-timeout",
        None,
        Some("DURATION|none"),
        "how long ready may take with --ready notify or signal (30s)",
    ),
    opt(
        "start",
        None,
        Some("at-once|on-demand"),
        concat!(
            "when workers are started (at-once); on-demand: when a connection\n",
            "  waits, and again so after a worker that exits with 0",
        ),
    ),
    opt(
        "restart",
        None,
        Some("always|on-failure|never"),
        "which workers are started again (always)",
    ),
    opt(
        "backoff",
        None,
        Some("MIN..MAX"),
        concat!(
            "the wait before an ended worker's restart (100ms..30s): doubles, is up\n",
            "  to a quarter longer by chance, starts over after 10 s of being ready",
        ),
    ),
    opt(
        "respawn-limit",
        None,
        Some("N/TIME|none"),
        "more restarts of a slot, after clean exits too: fd3 gives up (5/60s)",
    ),
    opt("stop-signal", None, Some("SIGNAL"), "what tells a worker to stop (TERM)"),
    opt(
        "stop-timeout",
        None,
        Some("DURATION|none"),
        "how long a stop may take before workers are killed (8s)",
    ),
    opt(
        "watchdog",
        None,
        Some("DURATION|none"),
        "a ready worker must say WATCHDOG=1 so often (none), or it is replaced",
    ),
    opt(
        "max-age",
        None,
        Some("DURATION|none"),
        concat!(
            "replace a worker that was ready for so long, or up to a tenth less by\n",
            "  chance, as a reload replaces one (none)",
        ),
    ),
    opt(
        "surge",
        None,
        Some("all|K"),
        concat!(
            "how many workers more there may be during a reload (all): all starts a\n",
            "  whole new generation; K replaces slot by slot; 0 stops each first",
        ),
    ),
    opt(
        "overlap",
        None,
        Some("DURATION"),
        "how long old and new both serve before the old is told to stop (2s)",
    ),
    opt(
        "drain-timeout",
        None,
        Some("DURATION|none"),
        "how long a replaced worker may take to end before it is killed (60s)",
    ),
    opt(
        "stdin",
        None,
        Some("inherit|null"),
        "a worker's stdin (inherit with one worker, null with more)",
    ),
    opt("parent-death", None, Some("SIGNAL|none"), "what a worker gets if fd3 is killed (TERM)"),
];

/// How a program is started, whoever starts it.
pub(super) const SETTINGS: &[Opt] = if !cfg!(feature = "settings") {
    &[]
} else {
    &[
        opt(
            "user",
            None,
            Some("USER"),
            concat!(
                "run COMMAND as this user (fd3's), a name or number, in its groups; a\n",
                "  number that has no entry in /etc/passwd is its own group",
            ),
        ),
        opt(
            "group",
            None,
            Some("GROUP"),
            "run COMMAND in this group (the user's): a name or a number",
        ),
        opt("chdir", None, Some("FOLDER"), "run COMMAND in this folder (fd3's): an absolute path"),
        opt("umask", None, Some("OCTAL"), "COMMAND's umask (fd3's)"),
        opt(
            "rlimit",
            None,
            Some("NAME=SOFT[:HARD]"),
            concat!(
                "a limit of COMMAND's (fd3's): nofile=64K, core=0:unlimited; without\n",
                "  HARD, SOFT is both; names as in docker run --ulimit",
            ),
        )
        .often(),
        opt("nice", None, Some("N"), "COMMAND's niceness (fd3's), from -20 to 19"),
        opt(
            "no-new-privs",
            None,
            None,
            "COMMAND gains no rights by executing (set-user-ID and the like)",
        ),
        opt(
            "cap-drop",
            None,
            Some("CAP|all"),
            "COMMAND never has this capability: a name (NET_RAW), a number",
        )
        .often(),
    ]
};

pub(super) const ENVIRONMENT: &[Opt] = &[
    opt("env", None, Some("NAME=VALUE"), "a variable for COMMAND; wins over --env-file").often(),
    opt(
        "env-file",
        None,
        Some("FILE"),
        concat!(
            "variables for COMMAND, NAME=VALUE a line, taken as it stands, quotes\n",
            "  too; # begins a comment line; of one name the last one counts",
        ),
    )
    .often(),
    opt("clear-env", None, None, "COMMAND gets none of fd3's own variables"),
];

/// Files that tell who runs.
#[cfg(feature = "records")]
const RECORDS: &[Opt] = &[
    opt(
        "pid-file",
        None,
        Some("FILE"),
        "fd3's own PID; locked while fd3 runs, and gone at its end",
    ),
    opt(
        "status-file",
        None,
        Some("FILE"),
        "GENERATION:PID, one line a worker that serves or drains; goes, too",
    ),
];
#[cfg(not(feature = "records"))]
const RECORDS: &[Opt] = &[];

/// Who may talk to it.
const CONTROL: &[Opt] = if !cfg!(feature = "control") {
    &[]
} else {
    &[opt(
        "control",
        None,
        Some("ADDR|none"),
        concat!(
            "where fd3 reload finds this fd3 (unix:@fd3/PID): unix:@NAME,\n",
            "  unix:/path with or without ,mode=OCTAL (0600), none",
        ),
    )]
};

/// Who may ask how it is.
const METRICS: &[Opt] = if !cfg!(feature = "metrics") {
    &[]
} else {
    &[opt(
        "metrics",
        None,
        Some("ADDR"),
        concat!(
            "answer GET there (nowhere), as :9100 or unix:/path: /metrics,\n",
            "  /healthz (fd3 lives), /readyz (503 unless all workers are ready)",
        ),
    )]
};

/// What concerns fd3 itself.
const OWN: &[Opt] = &[
    opt(
        "on",
        None,
        Some("SIGNAL=ACTION"),
        concat!(
            "what fd3 does on a signal: stop, drain (no time limit), stop-now,\n",
            "  ignore, forward, forward:SIGNAL, reload, upgrade, up, down",
        ),
    )
    .often(),
    opt(
        "config",
        None,
        Some("FILE"),
        concat!(
            "read options from a file, one a line: workers 2 or workers=2; # begins\n",
            "  a comment; one typed replaces all its lines, --listen and --on too",
        ),
    ),
    opt("machine-init", None, None, "be the first process of a machine, not of a container"),
    opt("log", None, Some("text|json"), "how log lines on stderr look (text)"),
    opt("quiet", Some('q'), None, "log errors only"),
    opt("verbose", Some('v'), None, "log every start, readiness, exit and stop"),
    opt("help", Some('h'), None, "show this"),
];

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
    &[opt(
        "if-generation",
        None,
        Some("N"),
        "only if generation N still serves, and nobody else reloads",
    )],
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

/// Of `fd3 init`.
#[cfg(feature = "init")]
pub(super) const INIT: Table = &[PROGRAM, SETTINGS, ENVIRONMENT, INIT_OWN];

#[cfg(feature = "init")]
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
#[cfg(feature = "init")]
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

/// Of `fd3 check`.
#[cfg(feature = "check")]
pub(super) const CHECK: Table = &[&[
    opt("timeout", None, Some("DURATION"), "how long all of it may take (5s)"),
    opt("status", None, Some("N-N"), "which HTTP statuses are well (200-399); N for just one"),
    opt("help", Some('h'), None, "show this"),
]];

/// The option of this long name.
pub(super) fn by_long(table: Table, long: &str) -> Option<&'static Opt> {
    table.iter().copied().flatten().find(|opt| opt.long == long)
}

/// The option of this letter.
pub(super) fn by_short(table: Table, short: char) -> Option<&'static Opt> {
    table.iter().copied().flatten().find(|opt| opt.short == Some(short))
}
