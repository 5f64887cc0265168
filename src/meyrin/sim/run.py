"""The replay of a trace through one cluster: arrays in, outcome out.

At a time t first all completions, then all arrivals in log order, then one scheduling pass. This
module feeds the engine in short stretches, so that somebody can watch and stop; it decides
nothing, and asks no clock but the one it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from meyrin.sim.outcome import Outcome
from meyrin.sim.policy import Policy
from meyrin.sim.prepare import Arrivals, Ints, prepare
from meyrin.sim.trace.model import Trace

FIRST_EVENTS = 4096
SHORT_S, LONG_S = 0.05, 0.25  # a stretch of engine time is kept between these


class Kernel(Protocol):
    """What every kernel of the engine offers: see `meyrin.engine.pool`."""

    @property
    def done(self) -> bool: ...
    @property
    def finished(self) -> int: ...
    @property
    def now(self) -> int: ...
    @property
    def start(self) -> Ints: ...
    def advance(self, events: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a replay is: jobs whose start is known, of how many, and engine time so far."""

    started: int
    jobs: int
    engine_s: float


def _nobody(_: Standing) -> bool:
    return True


def drive(
    kernel: Kernel,
    jobs: int,
    cpu: Callable[[], float],
    go_on: Callable[[Standing], bool] = _nobody,
) -> float:
    """Advance `kernel` to its end, or until `go_on` says no; the engine time in seconds of `cpu`.

    `go_on` is asked a few times a second of engine time, between two events.
    """
    events, spent = FIRST_EVENTS, 0.0
    while not kernel.done:
        begun = cpu()
        kernel.advance(events)
        took = cpu() - begun
        spent += took
        if took < SHORT_S:
            events *= 2
        elif took > LONG_S and events > 1:
            events //= 2
        if not go_on(Standing(kernel.finished, jobs, spent)):
            break
    return spent


@dataclass(frozen=True, slots=True)
class Prepared:
    """A replay that can begin: its jobs, who loads the compiled code (that is no engine time), and
    who makes the kernel (that is)."""

    jobs: Arrivals
    processors: int
    load: Callable[[], None]
    kernel: Callable[[], Kernel]
    ends: Callable[[Any], tuple[Ints, dict[str, int]]]
    """The end of each job, -1 where there is none that counts; and how many of those, by why."""


def on_pool(trace: Trace, policy: Policy, processors: int, *, kill: bool = True) -> Prepared:
    """`trace` on a pool of `processors` equal processors under one of the plain policies."""
    from meyrin.engine.pool import Pool  # noqa: PLC0415 - the compiler takes a while to load

    assert policy.plain
    jobs = prepare(trace, processors, kill=kill)

    def load() -> None:
        Pool(policy.kind, [0], [1], [1], [1], 1).advance(1)

    def pool() -> Kernel:
        columns = (jobs.submit, jobs.processors, jobs.duration, jobs.limit)
        return Pool(policy.kind, *columns, machine=processors)

    def ends(kernel: Kernel) -> tuple[Ints, dict[str, int]]:
        start = kernel.start  # who has started ends as it will
        return np.where(start >= 0, start + jobs.duration, -1), {}

    return Prepared(jobs, processors, load, pool, ends)


def replay(
    prepared: Prepared,
    trace: str,
    policy: Policy,
    cpu: Callable[[], float],
    go_on: Callable[[Standing], bool] = _nobody,
) -> Outcome:
    """Play it to the end, or until `go_on` says no. `trace` is how the outcome calls the log."""
    prepared.load()
    begun = cpu()
    kernel = prepared.kernel()
    spent = cpu() - begun
    jobs = prepared.jobs
    spent += drive(kernel, len(jobs), cpu, go_on)
    end, not_ended = prepared.ends(kernel)
    return Outcome(
        trace,
        policy.asked,
        policy.label,
        prepared.processors,
        jobs,
        kernel.start,
        end,
        kernel.done,
        spent,
        not_ended if kernel.done else {},
    )
