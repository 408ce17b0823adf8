"""`bench pid1`: what PID 1 of a container costs, `fd3 init` beside tini, dumb-init and catatonit.

The peers are Debian's: tini and dumb-init are linked dynamically, tini-static (as docker's docker-init is) and
catatonit statically. What depends on the load of the machine is measured in turn, and told
beside tini's in the same run.
"""

import contextlib
import os
import shutil
import signal
import statistics
import subprocess

from __main__ import CannotMeasure, Process, Running, finish, in_turn, peers, require, row, settle, stamped, times
from __main__ import until, while_idle

ORPHANS, AT_ONCE = 10_000, 1000
SIGNALS = 10


def measure(bench):
    inits = programs(bench)
    failed = []
    for part in [size, memory, calls, start, latency, orphans, idle]:
        try:
            part(bench, inits)
        except CannotMeasure as reason:
            failed.append(part.__name__)
            print(f"{part.__name__}: NOT MEASURED: {reason}")
    if failed:
        raise CannotMeasure(", ".join(failed))


def programs(bench):
    """Everyone, without the program to run."""
    inits = {"fd3": [bench.fd3("whole"), "init", "--"], "fd3 --tiny": [bench.fd3("whole-tiny"), "init", "--"]}
    for name, command in peers().items():
        inits[name] = command
        # From the same package.
        if name == "tini" and (static := shutil.which("tini-static")):
            inits["tini-static"] = [static, *command[1:]]
    return inits


def with_program(inits, *program):
    return {name: [*command, *program] for name, command in inits.items()}


def side_by_side(what, figures, tell, goals=()):
    """A row for each; what is to be reached goes for fd3 alone."""
    for name, figure in figures.items():
        goal = goals if goals and name == "fd3" else (f"{times(figure, figures['tini'])} tini's",)
        row(f"{what}, {name}", tell(figure), *goal)


def kib(figure):
    return f"{figure:.1f} KiB"


def us(figure):
    return f"{figure / 1000:.1f} us"


# The parts.


def size(_, inits):
    sizes = {name: os.path.getsize(command[0]) / 1024 for name, command in inits.items()}
    side_by_side("file", sizes, kib)


def memory(bench, inits):
    # What was built just now is not on the disk yet, and counts as dirty until it is.
    os.sync()
    idle, dirty, later = {}, {}, {}
    for name, command in with_program(inits, bench.helper("bench"), "handler").items():
        with Running(command, stdout=subprocess.PIPE) as running:
            stamped(running.child.stdout, 1)
            settle()
            idle[name], dirty[name] = sum(running.private_kib()), running.private_kib()[1]
            for _ in range(SIGNALS):
                os.kill(running.pid, signal.SIGUSR1)
                stamped(running.child.stdout, 1)
            running.wait_until_asleep()
            later[name] = sum(running.private_kib())
    side_by_side("private memory, idle", idle, kib)
    side_by_side("  of that its own (dirty)", dirty, kib)
    side_by_side(f"  after {SIGNALS} signals", later, kib)


def calls(bench, inits):
    """On the way to the program: the init's up to its fork, and its child's. Whatever the init does at the same time
    as its child delays nobody."""
    require("strace", "strace")
    trace = os.path.join(bench.folder.name, "trace-start")
    way, own = {}, {}
    # Not looked for in PATH, which is as long as it is; and so short that tini does not wake up by itself.
    for name, command in with_program(inits, shutil.which("sleep"), "0.5").items():
        finish(["strace", "-qq", "-f", "-o", trace, *command])
        way[name], own[name] = calls_of_a_start(trace)
    side_by_side("calls until the program's exec", way, str)
    side_by_side("  the init's until it is idle", own, str)


def calls_of_a_start(trace):
    with open(trace) as file:
        lines = [line.split(maxsplit=1) for line in file]
    init = lines[0][0]
    way = own = has_forked = is_executed = 0
    for pid, call in lines:
        begins = not call.startswith(("<...", "+++", "---"))
        if pid == init:
            own += begins
            way += begins and not has_forked
            has_forked |= call.startswith(("fork(", "vfork(", "clone(", "clone3("))
        elif call.startswith("exit_group("):
            return way, own
        else:
            way += begins and not is_executed
            is_executed |= call.startswith("execve(")
    raise CannotMeasure(f"the program did not end in {trace}")


def start(bench, inits):
    rounds = 200 if bench.quick else 2000
    figures = in_turn(bench, "start", rounds, {"true": ["true"], **with_program(inits, "true")})
    row(f"`true` itself, median of {rounds}", us(figures.pop("true")[0]))
    overheads = {name: overhead for name, (_, _, overhead) in figures.items()}
    goal = f"{times(overheads['fd3'], overheads['tini'])} tini's; 1 or less"
    side_by_side("overhead of starting", overheads, us, (goal, overheads["fd3"] <= overheads["tini"]))


def latency(bench, inits):
    rounds = 500 if bench.quick else 5000
    helper = bench.helper("bench")
    programs = {"no init": [helper, "handler"], **with_program(inits, helper, "handler")}
    figures = in_turn(bench, "latency", rounds, programs)
    side_by_side("signal to handler, median", {name: one[0] for name, one in figures.items()}, us)
    side_by_side("  99th percentile", {name: one[1] for name, one in figures.items()}, us)


def orphans(bench, inits):
    """As PID 1 of a namespace, as dumb-init is no subreaper. In waves, each init in turn; three times all of it,
    as a wave costs more where the init runs while the orphans still end."""
    rounds, waves = (1, 1) if bench.quick else (3, ORPHANS // AT_ONCE)
    program = [bench.helper("bench"), "orphans", str(AT_ONCE)]
    begun = {}
    with contextlib.ExitStack() as stack:
        for name, command in with_program(inits, *program).items():
            namespace = ["unshare", "-fp", "--mount-proc", "--kill-child", *command]
            if os.getuid() != 0:
                namespace.insert(1, "-r")
            begun[name] = Reaper(stack.enter_context(Running(namespace, **Reaper.PIPES)))
        for _ in range(rounds * waves):
            for reaper in begun.values():
                reaper.wave()
        left = {name: len(reaper.init.children()) - 1 for name, reaper in begun.items()}
        for reaper in begun.values():
            reaper.running.child.stdin.close()
    cpu = {}
    for name, reaper in begun.items():
        cpu[name] = statistics.median(sum(reaper.waves[index::rounds]) for index in range(rounds))
    side_by_side(f"CPU to reap {waves * AT_ONCE} orphans", cpu, ms)
    for name in inits:
        goal = ("0", left[name] == 0) if name == "fd3" else ()
        row(f"  left, {name}", str(left[name]), *goal)


def ms(figure):
    return f"{figure / 1_000_000:.1f} ms"


class Reaper:
    """An init in its namespace, and the CPU time, in nanoseconds, that each wave took it."""

    PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

    def __init__(self, running):
        self.running, self.waves = running, []
        running.wait_for_children(1)
        self.init = Process(int(running.children()[0]))
        self.init.wait_for_children(1)

    def wave(self):
        self.say()
        stamped(self.running.child.stdout, 1)
        if len(self.init.children()) != 1 + AT_ONCE:
            raise CannotMeasure("it has not got all orphans")
        self.init.wait_until_asleep()
        before = self.init.cpu_ns()
        self.say()
        until(lambda: len(self.init.children()) == 1, "the end of all orphans")
        self.init.wait_until_asleep()
        self.waves.append(self.init.cpu_ns() - before)

    def say(self):
        self.running.child.stdin.write(b".")
        self.running.child.stdin.flush()


def idle(bench, inits):
    seconds = 10 if bench.quick else 60
    idlers = {name: (command, 1) for name, command in with_program(inits, "sleep", "100000").items()}
    figures = while_idle(bench, idlers, seconds)
    for what, place in [(f"system calls in {seconds} idle seconds", 0), ("  times woken", 1)]:
        for name, figure in figures.items():
            goal = ("0", figure[place] == 0) if name.startswith("fd3") else ()
            row(f"{what}, {name}", str(figure[place]), *goal)
