"""Reads what `fd3 help` prints: the commands, and for each its options."""

import re
import subprocess
from dataclasses import dataclass, field

OPTION = re.compile(r"^  (?:-(\w), |    )--([\w-]+)(?: (\S+))?$")
COMMAND = re.compile(r"^  fd3 ([\w-]+)(.*?)(?:  +(\S.*))?$")


@dataclass
class Option:
    short: str | None
    long: str
    """What its value is called, if it takes one: N, or at-once|on-demand."""
    value: str | None
    """Lines; a further one that is indented adds a detail."""
    help: list = field(default_factory=list)

    def summary(self):
        """What it does, in a line: up to the first detail."""
        text = " ".join(line.strip() for line in self.help)
        return re.split(r"[;:] ", text)[0]

    def words(self):
        """The values that can be written as they are."""
        return [word for word in (self.value or "").split("|") if re.fullmatch(r"[a-z][a-z-]*", word)]


@dataclass
class Page:
    """The help of a command."""

    name: str
    synopsis: str
    summary: str
    """What stands before the options, and after them."""
    head: list
    options: list
    tail: list

    def takes_command(self):
        return "COMMAND" in self.synopsis


@dataclass
class Pages:
    version: str
    about: str
    commands: list


def read_help(fd3):
    def ask(*words):
        done = subprocess.run([fd3, *words], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()

    front = ask("help")
    commands = []
    for line in front:
        match = COMMAND.match(line)
        if not match:
            continue
        name, synopsis, summary = match[1], match[2].strip(), match[3]
        if name in ("help", "version"):
            commands.append(Page(name, synopsis, summary, [], [], []))
        else:
            commands.append(page(name, summary, ask("help", name)))
    about = " ".join(front[: front.index("")])
    return Pages(ask("version")[0].split()[-1], about, commands)


def page(name, summary, lines):
    synopsis, head, options, tail = lines[0].removeprefix(f"fd3 {name}").strip(), [], [], []
    option = None
    for line in lines[1:]:
        match = OPTION.match(line)
        if match:
            option = Option(match[1], match[2], match[3])
            options.append(option)
        elif option and line.startswith(" " * 10):
            option.help.append(line[10:])
        else:
            option = None
            (tail if options else head).append(line)
    return Page(name, synopsis, summary, head, options, tail)
