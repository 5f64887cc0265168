"""First come, first served on identical processors: nobody starts before who came earlier."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import lean
from meyrin.engine.pool.completions import Completions, next_end, pop, push
from meyrin.engine.pool.jobs import FREE, HEAD, NEXT, NOW, STARTED, Jobs


class Fcfs(NamedTuple):
    """Everything between two instants; the queue is the jobs from `at[HEAD]` to `at[NEXT]`."""

    jobs: Jobs
    completions: Completions
    at: npt.NDArray[np.int64]


@lean
def advance(s: Fcfs, events: int) -> None:
    """Deal with at most so many instants."""
    at, jobs = s.at, s.jobs
    count = jobs.submit.size
    for _ in range(events):
        ended = next_end(s.completions)
        if at[NEXT] == count and s.completions.size[0] == 0:
            return
        now = min(ended, jobs.submit[at[NEXT]]) if at[NEXT] < count else ended
        at[NOW] = now
        while s.completions.size[0] and s.completions.end[0] == now:
            at[FREE] += jobs.processors[pop(s.completions)]
        while at[NEXT] < count and jobs.submit[at[NEXT]] == now:
            at[NEXT] += 1
        while at[HEAD] < at[NEXT] and jobs.processors[at[HEAD]] <= at[FREE]:
            job = at[HEAD]
            jobs.start[job] = now
            at[FREE] -= jobs.processors[job]
            push(s.completions, now + jobs.duration[job], job)
            at[HEAD] += 1
            at[STARTED] += 1
