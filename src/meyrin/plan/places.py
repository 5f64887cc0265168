"""A Dask cluster, given by address, as a place for a sweep.

A worker with other code than ours would give other numbers, so each is asked first which code it
has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
                field="--on",
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
                field="--on",
                retry=True,
            )
        others = [worker for worker, code in versions.items() if code != code_version()]
        if others:
            raise Conflict(
                f"the Dask worker {others[0]} has another Meyrin than this one",
                hint="install the same version on every worker: numbers would differ otherwise",
                field="--on",
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
