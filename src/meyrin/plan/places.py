"""Other places for a sweep: a Dask cluster, given by address, and jobs on a facility.

A worker with other code than ours would give other numbers, so every place is asked first which
code it has.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meyrin.domain.errors import Conflict, Failed, Unreachable
from meyrin.plan.sweep import Files, Point, Work, code_version

REACH_S = 20


@dataclass(frozen=True, slots=True)
class OnDask:
    """The workers of the Dask scheduler at `address`, such as tcp://10.0.0.1:8786."""

    address: str

    def run(self, work: Work, points: Sequence[tuple[str, Point]]) -> Iterator[tuple[str, Files]]:
        import distributed  # noqa: PLC0415 - takes a while to load

        dask: Any = distributed  # its functions bring no types
        try:
            client = dask.Client(self.address, timeout=REACH_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unreachable(
                f"no Dask scheduler answers at {self.address}",
                hint="start one with `dask scheduler`, and `dask worker ADDRESS` on each machine",
                field="--dask",
            ) from error
        with client:
            self._check(client.run(code_version))
            futures = {
                client.submit(work, point.value, key=f"meyrin-{name}", pure=True, retries=2): name
                for name, point in points
            }
            with client.as_current():
                come = dask.as_completed(list(futures))
            try:
                for future in come:
                    yield futures[future], self._result(future)
                    future.release()
            finally:
                client.cancel(list(futures))

    def _check(self, versions: dict[str, str]) -> None:
        if not versions:
            raise Unreachable(
                f"the Dask scheduler at {self.address} has no workers",
                hint=f"start some: `dask worker {self.address}`",
                field="--dask",
                retry=True,
            )
        others = [worker for worker, code in versions.items() if code != code_version()]
        if others:
            raise Conflict(
                f"the Dask worker {others[0]} has another Meyrin than this one",
                hint="install the same version on every worker: numbers would differ otherwise",
                field="--dask",
                value=others[0],
            )

    def _result(self, future: Any) -> Files:
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415

        try:
            outcome: Files = future.result()
        except (KilledWorker, CancelledError, OSError) as error:
            raise Failed(
                f"the Dask cluster at {self.address} lost a point: {error}",
                hint="run the same command again: it goes on where it was",
            ) from error
        return outcome


# --- a facility


class Submitter(Protocol):
    """What a sweep asks of a facility: the command line gives one that talks to a hub."""

    def submit(self, name: str, batch: bytes, command: Sequence[str]) -> str:
        """Hand in a job that runs `command` beside the file `points.bin`; its label."""
        ...

    def ended(self, labels: Sequence[str]) -> Iterator[str]:
        """Each of these jobs as it ends, whatever its end."""
        ...

    def result(self, label: str) -> bytes:
        """What an ended job left in `outcomes.zip`. Failed where it left nothing."""
        ...

    def cancel(self, labels: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class OnFacility:
    """Ordinary jobs of a facility, `per_job` points each; they need this Meyrin at the sites.

    `python` is the interpreter there that has it.
    """

    submitter: Submitter
    per_job: int
    python: str = "python3"
    say: Callable[[str], None] = lambda _: None

    def run(self, work: Work, points: Sequence[tuple[str, Point]]) -> Iterator[tuple[str, Files]]:
        command = (self.python, "-m", "meyrin.plan.batch", "points.bin", "outcomes.zip")
        waiting: dict[str, list[str]] = {}
        try:
            for first in range(0, len(points), self.per_job):
                some = points[first : first + self.per_job]
                label = self.submitter.submit(f"sweep-{some[0][0][:8]}", pack(work, some), command)
                waiting[label] = [name for name, _ in some]
                self.say(f"job {label}: {len(some)} points")
            for label in self.submitter.ended(list(waiting)):
                names = waiting.pop(label)
                for name, outcome in unpack(self.submitter.result(label), label):
                    if name in names:
                        names.remove(name)
                        yield name, outcome
                if names:
                    raise Failed(f"job {label} ended without {len(names)} of its points")
        finally:
            self.submitter.cancel(list(waiting))


def pack(work: Work, points: Sequence[tuple[str, Point]]) -> bytes:
    """Points as the bytes that a job of one's own reads."""
    name = f"{work.__module__}:{work.__name__}"
    return pickle.dumps((code_version(), name, [(key, point.value) for key, point in points]))


def unpack(archive: bytes, label: str) -> Iterator[tuple[str, Files]]:
    """Outcomes by key from what a job left. Failed where its code was another."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            about = json.loads(opened.read("about.json"))
            found: dict[str, dict[str, bytes]] = {}
            for path in opened.namelist():
                key, _, name = path.partition("/")
                if name:
                    found.setdefault(key, {})[name] = opened.read(path)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Failed(f"what job {label} left is no archive of outcomes") from error
    if about.get("code") != code_version():
        raise Conflict(
            f"job {label} ran with another Meyrin than this one ({about.get('python')})",
            hint="install the same version at the site, or name its interpreter with --python",
        )
    yield from found.items()


def same_python() -> str:
    """The interpreter of this process: right for a site on this machine."""
    return sys.executable
