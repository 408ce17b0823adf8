"""Makes completions for shells of the help."""

import shlex

SIGNALS = "HUP INT QUIT ABRT KILL USR1 USR2 PIPE ALRM TERM CHLD CONT STOP TSTP TTIN TTOU WINCH".split()


def kind(option):
    """What a value is taken from: words, files, folders, signals, users, groups, or nothing that is known."""
    value = option.value or ""
    if value == "FILE" or value == "FOLDER":
        return value
    if value.split("|")[0] == "SIGNAL":
        return "SIGNAL"
    if value in ("USER", "GROUP"):
        return value
    return "WORDS" if option.words() else "ANY"


def bash(pages):
    commands = " ".join(page.name for page in pages.commands)
    cases = ""
    for page in (page for page in pages.commands if page.options):
        words = " ".join(name for option in page.options for name in names(option))
        with_value = "|".join(name for option in page.options if option.value for name in names(option))
        values = ""
        for option in page.options:
            known = bash_values(option)
            if option.value and known:
                values += f"            {'|'.join(names(option))}) {known} ;;\n"
        runs = "yes" if page.takes_command() else "no"
        cases += f"""        {page.name})
            options='{words}' with_value='{with_value}' runs={runs}
            case $before in
{indent(values)}            *) known=no ;;
            esac
            ;;
"""
    return f"""# fd3(8) for bash. Made by scripts/docs.

_fd3() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local options='' with_value='' runs=no known=yes at
    # Readline splits --option=value into three words.
    if [[ $word == = ]]; then word=''; fi
    if [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD - 2]}}; fi
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '{commands}' -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
        help)
            COMPREPLY=($(compgen -W '{commands}' -- "$word"))
            return
            ;;
{cases}        *) return ;;
    esac
    # Behind COMMAND the words are its own.
    for ((at = 2; at < COMP_CWORD; at++)); do
        case ${{COMP_WORDS[at]}} in
            --) at=$((at + 1)) && break ;;
            =) at=$((at + 1)) ;;
            -*)
                if [[ "|$with_value|" == *"|${{COMP_WORDS[at]}}|"* && ${{COMP_WORDS[at + 1]}} != = ]]; then
                    at=$((at + 1))
                fi
                ;;
            *) break ;;
        esac
    done
    if ((at < COMP_CWORD)); then
        if [[ $runs == yes ]]; then COMPREPLY=($(compgen -f -- "$word")); fi
    elif ((at > COMP_CWORD)); then
        # A value: what is known of it was looked up above.
        return
    elif [[ $known == yes ]]; then
        return
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [[ $runs == yes ]]; then
        COMPREPLY=($(compgen -c -- "$word"))
    fi
}}
complete -o bashdefault -o default -F _fd3 fd3
"""


def bash_values(option):
    return {
        "FILE": 'COMPREPLY=($(compgen -f -- "$word"))',
        "FOLDER": 'COMPREPLY=($(compgen -d -- "$word"))',
        "SIGNAL": f"COMPREPLY=($(compgen -W '{' '.join([*SIGNALS, *option.words()])}' -- \"$word\"))",
        "USER": 'COMPREPLY=($(compgen -u -- "$word"))',
        "GROUP": 'COMPREPLY=($(compgen -g -- "$word"))',
        "WORDS": f"COMPREPLY=($(compgen -W '{' '.join(option.words())}' -- \"$word\"))",
        "ANY": ":",
    }[kind(option)]


def zsh(pages):
    commands = "".join(f"        {shlex.quote(page.name + ':' + escape(page.summary))}\n" for page in pages.commands)
    cases = ""
    for page in (page for page in pages.commands if page.options):
        specs = "".join(f"            {spec} \\\n" for option in page.options for spec in zsh_specs(option))
        rest = "            '(-)1:command:_command_names -e' '*::argument:_normal' \\\n" if page.takes_command() else ""
        cases += f"        {page.name})\n            _arguments -S : \\\n{specs}{rest}                && return 0\n            ;;\n"
    return f"""#compdef fd3
# fd3(8) for zsh. Made by scripts/docs.

_fd3() {{
    local -a commands
    commands=(
{commands}    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
        help) _describe command commands ;;
{cases}    esac
}}

_fd3 "$@"
"""


def zsh_specs(option):
    action = {
        "FILE": ":file:_files",
        "FOLDER": ":folder:_files -/",
        "SIGNAL": f":signal:({' '.join([*SIGNALS, *option.words()])})",
        "USER": ":user:_users",
        "GROUP": ":group:_groups",
        "WORDS": f":{escape(option.value or '')}:({' '.join(option.words())})",
        "ANY": f":{escape(option.value)}: " if option.value else "",
    }[kind(option)]
    about = escape(option.summary()).replace("[", "\\[").replace("]", "\\]")
    for name in names(option):
        joined = "=" if option.value and name.startswith("--") else ""
        yield shlex.quote(f"*{name}{joined}[{about}]{action}")


def fish(pages):
    text = "# fd3(8) for fish. Made by scripts/docs.\n\ncomplete -c fd3 -f\n"
    for page in pages.commands:
        text += f"complete -c fd3 -n '__fish_is_nth_token 1' -a {page.name} -d {shlex.quote(page.summary)}\n"
    text += "complete -c fd3 -n '__fish_seen_subcommand_from help' -a '"
    text += " ".join(page.name for page in pages.commands) + "'\n"
    for page in (page for page in pages.commands if page.options):
        seen = f"complete -c fd3 -n '__fish_seen_subcommand_from {page.name}'"
        if page.takes_command():
            text += f"{seen} -a '(__fish_complete_subcommand --fcs-skip=2)'\n"
        for option in page.options:
            short = f" -s {option.short}" if option.short else ""
            text += f"{seen}{short} -l {option.long}{fish_values(option)} -d {shlex.quote(option.summary())}\n"
    return text


def fish_values(option):
    if not option.value:
        return ""
    return {
        "FILE": " -r -F",
        "FOLDER": " -x -a '(__fish_complete_directories)'",
        "SIGNAL": f" -x -a '{' '.join([*SIGNALS, *option.words()])}'",
        "USER": " -x -a '(__fish_complete_users)'",
        "GROUP": " -x -a '(__fish_complete_groups)'",
        "WORDS": f" -x -a '{' '.join(option.words())}'",
        "ANY": " -x",
    }[kind(option)]


def names(option):
    return ([f"-{option.short}"] if option.short else []) + [f"--{option.long}"]


def escape(text):
    return text.replace("\\", "\\\\").replace(":", "\\:")


def indent(text):
    return "".join(f"    {line}\n" for line in text.splitlines())
