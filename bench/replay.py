"""Replay, measured on one core: engine and whole command apart, beside C, pandas and a peer.

    python bench/replay.py [--rounds 3] [--only WORD] [--no-peer] [--json]

Every ratio is "times the seconds of" a line above it, measured in the same run, in turns with it.
Seconds are CPU seconds: best of all repeats, then the worst as a per cent above the best.
`B/job` is what a replay adds to the resident memory beyond the log's own arrays, per job.
Of a move of a reservation the note says the microseconds, which are the whole time by all moves,
and how many gaps were looked at.

The C loop (bench/replay_loop.c) is compiled here, and counts only where it gives the golden starts
on tie-free logs; every line of Meyrin's kernels says whether all its starts are the C loop's.
Files: replay_logs.py makes the logs, replay_child.py runs Meyrin, replay_peer.py the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer_env import peers_python

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
MEYRIN = ROOT / ".venv" / "bin" / "meyrin"
GOLDEN = ("kth", "lublin256")
POLICIES = ("fcfs", "easy", "conservative")
COMPILER_PACKAGES = ("gcc", "libc6-dev")
HOPELESS_S = 120  # CPU seconds after which a process is ended


class Failed(Exception):
    """A measured process gave no result; the reason in a few words."""


@dataclass(slots=True)
class Line:
    """One row of the table. No seconds is "not measured", with the reason in `note`."""

    part: str
    what: str
    log: str
    jobs: int
    processors: int
    policy: str
    seconds: list[float] = field(default_factory=list)
    against: Line | None = None
    peak_mb: float | None = None
    bytes_per_job: float | None = None
    moves: int | None = None  # of reservations, under conservative
    asked: int | None = None  # gaps, by all moves
    note: str = ""

    @property
    def best(self) -> float | None:
        return min(self.seconds, default=None)

    @property
    def spread(self) -> float | None:
        """How far the worst repeat is above the best: 0.1 is ten per cent."""
        if len(self.seconds) < 2 or not self.best:  # below the clock's step there is none
            return None
        return max(self.seconds) / self.best - 1

    @property
    def ratio(self) -> float | None:
        if self.best is None or self.against is None or not self.against.best:
            return None
        return self.best / self.against.best

    def add(self, found: dict[str, Any]) -> None:
        self.seconds += found["seconds"]
        self.moves = found.get("moves", self.moves)
        self.asked = found.get("asked", self.asked)
        if "peak_kb" in found:
            self.peak_mb = max(self.peak_mb or 0.0, found["peak_kb"] / 1024)
        if "bytes" in found and self.part == "engine":
            self.bytes_per_job = max(self.bytes_per_job or 0.0, found["bytes"] / self.jobs)

    def said(self) -> dict[str, Any]:
        against = self.against and f"{self.against.what} ({self.against.policy})"
        kept = {name: getattr(self, name) for name in self.__slots__ if name != "against"}
        return kept | {
            "best_s": self.best, "spread": self.spread, "ratio": self.ratio, "against": against,
        }  # fmt: skip


# -- processes -------------------------------------------------------------------------------


def one_core() -> int | None:
    """Keep this process and its children on one core; None where the system can't."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def spawned(command: list[str]) -> tuple[dict[str, Any], float, float, int]:
    """What a process printed as JSON; its wall and CPU seconds and its peak in KB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (HOPELESS_S, HOPELESS_S + 5))
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            raise Failed(f"no result after {HOPELESS_S} CPU seconds")
        if process.returncode:
            words = err.read().strip().splitlines() or ["no words"]
            raise Failed(f"failed: {words[-1][:90]}")
        said = out.read().strip().splitlines()
    cpu = used.ru_utime + used.ru_stime
    return json.loads("\n".join(said)), wall, cpu, used.ru_maxrss


def child(*words: object) -> dict[str, Any]:
    command = [sys.executable, str(BENCH / "replay_child.py"), *map(str, words)]
    return spawned(command)[0]


def in_turns(rounds: int, lines: list[tuple[Line, Callable[[], dict[str, Any]]]]) -> None:
    """Measure several lines alternately, so that a busy minute hits all of them."""
    for _ in range(rounds):
        for line, work in lines:
            if line.note.startswith(("failed", "no result")):
                continue
            try:
                line.add(work())
            except Failed as failed:
                line.note = str(failed)


# -- the C loop ------------------------------------------------------------------------------


def compiler() -> str | None:
    """A C compiler; as root on Debian it is installed, as the tests do with other components."""
    for name in ("gcc", "cc"):
        if found := shutil.which(name):
            return found
    with tempfile.TemporaryDirectory(prefix="meyrin-bench-cc-") as folder:
        script = '. testbed/lib.sh; mtb_dirs; apt_need "$@"'
        command = ["bash", "-c", script, "cc", *COMPILER_PACKAGES]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "MTB_DIR": folder}, check=False)
    return shutil.which("gcc")


class Loop:
    """The compiled C loop; `trusted` are the policies in which it gave the golden starts."""

    def __init__(self, folder: Path, logs: dict[str, Any]) -> None:
        self.folder = folder
        self.program: Path | None = None
        self.trusted: set[str] = set()
        self.words = "no C compiler, and none could be installed: nothing is compared with C"
        command = compiler()
        if command is None:
            return
        self.program = folder / "replay_loop"
        source = str(BENCH / "replay_loop.c")
        subprocess.run([command, "-O2", "-o", str(self.program), source], check=True)
        known = [name for name in GOLDEN if name in logs]
        if not known:
            self.words = "C loop: no golden starts here, so nothing is compared with it"
            return
        for policy in POLICIES:
            if all(self._right(policy, name) for name in known):
                self.trusted.add(policy)
        jobs = sum(logs[name]["jobs"] for name in known)
        self.words = (
            f"C loop ({Path(command).name} -O2): all {jobs:,} golden starts of"
            f" {' and '.join(known)} in {', '.join(sorted(self.trusted)) or 'no policy'}"
        )

    def _right(self, policy: str, name: str) -> bool:
        starts = self.folder / "golden.starts"
        self.run(policy, name, starts, 1)
        return starts.read_bytes() == (self.folder / f"{name}.{policy}.starts").read_bytes()

    def run(self, policy: str, name: str, starts: Path, repeats: int) -> dict[str, Any]:
        assert self.program is not None
        jobs = str(self.folder / f"{name}.jobs")
        return spawned([str(self.program), policy, jobs, str(starts), str(repeats)])[0]


def different(one: Path, other: Path) -> int:
    """How many starts of two files differ."""
    if one.read_bytes() == other.read_bytes():
        return 0
    values = array("q"), array("q")
    for into, path in zip(values, (one, other), strict=True):
        into.frombytes(path.read_bytes())
    return sum(a != b for a, b in zip(*values, strict=True))


# -- the parts of the table ----------------------------------------------------------------------


class Table:
    """The measurements of one run, in the order in which they are shown."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self.folder = folder
        self.rounds = asked.rounds
        self.quiet = asked.json
        self.lines: list[Line] = []
        self.starts: dict[str, str] = {}
        maker = [sys.executable, str(BENCH / "replay_logs.py"), str(folder)]
        self.logs: dict[str, Any] = spawned(maker)[0]
        self.loop = Loop(folder, self.logs)

    def line(self, part: str, what: str, name: str, policy: str, **more: Any) -> Line:
        log = self.logs[name]
        return Line(part, what, log["text"], log["jobs"], log["processors"], policy, **more)

    def show(self, *lines: Line) -> None:
        self.lines += lines
        if not self.quiet:
            for line in lines:
                print(row(line), flush=True)

    def say(self, words: str) -> None:
        if not self.quiet:
            print(words, flush=True)

    def golden(self) -> None:
        """Meyrin's kernels on the golden logs: every start, no time."""
        for name in GOLDEN:
            for policy in (*POLICIES, "easy-sjf") if name in self.logs else ():
                found = self.starts[f"{name} {policy}"] = self._golden(name, policy)
                self.say(f"  {name:9} {policy:12} {found}")

    def _golden(self, name: str, policy: str) -> str:
        starts = self.folder / "meyrin.starts"
        try:
            child("engine", policy, self.folder / f"{name}.jobs", starts, 1)
        except Failed as failed:
            return str(failed)
        wrong = different(starts, self.folder / f"{name}.{policy}.starts")
        jobs = self.logs[name]["jobs"]
        return f"all {jobs:,} starts" if not wrong else f"WRONG: {wrong:,} of {jobs:,} starts"

    def engine(self, policy: str, name: str, repeats: int) -> Line:
        """A kernel beside the C loop, in turns."""
        jobs = self.folder / f"{name}.jobs"
        c_starts, starts = self.folder / "c.starts", self.folder / "meyrin.starts"
        starts.unlink(missing_ok=True)
        c = self.line("engine", "C loop", name, policy)
        ours = self.line("engine", "Meyrin", name, policy, against=c)
        longest = 0

        def loop() -> dict[str, Any]:
            nonlocal longest
            found = self.loop.run(policy, name, c_starts, repeats)
            longest = found["longest_queue"]
            return found

        work = [(ours, lambda: child("engine", policy, jobs, starts, repeats))]
        if policy in self.loop.trusted:
            work.insert(0, (c, loop))
        else:
            c.note = "no C loop that gives the golden starts"
        in_turns(self.rounds, work)
        if c.seconds:
            c.note = f"{longest:,} waiting at most"
        if c.seconds and ours.seconds:
            wrong = different(starts, c_starts)
            ours.note = "every start the same" if not wrong else f"{wrong:,} STARTS DIFFER"
        self.show(c, ours)
        return ours

    def growth(self) -> None:
        """Conservative with everybody waiting at once: how time and moves grow with the queue.

        Where limits are exact no reservation ever moves. Where jobs end early most of them move
        at each completion, and the moves themselves grow as the square and more: whether a move
        takes longer in a longer queue is what counts.
        """
        before = self.engine("conservative", "exact4000", 1)
        for jobs in (25_000, 50_000, 100_000):
            before = self._alone(f"exact{jobs}", before)
        before = self.engine("conservative", "once2000", 1)
        before = self._grown(self.engine("conservative", "once4000", 1), before)
        for jobs in (8_000, 16_000):
            before = self._alone(f"once{jobs}", before)

    def _alone(self, name: str, before: Line) -> Line:
        """Conservative on a log that takes the C loop too long."""
        line = self.line("engine", "Meyrin", name, "conservative")
        path, starts = self.folder / f"{name}.jobs", self.folder / "meyrin.starts"
        in_turns(1, [(line, lambda: child("engine", "conservative", path, starts, 1))])
        self.show(line)
        return self._grown(line, before)

    def _grown(self, line: Line, before: Line) -> Line:
        """Say how a line differs from one with fewer waiting jobs."""
        if line.best and before.best and line.moves is not None and before.moves is not None:
            words = f"jobs x {line.jobs / before.jobs:.2f}: time x {line.best / before.best:.2f}"
            if before.moves:
                moves = line.moves / before.moves
                each = line.best / before.best / moves
                words += f", moves x {moves:.2f}, a move x {each:.2f}"
            self.say(f"{'':25} {words}")
            line.note = "; ".join(filter(None, (line.note, words)))
        return line

    def reading(self) -> None:
        small, swf = self.folder / "10k.swf", self.folder / "1m.swf"
        pandas = self.line("reading", "pandas, 16 of 18 columns", "1m", "-")
        ours = self.line("reading", "Meyrin's reader", "1m", "-", against=pandas)
        work = [
            (pandas, lambda: child("pandas", small, swf, 1)),
            (ours, lambda: child("read", small, swf, 1)),
        ]
        in_turns(self.rounds, work)
        self.show(pandas, ours)

    def command(self, name: str, policy: str, processors: int, label: str = "") -> None:
        """`meyrin replay` from a cold process; its kernels are in their cache by a first run."""
        swf = str(self.folder / f"{name}.swf")
        words = ["replay", swf, "--policy", policy, "--processors", str(processors), "--json"]
        shown = label or policy
        engine = self.line("command", "of that, engine", name, shown)
        whole = self.line("command", "meyrin replay, whole", name, shown)
        walls = []

        def work() -> dict[str, Any]:
            said, wall, cpu, peak_kb = spawned([str(MEYRIN), *words])
            walls.append(wall)
            engine.add({"seconds": [said["engine_s"]]})
            return {"seconds": [cpu], "peak_kb": peak_kb}

        in_turns(1, [(whole, work)])
        whole.seconds.clear()
        engine.seconds.clear()
        in_turns(self.rounds, [(whole, work)])
        if whole.seconds:
            whole.note = f"wall {min(walls[1:]):.2f} s at best"
        else:
            engine.note = whole.note
        self.show(whole, engine)

    def peer(self) -> None:
        """AccaSim on 10,000 jobs, its reader included, beside Meyrin's reader and kernel."""
        python = peers_python()
        swf, processors = self.folder / "10k.swf", self.logs["10k"]["processors"]
        for policy in ("fcfs", "easy"):
            ours = self.line("peer", "Meyrin, read and replay", "10k", policy)
            peer = self.line("peer", "AccaSim 1.1.3", "10k", policy, against=ours)
            waits: dict[str, int] = {}

            def theirs(policy: str = policy, waits: dict[str, int] = waits) -> dict[str, Any]:
                script = str(BENCH / "replay_peer.py")
                words = [str(python), script, policy, str(swf), str(processors)]
                found = spawned(words)[0]
                waits["peer"] = found["wait_s"]
                return found

            def mine(policy: str = policy, waits: dict[str, int] = waits) -> dict[str, Any]:
                found = child("both", policy, swf, processors, 3)
                waits["ours"] = found["wait_s"]
                return found

            work = [(ours, mine)]
            if python is None:
                peer.note = "its environment could not be made"
            else:
                work.append((peer, theirs))
            in_turns(self.rounds, work)
            if len(waits) == 2:
                same = "the same" if waits["peer"] == waits["ours"] else "not the same"
                if policy == "easy":
                    same = "its EASY has rules of its own"
                means = [waits[who] / ours.jobs for who in ("peer", "ours")]
                peer.note = f"mean wait {means[0]:.4f} s, ours {means[1]:.4f} s: {same}"
            self.show(ours, peer)


# -- showing -----------------------------------------------------------------------------------


HEAD = (
    f"{'':25} {'log':22} {'jobs':>9} {'procs':>5} {'policy':12} {'best s':>9} {'spread':>6}"
    f" {'jobs/s':>11} {'ratio':>7} {'peak MB':>7} {'B/job':>6}  note"
)


def row(line: Line) -> str:
    def cell(value: float | None, width: int, form: str) -> str:
        return f"{'-' if value is None else format(value, form):>{width}}"

    rate = line.jobs / line.best if line.best else None
    cells = [
        f"{line.what:25} {line.log:22} {line.jobs:9,} {line.processors:5} {line.policy:12}",
        cell(line.best, 9, ".4f"),
        cell(line.spread, 6, ".0%"),
        cell(rate, 11, ",.0f"),
        cell(line.ratio, 7, ".2f" if (line.ratio or 0) < 100 else ",.0f"),
        cell(line.peak_mb, 7, ".0f"),
        cell(line.bytes_per_job, 6, ".0f"),
    ]
    note = line.note
    if line.moves is not None and line.best:
        words = f"{line.moves:,} moves"
        if line.moves and line.asked is not None:
            words += f", {line.best / line.moves * 1e6:.2f} us"
            words += f" and {line.asked / line.moves:.2f} gaps each"
        note = "; ".join(filter(None, (note, words)))
    return f"{' '.join(cells)}  {note}".rstrip()


def parts(table: Table, asked: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Every part of the table by its name, in the order of showing."""

    def kernels() -> None:
        for policy in ("fcfs", "easy"):
            table.engine(policy, "100k", 20)
            table.engine(policy, "1m", 5)
        table.engine("easy", "rush", 1)

    def conservative() -> None:
        table.engine("conservative", "100k", 1)
        table.growth()

    def commands() -> None:
        # the general kernel takes longer to compile than the bench waits for a result
        subprocess.run([sys.executable, "-m", "meyrin.engine.compiled", "cluster"], check=True)
        for name in ("100k", "1m"):
            table.command(name, "easy", table.logs[name]["processors"])
        for file, label in (("slurm", "slurm"), ("slurm-classic", "no-fair-tree")):
            path = str(BENCH / f"{file}.toml")
            table.command("100k", path, table.logs["100k"]["processors"], label)

    found: dict[str, Callable[[], object]] = {
        "golden starts, Meyrin's kernels": table.golden,
        "engine: the log in memory, CPU seconds of the loop": kernels,
        "conservative: with compression; then everybody waiting at once": conservative,
        "reading a log": table.reading,
        "the whole command: a new process, kernels cached": commands,
    }
    if not asked.no_peer:
        found["peer: its reader included, so Meyrin's too"] = table.peer
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each measurement")
    parser.add_argument("--only", default="", help="only parts whose title has this word")
    parser.add_argument("--no-peer", action="store_true", help="without the peer")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    asked = parser.parse_args()
    core = one_core()
    with tempfile.TemporaryDirectory(prefix="meyrin-bench-replay-") as folder:
        table = Table(Path(folder), asked)
        pinned = "not pinned to a core" if core is None else f"pinned to core {core}"
        table.say(f"{pinned}; {table.loop.words}\n{HEAD}")
        for title, measure in parts(table, asked).items():
            if asked.only in title:
                table.say(f"\n{title}")
                measure()
    if asked.json:
        head = {"core": core, "c_loop": table.loop.words, "golden": table.starts}
        print(json.dumps(head | {"lines": [line.said() for line in table.lines]}, indent=2))


if __name__ == "__main__":
    main()
