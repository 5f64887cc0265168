"""Where each waiting job goes, and when. A first honest placement: fits, free now, then earliest.

The rules, in order:

1. Jobs are looked at by priority (`meyrin.engine.priority`). Each sees what those before it left.
2. A job fits a partition *now* if its nodes have room for its whole wall time beside everything
   of ours that runs, waits in the site's queue, or is kept for a job ahead of it. It *starts* when
   it also has room beside the work of others that the site told of (`PartitionState.others`).
3. It goes where it starts first, if it fits there now: what others hold is never waited for at the
   hub, as those who wait at the site would always come first. Among several: rather not to a
   partition with accelerators when it asks for none; then to a site where a job that it depends
   on ran (`WaitingJob.near`), as what that one wrote lies there; then where the largest part of
   what it asks for (accelerators, else cores) is still free once it is there, so that an array
   spreads over equal sites; then by name.
4. Where it does not fit now at the partition where it starts first (then by the same preference
   and by name), it is sent there if it fits in at most `send_ahead_s` and fewer than
   `queue_ahead` jobs wait in the site's queue. Else it is sent where short jobs free as much as it
   asks for while it is on its way (`meyrin.engine.ahead`), unless one ahead of it waits for that
   partition. Otherwise it waits at the hub, where it can still go elsewhere.
5. A job that waits at the hub keeps its expected start on that one partition: jobs behind it may
   use only what leaves it untouched, as in conservative backfill (Mu'alem and Feitelson 2001,
   IEEE TPDS 12(6)). The first `reserve_depth` jobs of each partition are kept so; the start of
   one further back is the earliest possible, not a promise.
6. Placing a job takes its hold from the project's allocation before the next job is looked at.
   A job that waits takes none, so a cheaper job of the same project may pass it.
7. A job that no entitled allocation can carry is paid work. At its turn it may take room only
   where paid work then holds at most `paid_percent` of the partition; else its turn comes after
   all entitled jobs, and it gets what these leave, unless one of them waits there without a kept
   start: then a paid job could still delay it.

Room only shrinks in the course of one decision; what was answered once for a shape is a lower
bound for every equal job behind it, which keeps large states quick.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from meyrin.domain.refusal import Reason, Refusal
from meyrin.engine.admission import Shaped, assess, check_funds, pay, payer_of
from meyrin.engine.ahead import Ahead
from meyrin.engine.late import expect
from meyrin.engine.model import Candidate, Decision, Placement, Waiting
from meyrin.engine.priority import in_order

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from meyrin.engine.model import Funds, PartitionState, Policy, State, WaitingJob
    from meyrin.engine.timeline import Numbers


def decide(state: State, policy: Policy, now_s: int) -> Decision:
    """Which waiting jobs are placed now, and why the others are not.

    Every waiting job is in the answer once, placed or with at least one refusal, in order of
    priority. Nothing is read or changed elsewhere; same input, same answer, in any input order.
    """
    world = World(state, policy, now_s)
    placements: list[Placement] = []
    waiting: list[Waiting] = []
    for job in _turns(world, state.waiting):
        answer = world.step(job)
        if isinstance(answer, Placement):
            placements.append(answer)
        else:
            waiting.append(answer)
    return Decision(state.version, tuple(placements), tuple(waiting))


def forecast(state: State, job: WaitingJob, policy: Policy, now_s: int) -> Placement | Waiting:
    """Where and when `job` would start, after the waiting jobs that are ahead of it.

    A Placement whenever there is an expected start, also when `decide` would keep the job at the
    hub until then; else a Waiting with the reasons. `job` need not be among the waiting; one of
    the same number is replaced by it.
    """
    world = before(state, job, policy, now_s)
    if job.blocked:
        return Waiting(job.job, job.blocked)
    look = world.look(job)
    best = world.best(look)
    return world.placement(job, best, look) if best else Waiting(job.job, look.refusals)


def before(state: State, job: WaitingJob, policy: Policy, now_s: int) -> World:
    """The world as `job` meets it when its turn comes."""
    world = World(state, policy, now_s)
    others = [other for other in state.waiting if other.job != job.job]
    for other in _turns(world, [*others, job]):
        if other is job:
            break
        world.step(other)
    return world


def _turns(world: World, jobs: Iterable[WaitingJob]) -> Iterator[WaitingJob]:
    """The jobs in the order in which they are looked at: by priority, but paid work that may not
    go ahead comes last. The caller steps the world between them."""
    behind = []
    for job in in_order(jobs, world.policy, world.now_s):
        if world.is_behind(job):
            behind.append(job)
        else:
            yield job
    world.behind = True
    yield from behind


def _looks(state: State) -> int:
    """About how often a decision looks at a stretch of time on a node."""
    nodes = sum(place.usable.nodes for place in state.partitions)
    occupied = sum(len(place.shared.occupied) for place in state.partitions)
    return (nodes + occupied) * (occupied + len(state.waiting))


class Option(NamedTuple):
    """A partition that would take the job, and when.

    `at` counts partitions in order of name. It fits beside ours from `room_s` on, and starts, as
    far as others let it, at `start_s`. `idle`: the job asks for no accelerator, and there it
    would keep some idle. `away`: the jobs that it depends on ran elsewhere. `paid`: only an
    allocation of the paid door can carry it there.
    """

    at: int
    shaped: Shaped
    room_s: int
    start_s: int
    idle: bool
    away: bool = False
    paid: bool = False


class Look(NamedTuple):
    """All that one job sees: options in order of partition, and why not elsewhere or not now."""

    options: tuple[Option, ...]
    refusals: tuple[Refusal, ...]
    kind: Kind


class Kind(NamedTuple):
    """What equal requests share: what `assess` says of each partition, and what they want there,
    of our own room and of the room that others leave (None where nobody else is known)."""

    answers: list[tuple[Shaped | None, tuple[Refusal, ...]]]
    wants: Numbers
    shared: Numbers | None


class World:
    """The state in the course of one decision: it changes with each step and is thrown away."""

    def __init__(self, state: State, policy: Policy, now_s: int) -> None:
        from meyrin.engine.timeline import Timelines  # noqa: PLC0415 - idle hubs need no NumPy

        self.policy = policy
        self.now_s = now_s
        self.places: list[PartitionState] = sorted(
            state.partitions, key=lambda place: (place.site, place.partition.name)
        )
        expect(_looks(state))
        self.timelines = Timelines(self.places, now_s)
        self._sites = [place.shared for place in self.places]
        others = any(place.others for place in self.places)
        self._beside = Timelines(self._sites, now_s) if others else None
        self._funds: dict[tuple[str, str], list[Funds]] = {}
        for funds in state.funds:
            self._funds.setdefault((funds.project, funds.charged_type), []).append(funds)
        self._kinds: dict[Hashable, Kind] = {}
        self._busy: dict[tuple[int, Shaped, Reason], Refusal] = {}
        # the paid door: who comes by it, what paid work holds, and where it could delay others
        self.behind = False
        self._more_waiting = state.more_waiting
        self._payers = {funds.project for funds in state.funds if funds.paid}
        self._paid = [_paid_at(place) for place in self.places]
        self._unkept = [False] * len(self.places)
        # what is sent ahead by pace, and where one that waits at the hub comes first
        self._ahead = Ahead(self.places, policy)
        self._waited_for = [False] * len(self.places)

    def step(self, job: WaitingJob) -> Placement | Waiting:
        """Decide on one job and take what it needs."""
        if job.blocked:
            return Waiting(job.job, job.blocked)
        look = self.look(job)
        best = self.best(look)
        if best is None:
            return Waiting(job.job, look.refusals)
        later = best.room_s > self.now_s
        if later and not self._send_ahead(best):
            paced = self._at_pace(look, best)
            if paced is None:
                self._wait_for(best, look)
                return Waiting(job.job, look.refusals, self.candidate(best))
            best = paced
        placement = self.placement(job, best, look)
        self.timelines.queued[best.at] += later
        self._reserve(best.at, look.kind)
        self._ahead.take(best.at, best.shaped)
        self._take_paid(best)
        key = (job.project, best.shaped.charged_type)
        self._funds[key] = pay(self._funds[key], best.shaped.hold_s, self.now_s)
        return placement

    def _wait_for(self, best: Option, look: Look) -> None:
        """The job waits at the hub, and keeps its start if that is still done there."""
        at = best.at
        self._waited_for[at] = True
        if self.timelines.reserved[at] < self.policy.reserve_depth:
            self.timelines.reserved[at] += 1
            self._reserve(at, look.kind)
            self._take_paid(best)
        elif not best.paid:
            self._unkept[at] = True

    def _reserve(self, at: int, kind: Kind) -> None:
        self.timelines.reserve(at, kind.wants)
        if self._beside is not None and kind.shared is not None:
            self._beside.reserve(at, kind.shared)

    def longest_now_s(self, option: Option) -> int | None:
        """How long it could run if it started there now, in seconds; None: without end."""
        lines = (self.timelines, self._beside or self.timelines)
        asked = (option.at, option.shaped.asked, option.shaped.nodes)
        return min(
            (s for line in lines if (s := line.longest_now_s(*asked)) is not None), default=None
        )

    def look(self, job: WaitingJob) -> Look:
        """Where the job could go and when, and every reason why not. Changes nothing."""
        options: list[Option] = []
        refusals: list[Refusal] = []
        kind = self._kind(job)
        found = self.timelines.starts(kind.wants)
        beside = found
        if self._beside is not None and kind.shared is not None:
            beside = self._beside.starts(kind.shared)
        for at, (shaped, closed) in enumerate(kind.answers):
            place = self.places[at]
            mine = self._funds.get((job.project, place.partition.charged_type), ())
            money = check_funds(mine, place, shaped.hold_s if shaped else None, self.now_s)
            if shaped and not closed and not money:
                room_s, room = found[at]
                start_s = max(room_s, beside[at][0])
                idle = place.partition.accelerators_per_node > 0 and not job.resources.accelerators
                paid = job.project in self._payers
                paid = paid and payer_of(mine, shaped.hold_s, self.now_s).paid
                away = bool(job.near) and place.site not in job.near
                options.append(Option(at, shaped, room_s, start_s, idle, away, paid))
                if room_s > self.now_s:
                    refusals.append(self._busy_at(at, shaped, room, Reason.BUSY))
                elif start_s > self.now_s:
                    refusals.append(self._busy_at(at, shaped, beside[at][1], Reason.OTHERS))
                continue
            refusals += closed
            if money:
                refusals.append(money)
        if not self.places:
            refusals.append(Refusal(Reason.NO_OFFER))
        if job.project in self._payers:
            options = self._not_ahead(options, refusals)
        return Look(tuple(options), tuple(refusals), kind)

    def is_behind(self, job: WaitingJob) -> bool:
        """Whether it is paid work whose turn comes after all entitled jobs."""
        if job.project not in self._payers or job.blocked:
            return False
        look = self.look(job)
        return not look.options and any(r.reason is Reason.PAID_BEHIND for r in look.refusals)

    def _not_ahead(self, options: list[Option], refusals: list[Refusal]) -> list[Option]:
        """The options that rule 7 leaves: entitled hours where there are any; else paid ones
        within the policy, or behind all entitled jobs where these keep their starts."""
        entitled = [option for option in options if not option.paid]
        if entitled:
            return entitled
        left = []
        for option in options:
            place = self.places[option.at]
            held, whole = self._paid[option.at] + _units(option.shaped), _whole(place)
            free = self.behind and not self._more_waiting and not self._unkept[option.at]
            if free or held * 100 <= self.policy.paid_percent * whole:
                left.append(option)
                continue
            percent = -(-held * 100 // whole)
            said = (Reason.PAID_BEHIND, place.site, place.partition.name)
            refusals.append(Refusal(*said, percent, self.policy.paid_percent))
        return left

    def _take_paid(self, option: Option) -> None:
        if option.paid:
            self._paid[option.at] += _units(option.shaped)

    def best(self, look: Look) -> Option | None:
        """The option that rules 3 and 4 choose."""
        return min(look.options, key=self._preference, default=None)

    def placement(self, job: WaitingJob, best: Option, look: Look) -> Placement:
        """The job placed at `best`, with the other options as runners-up, the soonest first."""
        place, shaped = self.places[best.at], best.shaped
        others = sorted(
            (o for o in look.options if o.at != best.at), key=lambda o: (o.start_s, o.at)
        )
        return Placement(
            job=job.job,
            site=place.site,
            partition=place.partition.name,
            nodes=shaped.nodes,
            asked=shaped.asked,
            tasks=shaped.tasks,
            walltime_s=shaped.walltime_s,
            charged_type=shaped.charged_type,
            hold_s=shaped.hold_s,
            expected_start_s=best.start_s,
            others=tuple(self.candidate(other) for other in others),
        )

    def candidate(self, option: Option) -> Candidate:
        place = self.places[option.at]
        return Candidate(place.site, place.partition.name, option.start_s)

    def _kind(self, job: WaitingJob) -> Kind:
        """What is known of such a job; equal requests are assessed once."""
        key = (
            job.project,
            job.resources,
            job.walltime_s,
            job.sites,
            job.partitions,
            job.features,
            job.refused_by,
        )
        known = self._kinds.get(key)
        if known is None:
            answers = [assess(job, place) for place in self.places]
            open_to = [None if closed else shaped for shaped, closed in answers]
            shared = self._beside.wants(open_to) if self._beside is not None else None
            known = self._kinds[key] = Kind(answers, self.timelines.wants(open_to), shared)
        return known

    def _busy_at(self, at: int, shaped: Shaped, room: int, by: Reason) -> Refusal:
        """BUSY, or OTHERS, with the nodes asked and the nodes with room, as the first such job met
        them."""
        known = self._busy.get((at, shaped, by))
        if known is None:
            place = self.places[at]
            known = Refusal(by, place.site, place.partition.name, shaped.nodes, room)
            self._busy[at, shaped, by] = known
        return known

    def _send_ahead(self, option: Option) -> bool:
        soon = option.room_s - self.now_s <= self.policy.send_ahead_s
        return soon and self.timelines.queued[option.at] < self.policy.queue_ahead

    def _at_pace(self, look: Look, best: Option) -> Option | None:
        """Where the job is sent ahead because jobs there are short; paid work is not, nor a job
        that others would let start there later than it does at `best`."""
        if not self._ahead.any:
            return None
        open_to = (
            option
            for option in look.options
            if not (option.paid or self._waited_for[option.at])
            and self._ahead.may(option.at, option.shaped)
        )
        paced = min(open_to, key=self._preference, default=None)
        if paced is None:
            return None
        if paced.start_s > paced.room_s:  # as long as others let it wait
            return paced if paced.start_s <= best.start_s else None
        return paced._replace(start_s=min(paced.start_s, self.now_s + self.policy.pace_ahead_s))

    def _preference(self, option: Option) -> tuple[int, bool, bool, float, int]:
        """Least is best: start, accelerators left idle, away from the jobs that it depends on,
        part taken once it is there, name."""
        first = (option.start_s, option.idle, option.away)
        if option.start_s > self.now_s:
            return *first, 0.0, option.at
        partition, shaped = self._sites[option.at].partition, option.shaped
        free = (self._beside or self.timelines).free_now(option.at)
        if shaped.asked.accelerators:
            left, total = (
                free[0] - shaped.nodes * shaped.asked.accelerators,
                partition.node.accelerators,
            )
        else:
            left, total = free[1] - shaped.nodes * shaped.asked.cores, partition.node.cores
        return *first, -left / (total * partition.nodes), option.at


def _units(shaped: Shaped) -> int:
    """How many accelerators (or cores) of the partition the job counts for, rounded up."""
    return -(-shaped.hold_s // shaped.walltime_s)


def _whole(place: PartitionState) -> int:
    part = place.partition
    return part.nodes * (part.accelerators_per_node or part.cores_per_node)


def _paid_at(place: PartitionState) -> int:
    """What paid work holds there now."""
    rate = place.partition.charge_rate
    return sum(math.ceil(rate(one.asked, one.nodes)) for one in place.occupied if one.paid)
