"""A sweep's jobs on the hub: handed in, waited for, and their outcomes brought back."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.domain.errors import Failed, MeyrinError
from meyrin.domain.job import JobRequest
from meyrin.domain.states import ENDED

if TYPE_CHECKING:
    from meyrin.client.api import Client

LOOK_S = 2.0
POINTS, OUTCOMES = "points.bin", "outcomes.zip"
_ENDED = frozenset(str(state) for state in ENDED)


@dataclass(frozen=True, slots=True)
class HubJobs:
    """What `meyrin.plan.places.OnFacility` asks of a facility, by way of its hub."""

    hub: Client
    pause: Callable[[float], None]

    def submit(self, name: str, batch: bytes, command: Sequence[str]) -> str:
        """A job of one task; the same batch again within a run is the same job."""
        with tempfile.TemporaryDirectory(prefix="meyrin-sweep-") as folder:
            path = Path(folder) / POINTS
            path.write_bytes(batch)
            file = self.hub.upload(path)
        request = JobRequest(
            script=f"#!/bin/sh\nexec {shlex.join(command)}\n",
            name=name,
            inputs=(file,),
            output_files=(OUTCOMES,),
            comment=f"sweep {hashlib.sha256(batch).hexdigest()[:16]}",
        )
        return str(self.hub.submit(request).job)

    def ended(self, labels: Sequence[str]) -> Iterator[str]:
        waiting = list(labels)
        while waiting:
            over = [one for one in waiting if self.hub.job(one).job.state in _ENDED]
            for label in over:
                waiting.remove(label)
                yield label
            if waiting and not over:
                self.pause(LOOK_S)

    def result(self, label: str) -> bytes:
        found = self.hub.results(label)
        if OUTCOMES not in {file.name for file in found.files}:
            tail = self.hub.output(label, "stderr").decode(errors="replace").strip().splitlines()
            raise Failed(
                f"job {label} is {found.job.shown} and left no outcomes"
                + (f": {tail[-1]}" if tail else ""),
                hint=f"`meyrin logs {label}` says more; the sites need this Meyrin with its"
                " planner, in the interpreter that --python names",
            )
        with tempfile.TemporaryDirectory(prefix="meyrin-sweep-") as folder:
            path, *_ = self.hub.fetch(label, folder, [OUTCOMES])
            return path.read_bytes()

    def cancel(self, labels: Sequence[str]) -> None:
        """End what still waits or runs; whoever interrupts a sweep wants no jobs left behind."""
        for label in labels:
            with contextlib.suppress(MeyrinError):
                self.hub.cancel(label)
