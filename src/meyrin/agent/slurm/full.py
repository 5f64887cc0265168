"""Where Slurm takes no more for now: how many may be tried all the same.

Of a limit on the jobs in its queue (MaxSubmitJobs, MaxJobCount) Slurm says only that it was
reached, and of a partition that is drained or an account that has ended only that. What it held of
ours then is taken for the limit: as many go in as have left since, and one now and then, for others
leave too and limits change. Nothing of it is kept: a new start asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from meyrin.agent.slurm.store import Job, Stage

PROBE_S = 30
Queue = tuple[str, str | None, str | None, str | None]


def queue_of(job: Job) -> Queue:
    """Jobs that share these meet the same limits."""
    asked = job.submission
    return asked.partition, asked.account, asked.qos, asked.reservation


@dataclass(slots=True)
class _Reached:
    live: int
    probe_s: int
    why: str


class Full:
    """Used by the one thread that sends."""

    def __init__(self) -> None:
        self._reached: dict[Queue, _Reached] = {}

    def __bool__(self) -> bool:
        return bool(self._reached)

    def reached(self, queue: Queue, jobs: Iterable[Job], now_s: int, why: str) -> None:
        """Slurm took no more of it, in these words; `jobs` are all of ours."""
        self._reached[queue] = _Reached(_live(jobs)[queue], now_s + PROBE_S, why)

    def why(self, queue: Queue) -> str:
        """What is said to those that wait there; empty where there is room."""
        one = self._reached.get(queue)
        return "" if one is None else in_words(one.why)

    def let_in(self, ready: Iterable[Job], jobs: Iterable[Job], now_s: int) -> list[Job]:
        """Those of `ready` that may be tried, in their order."""
        if not self._reached:
            return list(ready)
        live = _live(jobs)
        room = {}
        for queue, one in self._reached.items():
            room[queue] = max(one.live - live[queue], int(now_s >= one.probe_s))
        found = []
        for job in ready:
            queue = queue_of(job)
            if room.get(queue, 1) > 0:
                found.append(job)
                if queue in room:
                    room[queue] -= 1
        return found

    def went_in(self, queue: Queue, jobs: Iterable[Job]) -> None:
        """Slurm took one: where there are more now than it held then, the limit is another."""
        one = self._reached.get(queue)
        if one is not None and _live(jobs)[queue] > one.live:
            del self._reached[queue]

    def refusals(self, queues: Iterable[Queue]) -> str:
        """What of the site is refused in these, for its operator. From any thread."""
        reached, said = self._reached.copy(), set()
        for queue in queues:
            one = reached.get(queue)
            if one is not None and (what := _refused(one.why)):
                partition, account, qos, _ = queue
                name = {"account": account, "QoS": qos, "partition": partition}[what]
                said.add(f"{what} {name or 'of its own choice'} (Slurm: {one.why})")
        way_out = "mend it there, or name another under [slurm] in the agent's settings; jobs wait"
        return f"its Slurm refuses {'; '.join(sorted(said))}: {way_out}" if said else ""


# Slurm's words where it refuses what the site has in hand, and what that is
_REFUSED = {
    "invalid account": "account",
    "invalid qos": "QoS",
    "invalid partition name": "partition",
    "not permitted to use this partition": "partition",
    "access/permission denied": "partition",  # RootOnly, ReqResv
}


def _refused(why: str) -> str:
    return next((what for words, what in _REFUSED.items() if words in why.lower()), "")


def in_words(why: str) -> str:
    if what := _refused(why):
        words = (
            f"the site's Slurm refuses the {what} that its jobs are asked with, which the site's"
        )
        return f"{words} operator can mend (Slurm: {why})"
    return f"the site takes no more jobs for now (Slurm: {why})"


def _live(jobs: Iterable[Job]) -> Counter[Queue]:
    return Counter(queue_of(job) for job in jobs if job.stage is Stage.SENT)
