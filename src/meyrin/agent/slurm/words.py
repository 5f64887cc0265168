"""Reads the values that Slurm's commands print. What can't be read is None, never a guess.

Moments are printed in the time zone of the command, which we set to UTC.
"""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache

from meyrin.agent.slurm.transport import Gres

_NOTHING = {
    "", "N/A", "n/a", "n/s", "None", "NONE", "None assigned", "Unknown", "(null)", "UNLIMITED",
    "INFINITE", "INVALID", "NOT_SET", "Partition_Limit",
}  # fmt: skip
_DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.(\d+))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[cn]?")
_KB = {"": 1, "K": 1, "M": 1024, "G": 1024**2, "T": 1024**3, "P": 1024**4}


def is_to_begin(state: str) -> bool:
    """Whether accounting's record in this state is of a run that has not begun: nodes and times
    that it may have all the same are of the run before, which was requeued."""
    return state.partition(" ")[0] in ("PENDING", "REQUEUE_HOLD")


def text(word: str) -> str | None:
    """A word, or None where Slurm has none."""
    return None if word in _NOTHING else word


def known(value: int) -> int | None:
    """The value; None for one that no cluster can have reached. Slurm's "no value" and "no end"
    (2**64 - 2, 2**64 - 1) leak into sums and texts, such as `213503982334-14:25:51`."""
    return value if value < 2**62 else None


def number(word: str) -> int | None:
    """A whole number; Slurm's short forms (`1.50K`, powers of 1024) are no exact number."""
    return known(int(word)) if word.isascii() and word.isdigit() else None


@lru_cache(maxsize=8192)  # one look at the queue says the same again
def moment(word: str) -> int | None:
    """`2026-11-29T02:01:02` (UTC), or seconds since 1970, in seconds."""
    if word.isascii() and word.isdigit():
        return int(word) or None
    try:
        return calendar.timegm(time.strptime(word, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def duration_ms(word: str) -> int | None:
    """`[D-][HH:]MM:SS[.mmm]` in milliseconds."""
    match = _DURATION.fullmatch(word)
    if not match:
        return None
    days, hours, minutes, seconds, part = match.groups()
    whole = (int(days or 0) * 24 + int(hours or 0)) * 3600 + int(minutes) * 60 + int(seconds)
    return known(whole * 1000 + int((part or "0")[:3].ljust(3, "0")))


def duration_s(word: str) -> int | None:
    """`[D-][HH:]MM:SS` in seconds."""
    found = duration_ms(word)
    return None if found is None else found // 1000


def memory_kb(word: str) -> int | None:
    """`1234K`, `1.50G` in KiB; a bare number is bytes, as sacct prints it."""
    match = _SIZE.fullmatch(word)
    if not match:
        return None
    if not match[2]:
        return known(-(-int(float(match[1])) // 1024))
    return known(int(float(match[1]) * _KB[match[2]]))


def memory_mb(word: str) -> int | None:
    """`100M`, `62.50G` in MiB; a bare number is MiB, as slurm.conf has it."""
    match = _SIZE.fullmatch(word)
    if not match:
        return None
    return int(float(match[1]) * _KB[match[2] or "M"] / 1024)


def exit_code(word: str) -> tuple[int | None, int | None]:
    """`3:0` as (exit code, None), `0:9` as (None, signal), else unknown."""
    code, colon, signal = word.partition(":")
    if not (colon and code.isdigit() and signal.isdigit()):
        return None, None
    return (None, int(signal)) if int(signal) else (int(code), None)


def gres(word: str) -> tuple[Gres, ...]:
    """`gpu:h100:8(S:0-1),nvme:2`, also with `gres:` or `gres/` before it, and `gpu` alone."""
    found = []
    for part in split_outside(word):
        plain = part.partition("(")[0].removeprefix("gres:").removeprefix("gres/")
        plain = plain.replace("=", ":")
        bits = plain.split(":")
        if not bits[0] or bits[0] in _NOTHING:
            continue
        last = memory_kb(bits[-1]) if len(bits) > 1 else None
        count = int(bits[-1]) if bits[-1].isdigit() else (last or 1)
        kind = bits[1] if len(bits) == 3 or (len(bits) == 2 and last is None) else None
        found.append(Gres(bits[0], kind, count))
    return tuple(found)


def split_outside(word: str) -> list[str]:
    """Split at commas that stand outside brackets of either kind."""
    parts, depth, last = [], 0, 0
    for at, sign in enumerate(word):
        if sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(word[last:at])
            last = at + 1
    return [part for part in [*parts, word[last:]] if part]


def tres(word: str) -> dict[str, str]:
    """`cpu=4,gres/gpu=2,node=1` as a table."""
    pairs = (part.partition("=") for part in split_outside(word))
    return {name: value for name, _, value in pairs if value}


def accelerators(word: str) -> int | None:
    """GPUs of a TRES string, for the whole job: the sum over types where there is no total."""
    table = tres(word)
    if not table:
        return None
    if "gres/gpu" in table:
        return number(table["gres/gpu"])
    typed = [number(v) for name, v in table.items() if name.startswith("gres/gpu:")]
    return sum(each or 0 for each in typed)


def pairs(line: str) -> dict[str, str]:
    """A line of `scontrol -o`: `Key=Value Key=Value`; a value may hold blanks and `=`. What a
    comment says after a key that stood before is no value of that one."""
    found: dict[str, str] = {}
    key = ""
    for word in line.split(" "):
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"[A-Za-z][A-Za-z0-9_:/-]*", name):
            key = "" if name in found else name
            found.setdefault(name, value)
        elif key:
            found[key] += " " + word
    return {name: value.rstrip() for name, value in found.items()}


def listed(word: str) -> tuple[str, ...]:
    """`a,b` as a tuple; ALL and none said are empty."""
    if word in _NOTHING or word == "ALL":
        return ()
    return tuple(split_outside(word))


def expand(hosts: str) -> list[str]:
    """`n[1-3,7],login` as names; zeros before a number stay."""
    names = []
    for part in split_outside(hosts):
        head, bracket, rest = part.partition("[")
        inside, _, tail = rest.partition("]")
        if not bracket:
            names.append(part)
            continue
        for span in inside.split(","):
            first, dash, last = span.partition("-")
            if not dash:
                names += expand(f"{head}{first}{tail}")
                continue
            for number in range(int(first), int(last) + 1):
                names += expand(f"{head}{number:0{len(first)}d}{tail}")
    return names
