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
    pub(super) help: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Times {
    Once,
    Often,
}

const fn once(
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static [&'static str],
) -> Opt {
    Opt { long, short, value, times: Times::Once, help }
}

const fn often(
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static [&'static str],
) -> Opt {
    Opt { long, short, value, times: Times::Often, help }
}

/// Of `fd3 run`.
pub(super) const RUN: &[Opt] = &[
    often(
        "listen",
        Some('l'),
        Some("ADDR[,OPTION]..."),
        &[
            "hold this socket; the first one is fd 3, the next one fd 4, ...",
            "  :80  127.0.0.1:80  [::1]:80  tcp://...  tcp4://...  tcp6://...",
            "  udp://...  unix:/path  unix:@abstract  seqpacket:/path",
            "  unixgram:/path  vsock://CID:PORT  fd:N  fd:NAME (what fd3 inherited)",
            "options: name=TEXT (unknown) backlog=N (the kernel's most)",
            "  of a path: mode=OCTAL (the umask's) user=ID group=ID (fd3's own)",
            "  of tcp and udp (off): reuseport freebind v6only device=INTERFACE",
            "  of tcp (off): nodelay keepalive defer-accept=SECONDS fastopen=N",
        ],
    ),
    once(
        "workers",
        Some('w'),
        Some("N|auto"),
        &["how many workers (1); auto: as many as this process may use CPUs"],
    ),
    once(
        "protocol",
        None,
        Some("NAME[,NAME]..."),
        &[
            "how a worker is told of its sockets (listen): listen (LISTEN_FDS),",
            "  plain (not at all), starter, einhorn, socketmaster, goatflap,",
            "  gograceful, goagain, nginx, php-fpm",
        ],
    ),
    once(
        "ready",
        None,
        Some("DURATION|notify|signal"),
        &[
            "when a worker is ready (1s): alive for so long, or READY=1 earlier;",
            "  notify: READY=1 (sd_notify) only; signal: it signals fd3, and",
            "  workers start one after the other",
        ],
    ),
    once(
        "start-timeout",
        None,
        Some("DURATION|none"),
        &["how long ready may take with --ready notify or signal (30s)"],
    ),
    once(
        "restart",
        None,
        Some("always|on-failure|never"),
        &["which workers are started again (always)"],
    ),
    once(
        "backoff",
        None,
        Some("MIN..MAX"),
        &[
            "the wait before an ended worker's restart (100ms..30s): doubles, is up",
            "  to a quarter longer by chance, starts over after 10 s of being ready",
        ],
    ),
    once(
        "respawn-limit",
        None,
        Some("N/TIME|none"),
        &["more restarts of a slot, after clean exits too: fd3 gives up (5/60s)"],
    ),
    once("stop-signal", None, Some("SIGNAL"), &["what tells a worker to stop (TERM)"]),
    once(
        "stop-timeout",
        None,
        Some("DURATION|none"),
        &["how long a stop may take before workers are killed (8s)"],
    ),
    once(
        "stdin",
        None,
        Some("inherit|null"),
        &["a worker's stdin (inherit with one worker, null with more)"],
    ),
    once(
        "parent-death",
        None,
        Some("SIGNAL|none"),
        &["what a worker gets if fd3 is killed (TERM)"],
    ),
    often(
        "on",
        None,
        Some("SIGNAL=ACTION"),
        &[
            "what fd3 does on a signal: stop, drain (no time limit), stop-now,",
            "  ignore, forward, forward:SIGNAL, reload, upgrade, up, down",
        ],
    ),
    once(
        "config",
        None,
        Some("FILE"),
        &[
            "read options from a file, one a line without the dashes: workers 2",
            "  or workers=2; # begins a comment line; what the command line gives,",
            "  --listen and --on too, replaces all such lines of the file",
        ],
    ),
    once("log", None, Some("text|json"), &["how log lines on stderr look (text)"]),
    once("quiet", Some('q'), None, &["log errors only"]),
    once("verbose", Some('v'), None, &["log every start, readiness, exit and stop"]),
    once("help", Some('h'), None, &["show this"]),
];

/// The option of this long name.
pub(super) fn by_long(table: &'static [Opt], long: &str) -> Option<&'static Opt> {
    table.iter().find(|opt| opt.long == long)
}

/// The option of this letter.
pub(super) fn by_short(table: &'static [Opt], short: char) -> Option<&'static Opt> {
    table.iter().find(|opt| opt.short == Some(short))
}
