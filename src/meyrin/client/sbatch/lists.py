"""Readers of the three small languages inside option values: arrays, dependencies, signals."""

from __future__ import annotations

import re

from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MAX_ARRAY, ArraySpec, Dependency, DependencyKind, WarnSignal
from meyrin.domain.units import show_count

MAX_INDEX = 4_000_000  # one below the largest MaxArraySize that Slurm allows, slurm.conf(5)
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?")
_ARRAY_HINT = "write indices and ranges such as 0-15, 1,3,5-7 or 0-100:10%4"

_JOB = re.compile(r"([0-9]{1,18})(?:_([0-9]{1,10}|\*))?")
_KINDS = {kind.value: kind for kind in DependencyKind}
_OTHER_KINDS = {
    "after": "Meyrin knows when a job ended, not how long it has run; use afterany",
    "aftercorr": "name the elements, such as afterok:12_0, or join both steps in one script",
    "afterburstbuffer": "Meyrin has no burst buffers; use afterany",
    "expand": "a job's size is fixed when it is placed; submit a larger job",
}

_SIGNALS = {
    1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 9: "KILL", 10: "USR1", 12: "USR2", 14: "ALRM",
    15: "TERM", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG",
}  # fmt: skip


def parse_array(text: str) -> ArraySpec:
    """`1,3,5-7:2%4` as rising indices and a limit. Brackets around the indices, or around all of
    it as squeue shows it, are allowed."""
    whole = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    indices, percent, limit = whole.partition("%")
    if percent and not re.fullmatch(r"[1-9][0-9]{0,8}", limit):
        raise InvalidInput(
            f"{limit!r} is no limit of running elements",
            hint="end the whole list with %N, N from 1 on; without it all may run",
        )
    if indices.startswith("[") and indices.endswith("]"):
        indices = indices[1:-1]
    spans = [_span(part) for part in indices.split(",")]
    total = sum(len(span) for span in spans)
    if total > MAX_ARRAY:
        raise InvalidInput(
            show_count(total, "element"),
            hint=f"an array has at most {MAX_ARRAY:,} elements; split it",
        )
    found = sorted({index for span in spans for index in span})
    return ArraySpec(tuple(found), int(limit) if percent else 0)


def _span(part: str) -> range:
    match = _RANGE.fullmatch(part)
    if not match:
        raise InvalidInput(f"{part!r} is no array index or range", hint=_ARRAY_HINT)
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    step = int(match[3]) if match[3] else 1
    if last < first or step < 1:
        raise InvalidInput(
            f"the range {part!r} is empty", hint="ranges rise, and a step is 1 or more"
        )
    if last > MAX_INDEX:
        raise InvalidInput(f"index {last} is too large", hint=f"indices end at {MAX_INDEX}")
    return range(first, last + 1, step)


def parse_dependencies(text: str) -> tuple[tuple[Dependency, ...], bool]:
    """The conditions, and whether any one of them is enough (`?`)."""
    if "," in text and "?" in text:
        raise InvalidInput(
            "both ',' and '?' in one list", hint="',' asks for all, '?' for any; use one of them"
        )
    separator = "?" if "?" in text else ","
    found = [one for part in text.split(separator) for one in _conditions(part.strip())]
    return tuple(dict.fromkeys(found)), separator == "?"


def _conditions(part: str) -> list[Dependency]:
    word, _, jobs = part.partition(":")
    word = word.lower()
    if word in _OTHER_KINDS:
        raise InvalidInput(f"the dependency {word!r} can't be honoured", hint=_OTHER_KINDS[word])
    if word == DependencyKind.SINGLETON and not jobs:
        return [Dependency(DependencyKind.SINGLETON)]
    if word not in _KINDS or word == DependencyKind.SINGLETON:
        if _JOB.fullmatch(part):  # a bare job number: afterany, says sbatch(1)
            return [_condition(DependencyKind.AFTER_ANY, part)]
        raise InvalidInput(
            f"{part!r} is no dependency",
            hint="write afterok:ID, afterany:ID, afternotok:ID or singleton",
        )
    return [_condition(_KINDS[word], job) for job in jobs.split(":")]


def _condition(kind: DependencyKind, job: str) -> Dependency:
    match = _JOB.fullmatch(job)
    if not match or int(match[1]) == 0:
        raise InvalidInput(
            f"{job!r} is no job", hint="write a job's number, or NUMBER_INDEX for an array element"
        )
    element = None if match[2] in {None, "*"} else int(match[2])
    return Dependency(kind, int(match[1]), element)


def parse_signal(text: str) -> WarnSignal:
    """`[B:]NAME_OR_NUMBER[@SECONDS]`."""
    match = re.fullmatch(r"(?:([A-Za-z]{1,2}):)?([A-Za-z0-9]{1,20})(?:@([0-9]{1,5}))?", text)
    if not match:
        raise InvalidInput(f"{text!r} is no signal", hint="write B:USR1@120 or TERM@60")
    flags, word, seconds = (match[1] or "").upper(), match[2].upper(), int(match[3] or 60)
    if "R" in flags:
        raise InvalidInput("R: is about Slurm's reservations", hint="leave R out: B:USR1@120")
    name = _SIGNALS.get(int(word)) if word.isdigit() else word.removeprefix("SIG")
    if flags not in {"", "B"} or name is None or name not in _SIGNALS.values():
        raise InvalidInput(f"{text!r} is no signal", hint="one of " + ", ".join(_SIGNALS.values()))
    if seconds > 65535:
        raise InvalidInput(f"{seconds} s is too early", hint="0 to 65535 seconds before the end")
    return WarnSignal(name, seconds, flags == "B")
