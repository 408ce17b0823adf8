"""Finds its listeners as the library named by the first argument does, then serves HTTP on them."""
import os
import selectors
import signal
import socket
import sys

env = os.environ


def systemd():
    # sd_listen_fds_with_names(3)
    if int(env["LISTEN_PID"]) != os.getpid():
        raise SystemExit("LISTEN_PID is not mine")
    fds = range(3, 3 + int(env["LISTEN_FDS"]))
    names = env["LISTEN_FDNAMES"].split(":")
    if len(names) != len(fds):
        raise SystemExit("LISTEN_FDNAMES does not fit LISTEN_FDS")
    return dict(zip(fds, names))


def einhorn():
    # lib/einhorn/worker.rb: ensure_worker!, einhorn_fds
    if int(env["EINHORN_MASTER_PID"]) != os.getppid():
        raise SystemExit("not an einhorn worker")
    return [int(env[f"EINHORN_FD_{n}"]) for n in range(int(env["EINHORN_FD_COUNT"]))]


def socketmaster():
    # grace v1 takes one integer; tokopedia's child.NotifyMaster
    return [int(env["EINHORN_FDS"])]


def goatflap():
    # In one piece: all workers write to one pipe.
    os.write(1, b"goat proc %d serves\n" % int(env["GOAT_PROC"]))
    return [int(env["LISTEN_FD"])]


def gograceful():
    fds = range(3, 3 + int(env["LISTEN_FDS"]))
    del env["LISTEN_FDS"]
    return fds


def goagain():
    # Listener(): the name tells nothing that net.FileListener needs, but must be there
    network, _, address = env["GOAGAIN_NAME"].partition(":")
    if network not in ("tcp", "unix") or not address.endswith("->"):
        raise SystemExit("GOAGAIN_NAME is none")
    return [int(env["GOAGAIN_FD"])]


def facebook():
    # gracenet/net.go: inherit()
    return range(3, 3 + int(env["LISTEN_FDS"]))


def say_ready(name):
    if name == "socketmaster":
        os.kill(int(env["SOCKETMASTER_PID"]), signal.SIGUSR1)
    elif name == "gograceful":
        os.kill(int(env["GOGRACEFUL_PPID"]), signal.SIGINT)
    elif name == "goagain":
        # Kill(): GOAGAIN_PID, else GOAGAIN_PPID; SIGQUIT unless told otherwise
        pid = env.get("GOAGAIN_PID") or env["GOAGAIN_PPID"]
        os.kill(int(pid), int(env.get("GOAGAIN_SIGNAL", signal.SIGQUIT)))
    elif name == "facebook" and env["LISTEN_FDS"] and os.getppid() != 1:
        # gracehttp/http.go: the parent is a former self, which is to go
        os.kill(os.getppid(), signal.SIGTERM)


def answer(listener, name, pid):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return  # another worker was faster
    connection.settimeout(30)
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(4096)
        if not more:
            return connection.close()
        request += more
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npid=%d;name=%s;" % (pid, name))
    connection.close()


def main():
    library, answers = sys.argv[1], sys.argv[2:]
    fds = globals()[library]()
    names = fds if isinstance(fds, dict) else {}
    selector = selectors.DefaultSelector()
    for fd in fds:
        listener = socket.socket(fileno=fd)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, names.get(fd, "").encode())
    say_ready(library)
    pid = os.getppid() if answers == ["parent"] else os.getpid()
    while True:
        for key, _ in selector.select():
            answer(key.fileobj, key.data, pid)


main()
