//! The options of each command, once: the parser, the configuration file and the help read this table.

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

/// Of `fd3 run`.
pub(super) const RUN: &[Opt] = &[
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
        "env-file",
        None,
        Some("FILE"),
        concat!(
            "variables for workers, NAME=VALUE a line, taken as it stands, quotes\n",
            "  too; # begins a comment line; of one name the last one counts",
        ),
    )
    .often(),
    opt(
        "stdin",
        None,
        Some("inherit|null"),
        "a worker's stdin (inherit with one worker, null with more)",
    ),
    opt("parent-death", None, Some("SIGNAL|none"), "what a worker gets if fd3 is killed (TERM)"),
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
    opt(
        "control",
        None,
        Some("ADDR|none"),
        concat!(
            "where fd3 reload finds this fd3 (unix:@fd3/PID): unix:@NAME,\n",
            "  unix:/path with or without ,mode=OCTAL (0600), none",
        ),
    ),
    opt("log", None, Some("text|json"), "how log lines on stderr look (text)"),
    opt("quiet", Some('q'), None, "log errors only"),
    opt("verbose", Some('v'), None, "log every start, readiness, exit and stop"),
    opt("help", Some('h'), None, "show this"),
];

/// Of `fd3 reload`.
pub(super) const RELOAD: &[Opt] = &[
    opt("pid", None, Some("PID"), "which fd3 (the only one)"),
    opt("control", None, Some("ADDR"), "the --control of that fd3: unix:/path, unix:@NAME"),
    opt("no-wait", None, None, "only ask for it, and don't wait for what comes of it"),
    opt("help", Some('h'), None, "show this"),
];

/// The option of this long name.
pub(super) fn by_long(table: &'static [Opt], long: &str) -> Option<&'static Opt> {
    table.iter().find(|opt| opt.long == long)
}

/// The option of this letter.
pub(super) fn by_short(table: &'static [Opt], short: char) -> Option<&'static Opt> {
    table.iter().find(|opt| opt.short == Some(short))
}
