"""A file of decisions, one a line, only ever added to: the ledger of attempts where there is no
hub. What was spent follows from its lines and from nothing else."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.suites.facts import canonical
from meyrin.suites.gate.decide import Decision, Spent, decision_from_data


@dataclass(frozen=True, slots=True)
class Book:
    """The decisions of a file that is locked."""

    decisions: tuple[Decision, ...]
    file: BinaryIO

    def add(self, made: Decision) -> None:
        self.file.seek(0, os.SEEK_END)
        self.file.write(canonical(made.as_data()) + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def locked(path: Path) -> Iterator[Book]:
    """The file, made where there is none, for one writer at a time."""
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield Book(tuple(_read(file.read(), path)), file)


def spent(decisions: Sequence[Decision], gate: str, family: str) -> Spent:
    """What the attempts at this gate by these models have spent."""
    mine = [each for each in decisions if (each.gate, each.family) == (gate, family)]
    counted = [each for each in mine if each.spent_ppm]
    return Spent(len(counted), sum(each.spent_ppm for each in counted))


def last(path: Path, plan: str) -> Decision:
    """The last decision by that plan in a file of decisions, or of one."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", field=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error
    try:
        told = json.loads(raw)  # as it is, or as a hub shows it
        inner = told.get("decision") if isinstance(told, dict) else None
        decisions = [decision_from_data(inner if isinstance(inner, dict) else told)]
    except ValueError:
        decisions = list(_read(raw, path))
    for each in reversed(decisions):
        if each.plan == plan:
            return each
    raise NotFound(f"{path} has no decision by plan {plan[:12]}", hint="is it another plan's?")


def _read(raw: bytes, path: Path) -> Iterator[Decision]:
    for number, line in enumerate(raw.splitlines(), start=1):
        try:
            yield decision_from_data(json.loads(line))
        except (ValueError, InvalidInput) as error:
            raise InvalidInput(
                f"{path}: line {number} is no decision, or was changed",
                hint="a ledger of attempts is only ever added to",
            ) from error
