"""From words to settings: #SBATCH lines, a command line, the environment.

Reads options as getopt_long does for sbatch: `--opt=value`, `--opt value`, `-N2`, `-N 2`, joined
letters, unique abbreviations. Knows nothing of what values mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from meyrin.client.sbatch.options import (
    BY_LETTER,
    BY_NAME,
    ELSEWHERE,
    MAYBE,
    NOTHING,
    OWN_BY_NAME,
    SBATCH,
    VALUE,
    Option,
)
from meyrin.client.sbatch.values import (
    COMMAND_LINE,
    ENVIRONMENT,
    SCRIPT,
    Setting,
    misread,
    no_option,
)
from meyrin.domain.errors import BadDirective

MARK = "#SBATCH"
FOREIGN = ("#PBS", "#BSUB")
_BLANKS = " \t\n\v\f\r"  # C's isspace: no other blank parts words
_ENDS_BARE = re.compile(r"(?<=\s)\\\s*\Z", re.ASCII)
_HETEROGENEOUS = "submit one job for each part; --dependency orders them"

Found = tuple[Option, Setting]


def script_settings(text: str) -> list[Found]:
    """The settings in a script's #SBATCH lines, with their line numbers, in order.

    The words of all lines form one list, as in sbatch: a value may stand on the next line.
    """
    words: list[str] = []
    lines: list[int] = []
    for number, line in directive_lines(text):
        for word, quoted in _split(line, number):
            if not quoted and word in {"hetjob", "packjob", ":"}:
                raise no_option(
                    word, "a heterogeneous job can't be honoured", _HETEROGENEOUS, SCRIPT, number
                )
            words.append(word)
            lines.append(number)
    found, used = _getopt(words, SCRIPT, lines)
    if used < len(words):
        word = words[used]
        hint = "options start with - or --; quote a value that has blanks"
        odd = next((char for char in word if char.isspace() and char not in _BLANKS), "")
        if odd:  # as text copied from a page holds them
            hint = f"it holds a blank that is no space (U+{ord(odd):04X}); type the line anew"
        raise no_option(word, f"{word!r} is no option", hint, SCRIPT, lines[used])
    return found


def foreign_line(text: str) -> int | None:
    """The first line with options of another batch system that sbatch reads as well: it does so
    up to the script's end, not only up to the first command."""
    lines = enumerate(text.split("\n"), 1)
    return next((number for number, line in lines if line.startswith(FOREIGN)), None)


def directive_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and rest of each #SBATCH line, up to the first command."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith(MARK):
            yield number, line[len(MARK) :]
        elif line.strip() and not line.lstrip().startswith("#"):
            return


def _split(line: str, number: int) -> Iterator[tuple[str, bool]]:
    """The words of a directive, and whether any part was quoted; a bare # ends the line.

    As in sbatch, a backslash takes the next character as it is, in both kinds of quotes too,
    but keeps no blank outside them. One at the end of a line, as people write who would continue
    it, says nothing; in the middle, where sbatch passes over all that follows, it is no option.
    """
    line = _ENDS_BARE.sub("", line)
    word, quote, quoted, escaped = "", "", False, False
    for char in line + " ":
        if escaped and (quote or char not in _BLANKS):
            word, escaped = word + char, False
        elif char == "\\":
            quoted = escaped = True
        elif quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in {'"', "'"}:
            quote, quoted = char, True
        elif char in _BLANKS or char == "#":
            if word or quoted:
                yield word, quoted
            word, quoted, escaped = "", False, False
            if char == "#":
                return
        else:
            word += char
    if quote:
        raise no_option(
            line.strip(), f"an opened {quote} is never closed", "close the quote", SCRIPT, number
        )


def command_settings(argv: Sequence[str]) -> tuple[list[Found], list[str]]:
    """The settings on a command line, and what follows them: the script and its arguments."""
    for word in argv:
        if not _is_text(word):
            raise no_option(ascii(word), "not valid UTF-8", "type it anew", COMMAND_LINE)
    found, used = _getopt(argv, COMMAND_LINE)
    rest = list(argv[used:])
    if rest and rest[0] == ":":
        raise no_option(":", "a heterogeneous job can't be honoured", _HETEROGENEOUS, COMMAND_LINE)
    return found, rest


def environment_settings(environ: Mapping[str, str]) -> list[Found]:
    """The settings that SBATCH_ variables make, in the table's order."""
    found: list[Found] = []
    for option in SBATCH:
        for variable in option.variables:
            value = environ.get(variable)
            if value is None or not _counts(option, value):
                continue
            source = f"{ENVIRONMENT} {variable}"
            plain = option.takes == NOTHING or (option.takes == MAYBE and _is_yes(value))
            found.append((option, Setting(option.name, None if plain else value, source)))
    return found


def _counts(option: Option, value: str) -> bool:
    """Whether the variable sets anything: flags want nothing, `yes` or a number but 0."""
    if option.takes == VALUE:
        return bool(value) or option.read is not None
    if option.takes == NOTHING:
        return _is_yes(value)
    return _is_yes(value) or not value.isdigit()


def _is_yes(value: str) -> bool:
    return value in {"", "yes"} or (value.isdecimal() and value.strip("0") != "")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _getopt(
    words: Sequence[str], source: str, lines: Sequence[int] | None = None
) -> tuple[list[Found], int]:
    """The settings at the head of `words`, and how many words they took."""
    found: list[Found] = []
    at = 0
    while at < len(words):
        word = words[at]
        line = lines[at] if lines else None
        if word == "--":
            return found, at + 1
        if len(word) < 2 or not word.startswith("-"):
            break
        reader = _long if word.startswith("--") else _letters
        wants = reader(word, source, line, found.append)
        at += 1
        if wants:
            if at == len(words):
                hint = f"write --{wants.name}=VALUE"
                raise misread(Setting(wants.name, None, source, line), "needs a value", hint)
            found.append((wants, Setting(wants.name, words[at], source, line)))
            at += 1
    return found, at


def _long(word: str, source: str, line: int | None, keep: Callable[[Found], None]) -> Option | None:
    """Read `--name[=value]`; returns the option if its value is the next word."""
    name, equals, value = word[2:].partition("=")
    option = _by_name(name, source, line)
    if option.takes == NOTHING and equals:
        raise misread(Setting(option.name, value, source, line), "takes no value", "leave it out")
    if option.takes == VALUE and not equals:
        return option
    keep((option, Setting(option.name, value if equals else None, source, line)))
    return None


def _letters(
    word: str, source: str, line: int | None, keep: Callable[[Found], None]
) -> Option | None:
    """Read `-N2` or joined letters such as `-HN2`; returns the option that wants the next word."""
    for place, letter in enumerate(word[1:], 2):
        option = BY_LETTER.get(letter)
        if option is None:
            raise no_option(
                f"-{letter}", f"sbatch has no option -{letter}", "see `meyrin submit --help`",
                source, line,
            )  # fmt: skip
        if option.takes == NOTHING:
            keep((option, Setting(option.name, None, source, line)))
            continue
        rest = word[place:]
        if option.takes == VALUE and not rest:
            return option
        keep((option, Setting(option.name, rest or None, source, line)))
        return None
    return None


def _by_name(name: str, source: str, line: int | None) -> Option:
    """The option called `name`, or the only one that starts so."""
    own = OWN_BY_NAME if source == COMMAND_LINE else {}
    if name in own:
        return own[name]
    if name in BY_NAME:
        return BY_NAME[name]
    alike = {o.name: o for n, o in BY_NAME.items() if name and n.startswith(name)}
    if len(alike) == 1:
        (option,) = alike.values()
        return own.get(option.name, option)
    if alike:
        raise no_option(
            f"--{name}", f"--{name} may be short for several options",
            "write one of " + ", ".join(f"--{n}" for n in sorted(alike)), source, line,
        )  # fmt: skip
    raise _unknown(name, source, line)


def _unknown(name: str, source: str, line: int | None) -> BadDirective:
    hint = ELSEWHERE.get(name, "")
    if not hint and name in OWN_BY_NAME:
        hint = f"--{name} is Meyrin's own; give it on the command line"
    if not hint:
        from difflib import get_close_matches  # noqa: PLC0415 - slow to import, needed once

        close = get_close_matches(name, [*BY_NAME, *OWN_BY_NAME], 1, 0.6)
        hint = f"did you mean --{close[0]}?" if close else "see `meyrin submit --help`"
    return no_option(f"--{name}", f"sbatch has no option --{name}", hint, source, line)
