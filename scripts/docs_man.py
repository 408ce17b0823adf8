"""Makes man pages of the help and of sections of README.md."""

import re

FD3_8 = [
    ("DESCRIPTION", "What fd3 does"),
    ("RELOAD", "Reload"),
    ("WHAT A RELOAD READS ANEW", "What a reload reads anew"),
    ("OPTIONS OF A LISTENER", "Options of a listener"),
    ("ENVIRONMENT OF WORKERS", "Variables"),
    ("PRIVILEGES AND LIMITS OF WORKERS", "Whom a worker runs as, and with what"),
    ("ONE PROGRAM UNDER PID 1", "One program under PID 1"),
    ("CANARIES", "Try it out first"),
    ("WHAT WORKERS WRITE", "What workers write"),
    ("METRICS", "Watch it"),
    ("CHECKS", "Ask whether it is well"),
    ("THE BALANCER", "Balance HTTP"),
    ("START_SERVER", "From Server::Starter"),
    ("EXIT STATUS", "Exit status"),
    ("KERNELS AND SANDBOXES", "Old kernels, and sandboxes"),
]
FD3_PROTOCOL_7 = [
    ("WHAT A WORKER FINDS", "What a worker finds"),
    ("STORED DESCRIPTORS", "Descriptors that outlive their worker"),
    ("THE CONTROL SOCKET", "Talk to it"),
    ("STATUS", "See how it is"),
]


def program(pages, readme):
    text = header("FD3", "8", pages)
    text += section("NAME") + r"fd3 \- " + plain(pages.about.removeprefix("fd3 ").rstrip(".")) + "\n"
    text += section("SYNOPSIS")
    for page in pages.commands:
        words = "".join(f" {italic_capitals(word)}" for word in page.synopsis.split())
        text += f".B fd3 {page.name}\n{words.strip()}\n.br\n" if words else f".B fd3 {page.name}\n.br\n"
    text += from_readme(FD3_8[:1], readme)
    text += section("COMMANDS")
    for page in pages.commands:
        text += f".SS fd3 {page.name}\n" + (command(page) if page.options else plain(page.summary) + "\n")
    text += from_readme(FD3_8[1:], readme)
    return text + section("SEE ALSO") + ".BR fd3-protocol (7),\n.BR sd_notify (3),\n.BR signal (7)\n"


def protocol(pages, readme):
    text = header("FD3-PROTOCOL", "7", pages)
    text += section("NAME") + "fd3-protocol \\- what fd3 and its workers, and its users' scripts, tell each other\n"
    text += from_readme(FD3_PROTOCOL_7, readme)
    return text + section("SEE ALSO") + ".BR fd3 (8),\n.BR sd_notify (3),\n.BR sd_listen_fds (3),\n.BR unix (7)\n"


def header(name, number, pages):
    # Words are full of meaning here: none is cut.
    return f'.TH {name} {number} "" "fd3 {pages.version}" ""\n.nh\n.ad l\n'


def section(name):
    return f".SH {name}\n"


def from_readme(chosen, readme):
    """Only what there is: a smaller fd3 has the same README."""
    return "".join(section(name) + body(readme[heading]) for name, heading in chosen)


def command(page):
    text = paragraphs(page.head)
    for option in page.options:
        value = f" {italic_capitals(option.value)}" if option.value else ""
        short = f"\\fB\\-{option.short}\\fR, " if option.short else ""
        text += f".TP\n{short}\\fB{plain('--' + option.long)}\\fR{value}\n"
        text += option_help(option.help)
    return text + paragraphs(page.tail)


def option_help(lines):
    """What is laid out in columns stays in its lines."""
    lines = [line.strip() for line in lines]
    breaks = "\n.br\n" if any("  " in line for line in lines) else "\n"
    return breaks.join(plain(line) for line in lines) + "\n"


def paragraphs(lines):
    """Help's own prose; what is indented in it stays as it is."""
    text = ""
    for block in "\n".join(lines).split("\n\n"):
        if block.startswith("  "):
            text += verbatim(block.split("\n"))
        elif block.strip():
            text += f".PP\n{lines_of(plain(' '.join(block.split())))}\n"
    return text


def sections(markdown):
    """The lines below each heading, by its words."""
    found, lines, in_code = {}, [], False
    for line in markdown.split("\n"):
        if line.startswith("#"):
            lines = found.setdefault(line.lstrip("#").strip(), [])
        else:
            lines.append(line)
    return found


def body(lines):
    """The blocks of Markdown that README uses: paragraphs, lists, tables and indented code."""
    text, block = "", []
    for line in [*lines, ""]:
        code = line.startswith("    ") and not (block and block[0].startswith(("- ", "| ")))
        if line and not (block and code != block[0].startswith("    ")):
            block.append(line)
            continue
        text += markdown_block(block)
        block = [line] if line else []
    return text + markdown_block(block)


def markdown_block(block):
    if not block:
        return ""
    if block[0].startswith("    "):
        return verbatim([line[4:] for line in block])
    if block[0].startswith("| "):
        return table(block)
    if block[0].startswith("- "):
        items = re.split(r"\n- ", "\n".join(block)[2:])
        return "".join(f".IP \\(bu 2\n{inline(' '.join(item.split()))}\n" for item in items) + ".PP\n"
    return f".PP\n{inline(' '.join(line.lstrip('> ') for line in block))}\n"


def table(block):
    """Each row a tagged paragraph: terminals are narrow."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block]
    heads, text = rows[0], ""
    for row in rows[2:]:
        text += f".TP\n{inline(row[0])}\n"
        if len(row) == 2:
            text += inline(row[1]) + "\n"
        else:
            cells = [labelled(head, cell) for head, cell in zip(heads[1:], row[1:]) if cell]
            text += "\n.br\n".join(cells) + "\n"
    return text + ".PP\n"


def labelled(head, cell):
    return f"\\fI{inline(head)}\\fR: {inline(cell)}" if head else inline(cell)


def verbatim(lines):
    return ".PP\n.RS 4\n.nf\n" + "\n".join(plain(line) for line in lines) + "\n.fi\n.RE\n"


def inline(text):
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"(`[^`]*`|\*\*.*?\*\*)", text)
    made = ""
    for part in parts:
        if part.startswith("`"):
            made += f"\\fB{plain(part[1:-1])}\\fR"
        elif part.startswith("**"):
            made += f"\\fB{plain(part[2:-2].replace('`', ''))}\\fR"
        else:
            made += plain(re.sub(r"\*(\w[\w -]*)\*", r"\1", part))
    return lines_of(made)


def italic_capitals(text):
    return re.sub(r"[A-Z]{1,}", lambda found: f"\\fI{found[0]}\\fR", plain(text))


def plain(text):
    text = text.replace("\\|", "|").replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return "\\&" + text if text.startswith(".") else text


def lines_of(text):
    """No line begins with what roff would take for a request, and none is long."""
    lines, line = [], ""
    for word in text.split(" "):
        if len(line) + len(word) > 100:
            lines, line = [*lines, line], ""
        line = f"{line} {word}" if line else word
    return "\n".join(("\\&" + one) if one.startswith((".", "'")) else one for one in [*lines, line])
