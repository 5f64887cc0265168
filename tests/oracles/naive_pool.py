"""The slow plain twins of `meyrin.engine.pool`: lists of jobs, everything worked out anew.

They share nothing with the engine. Each policy is its definition: at every instant completions,
arrivals, one pass; what is free later is counted job by job at each moment in question.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate


@dataclass
class Job:
    number: int
    submit: int
    processors: int
    duration: int
    limit: int
    start: int = -1
    reserved: int = -1

    @property
    def end(self):
        return self.start + self.duration


def naive_starts(policy, submit, processors, duration, limit, machine):
    """The start of each job, and for conservative the reservation that it first got."""
    rows = zip(submit, processors, duration, limit, strict=True)
    jobs = [Job(i, *map(int, row)) for i, row in enumerate(rows)]
    coming, waiting, running, promised = list(jobs), [], [], {}
    while coming or waiting or running:
        moments = [job.end for job in running] + [job.submit for job in coming[:1]]
        moments += [job.reserved for job in waiting if job.reserved >= 0]
        now = min(moments)
        ended = [job for job in running if job.end == now]
        running = [job for job in running if job.end != now]
        if policy == "conservative" and ended:
            for job in waiting:
                _reserve(job, waiting, running, machine, now)
        while coming and coming[0].submit == now:
            waiting.append(coming.pop(0))
            if policy == "conservative":
                _reserve(waiting[-1], waiting, running, machine, now)
                promised[waiting[-1].number] = waiting[-1].reserved
        for job in _chosen(policy, waiting, running, machine, now):
            job.start = now
            running.append(job)
            waiting.remove(job)
    return [job.start for job in jobs], [promised.get(job.number) for job in jobs]


def _chosen(policy, waiting, running, machine, now):
    if policy == "conservative":
        return [job for job in waiting if job.reserved == now]
    free = machine - sum(job.processors for job in running)
    queue, chosen = list(waiting), []
    while queue and queue[0].processors <= free:
        chosen.append(queue.pop(0))
        free -= chosen[-1].processors
    if policy == "fcfs" or not queue:
        return chosen
    head = queue.pop(0)
    believed = [(job.start + job.limit, job.processors) for job in running]
    believed += [(now + job.limit, job.processors) for job in chosen]
    for shadow in sorted(end for end, _ in believed):
        then = free + sum(processors for end, processors in believed if end <= shadow)
        if then >= head.processors:
            break
    spare = then - head.processors
    if policy == "easy-sjf":
        queue.sort(key=lambda job: job.limit)
    for job in queue:
        ends_in_time = now + job.limit <= shadow
        if job.processors <= free and (ends_in_time or job.processors <= spare):
            chosen.append(job)
            free -= job.processors
            spare -= 0 if ends_in_time else job.processors
    return chosen


def _reserve(job, waiting, running, machine, now):
    """The earliest time from which enough is free for as long as the limit."""
    taken = [(other.start, other.start + other.limit, other.processors) for other in running]
    taken += [
        (other.reserved, other.reserved + other.limit, other.processors)
        for other in waiting
        if other is not job and other.reserved >= 0
    ]
    change = dict.fromkeys([now, *(time for row in taken for time in row[:2])], 0)
    for start, end, processors in taken:
        change[start] += processors
        change[end] -= processors
    times = sorted(change)
    used = list(accumulate(change[time] for time in times))
    for i, begin in enumerate(times):
        stop = begin + job.limit
        during = used[i : bisect_left(times, stop)]
        if begin >= now and max(during) + job.processors <= machine:
            job.reserved = begin
            return
