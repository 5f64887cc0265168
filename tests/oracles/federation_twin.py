"""The kernel of a federation again, in plain Python: slow, and with nothing that makes it fast.

At each instant at which anything happens: what ends, closures, arrivals, one pass over everybody
who waits in order of rank, then the preemptible jobs. Nothing is remembered between two passes.
There is no pass where only preemptible jobs came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

FAR = 2**60
HOUR_S = 3600
MASK = 2**64 - 1
LOOKS = 100


@dataclass
class Job:
    """One job: as given, and where it stands."""

    number: int
    ready: int
    rank: int
    size: int
    home: int
    away: int
    sites: list[int]
    group: int
    low: bool
    left: int
    believed: int
    start: int = -1
    end: int = -1
    site: int = -1
    restarts: int = 0
    lost: int = 0
    begun: int = -1
    ends: int = -1
    failing: bool = False


@dataclass
class Site:
    """One site: its machine, what is on it, and what a pass keeps there."""

    number: int
    machine: int
    node: int
    whole: bool
    backfill: bool
    speed: int
    most: list[int]
    running: list[Job] = field(default_factory=list)
    low: list[Job] = field(default_factory=list)
    away: list[tuple[int, int]] = field(default_factory=list)  # closures and repairs: end, count
    kept: tuple[int, int, int, int] | None = None  # begin, end, count, spare


class Twin:
    """The same arguments as `Federation`, all of them given; `play` goes to the end."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        places = range(len(given["count"]))
        self.jobs = [
            Job(
                number=int(given["number"][at]),
                ready=int(given["ready"][at]),
                rank=int(given["rank"][at]),
                size=int(given["size"][at]),
                home=int(given["home"][at]),
                away=int(given["away"][at]),
                sites=[s for s in places if int(given["allowed"][at]) >> s & 1],
                group=int(given["group"][at]),
                low=bool(given["low"][at]),
                left=int(given["run"][at]),
                believed=int(given["limit"][at]),
            )
            for at in range(len(given["ready"]))
        ]
        self.sites = [
            Site(
                at,
                int(given["count"][at]),
                int(given["node"][at]),
                bool(given["whole"][at]),
                bool(given["backfill"][at]),
                int(given["speed"][at]),
                [int(one) for one in given["most"][at]],
            )
            for at in places
        ]
        hours = -(-given["end_s"] // HOUR_S)
        self.used, self.wasted, self.closed = ([[0] * hours for _ in places] for _ in range(3))
        self.gaps = [gap for gap in given["gaps"] if gap[3]]  # nothing closed is no closure
        self.waiting: list[Job] = []

    def play(self) -> Twin:
        """From the first instant to the end of the run."""
        end_s = self.given["end_s"]
        known = {gap[0] for gap in self.gaps}
        known |= {job.away for job in self.jobs if set(job.sites) - {job.home}}
        ready = {job.ready for job in self.jobs}
        coming = sorted(self.jobs, key=lambda job: job.ready)
        now = -1
        while True:
            ends = {job.ends for s in self.sites for job in s.running + s.low}
            ends |= {end for s in self.sites for end, _ in s.away}
            others = known | ends
            later = [one for one in others | ready if one > now]
            if not later or min(later) >= end_s:
                break
            now = min(later)
            self._end(now)
            for begin, end, site, count in self.gaps:
                if begin == now:
                    self._close(self.sites[site], count, now, end)
            while coming and coming[0].ready == now:
                self.waiting.append(coming.pop(0))
            self.waiting.sort(key=lambda job: job.rank)
            if now in others or any(job.ready == now and not job.low for job in self.jobs):
                self._pass(now)
            self._put_off(now)
            self._fill(now)
        for site in self.sites:
            for job in site.low:
                self._log(self.used, site, job.begun, end_s, self.need(job, site))
        return self

    # --- sizes and times

    def need(self, job: Job, site: Site) -> int:
        node = site.node if site.whole else 1
        return -(-job.size // node) * node

    def length(self, job: Job, site: Site, seconds: int) -> int:
        """Seconds at home, at this site's speed."""
        return -(-seconds * self.sites[job.home].speed // site.speed)

    def free(self, site: Site) -> int:
        """Free for jobs that are not low: those count as gone."""
        taken = sum(self.need(job, site) for job in site.running)
        return site.machine - taken - sum(count for _, count in site.away)

    def held(self, job: Job, site: Site) -> int:
        """What its group holds there."""
        return sum(self.need(one, site) for one in site.running if one.group == job.group)

    def when_free(self, site: Site, count: int, now: int) -> tuple[int, int]:
        """When so many are free at the latest, and how many more than that are then."""
        free = self.free(site)
        if count <= free:
            return now, free - count
        freed: dict[int, int] = {}
        for job in site.running:
            end = job.begun + self.length(job, site, job.believed)
            freed[end] = freed.get(end, 0) + self.need(job, site)
        for end, gone in site.away:
            freed[end] = freed.get(end, 0) + gone
        for end in sorted(freed):
            free += freed[end]
            if free >= count:
                return end, free - count
        raise AssertionError("it never fits")

    # --- a pass

    def _pass(self, now: int) -> None:
        for site in self.sites:
            site.kept = None
        vain = 0
        for job in [one for one in self.waiting if not one.low]:
            fitting = [s for s in self._allowed(job) if self._fits(job, s, now)]
            if fitting:
                site = max(
                    fitting,
                    key=lambda s: ((self.free(s) - self.need(job, s)) / s.machine, -s.number),
                )
                self._start(job, site, now)
                continue
            if vain == LOOKS or all(s.kept is not None for s in self._allowed(job)):
                continue
            starts = [
                (self._earliest(job, s, now), s.number)
                for s in self._allowed(job)
                if self._in_part(job, s)
            ]
            if starts and min(starts)[0] < FAR:
                site = self.sites[min(starts)[1]]
                if site.kept is None:
                    self._keep(job, site, now)
                else:
                    vain += any(self._in_part(job, s) for s in self._allowed(job) if not s.kept)

    def _in_part(self, job: Job, site: Site) -> bool:
        """Whether its group may hold so much more there."""
        return self.held(job, site) + self.need(job, site) <= site.most[job.group]

    def _allowed(self, job: Job) -> list[Site]:
        return [self.sites[number] for number in job.sites]

    def _fits(self, job: Job, site: Site, now: int) -> bool:
        count = self.need(job, site)
        if count > self.free(site) or (now < job.away and site.number != job.home):
            return False
        if self.held(job, site) + count > site.most[job.group]:
            return False
        if site.kept is None:
            return True
        begin, _, _, spare = site.kept
        ends = now + self.length(job, site, job.believed)
        return site.backfill and (count <= spare or ends <= begin)

    def _earliest(self, job: Job, site: Site, now: int) -> int:
        """When it would start there, by what is known and kept."""
        count = self.need(job, site)
        start, _ = self.when_free(site, count, now)
        if site.number != job.home:
            start = max(start, job.away)
        if site.kept is None:
            return start
        begin, end, kept, spare = site.kept
        ends = start + self.length(job, site, job.believed)
        if start >= end or ends <= begin or count <= spare:
            return start
        behind = max(start, end)
        if not site.backfill or count + kept > site.machine:
            return behind
        beside, _ = self.when_free(site, count + kept, now)
        return min(max(beside, start), behind)

    def _keep(self, job: Job, site: Site, now: int) -> None:
        count = self.need(job, site)
        begin, spare = self.when_free(site, count, now)
        if site.number != job.home:
            begin = max(begin, job.away)
        site.kept = begin, begin + self.length(job, site, job.believed), count, spare

    # --- attempts

    def _start(self, job: Job, site: Site, now: int) -> None:
        count = self.need(job, site)
        if site.kept is not None and not job.low:
            begin, end, kept, spare = site.kept
            if now + self.length(job, site, job.believed) > begin:
                site.kept = begin, end, kept, spare - count
        self.waiting.remove(job)
        job.ends = now + self.length(job, site, job.left)
        job.failing = False
        rate = self.given["rate"]
        if rate > 0:
            unit = chance(self.given["seed"], job.number, job.restarts)
            after = -math.log(unit) / (rate * count)
            if after < job.ends - now:
                job.failing, job.ends = True, now + max(1, int(after))
        job.begun, job.site = now, site.number
        if job.start < 0:
            job.start = now
        (site.low if job.low else site.running).append(job)
        if not job.low:
            self._log(self.used, site, now, job.ends, count)

    def _end(self, now: int) -> None:
        failed = []
        for site in self.sites:
            site.away = [one for one in site.away if one[0] > now]
            for group in (site.running, site.low):
                for job in [one for one in group if one.ends == now]:
                    group.remove(job)
                    if job.low:
                        self._log(self.used, site, job.begun, now, self.need(job, site))
                    if job.failing:
                        failed.append((job, site))
                    else:
                        job.end, job.ends = now, -1
        for job, site in failed:
            self._lose(job, site, now)
            if self.given["repair_s"]:
                closed = min(self.need(job, site), site.node)
                self._close(site, closed, now, now + self.given["repair_s"])

    def _lose(self, job: Job, site: Site, now: int) -> None:
        """Back to the last checkpoint, and into the queue."""
        given, count = self.given, self.need(job, site)
        ran = now - job.begun
        restart = given["restart_s"] if job.restarts else 0
        saved = max(0, ran - restart)
        if given["checkpoint_s"]:
            saved -= saved % given["checkpoint_s"]
        base = job.left - restart
        done = min(saved * site.speed // self.sites[job.home].speed, base - 1)
        job.left = base - done + given["restart_s"]
        job.believed = max(job.believed - restart, base) - done + given["restart_s"]
        lost = (ran - saved) * count
        job.lost += lost
        job.restarts += 1
        self.wasted[site.number][(now - 1) // HOUR_S] += lost
        job.begun = job.ends = -1
        self.waiting.append(job)

    def _close(self, site: Site, count: int, now: int, until: int) -> None:
        site.away.append((until, count))
        self._log(self.closed, site, now, until, count)

    # --- preemptible jobs

    def _put_off(self, now: int) -> None:
        for site in self.sites:
            while site.low and self.free(site) < sum(self.need(one, site) for one in site.low):
                job = site.low.pop()
                self._log(self.used, site, job.begun, now, self.need(job, site))
                self._lose(job, site, now)
        self.waiting.sort(key=lambda job: job.rank)

    def _fill(self, now: int) -> None:
        for job in [one for one in self.waiting if one.low]:
            rooms = []
            for site in self._allowed(job):
                taken = sum(self.need(one, site) for one in site.low)
                room = self.free(site) - taken - self.need(job, site)
                if room >= 0 and (now >= job.away or site.number == job.home):
                    rooms.append((room / site.machine, -site.number))
            if rooms:
                self._start(job, self.sites[-max(rooms)[1]], now)

    def _log(self, table: list[list[int]], site: Site, begin: int, end: int, count: int) -> None:
        for second in range(begin, min(end, self.given["end_s"])):
            table[site.number][second // HOUR_S] += count


def chance(seed: int, number: int, attempt: int) -> float:
    """A number over 0 and at most 1 for an attempt."""
    step = 0x9E3779B97F4A7C15

    def mixed(value: int) -> int:
        value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
        value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
        return value ^ value >> 31

    value = mixed((seed * step + number) & MASK)
    value = mixed((value + step * (attempt + 1)) & MASK)
    return ((value >> 11) + 1) * 2.0**-53
