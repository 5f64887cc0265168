"""The slow plain twin of `meyrin.engine.placement`: nodes as lists, time tried event by event.

It shares `admit`, `pay` and `in_order` with the engine and nothing else; every expected start is
found by trying each moment at which something ends, on each node by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from meyrin.domain.refusal import Reason
from meyrin.engine.admission import Shaped, admit, pay
from meyrin.engine.priority import in_order


@dataclass
class Node:
    total: tuple[int, int, int]
    taken: list[tuple[int, float, tuple[int, int, int]]] = field(default_factory=list)

    def free_at(self, at_s):
        used = [what for start_s, end_s, what in self.taken if start_s <= at_s < end_s]
        return tuple(t - sum(u[i] for u in used) for i, t in enumerate(self.total))

    def free_during(self, start_s, end_s):
        moments = {start_s} | {s for s, _, _ in self.taken if start_s < s < end_s}
        return tuple(min(values) for values in zip(*map(self.free_at, moments), strict=True))


def triple(shape):
    return shape.accelerators, shape.cores, shape.memory_mb


def fits(asked, free):
    return all(a <= f for a, f in zip(asked, free, strict=True))


class Nodes:
    def __init__(self, place, now_s):
        self.now_s = now_s
        self.nodes = [Node(triple(place.partition.node)) for _ in range(place.partition.nodes)]
        self.queued = self.reserved = 0
        self.place, self.waited_for = place, False
        self.sent = [(job.nodes, triple(job.asked)) for job in place.occupied]
        running = [job for job in place.occupied if job.end_s is not None]
        for job in sorted(running, key=lambda j: (*(-x for x in triple(j.asked)), -j.nodes, j.job)):
            self.put_running(job)
        last_s = now_s
        for job in sorted((j for j in place.occupied if j.end_s is None), key=lambda j: j.job):
            asked = triple(job.asked)
            start_s = self.earliest(asked, job.nodes, job.walltime_s, last_s)
            if start_s is None:
                self.queued += 1
                continue
            last_s = start_s
            self.queued += start_s > now_s
            self.put(asked, job.nodes, start_s, job.walltime_s)

    def put_running(self, job):
        asked, end_s = triple(job.asked), max(job.end_s, self.now_s + 1)
        free = [node.free_at(self.now_s) for node in self.nodes]
        ranked = sorted(range(len(free)), key=lambda i: (free[i], i))
        good = [i for i in ranked if fits(asked, free[i])][: job.nodes]
        rest = [i for i in ranked if not fits(asked, free[i])]
        rest.sort(key=lambda i: (tuple(-x for x in free[i]), i))
        for i in good + rest[: job.nodes - len(good)]:
            part = tuple(min(a, f) for a, f in zip(asked, free[i], strict=True))
            self.nodes[i].taken.append((self.now_s, end_s, part))

    def earliest(self, asked, nodes, walltime_s, not_before_s):
        ends = {end_s for node in self.nodes for _, end_s, _ in node.taken if end_s > not_before_s}
        starts = {s for node in self.nodes for s, _, _ in node.taken if s > not_before_s}
        for start_s in sorted({not_before_s} | ends | starts):
            if len(self.room(asked, start_s, walltime_s)) >= nodes:
                return start_s
        return None

    def freed_on_the_way(self, shaped, policy):
        """Whether short jobs free as much as it asks for, beside all else that was sent."""
        part, mine = self.place.partition, (shaped.nodes, triple(shaped.asked))
        nodes, cores, memory_mb, accelerators = (
            n * policy.pace_ahead_s // 4 for n in self.place.freed_lately.together
        )
        most_nodes, most_cores, most_memory_mb, most_accelerators = self.place.freed_lately.most
        if mine[0] > most_nodes:
            return False
        more = (accelerators, cores, memory_mb)
        most = (most_accelerators, most_cores, most_memory_mb)
        for kind in range(3):
            if mine[0] * mine[1][kind] > most[kind]:
                return False
            have = part.nodes * triple(part.node)[kind]
            sent = sum(n * asked[kind] for n, asked in [*self.sent, mine])
            if mine[0] * mine[1][kind] > more[kind] or sent > have + more[kind]:
                return False
        sent = sum(n for n, _ in [*self.sent, mine])
        return not part.whole_node or (mine[0] <= nodes and sent <= part.nodes + nodes)

    def room(self, asked, start_s, walltime_s):
        return [n for n in self.nodes if fits(asked, n.free_during(start_s, start_s + walltime_s))]

    def put(self, asked, nodes, start_s, walltime_s):
        room = self.room(asked, start_s, walltime_s)
        room.sort(key=lambda n: n.free_at(start_s))  # stable: then by node number
        for node in room[:nodes]:
            node.taken.append((start_s, start_s + walltime_s, asked))


def naive_decide(state, policy, now_s):
    """(placements, waiting): tuples of (job, site, partition, start, others) and of
    (job, {(reason, site, partition)}, next start)."""
    places = sorted(state.partitions, key=lambda p: (p.site, p.partition.name))
    models = [Nodes(place, now_s) for place in places]
    funds = list(state.funds)
    placed, waiting = [], []
    for job in in_order(state.waiting, policy, now_s):
        if job.blocked:
            waiting.append((job.job, {(r.reason, r.site, r.partition) for r in job.blocked}, None))
            continue
        options, why = [], set()
        for place, model in zip(places, models, strict=True):
            name = (place.site, place.partition.name)
            shaped = admit(job, place, funds, now_s)
            if not isinstance(shaped, Shaped):
                why |= {(r.reason, *name) for r in shaped}
                continue
            start_s = model.earliest(triple(shaped.asked), shaped.nodes, shaped.walltime_s, now_s)
            options.append((start_s, name, place, model, shaped))
            if start_s > now_s:
                why.add((Reason.BUSY, *name))
        if not places:
            why.add((Reason.NO_OFFER, "", ""))
        if not options:
            waiting.append((job.job, why, None))
            continue
        best = min(options, key=lambda option: preference(job, option, now_s))
        start_s, name, place, model, shaped = best
        sent = best if start_s <= now_s else sent_ahead(job, best, options, policy, now_s)
        if sent is None:
            model.waited_for = True
            if model.reserved < policy.reserve_depth:
                model.reserved += 1
                model.put(triple(shaped.asked), shaped.nodes, start_s, shaped.walltime_s)
            waiting.append((job.job, why, (*name, start_s)))
            continue
        told_s, name, place, model, shaped = sent
        start_s = next(o[0] for o in options if o[1] == name)
        model.queued += start_s > now_s
        model.put(triple(shaped.asked), shaped.nodes, start_s, shaped.walltime_s)
        model.sent.append((shaped.nodes, triple(shaped.asked)))
        mine = [
            f for f in funds if (f.project, f.charged_type) == (job.project, shaped.charged_type)
        ]
        funds = [f for f in funds if f not in mine] + pay(mine, shaped.hold_s, now_s)
        others = sorted((o[0], o[1]) for o in options if o[1] != name)
        placed.append((job.job, *name, told_s, [(*n, s) for s, n in others]))
    return placed, waiting


def sent_ahead(job, best, options, policy, now_s):
    """What it is sent to before there is room, with the start that is told; None: nothing."""
    start_s, _, _, model, _ = best
    if start_s - now_s <= policy.send_ahead_s and model.queued < policy.queue_ahead:
        return best
    paced = [o for o in options if not o[3].waited_for and o[3].freed_on_the_way(o[4], policy)]
    if not paced:
        return None
    start_s, *rest = min(paced, key=lambda option: preference(job, option, now_s))
    return min(start_s, now_s + policy.pace_ahead_s), *rest


def preference(job, option, now_s):
    start_s, name, place, model, shaped = option
    partition = place.partition
    idle = bool(partition.accelerators_per_node) and not job.resources.accelerators
    away = bool(job.near) and name[0] not in job.near
    if start_s > now_s:
        return start_s, idle, away, Fraction(0), name
    kind = 0 if shaped.asked.accelerators else 1
    free = sum(node.free_at(now_s)[kind] for node in model.nodes)
    left = free - shaped.nodes * triple(shaped.asked)[kind]
    whole = partition.nodes * triple(partition.node)[kind]
    return start_s, idle, away, -Fraction(left, whole), name
