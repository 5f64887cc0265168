"""A sweep's jobs on the hub: handed in, looked at, and their outcomes brought back."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.domain.errors import InvalidInput, MeyrinError, NotFound
from meyrin.domain.job import JobRequest
from meyrin.domain.states import ENDED, WAITING, JobState
from meyrin.plan.on_facility import OUTCOMES, POINTS, Seen

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.wire.jobs import JobView

FIRST_LOOK_S, LONGEST_LOOK_S = 0.2, 2.0
FOLLOWED = 16  # running jobs whose finished points are counted at each look
_ENDED = frozenset(str(state) for state in ENDED)
_NOT_PLACED = frozenset(str(state) for state in WAITING)
_STARTED = str(JobState.RUNNING)


@dataclass
class HubJobs:
    """What `meyrin.plan.on_facility.OnFacility` asks of a facility, by way of its hub.

    `like` is a request with what all jobs have in common: project, wall time, memory, sites.
    """

    hub: Client
    pause_s: Callable[[float], None]
    like: JobRequest
    _look_s: float = FIRST_LOOK_S

    def submit(self, key: str, batch: bytes, command: Sequence[str]) -> str:
        """A job with the sweep's file beside it; the same key again is the same job."""
        with tempfile.TemporaryDirectory(prefix="meyrin-sweep-") as folder:
            path = Path(folder) / POINTS
            path.write_bytes(batch)
            file = self.hub.upload(path)
        request = replace(
            self.like,
            script=f"#!/bin/sh\nexec {shlex.join(command)}\n",
            name=_name(key),
            inputs=(file,),
            output_files=(OUTCOMES,),
        )
        self._look_s = FIRST_LOOK_S
        return str(self.hub.submit(request, key).job)

    def known(self, key: str, label: str) -> bool:
        try:
            return self.hub.job(label).job.name == _name(key)
        except NotFound:
            return False

    def look(self, labels: Sequence[str]) -> Mapping[str, Seen]:
        wanted, oldest = set(labels), min(map(int, labels))
        found: dict[str, JobView] = {}
        for job in self.hub.each_job(mine=True, limit=min(500, 2 * len(labels) + 10)):
            if job.label in wanted:
                found[job.label] = job
            if len(found) == len(wanted) or job.job < oldest:
                break
        for label in wanted - set(found):
            found[label] = self.hub.job(label).job
        running = [label for label in labels if found[label].state == _STARTED][:FOLLOWED]
        done = {label: self._done(label) for label in running}
        seen = {label: _seen(found[label], done.get(label, 0)) for label in labels}
        first = next((label for label in labels if found[label].state in _NOT_PLACED), None)
        if first is not None:
            seen[first] = replace(seen[first], words=self.hub.explain(first).summary)
        return seen

    def _done(self, label: str) -> int:
        """Points that a running job has finished: a line of its output for each."""
        return self.hub.output(label).count(b"\n")

    def result(self, label: str) -> bytes | None:
        found = self.hub.job(label)
        if found.results == "pending":
            return None
        if OUTCOMES not in {file.name for file in found.files}:
            return b""
        with tempfile.TemporaryDirectory(prefix="meyrin-sweep-") as folder:
            path, *_ = self.hub.fetch(label, folder, [OUTCOMES])
            return path.read_bytes()

    def last_words(self, label: str) -> str:
        lines = self.hub.output(label, "stderr").decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def cancel(self, labels: Sequence[str]) -> None:
        """End what still waits or runs."""
        for label in labels:
            with contextlib.suppress(MeyrinError):
                self.hub.cancel(label)

    def pause(self) -> None:
        self.pause_s(self._look_s)
        self._look_s = min(1.3 * self._look_s, LONGEST_LOOK_S)


def _name(key: str) -> str:
    return f"sweep-{key}"


def _seen(job: JobView, done: int) -> Seen:
    if job.state in _ENDED:
        where = f" at {job.site}" if job.site else ""
        why = f": {job.reason}" if job.reason else ""
        return Seen("ended", f"{job.shown}{where}{why}", cancelled=job.state == JobState.CANCELLED)
    if job.state == _STARTED:
        return Seen("runs", job.shown, done)
    return Seen("waits", "")


TAKEN = ("project", "sites", "partitions", "resources", "walltime_s", "features", "nice", "begin_s")
OPTIONS = frozenset(  # what makes these
    [
        "account",
        "clusters",
        "site",
        "partition",
        "nodes",
        "ntasks",
        "ntasks-per-node",
        "cpus-per-task",
        "mem",
        "mem-per-cpu",
        "mem-per-gpu",
        "gpus",
        "gpus-per-node",
        "gpus-per-task",
        "gres",
        "exclusive",
        "time",
        "constraint",
        "nice",
        "begin",
    ]
)


def like(options: str, now_s: int) -> JobRequest:
    """What the jobs of a sweep have in common, from options as sbatch has them."""
    from meyrin.client.sbatch import parse_command  # noqa: PLC0415 - seldom
    from meyrin.client.sbatch.directives import command_settings  # noqa: PLC0415
    from meyrin.client.sbatch.values import misread  # noqa: PLC0415

    plain = JobRequest(script="#!/bin/sh\n")
    if not options:
        return plain
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise InvalidInput(
            f"--job-options {options!r} can't be read: {error}",
            hint="quote all of them: --job-options '--time=60 --account=lab'",
            field="--job-options",
        ) from error

    def read(at_s: int) -> JobRequest:
        return parse_command(words, ["true"], {}, cwd="/", host="", now_s=at_s).request

    asked = read(now_s)
    try:
        begin_at_zero_s: int | None = read(0).begin_s
    except InvalidInput:  # a moment before 1970
        begin_at_zero_s = None
    for option, setting in command_settings(words)[0]:
        if option.name not in OPTIONS:
            hint = f"remove it from --job-options; they take --{', --'.join(sorted(OPTIONS))}"
            raise misread(setting, "is not for the jobs of a sweep", hint)
        if option.name == "begin" and asked.begin_s != begin_at_zero_s:
            # the same command later must ask for the same jobs: a lost answer would be two
            hint = "write it with its date, such as --begin=2027-01-31T20:00"
            raise misread(setting, "counts from now, and a sweep goes on later", hint)
    return replace(plain, **{name: getattr(asked, name) for name in TAKEN})
