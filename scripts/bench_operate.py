"""`bench operate`: what it takes to ask fd3 how it is, to have 1,000 slots, to be asked while it reloads, and to upgrade it.

The peer is supervisord (PyPI's `supervisor`), asked by supervisorctl and over its own socket. It holds no sockets
and knows no reload: of that there is fd3 alone, beside itself when nobody asks. Takes about 5 minutes.
"""

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

from __main__ import PATIENCE, CannotMeasure, Running, finish, row, settle, times, until
from bench_reload import http_server

WORKERS = 4
MANY = 1000
# Requests a second, one step after the other.
RATES = [100, 200, 500, 1000, 2000, 5000, 10000, 20000]
SLOWER = 1.2

SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/supervisord.pid
minfds = 8192
[unix_http_server]
file = {folder}/supervisord.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/supervisord.sock
[program:web]
command = sleep 100000
process_name = %(process_num)d
numprocs = {count}
startsecs = 0
{logs}
"""
# Where its programs' output goes: nowhere; or through it, which it reads by pipes.
INHERIT = "stdout_logfile = NONE\nstderr_logfile = NONE"
THROUGH = "stdout_logfile = /dev/null\nstderr_logfile = /dev/null\nstdout_logfile_maxbytes = 0\nstderr_logfile_maxbytes = 0"


def measure(bench):
    failed = []
    for part in [status, memory, requests, upgrade]:
        try:
            part(bench)
        except CannotMeasure as reason:
            failed.append(part.__name__)
            print(f"{part.__name__}: NOT MEASURED: {reason}")
    if failed:
        raise CannotMeasure(", ".join(failed))


# Whoever is asked.


class Fd3(Running):
    """With its control socket where nobody looks for it by chance."""

    def __init__(self, bench, count, *words):
        self.program = bench.fd3("whole")
        self.address = f"fd3-bench-{os.getpid()}-{time.monotonic_ns()}"
        self.how = ["--control", f"unix:@{self.address}"]
        super().__init__([self.program, "run", *self.how, "-w", str(count), *words])

    def ask(self, line):
        """The whole answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect("\0" + self.address)
            client.sendall(line)
            answer = b""
            while part := client.recv(65536):
                answer += part
        return answer

    def wait_until_ready(self, count):
        def ready():
            with contextlib.suppress(OSError):
                return f'"ready":{count},'.encode() in self.ask(b"status --json\n")
            return False

        until(ready, f"{count} workers that are ready")

    def client(self):
        return [self.program, "status", *self.how]

    def raw(self):
        answer = self.ask(b"status --json\n")
        if not answer.startswith(b"{"):
            raise CannotMeasure(f"status: {answer[:100]}")

    def reload(self):
        begin = time.monotonic()
        answer = self.ask(b"reload\n")
        if not answer.startswith(b"ok reloaded"):
            raise CannotMeasure(f"reload: {answer}")
        return (time.monotonic() - begin) * 1000


class Supervisord(Running):
    def __init__(self, bench, count, logs=INHERIT):
        self.programs = supervisor(bench)
        self.folder = os.path.join(bench.folder.name, f"supervisord-{time.monotonic_ns()}")
        os.mkdir(self.folder)
        self.conf = f"{self.folder}/conf"
        with open(self.conf, "w") as file:
            file.write(SUPERVISORD.format(folder=self.folder, count=count, logs=logs))
        super().__init__([f"{self.programs}/supervisord", "-c", self.conf], stdout=subprocess.DEVNULL)

    def wait_until_ready(self, count):
        self.wait_for_children(count)

    def client(self):
        return [f"{self.programs}/supervisorctl", "-c", self.conf, "status"]

    def raw(self):
        body = "<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(f"{self.folder}/supervisord.sock")
        connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
        if b"RUNNING" not in connection.getresponse().read():
            raise CannotMeasure("supervisord tells of nobody who runs")
        connection.close()


def supervisor(bench):
    """A virtual environment with it."""
    folder = os.path.join(bench.folder.name, "venv-supervisor")
    if not os.path.exists(folder):
        finish([sys.executable, "-m", "venv", folder])
        finish([f"{folder}/bin/pip", "install", "--quiet", "supervisor", "setuptools"])
    return f"{folder}/bin"


# The parts.


def status(bench):
    for count in [WORKERS, MANY]:
        fd3 = Fd3(bench, count, "--ready", "0ms", "--", "sleep", "100000")
        with fd3, Supervisord(bench, count) as peer:
            medians = {}
            for name, one in [("fd3", fd3), ("supervisord", peer)]:
                one.wait_until_ready(count)
            settle()
            rounds = {WORKERS: 20 if bench.quick else 100, MANY: 5 if bench.quick else 20}[count]
            for name, one in [("fd3", fd3), ("supervisord", peer)]:
                medians[name] = by_turns(rounds, one.raw), by_turns(rounds, lambda: client(one))
        for which, what in enumerate(["over its socket", "by its client, a process"]):
            ours, theirs = (medians[name][which] for name in ["fd3", "supervisord"])
            row(f"status of {count} workers {what}, median", f"{ours:.2f} ms")
            row("  beside supervisord's", times(ours, theirs), "1 time or less", ours <= theirs)


def by_turns(rounds, ask):
    """Milliseconds, median."""
    taken = []
    for _ in range(rounds):
        begin = time.monotonic()
        ask()
        taken.append((time.monotonic() - begin) * 1000)
    return statistics.median(taken)


def client(one):
    # supervisorctl says by its status that not all is as it should be, which is not asked here.
    done = subprocess.run(one.client(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if not done.stdout:
        raise CannotMeasure(f"{one.client()} says nothing")


def memory(bench):
    figures = {}
    os.sync()
    for name, start in [
        ("fd3", lambda: Fd3(bench, MANY, "--ready", "0ms", "--", "sleep", "100000")),
        (
            "fd3, --worker-logs prefix",
            lambda: Fd3(bench, MANY, "--ready", "0ms", "--worker-logs", "prefix", "--", "sleep", "100000"),
        ),
        ("supervisord", lambda: Supervisord(bench, MANY)),
        ("supervisord, output through it", lambda: Supervisord(bench, MANY, THROUGH)),
    ]:
        with start() as running:
            running.wait_until_ready(MANY)
            settle()
            figures[name] = sum(running.private_kib())
            descriptors = len(os.listdir(f"/proc/{running.pid}/fd"))
        row(f"private memory with {MANY} slots, {name}", f"{figures[name]} KiB")
        row("  descriptors", str(descriptors))
    for ours, theirs in [("fd3", "supervisord"), ("fd3, --worker-logs prefix", "supervisord, output through it")]:
        beside = figures[ours] / figures[theirs]
        row(f"  {ours} beside {theirs}", f"{beside:.2f} times", "1 time or less", beside <= 1)


def requests(bench):
    """How often it can be asked for the status while a reload takes hardly longer than when nobody asks."""
    rounds = 5 if bench.quick else 15
    words = ["-l", "127.0.0.1:0", "--ready", "notify", "--overlap", "0ms", "--", http_server(bench)]
    with Fd3(bench, WORKERS, *words) as fd3:
        fd3.wait_until_ready(WORKERS)
        stood, quiet = 0, []
        for rate in RATES:
            # Both in turn: the machine may have other things to do, now or then.
            calm, asked, answered = [], [], []
            for _ in range(rounds):
                calm.append(fd3.reload())
                with Askers(fd3.address, rate) as askers:
                    asked.append(fd3.reload())
                answered.append(askers.rate())
            slower = statistics.median(asked) / statistics.median(calm)
            got = statistics.median(answered)
            row(f"a reload of {WORKERS} while asked {got:.0f} times a second", f"{slower:.2f} times")
            quiet += calm
            if slower > SLOWER or got < rate / 2:
                break
            stood = got
    row("a reload when nobody asks, overlap 0, median", f"{statistics.median(quiet):.1f} ms")
    row(f"requests a second within {SLOWER} times of that", f"{stood:.0f}", "1000 or more", stood >= 1000)


class Askers:
    """Somebody who asks for the status so many times a second, as long as the block lasts. A process of its own, on a
    CPU of its own where there are several: what is measured is what the asking costs fd3."""

    def __init__(self, address, rate):
        self.child = subprocess.Popen(
            [sys.executable, "-I", "-c", ASKER, address, str(rate)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        # It asks by now.
        if self.child.stdout.readline() != b"asks\n":
            raise CannotMeasure("nobody asks")
        self.begun = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.answered, self.seconds = map(float, self.child.stdout.readline().split())
        self.child.wait(PATIENCE)

    def rate(self):
        return self.answered / self.seconds


ASKER = """
import os, socket, sys, threading, time
address, rate = sys.argv[1], float(sys.argv[2])
cpus = sorted(os.sched_getaffinity(0))
if len(cpus) > 1:
    os.sched_setaffinity(0, cpus[-1:])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
def ask():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect('\\0' + address)
        client.sendall(b'status --json\\n')
        while client.recv(65536): pass
ask()
print('asks', flush=True)
begin, count = time.monotonic(), 0
while not over.is_set():
    ask()
    count += 1
    ahead = begin + count / rate - time.monotonic()
    if ahead > 0:
        over.wait(ahead)
print(count, max(time.monotonic() - begin, 1e-3), flush=True)
"""


def upgrade(bench):
    """The longest time for which nobody is answered while fd3 becomes its own successor."""
    rounds = 5 if bench.quick else 20
    with Fd3(bench, WORKERS, "--ready", "0ms", "--", "sleep", "100000") as fd3:
        fd3.wait_until_ready(WORKERS)
        if subprocess.run([fd3.program, "help", "upgrade"], capture_output=True).returncode != 0:
            raise CannotMeasure("this fd3 knows no upgrade")
        taken, gaps = [], []
        for _ in range(rounds):
            with Watcher(fd3) as watcher:
                begin = time.monotonic()
                finish([fd3.program, "upgrade", *fd3.how])
                taken.append((time.monotonic() - begin) * 1000)
            gaps.append(watcher.longest * 1000)
    row("an upgrade, from the order to its answer, median", f"{statistics.median(taken):.1f} ms")
    row("  the longest wait for an answer meanwhile, median", f"{statistics.median(gaps):.1f} ms")
    row("  the longest of all", f"{max(gaps):.1f} ms", "20 ms or less", max(gaps) <= 20)


class Watcher:
    """Asks again and again: how long the longest answer took."""

    def __init__(self, fd3):
        self.fd3, self.longest, self.over = fd3, 0.0, False
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()

    def watch(self):
        while not self.over:
            begin = time.monotonic()
            # One that is cut off asks again: until somebody answers it is all one wait.
            while True:
                try:
                    self.fd3.raw()
                    break
                except (OSError, CannotMeasure):
                    if time.monotonic() - begin > PATIENCE:
                        raise
            self.longest = max(self.longest, time.monotonic() - begin)
