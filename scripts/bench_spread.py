"""`bench spread`: goatflap's experiment. 10 workers, 50 clients, 100,000 requests: who answers how many?

Each client uses one connection for all its requests, or one for each. With one socket for all, with one for each
slot and no rights (classic BPF), and with eBPF. goatflap's README (2017) shows the first of these with its own figures.
"""

import os
import selectors
import socket
import statistics
import subprocess
import time

from __main__ import HERE, CannotMeasure, Running, finish, row

WORKERS, CLIENTS, REQUESTS = 10, 50, 100_000
GOATFLAP = [0, 2400, 0, 8800, 600, 46400, 2400, 6000, 12000, 41400]
NO_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
WAYS = {
    "shared": ([], "shared"),
    "worker, no rights": (NO_RIGHTS, "worker"),
    "worker, eBPF": ([], "worker"),
}
KEEP = b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"
ONCE = b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def measure(bench):
    requests = REQUESTS // 10 if bench.quick else REQUESTS
    finish(["cargo", "build", "--release", "--locked", "--example", "http_server"])
    server = os.path.join(HERE, "..", "target", "release", "examples", "http_server")
    told("goatflap's README", GOATFLAP, None)
    rates = {}
    for kept in [True, False]:
        for name, (wrapper, spread) in WAYS.items():
            command = [*wrapper, bench.fd3("whole"), "run", "-v", "-l", "127.0.0.1:0", "--ready", "notify"]
            command += ["-w", str(WORKERS), "--spread", spread, "--control", "none", "--", server]
            counts, connections, rate = experiment(command, name, requests, kept)
            what = f"{name}, {'50 connections' if kept else 'one request each'}"
            told(what, counts, rate)
            rates[name, kept] = rate
            if name == "worker, eBPF":
                judge(counts if not kept else connections, kept)
    for kept in [True, False]:
        share = rates["worker, eBPF", kept] / rates["shared", kept]
        row(f"eBPF's rate beside shared ({'kept' if kept else 'once'})", f"{share:.2f}", "0.98 or more", share >= 0.98)


def judge(counts, kept):
    ratio = max(counts) / min(counts) if min(counts) else float("inf")
    most = 1.25 if kept else 1.05
    what = "busiest / idlest worker, in " + ("connections" if kept else "requests")
    row(what, f"{ratio:.3f}", f"{most} or less", ratio <= most)


def told(what, counts, rate):
    words = " ".join(str(count) for count in counts)
    spread = statistics.pstdev(counts) / statistics.mean(counts)
    rate = f", {rate:,.0f} a second" if rate else ""
    print(f"{what}: {words}\n    idle {counts.count(0)}, most {max(counts) / sum(counts):.1%}, CV {spread:.2f}{rate}")


def experiment(command, name, requests, kept):
    log = subprocess.PIPE
    with Running(command, stderr=log) as running:
        lines, port, ready, steering = running.child.stderr, None, 0, None
        while ready < WORKERS:
            line = lines.readline().decode()
            if not line:
                raise CannotMeasure(f"{name}: fd3 ended")
            if "listening" in line:
                port = int(line.split("address=")[1].split()[0].rsplit(":", 1)[1])
            if "steering=" in line:
                steering = line.split("steering=")[1].split()[0]
            ready += "worker ready" in line
        if name == "worker, eBPF" and steering != "ebpf":
            raise CannotMeasure("this kernel lets us load no eBPF program")
        return clients(port, requests, kept)


def clients(port, requests, kept):
    """Requests by worker, connections by worker, and requests a second."""
    selector, left, answered, connected = selectors.DefaultSelector(), requests, {}, {}
    begun, request = time.monotonic(), KEEP if kept else ONCE

    def connect():
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(request)
        selector.register(one, selectors.EVENT_READ, [b"", True])

    for _ in range(CLIENTS):
        connect()
    while left > 0:
        for key, _ in selector.select():
            one, state = key.fileobj, key.data
            piece = one.recv(65536)
            state[0] += piece
            head, found, body = state[0].partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0]) if found else None
            if found and len(body) >= length and (kept or not piece):
                pid = int(body[:length].split()[0])
                answered[pid] = answered.get(pid, 0) + 1
                connected[pid] = connected.get(pid, 0) + state[1]
                left -= 1
                state[:] = [b"", False]
                if kept:
                    one.sendall(request)
            elif not piece:
                raise CannotMeasure(f"a connection ended early: {state[0]!r}")
            if not kept and not piece:
                selector.unregister(one)
                one.close()
                connect()
    rate = requests / (time.monotonic() - begun)
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    padded = lambda counts: [*counts.values(), *[0] * (WORKERS - len(counts))]
    return padded(answered), padded(connected), rate
