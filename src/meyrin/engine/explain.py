"""Every no in words that a researcher understands, and why a job waits, as data.

One sentence a reason: what was asked, what the limit is, and the way out. It decides nothing; the
facts come from `meyrin.engine.placement`, what would help from `meyrin.engine.remedies`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meyrin.domain.refusal import NEVER_MET, Reason, Refusal
from meyrin.domain.units import show_count, show_duration, show_hours
from meyrin.engine.placement import World, before
from meyrin.engine.remedies import SHORTEST_S, Remedy, remedies, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meyrin.engine.model import Candidate, Policy, State, WaitingJob
    from meyrin.engine.placement import Option

    Say = Callable[[Refusal], tuple[str, str]]

MOST_REMEDIES = 5

# what was asked against what there is, and the way out; {asked} and {limit} in their unit
_WORDS: dict[Reason, tuple[str, str]] = {
    Reason.SITE_NOT_ASKED: (
        "{place} is not among the sites asked for ({asked})",
        "add it to --clusters, or leave that option out",
    ),
    Reason.PARTITION_NOT_ASKED: (
        "{place} is not among the partitions asked for ({asked})",
        "add it to --partition, or leave that option out",
    ),
    Reason.SITE_SAID_NO: (
        "the site's own rules refused this job at {place}",
        "ask the site why, or let it go elsewhere",
    ),
    Reason.PROJECT_NOT_ALLOWED: (
        "the project may not use {place}, which is kept for {limit}",
        "use another partition, or ask the site to admit the project",
    ),
    Reason.ACCELERATOR_TYPE: (
        "asks for accelerators of type {asked}; {place} has {limit}",
        "leave the type out, or choose a partition that has it",
    ),
    Reason.ACCELERATORS_PER_NODE: (
        "asks {accelerators} on one node; {place} has {limit}",
        "spread them over more nodes with --nodes and --gpus-per-node={limit}",
    ),
    Reason.CORES_PER_NODE: (
        "asks {cores} on one node; {place} has {limit}",
        "ask fewer --cpus-per-task, or spread the tasks over more --nodes",
    ),
    Reason.MEMORY_PER_NODE: (
        "asks {asked} of memory on one node; {place} has {limit}",
        "ask at most --mem={limit_mb}M, or spread the tasks over more --nodes",
    ),
    Reason.NODE_COUNT: (
        "needs {nodes}; {place} gives a job at most {limit}",
        "ask for fewer nodes, tasks or accelerators",
    ),
    Reason.ACCELERATOR_COUNT: (
        "asks {accelerators}; {place} gives a job at most {limit}",
        "ask for fewer accelerators, or choose another partition",
    ),
    Reason.FEATURE: (
        "asks for the feature {asked}; {place} has {limit}",
        "leave it out of --constraint, or choose a partition that has it",
    ),
    Reason.WALLTIME: (
        "asks {asked} of wall time; {place} allows {limit}",
        "ask at most --time={limit}",
    ),
    Reason.NO_WALLTIME: (
        "says no wall time, and {place} has no default",
        "add --time, such as --time=01:00:00",
    ),
    Reason.NO_OFFER: (
        "{place} is lent to nobody at present",
        "use another partition, or ask the site when its next offer begins",
    ),
    Reason.NO_ALLOCATION: (
        "the project has no current allocation of {asked} hours, which {place} charges",
        "ask for one, or use a partition that charges what the project has",
    ),
    Reason.ALLOCATION_ENDED: (
        "the project's allocation of {asked} hours, which {place} charges, has ended",
        "ask for new hours (`meyrin call ask`), or use a partition that charges what there is",
    ),
    Reason.ALLOCATION_PAUSED: (
        "the project's allocation of {asked} hours, which {place} charges, is paused: {limit}",
        "ask whoever paused it for its end (`meyrin project resume`); running jobs go on",
    ),
    Reason.TRANCHE_WAITS: (
        "would hold {asked} hours at {place}, more than is released; more wait for {limit}",
        "bring that about (`meyrin gate --help`), or ask for a shorter --time or fewer resources",
    ),
    Reason.BALANCE: (
        "would hold {asked} hours at {place}; the project's allocation has {limit}",
        "ask for a shorter --time or fewer resources, or for more hours",
    ),
    Reason.SITE_SILENT: (
        "the agent of {place} does not answer at present",
        "wait until it is back; the job goes there by itself",
    ),
    Reason.SITE_DRAINED: (
        "{place} takes no new jobs at present",
        "wait until the site opens it again; the job goes there by itself",
    ),
    Reason.BALANCE_HELD: (
        "would hold {asked} hours at {place}; {limit} are free, the rest is held by other jobs",
        "wait until these end, or ask for a shorter --time",
    ),
    Reason.BUSY: (
        "needs {nodes} at {place}; free now for its whole wall time: {limit}",
        "wait, or ask for a shorter --time or fewer resources",
    ),
    Reason.OTHERS: (
        "needs {nodes} at {place}; the work of others there leaves {limit} for its whole wall time",
        "it waits in the site's own queue, or ask for a shorter --time or fewer resources",
    ),
    Reason.PAID_BEHIND: (
        "is paid work; ahead of entitled work that may hold {limit} % of {place}, here {asked} %",
        "wait until entitled jobs have their places, or ask for hours that are free of charge",
    ),
    Reason.ARRAY_LIMIT: (
        "its array runs at most {elements} at once",
        "wait for one to end, or raise the number after % in --array",
    ),
    Reason.HELD: ("is held by its owner", "release it"),
    Reason.BEGIN: ("may not begin before the time that --begin says", "wait, or change --begin"),
    Reason.DEPENDENCY: (
        "depends on {asked}, {limit}",
        "wait for that job, or submit again without --dependency",
    ),
}
# a balance that no shorter job would fit either
_USED_UP = (
    "would hold {asked} hours at {place}; the project's allocation is used up{over}",
    "ask for more (`meyrin project extend --hours`), or move some (`meyrin project transfer`)",
)
_FEWER = "needs {nodes} at {place}; {limit} can be used at present"
_NOT_ASKED = frozenset({Reason.SITE_NOT_ASKED, Reason.PARTITION_NOT_ASKED})
_DURATION = frozenset({Reason.WALLTIME})
_HOURS = frozenset({Reason.TRANCHE_WAITS, Reason.BALANCE, Reason.BALANCE_HELD})
_ABSENT = {Reason.DEPENDENCY: ("another job", "not yet met"), Reason.ARRAY_LIMIT: ("", "a few")}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is, as data.

    `refusals` are the reasons in order of partition (those found before any partition was looked
    at come first), `next_start` is where it starts first as things are, `others` are the
    runners-up, `remedies` what would help, the most useful first.
    """

    job: int
    summary: str
    refusals: tuple[Refusal, ...]
    next_start: Candidate | None
    others: tuple[Candidate, ...]
    remedies: tuple[Remedy, ...]

    @property
    def helps(self) -> tuple[str, ...]:
        """The remedies in words."""
        return tuple(one.words for one in self.remedies)


def parts(refusal: Refusal) -> tuple[str, str]:
    """What was asked against what there is, and the way out."""
    clash, way_out = _WORDS[refusal.reason]
    if refusal.reason is Reason.BALANCE and isinstance(refusal.limit, int) and refusal.limit <= 0:
        clash, way_out = _USED_UP
    if refusal.reason is Reason.DEPENDENCY and refusal.limit == NEVER_MET:
        way_out = "cancel it, and submit again without --dependency"
    if refusal.reason is Reason.SITE_DRAINED and refusal.limit is not None:
        clash = _FEWER
    if refusal.reason is Reason.ACCELERATORS_PER_NODE and not refusal.limit:
        clash, way_out = "asks {accelerators}; {place} has none", "choose a partition that has them"
    facts = _facts(refusal)
    return clash.format(**facts), way_out.format(**facts)


def explain(
    job: WaitingJob, state: State, policy: Policy, now_s: int, say: Say = parts
) -> Explanation:
    """Why `job` waits, where else it could go, when it starts, and what would help.

    It is explained at its turn: after the waiting jobs that are ahead of it. Also a blocked job
    is shown the partitions, as if what blocks it were gone. `say` gives a refusal its two parts.
    """
    world = before(state, job, policy, now_s)
    look = world.look(job)
    best = world.best(look)
    refusals = (*job.blocked, *look.refusals)
    helps = _helps(world, job, state, best)
    if best is None:
        said = summary(refusals, say)
        return Explanation(job.job, said, refusals, None, (), helps)
    chosen = world.placement(job, best, look)
    others = [(o.site, o.partition, o.expected_start_s - now_s) for o in chosen.others]
    said = placed(chosen.site, chosen.partition, best.start_s - now_s, others)
    if job.blocked:
        said = f"{summary(job.blocked, say)}; else it {said}"
    return Explanation(job.job, said, refusals, world.candidate(best), chosen.others, helps)


def in_words(refusal: Refusal) -> str:
    """One sentence: what was asked, the limit, the way out."""
    return ": ".join(parts(refusal))


def summary(refusals: Sequence[Refusal], say: Say = parts) -> str:
    """The reasons of the partition that comes nearest to taking the job, in one line."""
    nearest = _nearest(refusals)
    if not nearest:
        return "nothing stands in its way"
    said = "; ".join(dict.fromkeys(say(refusal)[0] for refusal in nearest))
    places = {(refusal.site, refusal.partition) for refusal in refusals if refusal.partition}
    return said if len(places) < 2 else f"{said} (and {len(places) - 1} more refused it)"


def way_out(refusals: Sequence[Refusal]) -> str:
    """What to do about `summary`, in one line; empty where there is no reason."""
    return "; ".join(dict.fromkeys(parts(refusal)[1] for refusal in _nearest(refusals)))


def placed(
    site: str,
    partition: str,
    wait_s: int,
    others: Sequence[tuple[str, str, int]],
    *,
    done: bool = False,
) -> str:
    """Where a job goes and when, and the next best: sites, partitions and waits in seconds.

    `done`: it went there already, and the waits are those expected when it did.
    """
    if done:
        start = "could start at once" if wait_s <= 0 else f"was to start {_when(wait_s)}"
        said = f"went to {site}/{partition}, where it {start}"
    else:
        said = f"starts {_when(wait_s)} at {site}/{partition}"
    if not others:
        return said
    other_site, other_partition, other_wait_s = others[0]
    verb = "was" if done else "is"
    return f"{said}; next best {verb} {other_site}/{other_partition}, {_when(other_wait_s)}"


def _when(wait_s: int) -> str:
    return "now" if wait_s <= 0 else f"in about {show_duration(wait_s)}"


def _nearest(refusals: Sequence[Refusal]) -> list[Refusal]:
    """Reasons about no place if there are any, else those of the place with the fewest to mend;
    of a place that was not asked for only where none was."""
    general = [refusal for refusal in refusals if not refusal.partition]
    if general or not refusals:
        return general
    by_place: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in refusals:
        by_place.setdefault((refusal.site, refusal.partition), []).append(refusal)

    def distance(place: tuple[str, str]) -> tuple[bool, int, int, tuple[str, str]]:
        reasons = by_place[place]
        unasked = any(refusal.reason in _NOT_ASKED for refusal in reasons)
        return unasked, sum(not refusal.passing for refusal in reasons), len(reasons), place

    return by_place[min(by_place, key=distance)]


def _facts(refusal: Refusal) -> dict[str, str]:
    asked, limit = _ABSENT.get(refusal.reason, ("none", "none"))
    place = f"{refusal.site}/{refusal.partition}" if refusal.site else refusal.partition
    asked = _shown(refusal.reason, refusal.asked) or asked
    limit = _shown(refusal.reason, refusal.limit) or limit
    return {
        "place": place or "every site",
        "asked": asked,
        "limit": limit,
        "accelerators": _counted(refusal.asked, asked, "accelerator"),
        "cores": _counted(refusal.asked, asked, "core"),
        "nodes": _counted(refusal.asked, asked, "node"),
        "elements": _counted(refusal.limit, limit, "element"),
        "limit_mb": str(refusal.limit),
        "over": _over(refusal.limit),
    }


def _counted(value: int | str | None, shown: str, noun: str) -> str:
    return show_count(value, noun) if isinstance(value, int) else f"{shown} {noun}s"


def _over(limit: int | str | None) -> str:
    return (
        f", and overdrawn by {show_hours(-limit)}" if isinstance(limit, int) and limit < 0 else ""
    )


def _shown(reason: Reason, value: int | str | None) -> str:
    if isinstance(value, int):
        if reason in _DURATION:
            return show_duration(value)
        if reason in _HOURS:
            return show_hours(value)
        if reason is Reason.MEMORY_PER_NODE:
            return f"{value} MiB" if value % 1024 else f"{value // 1024} GiB"
    return "" if value is None else str(value)


def _helps(world: World, job: WaitingJob, state: State, best: Option | None) -> tuple[Remedy, ...]:
    """Every remedy that lets the job start, and sooner than it would; the soonest first."""
    found = []
    for place in world.places:
        found += [_timed(world, one) for one in remedies(job, place, state.funds, world.now_s)]
    if best is not None:
        found = [one for one in found if one.start_s is not None and one.start_s < best.start_s]
        found += _shorter_now(world, job, best)
    found.sort(key=_usefulness)
    return tuple(found[:MOST_REMEDIES])


def _timed(world: World, one: Remedy) -> Remedy:
    """With the expected start at its partition, where no further hours are needed."""
    if one.funds is not None:
        return one
    for option in world.look(one.job).options:
        candidate = world.candidate(option)
        if (candidate.site, candidate.partition) == (one.site, one.partition):
            return replace(one, start_s=option.start_s)
    return one


def _shorter_now(world: World, job: WaitingJob, best: Option) -> list[Remedy]:
    """A shorter wall time with which the job would start now, where it waits as things are."""
    found = []
    if best.start_s > world.now_s:
        for option in world.look(job).options:
            longest_s = world.longest_now_s(option)
            if longest_s is not None and SHORTEST_S <= longest_s < option.shaped.walltime_s:
                one = remedy(job, replace(job, walltime_s=longest_s), world.places[option.at])
                found.append(replace(one, start_s=world.now_s))
    return found


def _usefulness(one: Remedy) -> tuple[bool, bool, int, int, str, str]:
    """No further hours, then a known start, the sooner, the fewer changes, by name."""
    changes = len(one.options) + len(one.without)
    timed = one.start_s is not None
    return one.funds is not None, not timed, one.start_s or 0, changes, one.site, one.partition
