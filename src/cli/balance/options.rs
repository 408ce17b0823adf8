//! The options of `fd3 balance`, and the words around them in its help.

use crate::cli::options::{Opt, Table, opt};

pub(in crate::cli) const BALANCE: Table = &[WHERE, BACKENDS, CHECKS, TIMES, LIMITS, OWN];

const WHERE: &[Opt] = &[
    opt(
        "listen",
        Some('l'),
        Some("ADDR[,OPTION]..."),
        concat!(
            "listen there, if no socket was inherited (:3000): TCP or unix:/path,\n",
            "with the options of fd3 run --listen",
        ),
    )
    .often(),
    opt("port", Some('p'), Some("PORT"), "the same as --listen :PORT"),
];

const BACKENDS: &[Opt] = &[
    opt(
        "backend",
        Some('b'),
        Some("URL"),
        concat!(
            "send requests there: http://HOST[:PORT][/PREFIX],\n",
            "  http://unix:/SOCKET[:/PREFIX], http://unix:@NAME[:/PREFIX];\n",
            "  of a name that has several addresses each is a backend",
        ),
    )
    .often(),
    opt(
        "algorithm",
        None,
        Some("random-two|least|round-robin"),
        concat!(
            "which backend a request goes to (random-two): of two by chance the one\n",
            "  with fewer requests; the one with the fewest; each in turn",
        ),
    ),
    opt("max-conns", Some('n'), Some("N|none"), "requests that a backend has at once (none)"),
    opt(
        "queue",
        None,
        Some("N"),
        "requests in line for a place at a backend (1024); any more get a 503",
    ),
    opt("queue-timeout", None, Some("DURATION"), "how long they wait before a 503 (5s)"),
    opt(
        "retries",
        None,
        Some("N"),
        concat!(
            "on how many more backends a request is tried (2): if a connection\n",
            "  failed, or ended without an answer and the method is idempotent",
        ),
    ),
    opt("resolve", None, Some("DURATION"), "how often names of backends are looked up (30s)"),
    opt(
        "forwarded",
        None,
        Some("set|append|none"),
        concat!(
            "X-Forwarded-For, -Proto and -Host (set): set, whatever a client said;\n",
            "  append, behind a proxy that is believed; none, and drop a client's",
        ),
    ),
    opt("via", None, Some("NAME"), "add Via with this name to requests and answers"),
];

const CHECKS: &[Opt] = &[
    opt(
        "health-path",
        None,
        Some("PATH"),
        concat!(
            "ask each backend for this, and use those that are well: status 200, or\n",
            "  JSON with \"state\":\"healthy\"; \"degraded\" is not well",
        ),
    ),
    opt("health-interval", None, Some("DURATION"), "how often (2s)"),
    opt("health-timeout", None, Some("DURATION"), "how long an answer may take (1s)"),
    opt("rise", None, Some("N"), "good checks in a row until a backend is up again (2)"),
    opt(
        "fall",
        None,
        Some("N"),
        concat!(
            "bad checks in a row until it is down (3); after so many connections\n",
            "  that fail it is left out for 1 s, then 2 s, up to 30 s",
        ),
    ),
];

const TIMES: &[Opt] = &[
    opt("head-timeout", None, Some("DURATION"), "for the whole head of a request (10s): 408"),
    opt("body-timeout", None, Some("DURATION"), "between parts of its body (30s): 408"),
    opt("idle-timeout", None, Some("DURATION"), "between requests of a connection (60s)"),
    opt("write-timeout", None, Some("DURATION"), "until a peer takes more (30s)"),
    opt("connect-timeout", None, Some("DURATION"), "until a backend takes a connection (3s)"),
    opt(
        "answer-timeout",
        None,
        Some("DURATION"),
        "until a backend answers, and between parts of its answer (60s): 504",
    ),
    opt("tunnel-timeout", None, Some("DURATION"), "of a silent WebSocket or the like (1h)"),
    opt("pool-timeout", None, Some("DURATION"), "how long idle connections are kept (30s)"),
    opt("drain-timeout", None, Some("DURATION"), "how long a stop may take (60s)"),
];

const LIMITS: &[Opt] = &[
    opt(
        "max-clients",
        None,
        Some("N"),
        "connections of clients at once (half the limit of descriptors)",
    ),
    opt(
        "max-body",
        None,
        Some("BYTES|none"),
        "the longest body of a request (none), with K, M or G (times 1024): 413",
    ),
];

const OWN: &[Opt] = &[
    opt(
        "config",
        None,
        Some("FILE"),
        concat!(
            "read options from a file, one a line: retries 1 or retries=1; # begins\n",
            "  a comment; one typed replaces all its lines, --backend too",
        ),
    ),
    opt("log", None, Some("text|json"), "how log lines on stderr look (text)"),
    opt("quiet", Some('q'), None, "log errors only"),
    opt("verbose", Some('v'), None, "log bad answers of backends, too"),
    opt("help", Some('h'), None, "show this"),
];

pub(in crate::cli) const HEAD: &str = "\
fd3 balance [OPTIONS] --backend URL...

An HTTP balancer: takes requests at the sockets it inherits, or at --listen, and
passes each to one of the backends.

";

pub(in crate::cli) const TAIL: &str = "
Times are numbers with ms, s, m, h or d; without one they are seconds. Defaults
are in parentheses.

Signals: TERM, INT and QUIT stop: no new connections, requests that are under
way are finished.

Exit status: 0 stopped as asked, 2 usage, 125 fd3 itself failed.
";
