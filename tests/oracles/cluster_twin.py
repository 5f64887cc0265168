"""The slow plain twin of `engine.cluster`: the specification, in the most obvious Python.

It keeps a list of holds for each node and looks at everything anew each time it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, inf

from tests.oracles import fair_tree
from tests.oracles.counted_nodes import choose_counted, is_counted

from meyrin.engine.cluster.model import NEVER, Facility, Jobs
from meyrin.engine.rules import Rules

WAITING, RUNNING, ENDED, PUT_OFF, LOST, STRANDED = range(6)
Hold = tuple[int, int, tuple[int, ...], int, bool]  # begin, end, amounts, job, planned


@dataclass
class Job:
    number: int
    submit: int
    nodes: int
    asked: tuple[int, ...]
    duration: int
    limit: int
    partition: int
    account: int
    rank: int
    nice: int
    after: int
    after_ok: bool
    requeue: bool
    succeeds: bool
    charge: int
    status: int = WAITING
    eligible: int = -1
    start: int = -1
    first_start: int = -1
    end: int = -1
    attempts: int = 0
    lost: int = 0
    on: list[int] = field(default_factory=list)
    promise: int = -1
    ran: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)


class Twin:
    def __init__(self, rules: Rules, place: Facility, work: Jobs) -> None:
        self.rules = rules
        self.capacity = [tuple(row) for row in place.capacity.tolist()]
        first, members = place.partition_first.tolist(), place.partition_nodes.tolist()
        self.partitions = [members[a:b] for a, b in pairwise(first)]
        self.whole = [bool(one) for one in place.partition_whole]
        self.partition_priority = place.partition_priority.tolist()
        self.class_priority = place.class_priority.tolist()
        self.parent, self.shares = place.account_parent.tolist(), place.account_shares.tolist()
        first, members = place.reserved_first.tolist(), place.reserved_nodes.tolist()
        self.closures = [
            (members[a:b], begin, end)
            for a, b, begin, end in zip(
                first, first[1:], place.reserved_begin.tolist(), place.reserved_end.tolist(),
                strict=False,
            )
        ]  # fmt: skip
        self.outages = list(
            zip(place.outage_time.tolist(), place.outage_step.tolist(), place.outage_node.tolist(),
                strict=True)
        )  # fmt: skip
        columns = [column.tolist() for column in work]
        self.jobs = [Job(i, *row) for i, row in enumerate(zip(*columns, strict=True))]
        for job in self.jobs:
            job.asked = tuple(job.asked)
        self.down = [0] * len(self.capacity)
        self.holds: list[list[Hold]] = [[] for _ in self.capacity]
        self.kept: list[list[tuple[int, int, int, int]]] = [[] for _ in self.partitions]
        self.counted = [is_counted(self, partition) for partition in range(len(self.partitions))]
        self.changed = self.cut = self.freed = self.broken = False
        self.factors: dict[tuple[int, int], float] = {}

    # --- what is free -----------------------------------------------------------------

    def amounts(self, job: Job, node: int) -> tuple[int, ...]:
        return self.capacity[node] if self.whole[job.partition] else job.asked

    def free(self, node: int, at: int) -> tuple[int, ...]:
        left = list(self.capacity[node])
        for begin, end, amounts, _, _ in self.holds[node]:
            if begin <= at < end:
                for part in range(3):
                    left[part] -= amounts[part]
        return tuple(left)

    def fits(self, job: Job, node: int, begin: int, end: int) -> bool:
        """The node has room for the job all the while from begin to end."""
        if self.down[node] or any(
            a > b for a, b in zip(job.asked, self.capacity[node], strict=True)
        ):
            return False
        for nodes, closes, opens in self.closures:
            if node in nodes and closes < end and begin < opens:
                return False
        need = self.amounts(job, node)
        moments = {begin} | {h[0] for h in self.holds[node] if begin < h[0] < end}
        return all(
            all(a >= b for a, b in zip(self.free(node, at), need, strict=True)) for at in moments
        )

    def gap(self, job: Job, node: int, now: int, at: int) -> tuple[int, int]:
        """Since when, and until when, the node has room for the job around the moment `at`."""
        holds = self.holds[node]
        closures = [one for one in self.closures if node in one[0]]
        begins = {now} | {hold[1] for hold in holds} | {opens for _, _, opens in closures}
        ends = {hold[0] for hold in holds} | {closes for _, closes, _ in closures}
        since = min(m for m in begins if now <= m <= at and self.fits(job, node, m, at + 1))
        until = [m for m in ends if m > at and not self.fits(job, node, at, m + 1)]
        return since, min(until, default=NEVER)

    def choose(
        self, job: Job, at: int, closed: Iterable[int] = (), now: int | None = None
    ) -> list[int] | None:
        """The nodes for a start at that moment, None if there are too few."""
        if self.counted[job.partition]:
            return choose_counted(self, job, at)
        nodes = [
            node
            for node in self.partitions[job.partition]
            if node not in closed and self.fits(job, node, at, at + job.limit)
        ]
        if len(nodes) < job.nodes:
            return None
        sign = 1 if self.rules.packing == "packed" else -1
        first = at if now is None else now

        def turn(node: int) -> tuple[list[int], int, int, int]:
            since, until = self.gap(job, node, first, at)
            return [sign * part for part in self.free(node, at)], -since, until, node

        return sorted(nodes, key=turn)[: job.nodes]

    def earliest(self, job: Job, now: int) -> tuple[int, list[int]] | None:
        moments = {now} | {closure[2] for closure in self.closures}
        moments |= {one[1] for one in self.kept[job.partition]}
        for node in self.partitions[job.partition]:
            moments |= {hold[1] for hold in self.holds[node]}
        for at in sorted(moments):
            if at >= now and (nodes := self.choose(job, at, now=now)) is not None:
                return at, nodes
        return None

    def unfit(self, job: Job) -> bool:
        """The nodes in service could not hold it even if they were empty."""
        able = [
            node
            for node in self.partitions[job.partition]
            if not self.down[node]
            and all(a <= b for a, b in zip(job.asked, self.capacity[node], strict=True))
        ]
        return len(able) < job.nodes

    def hold(self, job: Job, nodes: list[int], begin: int, planned: bool) -> None:
        end = begin + job.limit
        if self.rules.backfill == "slurm":
            end = -(-end // self.rules.bf_resolution) * self.rules.bf_resolution
        if planned and self.counted[job.partition]:
            self.kept[job.partition].append((begin, end, job.nodes, job.number))
            return
        for node in nodes:
            self.holds[node].append((begin, end, self.amounts(job, node), job.number, planned))

    def unhold(self, job: Job) -> None:
        for holds in self.holds:
            holds[:] = [hold for hold in holds if hold[3] != job.number]
        for kept in self.kept:
            kept[:] = [one for one in kept if one[3] != job.number]

    def forget_plans(self) -> None:
        for holds in self.holds:
            holds[:] = [hold for hold in holds if not hold[4]]
        self.kept = [[] for _ in self.partitions]
        for job in self.jobs:
            job.promise = -1

    # --- who goes first ---------------------------------------------------------------

    def waiting(self) -> list[Job]:
        return [job for job in self.jobs if job.status == WAITING and job.eligible >= 0]

    def in_order(self, jobs: list[Job], now: int) -> Iterator[Job]:
        """One after the other; the next is chosen when it is asked for."""
        left = list(jobs)
        while left:
            job = min(left, key=lambda job: self.key(job, now))
            left.remove(job)
            yield job

    def key(self, job: Job, now: int) -> tuple[float, ...]:
        rank = -self.class_priority[job.rank] if self.rules.preemption != "off" else 0
        if self.rules.order == "multifactor":
            return rank, -self.priority(job, now), job.number
        if self.rules.order == "dominant-share":
            return rank, self.dominant_share(job.account), job.number
        return rank, 0, job.number

    def dominant_share(self, account: int) -> float:
        taken = [0, 0, 0]
        for job in self.jobs:
            if job.status == RUNNING and job.account == account:
                for node in job.on:
                    for part in range(3):
                        taken[part] += self.amounts(job, node)[part]
        total = [sum(node[part] for node in self.capacity) for part in range(3)]
        if not self.shares[account]:
            return inf
        return max(t / of for t, of in zip(taken, total, strict=True) if of) / self.shares[account]

    def priority(self, job: Job, now: int) -> int:
        rules = self.rules
        tick = now // rules.priority_calc_period * rules.priority_calc_period
        age = min(1.0, max(0, tick - job.eligible) / rules.priority_max_age)
        if len(self.capacity) > 1:
            asked, total = job.nodes, len(self.capacity)
        else:
            part = 0 if self.capacity[0][0] else 1
            asked, total = self.amounts(job, 0)[part], self.capacity[0][part]
        size = (total - asked + 1) / total if rules.priority_favor_small else asked / total
        most = max(self.partition_priority)
        partition = self.partition_priority[job.partition] / most if most else 0.0
        best = max(self.class_priority)
        qos = self.class_priority[job.rank] / best if best else 0.0
        fair = self.fair_share(job.account, tick) if rules.priority_weight_fair_share else 0.0
        total = rules.priority_weight_age * age
        total += rules.priority_weight_fair_share * fair
        total += rules.priority_weight_job_size * size
        total += rules.priority_weight_partition * partition
        total += rules.priority_weight_qos * qos
        return floor(total + 1e-6) - job.nice

    def fair_share(self, account: int, tick: int) -> float:
        if (account, tick) not in self.factors and self.rules.fair_share == "fair-tree":
            for person, factor in self.ranked(tick).items():
                self.factors[person, tick] = factor
        elif (account, tick) not in self.factors:
            used, share = self.effective(account, tick)
            dampening = self.rules.fair_share_dampening_factor
            self.factors[account, tick] = 2 ** (-used / share / dampening) if share else 0.0
        return self.factors[account, tick]

    def ranked(self, tick: int) -> dict[int, float]:
        """Everyone's factor by Fair Tree; whoever has a job is a person."""
        everyone = range(len(self.parent))
        used = [self.usage(self.beneath(one), tick) for one in everyone]
        whole = self.usage(everyone, tick)
        levels = fair_tree.level_fairshares(self.parent, self.shares, used, whole)
        return fair_tree.factors(self.parent, {job.account for job in self.jobs}, levels)

    def beneath(self, account: int) -> list[int]:
        return [one for one in range(len(self.parent)) if account in self.line(one)]

    def effective(self, account: int, tick: int) -> tuple[float, float]:
        """Effective usage and normalised share of an account (Slurm's classic fair share)."""
        everything = self.usage(range(len(self.parent)), tick)
        actual = self.usage(self.beneath(account), tick) / everything if everything else 0.0
        above = self.parent[account]
        brothers = [one for one in range(len(self.parent)) if self.parent[one] == above]
        part = self.shares[account] / max(1, sum(self.shares[one] for one in brothers))
        if above < 0:
            return actual, part
        used, share = self.effective(above, tick)
        return actual + (used - actual) * part, share * part

    def line(self, account: int) -> list[int]:
        return [] if account < 0 else [account, *self.line(self.parent[account])]

    def usage(self, accounts: Iterable[int], tick: int) -> float:
        """What the accounts' jobs were charged before the tick, by periods that fade."""
        period, half = self.rules.priority_calc_period, self.rules.priority_decay_half_life
        fade = 0.5 ** (period / half) if half else 1.0
        total = 0.0
        chosen = set(accounts)
        for job in self.jobs:
            if job.account not in chosen:
                continue
            running = [(job.start, tick, ())] if job.status == RUNNING else []
            for begin, end, _ in [*job.ran, *running]:
                for number in range(begin // period, -(-min(end, tick) // period)):
                    seconds = min(end, (number + 1) * period, tick) - max(begin, number * period)
                    if seconds > 0:
                        total += job.charge * seconds * fade ** (tick // period - number - 1)
        return total

    # --- what happens -----------------------------------------------------------------

    def run(self) -> Twin:
        now = -1
        while (now := self.next_instant(now)) is not None:
            self.instant(now)
        return self

    def next_instant(self, now: int) -> int | None:
        moments = [job.submit for job in self.jobs] + [one[0] for one in self.outages]
        moments += [job.start + job.duration for job in self.jobs if job.status == RUNNING]
        moments += [end for _, _, end in self.closures]
        if self.waiting() and self.rules.backfill == "slurm":
            for due, period in (
                (self.changed, self.rules.bf_interval),
                (self.cut, self.rules.sched_interval),
            ):
                if due:
                    moments.append((now // period + 1) * period)
        later = [one for one in moments if one > now]
        return min(later) if later else None

    def instant(self, now: int) -> None:
        happened = any(end == now for _, _, end in self.closures)
        self.freed = self.broken = False
        for job in self.jobs:
            if job.status == RUNNING and job.start + job.duration == now:
                self.stop(job, now, ENDED)
                happened = self.freed = True
        for time, step, node in self.outages:
            if time == now:
                happened = True
                self.strike(node, step, now)
        for job in self.jobs:
            happened |= job.submit == now
            if job.status == WAITING and job.eligible < 0 and job.submit <= now:
                self.release(job, now)
        self.changed |= happened
        slurm = self.rules.backfill == "slurm"
        full = slurm and self.cut and now % self.rules.sched_interval == 0
        if happened or full:
            self.main_pass(now, full)
        if slurm and self.changed and now % self.rules.bf_interval == 0:
            self.changed = self.backfill_pass(now)

    def release(self, job: Job, now: int) -> None:
        """A submitted job may start once what it comes after has ended; or never."""
        before = self.jobs[job.after] if job.after >= 0 else None
        if before is None or before.status >= ENDED:
            if before and job.after_ok and not (before.status == ENDED and before.succeeds):
                job.status, job.end = STRANDED, now
            else:
                job.eligible = now

    def strike(self, node: int, step: int, now: int) -> None:
        self.down[node] += step
        if step < 0:
            self.freed |= self.down[node] == 0
            return
        self.broken = True
        for job in self.jobs:
            if job.status == RUNNING and node in job.on:
                self.put_off(job, now, LOST if not job.requeue else WAITING)

    def put_off(self, job: Job, now: int, status: int) -> None:
        job.lost += now - job.start
        self.stop(job, now, status)
        self.broken = True

    def stop(self, job: Job, now: int, status: int) -> None:
        job.ran.append((job.start, now, tuple(job.on)))
        self.unhold(job)
        job.status, job.end = status, -1 if status == WAITING else now

    def start(self, job: Job, nodes: list[int], now: int) -> None:
        self.unhold(job)
        self.hold(job, nodes, now, planned=False)
        job.status, job.start, job.on, job.promise = RUNNING, now, nodes, -1
        job.attempts += 1
        if job.first_start < 0:
            job.first_start = now

    # --- the passes -------------------------------------------------------------------

    def main_pass(self, now: int, full: bool) -> None:
        if self.rules.backfill in {"easy", "easy-sjf"}:
            self.easy(now)
        elif self.rules.backfill == "conservative":
            self.conservative(now)
        else:
            self.strict(now, full)

    def strict(self, now: int, full: bool) -> None:
        """In order; a job that can't start closes its partition's nodes to all after it."""
        depth = self.rules.default_queue_depth if self.rules.backfill == "slurm" else 0
        self.cut, blocked, closed = False, set(), set()
        for seen, job in enumerate(self.in_order(self.waiting(), now)):
            if depth and not full and seen == depth:
                self.cut = True
                break
            if job.partition in blocked or self.unfit(job):
                continue
            if nodes := self.choose(job, now, closed):
                self.start(job, nodes, now)
            elif not self.evict(job, now, closed):
                blocked.add(job.partition)
                closed |= set(self.partitions[job.partition])

    def easy(self, now: int) -> None:
        """The first job of each partition that can't start is reserved for; others may pass."""
        blocked, candidates = set(), []
        for job in self.in_order(self.waiting(), now):
            if self.unfit(job):
                continue
            if job.partition in blocked and self.rules.backfill == "easy-sjf":
                candidates.append(job)
            elif nodes := self.choose(job, now):
                self.start(job, nodes, now)
            elif job.partition not in blocked and not self.evict(job, now):
                blocked.add(job.partition)
                at, nodes = self.earliest(job, now)
                self.hold(job, nodes, at, planned=True)
        for job in sorted(candidates, key=lambda job: job.limit):
            if nodes := self.choose(job, now):
                self.start(job, nodes, now)
        self.forget_plans()

    def conservative(self, now: int) -> None:
        waiting = self.waiting()
        known = [job for job in waiting if job.promise != -1]
        new = [job for job in waiting if job.promise == -1]
        if self.broken or self.rules.preemption != "off":
            self.forget_plans()
            known, new = [], waiting
        for job in self.in_order(known, now):
            if job.promise == now:  # its nodes are kept for it
                self.unhold(job)
                counted = self.counted[job.partition]
                self.start(job, choose_counted(self, job, now) if counted else job.on, now)
            elif self.freed:
                self.unhold(job)
                self.place(job, now)
        for job in self.in_order(new, now):
            self.place(job, now)

    def place(self, job: Job, now: int) -> None:
        found = self.earliest(job, now)
        if found is None:
            job.promise = -2
        elif found[0] == now:
            self.start(job, found[1], now)
        elif not self.evict(job, now):
            job.promise, job.on = found
            self.hold(job, job.on, job.promise, planned=True)

    def backfill_pass(self, now: int) -> bool:
        """Plan from nothing and start what may start now; whether starts were left for later."""
        rules, seen, started = self.rules, 0, 0
        users: dict[int, int] = {}
        for job in self.in_order(self.waiting(), now):
            users[job.account] = users.get(job.account, 0) + 1
            if rules.bf_max_job_user and users[job.account] > rules.bf_max_job_user:
                continue
            if seen == rules.bf_max_job_test:
                break
            seen += 1
            found = self.earliest(job, now)
            if found is None or found[0] > now + rules.bf_window:
                continue
            if found[0] > now:
                self.hold(job, found[1], found[0], planned=True)
                continue
            if rules.bf_max_job_start and started == rules.bf_max_job_start:
                self.forget_plans()
                return True
            self.start(job, found[1], now)
            started += 1
        self.forget_plans()
        return False

    def evict(self, job: Job, now: int, closed: Iterable[int] = ()) -> bool:
        """Start the job at the cost of running ones of lower classes, if that is enough."""
        if self.rules.preemption == "off":
            return False
        mine = self.class_priority[job.rank]
        lower = [
            one
            for one in self.jobs
            if one.status == RUNNING
            and self.class_priority[one.rank] < mine
            and set(one.on) & set(self.partitions[job.partition])
        ]
        lower.sort(key=lambda one: (self.class_priority[one.rank], -one.start, -one.number))
        victims: list[Job] = []
        while not self.choose(job, now, closed) and lower:
            victims.append(lower.pop(0))
            self.unhold(victims[-1])
        if not self.choose(job, now, closed):
            for one in victims:
                self.hold(one, one.on, one.start, planned=False)
            return False
        for one in reversed(victims.copy()):  # whoever turns out not to be needed runs on
            self.hold(one, one.on, one.start, planned=False)
            if self.choose(job, now, closed):
                victims.remove(one)
            else:
                self.unhold(one)
        for one in victims:
            again = self.rules.preemption == "requeue" and one.requeue
            self.put_off(one, now, WAITING if again else PUT_OFF)
        self.start(job, self.choose(job, now, closed), now)
        return True
