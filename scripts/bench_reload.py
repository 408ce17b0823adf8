"""`bench reload`: fd3, Server::Starter and circus reload under the same load, and what of it fails.

50 clients that keep their connection and 50 that make one for each request go on throughout: scripts/load.c
tells what is counted. All of it takes about 20 minutes. Needs what the others need, cargo and, for the
peers, Debian's libserver-starter-perl, PyPI's circus and gunicorn.
"""

import contextlib
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

from __main__ import HERE, PATIENCE, CannotMeasure, Running, finish, require, row, until

WORKERS = 4
KEEP, ONCE = 50, 50
KEEP_RATE = 8000  # requests a second
UNWANTED = ["refused", "reset", "cut", "late", "bad", "crossed"]
COUNTS = ["answers", *UNWANTED, "told", "closed", "slowest"]
ANSWERS = 350_000  # in each of three modes: more than a million
OPTIONS = ["-v", "-l", "127.0.0.1:0", "--backoff", "1ms..1ms"]

APPLICATION = """
import time
def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\\n"]
"""
# As much of them as the server itself does not speak: fd 3, told as systemd tells of it.
ONE_SERVER = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0"'
FOUR_SERVERS = f"""
for _ in 1 2 3 4; do bash -c '{ONE_SERVER}' "$0" & pids="$pids $!"; done
trap "kill $pids" TERM
wait
wait $pids
"""
CIRCUS = """
[circus]
endpoint = tcp://127.0.0.1:{control}
pubsub_endpoint = tcp://127.0.0.1:{events}
[socket:web]
host = 127.0.0.1
port = {port}
[watcher:web]
cmd = bash {script} $(circus.sockets.web)
use_sockets = True
numprocesses = {workers}
copy_env = True
"""
CIRCUS_CLIENT = """
import sys
from circus.client import CircusClient
client = CircusClient(endpoint=sys.argv[1], timeout=60)
for line in sys.stdin:
    how = {"name": "web", "graceful": True, "waiting": True, "sequential": line.strip() == "sequential"}
    print(client.send_message("reload", **how)["status"], flush=True)
"""
# New generations that fail: what each is, its script, how it is configured, and what the log and whoever asked
# are told.
BAD = [
    ("crashes at once", "kill -SEGV $$", "ready notify", "rolled back", "was killed by SIGSEGV"),
    ("exits with 0", "exit 0", "ready notify", "rolled back", "exited with status 0"),
    (
        "ends after 1.5 s, ready by then",
        "sleep 1.5; exit 1",
        "ready 500ms\noverlap 2s",
        "rolled back",
        "exited with status 1",
    ),
    ("is never ready", "exec sleep 1000", "ready notify\nstart-timeout 300ms", "rolled back", "was not ready"),
    (
        "hangs, deaf to TERM",
        "trap '' TERM; while :; do sleep 1000; done",
        "ready notify\nstart-timeout 300ms\nstop-timeout 200ms",
        "rolled back",
        "was not ready",
    ),
    ("is missing", None, "ready notify", "refused", "no such file or directory"),
]


def measure(bench):
    failed = []
    for part in [times, modes, kills, failures, real_worker, server_starter, circus]:
        try:
            part(bench)
        except CannotMeasure as reason:
            failed.append(part.__name__)
            print(f"{part.__name__}: NOT MEASURED: {reason}")
    if failed:
        raise CannotMeasure(", ".join(failed))


class Log:
    """What a supervisor says, line by line."""

    def __init__(self, stream):
        self.fd = stream.fileno()
        self.rest = b""

    def wait_for(self, text):
        """The next line with this in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            while b"\n" not in self.rest:
                readable, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
                got = os.read(self.fd, 65536) if readable else b""
                if not got:
                    raise CannotMeasure(f"nobody said: {text}; after {self.rest[-200:]}")
                self.rest += got
            line, self.rest = self.rest.split(b"\n", 1)
            if text.encode() in line:
                return line.decode()


class Clients:
    """The load, for as long as the block lasts."""

    def __init__(self, bench, port):
        helper = os.path.join(bench.folder.name, "load")
        if not os.path.exists(helper):
            require("cc", "gcc")
            finish(["cc", "-O2", "-Wall", "-o", helper, os.path.join(HERE, "load.c")])
        rates = [str(KEEP_RATE), str(connections_per_second())]
        words = [str(port), str(KEEP), str(ONCE), *rates, "/", "/slow?ms=10"]
        self.child = subprocess.Popen([helper, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.wait_for(1000)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def read(self):
        line = self.child.stdout.readline().split()
        if not line:
            raise CannotMeasure("the load ended")
        return dict(zip(COUNTS, map(int, line)))

    def wait_for(self, answers):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.child.stdin.write(b"\n")
            self.child.stdin.flush()
            counts = self.read()
            self.answers = counts["answers"]
            if self.answers >= answers:
                return
            if time.monotonic() > deadline:
                raise CannotMeasure(f"the answers do not come: {counts}")
            time.sleep(0.01)

    def end(self):
        self.child.stdin.close()
        counts = self.read()
        self.failed = [list(map(int, line.split())) for line in self.child.stdout]
        return counts


def connections_per_second():
    """What the kernel tracks it remembers for two minutes: no more than a third of its table."""
    try:
        with open("/proc/sys/net/netfilter/nf_conntrack_max") as file:
            return min(2000, int(file.read()) // 3 // 120)
    except FileNotFoundError:
        return 2000


def http_server(bench):
    if "http_server" not in bench.built:
        root = os.path.dirname(HERE)
        finish(["cargo", "build", "--release", "--example", "http_server", f"--manifest-path={root}/Cargo.toml"])
        target = os.environ.get("CARGO_TARGET_DIR", f"{root}/target")
        bench.built["http_server"] = os.path.abspath(f"{target}/release/examples/http_server")
    return bench.built["http_server"]


def python(bench):
    """A virtual environment with what PyPI has of them."""
    folder = os.path.join(bench.folder.name, "venv")
    if not os.path.exists(folder):
        finish([sys.executable, "-m", "venv", folder])
        finish([f"{folder}/bin/pip", "install", "--quiet", "gunicorn>=25", "circus"])
    return f"{folder}/bin"


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@contextlib.contextmanager
def fd3_with(bench, words, workers=WORKERS):
    """fd3 with so many workers, all of them ready."""
    command = [bench.fd3("whole"), "run", *OPTIONS, "-w", str(workers), *words]
    with Running(command, stderr=subprocess.PIPE) as running:
        yield Fd3(running, workers)


class Fd3:
    def __init__(self, running, workers):
        self.running, self.workers = running, workers
        self.log = Log(running.child.stderr)
        self.port = int(self.log.wait_for("listening address=").split("127.0.0.1:")[1].split()[0])
        for _ in range(workers):
            self.log.wait_for("worker ready")

    def reload(self):
        """Milliseconds until the new generation has taken over, and until the old one is gone."""
        begin, gone = time.monotonic(), 0
        os.kill(self.running.pid, signal.SIGHUP)
        while True:
            line = self.log.wait_for("")
            if "rolled back" in line or "refused" in line:
                raise CannotMeasure(line)
            gone += "worker exited" in line
            if "reloaded after=" in line:
                over = time.monotonic()
                break
        for _ in range(self.workers - gone):
            self.log.wait_for("worker exited")
        return (over - begin) * 1000, (time.monotonic() - begin) * 1000


    def refused_reload(self, bench):
        """What `fd3 reload` says, which must not be done."""
        asks = [bench.fd3("whole"), "reload", "--pid", str(self.running.pid)]
        done = subprocess.run(asks, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 1:
            raise CannotMeasure(f"fd3 reload: status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stderr.strip()


class Kill:
    """The end of a worker, and whose connections it had: only those may fail."""

    def __init__(self, pid, port):
        # While it does nothing, as it could accept another one before it dies.
        os.kill(pid, signal.SIGSTOP)
        until(lambda: is_stopped(pid), "a stopped worker")
        self.stopped = time.monotonic_ns()
        own = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        self.accepted, self.queued = set(), 0
        for inode, state, client in connections(port):
            if f"socket:[{inode}]" in own and state != LISTENS:
                self.accepted.add(client)
            self.queued += inode == "0" and state == ESTABLISHED
        self.connections = len(self.accepted)
        os.kill(pid, signal.SIGKILL)

    def explains(self, port, born, ended):
        if born < self.stopped <= ended and port in self.accepted:
            self.accepted.remove(port)
            return True
        return False


# In /proc/net/tcp.
ESTABLISHED, LISTENS = "01", "0A"


def is_stopped(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            if file.read().rsplit(") ", 1)[1][0] != "T":
                return False
    return True


def connections(port):
    """Of this server: inode (0: nobody has accepted it, or nobody has it any more), state, port of the client."""
    with open("/proc/net/tcp") as file:
        next(file)
        for line in file:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                yield fields[9], fields[3], int(fields[2].split(":")[1], 16)


def under_load(bench, name, port, reload, answers):
    """Reloads under load, and its rows."""
    rounds = 10 if bench.quick else 100
    taken = []
    with Clients(bench, port) as clients:
        for index in range(rounds):
            clients.wait_for(answers * index // 100)
            taken.append(reload())
        clients.wait_for(answers * rounds // 100)
        counts = clients.end()
    tell(f"{name}, {rounds} reloads: requests", counts)
    row("  a reload under load, median", f"{statistics.median(taken):.0f} ms")
    return counts


def tell(what, counts):
    failures = {name: counts[name] for name in UNWANTED if counts[name]}
    row(what, f"{counts['answers']}")
    figure = " ".join(f"{name} {count}" for name, count in failures.items()) or "0"
    row("  of them failed", figure, "0", not failures)
    row("  kept connections closed: told, idle", f"{counts['told']}, {counts['closed']}")
    row("  the slowest answer", f"{counts['slowest']} ms")


# The parts.


def times(bench):
    rounds = 10 if bench.quick else 50
    for surge in ["all", "1", "0"]:
        words = ["--ready", "notify", "--surge", surge, "--overlap", "0ms", "--", http_server(bench)]
        with fd3_with(bench, words) as fd3:
            over, gone = zip(*(fd3.reload() for _ in range(rounds)))
        row(f"reload of {WORKERS}, no load, surge {surge}, overlap 0", f"{statistics.median(over):.1f} ms")
        row("  until the old ones are gone", f"{statistics.median(gone):.1f} ms")


def modes(bench):
    requests = failed = 0
    for surge in ["all", "1", "0"]:
        words = ["--ready", "notify", "--surge", surge, "--overlap", "50ms", "--", http_server(bench)]
        with fd3_with(bench, words) as fd3:
            name = f"fd3, surge {surge}"
            counts = under_load(bench, name, fd3.port, lambda: fd3.reload()[0], ANSWERS)
        requests += counts["answers"]
        failed += sum(counts[name] for name in UNWANTED)
    goal = ("of 1000000 or more: 0", failed == 0 and requests >= 1_000_000)
    row(f"fd3, all modes: failed of {requests}", str(failed), *(() if bench.quick else goal))


def kills(bench):
    rounds = 10 if bench.quick else 100
    chance = random.Random(1)
    # Where there is but one worker all others wait for its replacement.
    for workers in [WORKERS, 1]:
        words = ["--ready", "notify", "--respawn-limit", "none", "--", http_server(bench)]
        with fd3_with(bench, words, workers) as fd3, Clients(bench, fd3.port) as clients:
            done = []
            for _ in range(rounds):
                clients.wait_for(0)
                time.sleep(chance.uniform(0, 0.1))
                done.append(Kill(int(chance.choice(fd3.running.children())), fd3.port))
                fd3.log.wait_for("worker ready")
            clients.wait_for(clients.answers + 1000)
            counts = clients.end()
        others = [one for one in clients.failed if not any(kill.explains(*one[1:]) for kill in done)]
        row(f"fd3, {rounds} times kill -9 of {workers}: requests", f"{counts['answers']}")
        row("  connections that the killed had accepted", f"{sum(kill.connections for kill in done)}")
        row("  requests lost on these", f"{len(clients.failed) - len(others)}")
        row("  lost on any other", f"{len(others)}", "0", not others)
        row("  in the queue when one was killed", f"{sum(kill.queued for kill in done)}", "answered", not others)
        row("  the slowest answer", f"{counts['slowest']} ms")
        for count, port, born, ended in others[:10]:
            print(f"  {COUNTS[count]}: port {port}, from {born} to {ended}")


def failures(bench):
    rounds = 2 if bench.quick else 20
    app, config = (os.path.join(bench.folder.name, name) for name in ["app", "config"])
    install(app, f"exec {http_server(bench)}")
    write(config, "ready notify\n")
    with fd3_with(bench, ["--config", config, "--", app]) as fd3:
        old = sorted(fd3.running.children())
        with Clients(bench, fd3.port) as clients:
            for what, script, options, says, reason in BAD:
                begin = time.monotonic()
                for _ in range(rounds):
                    install(app, script)
                    write(config, options + "\n")
                    told = fd3.refused_reload(bench)
                    if reason not in told:
                        raise CannotMeasure(f"whoever asked was told: {told}")
                    fd3.log.wait_for(says)
                    until(lambda: sorted(fd3.running.children()) == old, "only the old workers")
                took = (time.monotonic() - begin) / rounds * 1000
                row(f"new one {what}", f"{rounds} {says}", "status 1, the old PIDs stay", True)
                print(f"  who asked is told: {told}")
                row("  until it was gone, mean", f"{took:.0f} ms")
            tell("all of these: requests", clients.end())


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def install(path, script):
    """Never in place: it may be running."""
    if script is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    write(path + ".new", f"#!/bin/sh\n{script}\n")
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


def real_worker(bench):
    write(os.path.join(bench.folder.name, "app.py"), APPLICATION)
    server = [f"{python(bench)}/gunicorn", "--no-control-socket", "--worker-class", "gthread", "--threads", "8"]
    server += ["--keep-alive", "10", "--log-level", "error", "--chdir", bench.folder.name, "app:wsgi"]
    for surge in ["all", "1", "0"]:
        # It says that it is ready before it is.
        words = ["--ready", "notify", "--surge", surge, "--overlap", "500ms", "--", *server]
        with fd3_with(bench, words, 2) as fd3:
            name = f"gunicorn, surge {surge}"
            under_load(bench, name, fd3.port, lambda: fd3.reload()[0], 0)


def server_starter(bench):
    require("start_server", "libserver-starter-perl")
    port = free_port()
    servers = ["bash", "-c", FOUR_SERVERS, http_server(bench)]
    command = ["start_server", f"--port=127.0.0.1:{port}=3", "--", *servers]
    with Running(command, stderr=subprocess.PIPE) as starter:
        log = Log(starter.child.stderr)
        log.wait_for("starting new worker")
        # It takes a worker that is alive after a second for a good one.
        time.sleep(2)

        def reload():
            begin = time.monotonic()
            os.kill(starter.pid, signal.SIGHUP)
            log.wait_for("sending TERM to old workers")
            over = time.monotonic()
            log.wait_for("old worker")
            return (over - begin) * 1000

        under_load(bench, "Server::Starter", port, reload, 0)


def circus(bench):
    programs = python(bench)
    folder, server = bench.folder.name, http_server(bench)
    port, control, events = free_port(), free_port(), free_port()
    script, config = os.path.join(folder, "circus.sh"), os.path.join(folder, "circus.ini")
    # Its socket may be fd 3 already; no other of its descriptors is.
    write(script, f"exec 3<&$1\nexec bash -c '{ONE_SERVER}' {server}\n")
    write(config, CIRCUS.format(control=control, events=events, port=port, script=script, workers=WORKERS))
    client = [f"{programs}/python", "-c", CIRCUS_CLIENT, f"tcp://127.0.0.1:{control}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Running([f"{programs}/circusd", "--log-level", "error", config], stdout=subprocess.DEVNULL) as daemon:
        daemon.wait_for_children(WORKERS)
        until(lambda: connects(port), "circus listens")
        for how in ["all at once", "sequential"]:
            with Running(client, **pipes) as asker:

                def reload():
                    begin = time.monotonic()
                    asker.child.stdin.write(how.split()[0].encode() + b"\n")
                    asker.child.stdin.flush()
                    if asker.child.stdout.readline() != b"ok\n":
                        raise CannotMeasure("circus did not reload")
                    return (time.monotonic() - begin) * 1000

                under_load(bench, f"circus, {how}", port, reload, 0)


def connects(port):
    with socket.socket() as some:
        return some.connect_ex(("127.0.0.1", port)) == 0
