"""A sweep as ordinary jobs of a facility, some points each.

Jobs outlive the command that handed them in. Which job has which points is noted beside the
outcomes before a job exists, so the same command later takes up jobs that still run and those that
ended meanwhile. A job that ends without all of its points gives those it had; the rest are handed
in again, as long as that helps.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from meyrin.domain import errors
from meyrin.domain.errors import Conflict, Failed, InvalidInput, MeyrinError, NotFound, Unreachable
from meyrin.plan.batch import ABOUT, WHOLE, WRONG
from meyrin.plan.sweep import Files, Point, Work, code_version

T = TypeVar("T")
BARREN = 2  # jobs in a row that a point may be in and get no outcome
HOPELESS = 3  # lost jobs, while nothing has come from any, that show that none will
SILENT_LOOKS = 150  # that a hub may not answer before the command gives up; jobs go on
NOTES = "jobs.json"
POINTS, OUTCOMES = "points.bin", "outcomes.tar"


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as its facility shows it. `words` are for people, `done` counts its finished points."""

    state: str
    """waits, runs or ended"""
    words: str
    done: int = 0
    cancelled: bool = False


class Submitter(Protocol):
    """What a sweep asks of a facility: the command line gives one that talks to a hub."""

    def submit(self, key: str, batch: bytes, command: Sequence[str]) -> str:
        """Hand in a job that runs `command` beside the file `points.bin`; its label. The same
        key again is the same job. Conflict where the key stands for another batch."""
        ...

    def known(self, key: str, label: str) -> bool:
        """Whether the job with this label is the one that was handed in under this key."""
        ...

    def look(self, labels: Sequence[str]) -> Mapping[str, Seen]:
        """How each of these jobs is."""
        ...

    def result(self, label: str) -> bytes | None:
        """What an ended job left in `outcomes.tar`, empty where it left nothing; None while its
        site has not sent it yet."""
        ...

    def last_words(self, label: str) -> str:
        """The end of what it wrote to standard error."""
        ...

    def cancel(self, labels: Sequence[str]) -> None: ...

    def pause(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Note:
    """A job of this sweep. `label` is empty while nobody has said that there is such a job."""

    key: str
    label: str
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notes:
    """Which job has which points, in one file that is there whole or not at all."""

    folder: Path

    def read(self) -> list[Note]:
        path = self.folder / NOTES
        try:
            told = json.loads(path.read_bytes())
            return [Note(one["key"], one["label"], tuple(one["points"])) for one in told]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failed(
                f"{path} can't be read", hint="remove it; jobs that run are then done again"
            ) from error

    def write(self, notes: Sequence[Note]) -> None:
        path, part = self.folder / NOTES, self.folder / f".{NOTES}.{secrets.token_hex(4)}"
        told = [{"key": n.key, "label": n.label, "points": list(n.points)} for n in notes]
        try:
            if not notes:
                path.unlink(missing_ok=True)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("w", encoding="ascii") as file:
                json.dump(told, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise Failed(f"{path} can't be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class OnFacility:
    """A place for points; the sites need this Meyrin, in the interpreter that `python` names.

    `say` hears what happens to jobs, `under_way` how many points are done whose outcomes have not
    come and, in words, how the jobs are.
    """

    submitter: Submitter
    per_job: int
    notes: Notes
    python: str = "python3"
    say: Callable[[str], None] = lambda _: None
    under_way: Callable[[int, str], None] = lambda _done, _words: None

    def run(self, work: Work, points: Sequence[tuple[str, Point]]) -> Iterator[tuple[str, Files]]:
        sweep = _Sweep(self, work, dict(points))
        try:
            yield from sweep.outcomes()
        except (KeyboardInterrupt, GeneratorExit):
            self._go_on(sweep)
            raise
        except Unreachable as error:
            self._go_on(sweep)
            raise Unreachable(
                error.message, hint="the same command later takes the jobs up again", **error.facts
            ) from error
        except MeyrinError:
            self.submitter.cancel([note.label for note in sweep.open if note.label])
            raise

    def _go_on(self, sweep: _Sweep) -> None:
        labels = [note.label for note in sweep.open if note.label]
        if labels:
            verb = "goes" if len(labels) == 1 else "go"
            self.say(
                f"{_jobs(labels)} {verb} on; the same command comes back to"
                f" {'it' if len(labels) == 1 else 'them'}, `meyrin cancel {' '.join(labels)}`"
                f" ends {'it' if len(labels) == 1 else 'them'}"
            )


@dataclass
class _Sweep:
    """One run over the points that miss. `open` are the jobs that may still bring some."""

    place: OnFacility
    work: Work
    points: Mapping[str, Point]
    open: list[Note] = field(default_factory=list)
    earlier: set[str] = field(default_factory=set)
    barren: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    ahead: dict[str, int] = field(default_factory=dict)
    words: str = ""
    come: int = 0

    def outcomes(self) -> Iterator[tuple[str, Files]]:
        self._take_up()
        taken = {name for note in self.open for name in note.points}
        self._hand_in([name for name in self.points if name not in taken])
        while self.open:
            seen = self._look()
            before = len(self.open)
            for note in list(self.open):
                if seen[note.label].state == "ended":
                    yield from self._gather(note, seen[note.label])
            if len(self.open) == before:
                self.place.submitter.pause()
        if self.lost:
            raise Failed(
                "; ".join(self.lost[:3]) + ("; …" if len(self.lost) > 3 else ""),
                hint="all other points are kept: the same command runs only those that miss",
            )

    def _ask(self, call: Callable[[], T]) -> T:
        """What the facility says. One that is away is waited for: jobs go on without it."""
        for silent in itertools.count():
            try:
                answer = call()
            except Unreachable as error:
                if silent >= SILENT_LOOKS:
                    raise
                if not silent:
                    self.place.say(f"{error.message}; waiting for it, jobs go on meanwhile")
                self.place.submitter.pause()
            else:
                if silent:
                    self.place.say("the facility answers again")
                return answer
        raise AssertionError("counting ended")

    # --- handing in

    def _take_up(self) -> None:
        """Jobs of an earlier run that have points which this one wants."""
        submitter = self.place.submitter
        for note in self.place.notes.read():
            mine = replace(note, points=tuple(n for n in note.points if n in self.points))
            if not mine.points:
                continue
            if not note.label:
                self._submit(mine, again=True)
            elif self._ask(lambda note=note: submitter.known(note.key, note.label)):  # type: ignore[misc]
                self.open.append(mine)
        self.earlier = {note.key for note in self.open}
        if self.open:
            labels = [note.label for note in self.open]
            self.place.say(f"{_jobs(labels)} of an earlier run: taken up again")
        self._note()

    def _hand_in(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), self.place.per_job):
            some = tuple(names[first : first + self.place.per_job])
            note = self._submit(Note(_key(), "", some))
            self.place.say(f"job {note.label}: {_points(len(some))}")

    def _submit(self, note: Note, *, again: bool = False) -> Note:
        """The job of this note. Noted before, so that a lost answer is asked for again."""
        self.open.append(note)
        self._note()
        command = (self.place.python, "-m", "meyrin.plan.batch", POINTS, OUTCOMES)
        batch = pack(self.work, [(name, self.points[name]) for name in note.points])
        try:
            label = self._ask(lambda: self.place.submitter.submit(note.key, batch, command))
        except MeyrinError as error:
            if isinstance(error, Unreachable):
                raise
            self.open.pop()
            if again and isinstance(error, Conflict):  # that job had other points
                return self._submit(Note(_key(), "", note.points))
            self._note()
            raise
        self.open[-1] = replace(note, label=label)
        self._note()
        return self.open[-1]

    def _note(self) -> None:
        self.place.notes.write(self.open)

    # --- looking, gathering

    def _look(self) -> Mapping[str, Seen]:
        labels = [note.label for note in self.open]
        seen = self._ask(lambda: self.place.submitter.look(labels))
        ended = {n.label: len(n.points) for n in self.open if seen[n.label].state == "ended"}
        self.ahead = {label: ended.get(label, seen[label].done) for label in labels}
        self.words = _standing([seen[label] for label in labels])
        self._tell()
        return seen

    def _tell(self) -> None:
        self.place.under_way(sum(self.ahead.values()), self.words)

    def _gather(self, note: Note, seen: Seen) -> Iterator[tuple[str, Files]]:
        archive = self._ask(lambda: self.place.submitter.result(note.label))
        if archive is None:
            return
        missing = list(note.points)
        for name, outcome in unpack(archive, note.label):
            if name in missing:
                missing.remove(name)
                self.come += 1
                self.ahead[note.label] -= 1
                self._tell()
                yield name, outcome
        self.open.remove(note)
        self.ahead.pop(note.label, None)
        if missing:
            self._again(note, seen, missing)
        self._note()

    def _again(self, note: Note, seen: Seen, missing: Sequence[str]) -> None:
        """Hand in what a job did not bring, unless it was cancelled or that didn't help before."""
        submitter = self.place.submitter
        last = self._ask(lambda: submitter.last_words(note.label))
        words = f"job {note.label} {seen.words}" + (f" ({last})" if last else "")
        helped = len(missing) < len(note.points)
        for name in missing:
            self.barren[name] = 0 if helped else self.barren.get(name, 0) + 1
        stopped = seen.cancelled and note.key not in self.earlier
        if not stopped and all(self.barren[name] < BARREN for name in missing):
            fresh = self._submit(Note(_key(), "", tuple(missing)))
            self.place.say(f"{words}; {_points(len(missing))} again as job {fresh.label}")
            return
        told = f"{words}: {_points(len(missing))} without an outcome"
        self.lost.append(told)
        if not self.come and not stopped and (len(self.lost) >= HOPELESS or not self.open):
            raise Failed(
                told,
                hint=f"`meyrin logs --stderr {note.label}` says more; the sites need this Meyrin"
                " with its planner, in the interpreter that --python names",
            )
        self.place.say(told)


def _key() -> str:
    return secrets.token_hex(8)


def _standing(states: Sequence[Seen]) -> str:
    """`2 jobs run, 3 wait (site alpha is drained)`."""
    running = sum(one.state == "runs" for one in states)
    waiting = [one for one in states if one.state == "waits"]
    parts = [f"{running} {'job runs' if running == 1 else 'jobs run'}"] if running else []
    if waiting:
        why = next((one.words for one in waiting if one.words), "")
        verb = "waits" if len(waiting) == 1 else "wait"
        what = "" if running else "job " if len(waiting) == 1 else "jobs "
        parts.append(f"{len(waiting)} {what}{verb}" + (f" ({why})" if why else ""))
    return ", ".join(parts)


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def _jobs(labels: Sequence[str]) -> str:
    some = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return f"job{'' if len(labels) == 1 else 's'} {some}"


# --- what travels


def pack(work: Work, points: Sequence[tuple[str, Point]]) -> bytes:
    """Points as the bytes that a job of one's own reads."""
    name = f"{work.__module__}:{work.__name__}"
    return pickle.dumps((code_version(), name, [(key, point.value) for key, point in points]))


def unpack(archive: bytes, label: str) -> Iterator[tuple[str, Files]]:
    """Outcomes by key of the points that are whole in what a job left; the end may be torn.

    Conflict where its code was another; the error of a point that can't be run at all.
    """
    members = _members(archive)
    name, content = next(members, ("", b""))
    if not name:
        return
    about = _read(content) if name == ABOUT else None
    if about is None:
        raise Failed(f"what job {label} left is no archive of outcomes")
    if about.get("code") != code_version():
        raise Conflict(
            f"job {label} ran with another Meyrin than this one ({about.get('python')})",
            hint="install the same version at the site, or name its interpreter with --python",
        )
    files: dict[str, bytes] = {}
    for name, content in members:
        key, _, file = name.partition("/")
        if file == WHOLE:
            yield key, files
            files = {}
        elif file == WRONG:
            raise _wrong(_read(content) or {}, label)
        else:
            files[file] = content


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
            for member in opened:
                file = opened.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
    except tarfile.TarError:
        return  # cut short: what came before it counts


def _read(content: bytes) -> dict[str, object] | None:
    try:
        told = json.loads(content)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


_ERRORS: dict[str, type[MeyrinError]] = {
    kind.code: kind for kind in (InvalidInput, NotFound, Failed, Conflict, errors.StorageFull)
}


def _wrong(told: Mapping[str, object], label: str) -> MeyrinError:
    kind = _ERRORS.get(str(told.get("code")), Failed)
    return kind(f"{told.get('message')} (job {label})", hint=str(told.get("hint") or ""))
