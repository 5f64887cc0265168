"""A one-minute job through the site's batch system: what a user's job will go through, tried first.

The same attempt is found again after an interruption, for its UUID is kept before it is sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meyrin.agent.batch import BatchJob, BatchSystem, Phase, Start
from meyrin.agent.credential import keep, read_secret
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape

MARK = "meyrin-trial"
_MEMORY_MB = 256
SCRIPT = f"""#!/bin/sh
echo "{MARK}: on $(uname -n) as $(id -un), accelerator devices: ${{CUDA_VISIBLE_DEVICES:-none}}"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`job` is the batch system's word; `output` what it printed."""

    job: BatchJob
    output: str

    @property
    def good(self) -> bool:
        return self.job.end == "exit" and self.job.exit_code == 0 and MARK in self.output


def new_attempt() -> str:
    """As the hub's are, but of version 5, so that accounting tells it from a job's (version 4)."""
    return str(uuid.uuid5(uuid.uuid4(), MARK))


def is_trial(attempt: str) -> bool:
    try:
        return uuid.UUID(attempt).version == 5
    except ValueError:
        return False


class Trial:
    """One trial of a batch system; `folder` keeps its name and its files."""

    def __init__(
        self, batch: BatchSystem, folder: Path, partition: Partition, project: str = ""
    ) -> None:
        self._batch = batch
        self._folder = folder
        self._partition = partition
        self._project = project
        self._name = folder / "attempt"

    def send(self) -> str:
        """Submit it, or find the one that an earlier try left. Returns its attempt."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = read_secret(self._name)
        if known and known in self._batch.look_up((known,)):
            return known
        attempt = new_attempt()
        keep(self._name, attempt + "\n")
        part = self._partition
        shape = NodeShape(
            1, min(_MEMORY_MB, part.memory_mb_per_node), min(1, part.accelerators_per_node)
        )
        output = str(self._folder / f"{attempt}.out")
        self._batch.submit(
            (
                Start(
                    attempt=attempt,
                    job=0,
                    name=MARK,
                    partition=part.name,
                    nodes=1,
                    asked=shape,
                    tasks=1,
                    walltime_s=60,
                    script=SCRIPT,
                    workdir=str(self._folder),
                    stdout=output,
                    stderr=output,
                    project=self._project,
                ),
            )
        )
        return attempt

    def wait(
        self, attempt: str, until_s: float, clock: Callable[[], float], told: Callable[[str], None]
    ) -> Outcome | None:
        """Its end; None when it has none by `until_s`. `told` hears each new phase."""
        cursor, last = "", ""
        while (left := until_s - clock()) > 0:
            changes = self._batch.changes(cursor, min(left, 1.0))
            cursor = changes.cursor
            job = self._batch.look_up((attempt,)).get(attempt)
            if job is None:
                continue
            word = f"{job.phase}{f' ({job.site_word})' if job.site_word else ''}"
            if word != last:
                last = word
                told(f"job {job.batch_job or '(being sent)'} is {word}")
            if job.phase is Phase.HELD and job.why:  # a real job waits for better times
                self._batch.cancel((attempt,))
                return Outcome(job, "")
            if job.phase is Phase.ENDED:
                return Outcome(job, self._printed(attempt))
        return None

    def _printed(self, attempt: str) -> str:
        output = self._batch.output(attempt)
        try:
            return Path(output.stdout).read_text("utf-8", "replace")[:4000] if output else ""
        except OSError:
            return ""

    def done(self, attempt: str) -> None:
        """Nothing of it is needed any more."""
        self._batch.forget((attempt,))
        for path in (self._name, self._folder / f"{attempt}.out"):
            path.unlink(missing_ok=True)
