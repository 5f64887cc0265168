"""The spool: one folder an attempt, shared by the agent and the nodes.

    a/UUID/script, job     what to run, and how: written before Slurm hears of it
    a/UUID/owner           the claim: a link to `JOBID.RUN`, made once by the first copy that runs
    a/UUID/start.N, end.N, never.N   facts of run N, by the wrapper; whole once they end in a dot
    a/UUID/second.S  at second S a further copy came and ended at once
    news/UUID.N.KIND       an empty file: there is a new fact. The agent removes what it has read
    push                   where wrappers tell of it at once too (`push`); absent: nowhere

Only ever read and written by one user. It must lie on a file system that the nodes share; where
they do not, jobs do not run (Slurm can't start the wrapper's script) and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import structlog

from meyrin.agent.batch import Start
from meyrin.agent.within import at_once
from meyrin.client.durable import sync_folder, write
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import LAST_S
from meyrin.wire.agents import MOST_RUNS

log = structlog.get_logger("meyrin.slurm")
_TIMES = re.compile(r"(\d{1,9})m(\d\d?)[.,](\d+)s (\d{1,9})m(\d\d?)[.,](\d+)s", re.ASCII)
# what Slurm itself decides about the run, and the job's tools (srun) rely on
_SLURM_KEEPS = re.compile(
    r"SLURM_(?!ARRAY_|SUBMIT_DIR$|SUBMIT_HOST$|JOB_NAME$|GPUS$|GPUS_PER_|MEM_PER_[CG]PU$"
    r"|CPUS_PER_TASK$|NTASKS_PER_NODE$|OPEN_MODE$)|SLURMD_"  # these sbatch sets, slurmrestd not
)
# Slurm sets these because it was asked so by us; the script sees those that it asked for. The
# memory ones exclude each other: srun refuses two of them
_ONLY_ASKED = (
    "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "SLURM_NPROCS", "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE", "SLURM_OPEN_MODE", "SLURM_TRES_PER_TASK",
)  # fmt: skip
# names that mean nothing to a shell: it can export them itself, which saves a program
_PLAIN = re.compile(r"(SLURM|MEYRIN)_[A-Za-z0-9_]+\Z")
MAX_ONE = 128 * 1024 - 1  # MAX_ARG_STRLEN of Linux
MAX_ALL = 1_500_000
FENCED = "nobody"
_LONGEST = 1 << 16  # of a fact, in characters
_SYNCS = 16  # at the same time
TOLD = ("start", "end", "never")  # facts that are also told at once, where nodes can


@dataclass(frozen=True, slots=True)
class Run:
    """What the wrapper said of one run of an attempt. `code` is as the shell has it."""

    number: int
    batch_job: str
    start_s: int | None = None
    node: str = ""
    end_s: int | None = None
    code: int | None = None
    over_time: bool = False
    cpu_ms: int | None = None
    never: str | None = None

    @property
    def ended(self) -> bool:
        return self.end_s is not None

    @property
    def signal(self) -> int | None:
        """The signal that ended the script, as far as a shell can tell (128 + n)."""
        if self.code is None or not 128 < self.code <= 192:
            return None
        return self.code - 128


@dataclass(frozen=True, slots=True)
class News:
    """A fact came: `kind` is start, end, never or second (a further copy that ended at once)."""

    attempt: str
    kind: str
    file: str


class Spool:
    """The folder; `root` is absolute and holds no `=` (env would read a variable from it)."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        if any(sign in str(self.root) for sign in "=\n"):
            raise InvalidInput(
                f"the folder {self.root} can't be the spool: its name holds '='",
                hint="choose another `dir`",
                field="dir",
            )
        self._attempts = str(self.root / "a")
        self._news = str(self.root / "news")
        self._stuck: set[str] = set()  # names in there that can't be removed
        self._inviting = threading.Lock()
        self._hands = ThreadPoolExecutor(_SYNCS, "spool")
        for folder in (self._attempts, self._news):
            os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
        sync_folder(self.root)

    def folder(self, attempt: str) -> str:
        return f"{self._attempts}/{attempt}"

    def own_output(self, attempt: str) -> str:
        """Where a job prints that named no file."""
        return f"{self.folder(attempt)}/output"

    def prepare(
        self, needs: Mapping[str, tuple[str, str]], *, together: bool = True
    ) -> dict[str, OSError]:
        """Write what wrappers need, by attempt its script and job file; on disk when it returns.
        The same again is no harm. Returns for which it could not be done, and why. `together`:
        many at the same time, which a disk takes as one."""
        each = self._hands.map if together and len(needs) > 1 else map
        answers = zip(needs, each(self._prepare, needs, needs.values()), strict=True)
        failed = {attempt: error for attempt, error in answers if error is not None}
        try:
            sync_folder(self._attempts)
        except OSError as error:
            return dict.fromkeys(needs, error)
        return failed

    def close(self) -> None:
        """Nothing is prepared any more."""
        self._hands.shutdown(wait=False)

    def _prepare(self, attempt: str, needs: tuple[str, str]) -> OSError | None:
        folder = self.folder(attempt)
        try:
            os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
            for name, text, mode in zip(("script", "job"), needs, (0o700, 0o600), strict=True):
                write(f"{folder}/{name}", text.encode("utf-8", "surrogateescape"), mode)
            sync_folder(folder)
        except OSError as error:
            return error
        return None

    def wrapper(self, attempt: str) -> str:
        """The batch script: it goes to Slurm as text."""
        text = _wrapper().replace("@FOLDER@", quoted(self.folder(attempt)))
        text = text.replace("@PUSH@", quoted(str(self.root / "push")))
        return text.replace("@NEWS@", quoted(f"{self._news}/{attempt}"))

    def invite(self, places: Iterable[str]) -> None:
        """Say where wrappers tell their news to, as bash opens it; nowhere when there is none."""
        text = "".join(f"{place}\n" for place in places)
        with self._inviting:
            if text:
                write(str(self.root / "push"), text.encode(), 0o600)
            else:
                (self.root / "push").unlink(missing_ok=True)

    def claimed(self, attempt: str) -> bool:
        """Whether a copy of it ever began on a node."""
        return os.path.islink(f"{self.folder(attempt)}/owner")  # noqa: PTH114

    def owner(self, attempt: str) -> str | None:
        """Slurm's id of the copy that holds the claim."""
        try:
            return os.readlink(f"{self.folder(attempt)}/owner").rpartition(".")[0]  # noqa: PTH115
        except OSError:
            return None

    def runs(self, attempt: str) -> list[Run]:
        """What the wrapper said of each run, in their order."""
        found: dict[int, Run] = {}
        try:
            names = os.listdir(self.folder(attempt))  # noqa: PTH208
        except OSError:
            return []
        for name in sorted(names, reverse=True):  # start before never before end
            kind, _, text = name.partition(".")
            number = _number(text, MOST_RUNS)
            if kind in _READ and number is not None:
                run = self._fact(attempt, kind, number, found.get(number))
                if run is not None:
                    found[number] = run
        return [found[number] for number in sorted(found)]

    def told(self, news: News) -> Run | None:
        """What one piece of news says, read by its name: a folder's list may be seen late on a
        shared file system, a file that is opened is not."""
        if news.kind not in _READ:
            return None
        number = _number(news.file.rsplit(".", 2)[1], MOST_RUNS)
        return None if number is None else self._fact(news.attempt, news.kind, number)

    def seconds(self, attempt: str) -> list[int]:
        """When further copies came and ended at once."""
        try:
            names = os.listdir(self.folder(attempt))  # noqa: PTH208
        except OSError:
            return []
        words = [name.partition(".")[2] for name in names if name.startswith("second.")]
        return sorted(second for word in words if (second := _number(word, LAST_S)) is not None)

    def fence(self, attempt: str) -> bool:
        """Claim it for nobody: from now on no copy runs. False when one has begun already."""
        folder = self.folder(attempt)
        try:
            os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
            os.symlink(f"{FENCED}.0", f"{folder}/owner")  # noqa: PTH211
        except FileExistsError:
            return self.owner(attempt) == FENCED
        return True

    def fence_runs(self, attempt: str, *numbers: int) -> bool:
        """Claim these further runs of the job that holds the claim for nobody: they never begin.
        False when one of them has begun already."""
        for number in numbers:
            path = f"{self.folder(attempt)}/run.{number}"
            try:
                os.symlink(FENCED, path)  # noqa: PTH211 - where the wrapper makes a folder
            except FileExistsError:
                if not os.path.islink(path):  # noqa: PTH114
                    return False
        return True

    def _fact(self, attempt: str, kind: str, number: int, known: Run | None = None) -> Run | None:
        """The run with what this fact adds to what is `known`; None while it is not whole. A file
        system that was full may have kept some lines of it."""
        path = f"{self.folder(attempt)}/{kind}.{number}"
        try:
            with open(path, errors="replace", opener=at_once) as file:
                lines = file.read(_LONGEST).split("\n")
            if lines[-2:] != [".", ""]:
                return None
            return _READ[kind](known or Run(number, lines[0]), lines[:-2])
        except (OSError, ValueError, IndexError):
            return None

    def news(self, most: int = 2000) -> list[News]:
        """Facts that came and were not put away yet. Where somebody cleared the folder away, as
        file systems do that drop what nobody used lately, it is made anew: ends are found all the
        same."""
        found = []
        try:
            entries = os.scandir(self._news)
        except FileNotFoundError:
            os.makedirs(self._news, 0o700, exist_ok=True)  # noqa: PTH103
            return []
        with entries:
            for entry in entries:
                if entry.name in self._stuck:
                    continue
                attempt, _, rest = entry.name.partition(".")
                found.append(News(attempt, rest.rpartition(".")[2], entry.name))
                if len(found) >= most:
                    break
        return found

    def put_away(self, news: Iterable[News]) -> None:
        """They are in the journal now. What can't be removed is passed over from now on."""
        for each in news:
            path = Path(self._news, each.file)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._stuck.add(each.file)
                log.warning("slurm.news_stay", file=str(path), error=str(error))

    def forget(self, attempt: str) -> None:
        shutil.rmtree(self.folder(attempt), ignore_errors=True)


@lru_cache(maxsize=1)
def _wrapper() -> str:
    return (resources.files("meyrin.agent.slurm") / "wrapper.sh").read_text(encoding="utf-8")


# --- facts


def _number(text: str, most: int) -> int | None:
    """As a shell writes it. A job can write here too, so that anything may stand in its place."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        return None
    return number if (number := int(text)) <= most else None


def _fact_number(text: str, most: int) -> int:
    number = _number(text, most)
    if number is None:
        raise ValueError(text)
    return number


def _started(run: Run, lines: list[str]) -> Run:
    return replace(run, start_s=_fact_number(lines[1], LAST_S), node=lines[2])


def _never(run: Run, lines: list[str]) -> Run:
    return replace(run, never="\n".join(lines[2:]), end_s=_fact_number(lines[1], LAST_S))


def _ended(run: Run, lines: list[str]) -> Run:
    times = _TIMES.fullmatch(lines[6]) if len(lines) > 6 else None
    cpu = None
    if times:
        minutes, seconds, part = (int(times[1]) + int(times[4]), int(times[2]) + int(times[5]), 0)
        part = int(times[3][:3].ljust(3, "0")) + int(times[6][:3].ljust(3, "0"))
        cpu = (minutes * 60 + seconds) * 1000 + part
    return replace(
        run,
        start_s=_fact_number(lines[1], LAST_S),
        end_s=_fact_number(lines[2], LAST_S),
        code=_fact_number(lines[3], 255) if lines[3] else None,
        over_time=lines[4] == "yes",
        cpu_ms=cpu,
    )


_READ = {"start": _started, "never": _never, "end": _ended}


# --- what the wrapper needs


def quoted(text: str) -> str:
    """One word of the shell, whatever it holds."""
    return "'" + text.replace("'", "'\\''") + "'"


def job_file(
    start: Start,
    own_output: str,
    grace_s: int,
    environment: dict[str, str],
    words: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The file that the wrapper reads: assignments, the last of which says that it is whole.
    `words` is what it says with each kind of news, so that the agent believes it."""
    stdout = start.stdout or own_output
    warn = start.warn_signal
    lines = [
        f"workdir={quoted(start.workdir)}",
        f"make={'yes' if start.create_workdir else ''}",
        f"stdin={quoted(start.stdin or os.devnull)}",
        f"stdout={quoted(stdout)}",
        f"stderr={quoted(start.stderr or stdout)}",
        f"append={'yes' if start.append_output else ''}",
        f"interpreter={quoted(interpreter(start.script))}",
        f"forward={quoted(warn.name if warn and warn.shell_only else '')}",
        # Slurm counts minutes: what ends within one is ended by the wrapper
        f"limit={start.walltime_s if start.walltime_s % 60 else ''}",
        f"grace={max(1, grace_s)}",
        "mask=0022",
        *(f"word_{kind}={quoted(word)}" for kind, word in words.items()),
        # sbatch needs the agent's token and hands it on; with it, srun on a node fails
        " ".join(("unset", "SLURM_JWT", *_not_asked(start))),
        *_words("exports", (f"{k}={v}" for k, v in environment.items() if _PLAIN.match(k))),
        *_words("environment", (f"{k}={v}" for k, v in environment.items() if not _PLAIN.match(k))),
        *_words("arguments", start.arguments),
        "whole=yes",
    ]
    return "\n".join(lines) + "\n"


def _words(name: str, words: Iterable[str]) -> Iterator[str]:
    """An array of the shell."""
    yield from (f"{name}=(", *map(quoted, words), ")")


def _not_asked(start: Start) -> list[str]:
    names = {name for name, _ in start.environment}
    if "SLURM_CPUS_PER_TASK" in names:
        names.add("SLURM_TRES_PER_TASK")
    return [name for name in _ONLY_ASKED if name not in names]


def environment_of(start: Start) -> dict[str, str]:
    """What the request decides; Slurm's own variables about the run stay Slurm's."""
    found = {name: value for name, value in start.environment if not _SLURM_KEEPS.match(name)}
    found.setdefault("SLURM_SUBMIT_DIR", start.workdir)
    found.setdefault("SLURM_JOB_NAME", start.name)
    return found | {"MEYRIN_ATTEMPT": start.attempt, "MEYRIN_JOB_ID": str(start.job)}


def interpreter(script: str) -> str:
    """The program that the script's first line names."""
    first = script.split("\n", 1)[0]
    words = first.removeprefix("#!").split()
    return words[0] if words else ""


def objection(start: Start, environment: dict[str, str]) -> str:
    """Why this can never run, as far as it can be seen from here; empty when it may."""
    if why := _script_objection(start.script):
        return why
    for noun in ("workdir", "stdin", "stdout", "stderr"):
        path = getattr(start, noun)
        if path and not path.startswith("/"):
            return f"{noun} {path!r} is no absolute path"
    if start.warn_signal is not None and not known_signal(start.warn_signal.name):
        return f"there is no signal {start.warn_signal.name}"
    words = [f"{k}={v}" for k, v in environment.items()] + list(start.arguments)
    sizes = [len(word.encode("utf-8", "surrogateescape")) + 9 for word in words]
    if sizes and (max(sizes) > MAX_ONE or sum(sizes) > MAX_ALL):
        return "environment and arguments are too large for a process"
    return "an argument or variable holds a NUL byte" if any("\0" in w for w in words) else ""


def _script_objection(script: str) -> str:
    first = script.split("\n", 1)[0]
    if script.startswith("\ufeff"):
        return "the script begins with a byte order mark, so its #! line is not seen"
    if not first.startswith("#!"):
        return "the script does not begin with #! and an interpreter"
    if first.endswith("\r"):
        return f"the script has Windows line ends: its first line is {first!r}"
    return ""


def known_signal(name: str) -> bool:
    plain = name.upper().removeprefix("SIG")
    return bool(_number(plain, 64)) or f"SIG{plain}" in signal.Signals.__members__
