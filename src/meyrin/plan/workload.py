"""The jobs of a study: the same for every option of one seed and size rule.

A log is rescaled honestly: growth makes more users, not faster ones. Each home site gets copies of
the log's users, every copy moved in time by a whole number of days of its own (the log is a ring),
as many as bring the load that the scenario says; of the last copy only some users stay. Sizes are
as recorded, or all multiplied by the site's size over that of the log's machine; then there are
fewer copies. Copies are independent, so bursts that everybody has at once are understated.

Everything is drawn from the seed, the part and the site's name: another site changes nothing here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from meyrin.domain.errors import InvalidInput
from meyrin.plan import generate
from meyrin.plan.fitted import Fit, draw
from meyrin.plan.scenario import Part, ScenarioFile, SizeRule
from meyrin.plan.world import Numbers, Place
from meyrin.sim.prepare import prepare
from meyrin.sim.trace.model import Trace
from meyrin.sim.trace.read import read

Ints = NDArray[np.int64]
DAY_S = 86400
QUARTER_S = 900


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs in order of submission; `home`, `country`, `group`, `kind` are places in the names."""

    submit: Ints
    size: NDArray[np.int32]
    run: Ints
    limit: Ints
    user: NDArray[np.int32]
    home: NDArray[np.int32]
    country: NDArray[np.int32]
    group: NDArray[np.int32]
    kind: NDArray[np.int32]
    homes: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.submit)


COLUMNS = tuple(field.name for field in fields(Workload))[:9]


@dataclass(frozen=True, slots=True)
class Log:
    """What a part of the workload is made from: a log's jobs in a ring of whole days."""

    submit: Ints
    size: Ints
    run: Ints
    limit: Ints
    user: Ints
    users: int
    span_s: int
    machine: int

    @property
    def load(self) -> float:
        """Accelerators that it needs on average."""
        return float((self.size * self.run).sum()) / self.span_s


def read_log(part: Part, path: Path, number: Callable[[Any], float]) -> Log:
    """The log of a part. InvalidInput where nobody says how large its machine was."""
    trace = read(path, part.format or None)
    each = round(number(part.each)) if part.each is not None else 1
    machine = trace.pool_total()
    machine = machine * each if machine is not None else None
    if part.machine is not None:
        machine = round(number(part.machine))
    if machine is None:
        raise InvalidInput(
            f"{path} doesn't say how large its machine was",
            hint=f"say it in the workload {part.name!r}: machine ="
            ' { value = N, unit = "accelerators", source = "..." }',
            field="machine",
        )
    jobs = prepare(trace, 2**31 - 1)
    limit = _limits(part, number, jobs.duration, jobs.limit)
    first = round(number(part.first)) if part.first is not None else 0
    kept = jobs.submit >= int(jobs.submit.min()) + first if len(jobs) else np.zeros(0, np.bool_)
    if not kept.any():
        raise InvalidInput(f"{path} has no job from {first} s on", field="first")
    begin = int(jobs.submit[kept][0])
    span = -(-(int(jobs.submit[-1]) - begin + 1) // DAY_S) * DAY_S
    users = _users(trace, jobs.row[kept])
    columns = {
        "submit": jobs.submit[kept] - begin,
        "size": jobs.processors[kept] * each,
        "run": jobs.duration[kept],
        "limit": limit[kept],
        "user": users,
    }
    if part.longest is not None:
        columns = in_parts(columns, round(number(part.longest)))
        columns["submit"] %= span
        order = np.argsort(columns["submit"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    return Log(**columns, users=int(users.max()) + 1, span_s=span, machine=machine)


def _limits(part: Part, number: Callable[[Any], float], run: Ints, limit: Ints) -> Ints:
    """Limits as the log says, or where it says nothing and the part does, so much over."""
    if part.overstated is None:
        return limit
    asked = np.ceil(run * number(part.overstated) / QUARTER_S).astype(np.int64) * QUARTER_S
    return np.where(limit > run, limit, np.maximum(asked, run))


def in_parts(jobs: dict[str, Ints], longest: int) -> dict[str, Ints]:
    """Jobs that take longer than `longest` as several, each submitted when the one before would
    end if nobody waited: as people do where a site ends jobs after that time."""
    parts = -(-jobs["run"] // longest)
    job = np.repeat(np.arange(len(parts)), parts)
    before = (np.arange(len(job)) - np.repeat(np.cumsum(parts) - parts, parts)) * longest
    found = {name: column[job] for name, column in jobs.items()}
    found["submit"] = found["submit"] + before
    found["run"] = np.minimum(found["run"] - before, longest)
    last = before == (parts[job] - 1) * longest
    limit = np.minimum(found["limit"] - before, longest)
    found["limit"] = np.where(last, np.maximum(limit, found["run"]), longest)
    return found


def read_fit(path: Path) -> Fit:
    """A fit as `meyrin plan fit` wrote it. InvalidInput, with the way out, for anything else."""
    try:
        return Fit.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InvalidInput(
            f"{path} is no fit: {where}: {first['msg']}",
            hint="make one with: meyrin plan fit LOG --out DIR",
            field="fit",
        ) from None


def _users(trace: Trace, row: Ints) -> Ints:
    """Users by number from 0; where a log names none, its queues, which are groups of users."""
    column = trace.user[row]
    if (column < 0).all():
        column = trace.queue[row]
    numbers: Ints = np.unique(column, return_inverse=True)[1].astype(np.int64)
    return numbers


def draws(seed: int, *words: str) -> np.random.Generator:
    """A stream of chance of its own for a seed and words."""
    keys = [zlib.crc32(word.encode()) for word in words]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *keys])))


@dataclass(frozen=True, slots=True)
class Making:
    """What all parts of a workload have in common."""

    file: ScenarioFile
    number: Numbers
    seed: int
    sizes: SizeRule
    length_s: int
    countries: tuple[str, ...]


def make(
    file: ScenarioFile,
    number: Numbers,
    homes: tuple[Place, ...],
    sources: dict[str, Log | Fit],
    seed: int,
    sizes: SizeRule,
) -> Workload:
    """All jobs of a seed and size rule; `homes` are the sites as they are, `sources` by part."""
    named = {one.country for one in file.demand} | {place.country for place in homes}
    named |= {code for place in homes for owner in place.owners for code in owner[2]}
    countries = tuple(sorted(named))
    making = Making(file, number, seed, sizes, round(number(file.length)), countries)
    made = []
    users = 0
    for kind, part in enumerate(file.workload):
        for at, place in enumerate(homes):
            if place.homed == 0:
                continue
            jobs = _jobs_of(making, part, place, sources.get(part.name))
            count = int(jobs["user"].max()) + 1 if len(jobs["user"]) else 0
            jobs["country"], jobs["group"] = _people(making, part, place, count, jobs["user"])
            jobs["user"] = jobs["user"] + users
            users += count
            for name, value in (("home", at), ("kind", kind)):
                jobs[name] = np.full(len(jobs["submit"]), value, np.int32)
            made.append(jobs)
    return _ordered(made, file, homes, countries)


def _ordered(
    made: list[dict[str, Any]],
    file: ScenarioFile,
    homes: tuple[Place, ...],
    countries: tuple[str, ...],
) -> Workload:
    whole = {name: np.concatenate([jobs[name] for jobs in made]) for name in COLUMNS}
    order = np.argsort(whole["submit"], kind="stable")
    types = {"submit": np.int64, "run": np.int64, "limit": np.int64}
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(whole.pop(name)[order], types.get(name, np.int32))
        for name in COLUMNS
    }
    return Workload(
        **columns,
        homes=tuple(place.name for place in homes),
        countries=countries,
        groups=tuple(group.name for group in file.group),
        kinds=tuple(part.name for part in file.workload),
    )


def _from_log(making: Making, part: Part, place: Place, log: Log) -> dict[str, Any]:
    chance = draws(making.seed, part.name, place.name)
    growth = place.homed / log.machine if making.sizes == "grown" else 1.0
    copies = making.number(part.load) * place.homed / (log.load * growth)
    found: dict[str, list[Any]] = {name: [] for name in ("submit", "size", "run", "limit", "user")}
    days = log.span_s // DAY_S
    for copy in range(int(np.ceil(copies))):
        shift = int(chance.integers(days)) * DAY_S
        stays = chance.random(log.users) < copies - copy
        _copy(found, log, copy, shift, stays, making.length_s)
    jobs = {name: np.concatenate(parts) for name, parts in found.items()}
    if growth != 1.0:
        jobs["size"] = np.maximum(1, np.rint(jobs["size"] * growth).astype(np.int64))
    return jobs


def _copy(
    found: dict[str, list[Any]], log: Log, copy: int, shift: int, stays: Any, length_s: int
) -> None:
    """One copy of the log, as a ring, over the length of the study."""
    kept = stays[log.user]
    ring = (log.submit[kept] + shift) % log.span_s
    for turn in range(-(-length_s // log.span_s)):
        submit = ring + turn * log.span_s
        within = submit < length_s
        found["submit"].append(submit[within])
        for name in ("size", "run", "limit"):
            found[name].append(getattr(log, name)[kept][within])
        found["user"].append(log.user[kept][within] + copy * log.users)


def _jobs_of(making: Making, part: Part, place: Place, source: Log | Fit | None) -> dict[str, Any]:
    if isinstance(source, Log):
        return _from_log(making, part, place, source)
    chance = draws(making.seed, part.name, place.name)
    work = making.number(part.load) * place.homed * making.length_s
    if source is not None:
        growth = place.homed / source.machine if making.sizes == "grown" else 1.0
        return draw(source, chance, work, making.length_s, growth)
    if part.generator == "inference":
        return generate.inference(part, making.number, chance, place, making.length_s)
    grown = place.homed if making.sizes == "grown" else 0
    return generate.batch(part, making.number, chance, work, making.length_s, grown)


def _people(
    making: Making, part: Part, place: Place, users: int, user: Ints
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Country and group of each job, by its user."""
    chance = draws(making.seed, "people", part.name, place.name)
    weights = np.zeros(len(making.countries))
    asking = {one.country: making.number(one.weight) for one in making.file.demand}
    for _, share, codes in place.owners:
        among = dict.fromkeys(codes, 1.0) or asking
        total = sum(among.values())
        for code, weight in among.items():
            weights[making.countries.index(code)] += share * weight / total
    groups = np.array([making.number(group.asked) for group in making.file.group])
    country = chance.choice(len(weights), users, p=weights / weights.sum())
    group = chance.choice(len(groups), users, p=groups / groups.sum())
    return country[user].astype(np.int32), group[user].astype(np.int32)
