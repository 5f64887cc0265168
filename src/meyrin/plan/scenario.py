"""The scenario file: which facility, which demand, which options, for how long, how often.

Every number has a unit and a source (`plan.quantity`); seeds are names of runs, not numbers of
the world. Never runs anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.plan import facility as f
from meyrin.plan import quantity as q
from meyrin.sim.toml_file import Table, read_toml
from meyrin.sim.toml_lines import Places

SizeRule = Literal["recorded", "grown"]
AS_IS = "as is"


class Failures(Table):
    """What breaks, and what that costs."""

    rate: q.FailureRate = Field(description="unplanned stops of a job, by accelerator and day")
    repair: q.Span = Field(description="until the node is back")
    checkpoint: q.Span = Field(description="time between two checkpoints of a job")
    restart: q.Span = Field(description="time a job needs to load its checkpoint")


class Rules(Table):
    """How sites schedule as things are."""

    backfill: bool = Field(default=True, description="EASY; false: first come, first served")
    whole_nodes: bool = Field(
        default=False, description="a job takes whole nodes, where a site does not say otherwise"
    )
    hard_shares: bool = Field(
        default=False, description="no group may hold more than its share of a site at once"
    )


class Group(Table):
    """A group of users, in every country."""

    name: f.Word = Field(description="its name")
    share: q.Ratio = Field(description="of each site where shares are hard, and of the demand")
    asks: q.Ratio | None = Field(
        default=None, description="of the demand, where it asks for less or more than its share"
    )

    @property
    def asked(self) -> q.Ratio:
        """Its part of the demand."""
        return self.asks or self.share


class Demand(Table):
    """Which countries ask, by their weight."""

    country: f.Country = Field(description="ISO 3166-1 alpha-2")
    weight: q.Ratio = Field(description="of what owners open to all countries")


class Part(Table):
    """One part of the workload: from a trace, or generated."""

    name: f.Word = Field(description="its name")
    trace: str = Field(
        default="", description="a log that `meyrin trace` reads; `shared:` is MEYRIN_SHARED"
    )
    format: str = Field(default="", description="its format, where content does not say it")
    first: q.Span | None = Field(default=None, description="where in the log to begin")
    machine: q.Accelerators | None = Field(
        default=None, description="size of the machine of the log; absent: what the log says"
    )
    each: q.Ratio | None = Field(
        default=None, description="accelerators for one of what the log counts; absent: one"
    )
    generator: Literal["", "batch", "fitted", "inference"] = Field(
        default="", description="without a trace: seeded jobs, or inference load by hour"
    )
    fit: str = Field(default="", description="generated: a fit.json that `meyrin plan fit` wrote")
    median: q.Span | None = Field(default=None, description="generated: half the jobs are shorter")
    spread: q.Ratio | None = Field(
        default=None, description="generated: standard deviation of the logarithm of run times"
    )
    largest: q.Accelerators | None = Field(
        default=None, description="generated: sizes are powers of two up to this one"
    )
    small: q.Ratio | None = Field(
        default=None, description="generated: each doubling of size is so much rarer"
    )
    overstated: q.Ratio | None = Field(
        default=None, description="the limit over the run time, where the log has no limits"
    )
    night: q.Ratio | None = Field(
        default=None, description="inference: the lowest hour over the highest"
    )
    load: q.Ratio = Field(description="of what the sites as they are could do")
    longest: q.Span | None = Field(
        default=None,
        description="longer jobs are asked for in parts of this length, one after the other",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Part:
        if bool(self.trace) == bool(self.generator):
            raise ValueError("say either trace or generator")
        needed = {
            "batch": ("median", "spread", "largest", "small", "overstated"),
            "inference": ("median", "night"),
            "fitted": ("fit",),
        }
        wanted = needed.get(self.generator, ())
        missing = [name for name in wanted if getattr(self, name) in (None, "")]
        if missing:
            raise ValueError(f"generator {self.generator!r} needs {', '.join(missing)}")
        if self.fit and self.generator != "fitted":
            raise ValueError('a fit goes with generator = "fitted"')
        return self

    @property
    def file(self) -> str:
        """The file that its jobs come from; "" for none."""
        return self.trace or self.fit


class Transfer(Table):
    """What it costs to run away from home."""

    data: q.DataEach = Field(description="input that a job brings along")
    use: q.Ratio = Field(description="part of the slower link that it gets")


class Filling(Table):
    """Jobs that may be put off at any time."""

    share: q.Ratio = Field(description="of the users would mark their jobs so")


class Flexible(Table):
    """Jobs that wait when the grid asks."""

    share: q.Ratio = Field(description="of the users would let their jobs wait")
    most: q.Span = Field(description="the longest that a job waits for it")
    called: q.Ratio = Field(description="part of the hours in which the grid asks: the dearest")


class Pacing(Table):
    """Users who ask for more than their part go behind the others."""

    window: q.Span = Field(description="what a user may save up")
    behind: q.Span = Field(description="how far behind jobs over pace go")


class More(Table):
    """More accelerators of the same kind at a site."""

    site: f.SiteName = Field(description="its name")
    share: q.Ratio = Field(description="of what it has")


class Upgrade(Table):
    """Other accelerators on the same power."""

    site: f.SiteName = Field(description="its name")
    accelerator: f.Word = Field(description="the new kind")
    accelerators: q.Accelerators | None = Field(
        default=None, description="absent: as many as the same power feeds"
    )


class Option(Table):
    """One thing that could be done; what it does not name stays as it is."""

    name: f.Word = Field(description="how figures call it")
    title: str = Field(default="", description="one sentence for people")
    on: str = Field(default=AS_IS, description="the option it builds on, defined before")
    one_queue: bool = Field(default=False, description="shared sites take jobs from one queue")
    backfill: bool | None = Field(
        default=None, description="EASY at every site, or at none; absent: as it is"
    )
    packing: bool = Field(default=False, description="jobs share nodes")
    pacing: bool = Field(default=False, description="users over their pace go behind")
    reclaim: bool = Field(default=False, description="idle shares are lent")
    filling: bool = Field(default=False, description="preemptible jobs fill gaps and give way")
    flexible: bool = Field(default=False, description="deferrable jobs follow the power signal")
    more: Annotated[tuple[More, ...], Field(strict=False)] = Field(
        default=(), description="more accelerators"
    )
    more_at_each: q.Ratio | None = Field(
        default=None, description="so much more at one site after the other: an option for each"
    )
    more_at: Annotated[tuple[f.SiteName, ...], Field(strict=False)] = Field(
        default=(), description="the sites of more_at_each; absent: all of the facility"
    )
    upgrade: Annotated[tuple[Upgrade, ...], Field(strict=False)] = Field(
        default=(), description="newer accelerators"
    )
    site: Annotated[tuple[f.Site, ...], Field(strict=False)] = Field(
        default=(), description="new sites, as in the facility file"
    )


class ScenarioFile(Table):
    """A study."""

    name: str = Field(min_length=1, max_length=120, description="how the report calls it")
    facility: str = Field(description="the facility file, beside this one")
    begin: dt.date = Field(description="first day")
    length: q.Span = Field(description="how long")
    warm_up: q.Span = Field(description="the first part, whose jobs are not counted")
    promise: q.Span = Field(description="the wait that is promised")
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = Field(
        description="one run each; more of them make intervals narrower"
    )
    sizes: Annotated[tuple[SizeRule, ...], Field(strict=False, min_length=1)] = Field(
        default=("recorded", "grown"),
        description="job sizes as recorded, or grown with the machine",
    )
    source: dict[str, f.Source] = Field(default_factory=dict, description="as in a facility")
    rules: Rules = Field(default=Rules(), description="how sites schedule as things are")
    failures: Failures = Field(description="what breaks")
    transfer: Transfer = Field(description="what moving costs")
    group: Annotated[tuple[Group, ...], Field(strict=False, min_length=1)] = Field(
        description="groups of users"
    )
    demand: Annotated[tuple[Demand, ...], Field(strict=False, min_length=1)] = Field(
        description="countries"
    )
    workload: Annotated[tuple[Part, ...], Field(strict=False, min_length=1)] = Field(
        description="what is asked for"
    )
    filling: Filling | None = Field(default=None, description="for options with filling")
    flexible: Flexible | None = Field(default=None, description="for options with flexible")
    pacing: Pacing | None = Field(default=None, description="for options with pacing")
    focus: str = Field(
        default="", description="the option that the page is about; absent: the one with most steps"
    )
    option: Annotated[tuple[Option, ...], Field(strict=False)] = Field(
        default=(), description="what could be done; `as is` is always there"
    )


class Scenario(Table):
    """A scenario file with its facility, checked together."""

    path: str
    text: str
    file: ScenarioFile
    facility_path: str
    facility_text: str
    facility: f.FacilityFile


def load_scenario(path: Path) -> Scenario:
    """Both files. NotFound or InvalidInput with file, line and way out."""
    file, text = read_toml(path, ScenarioFile, lines=True)
    beside = path.parent / file.facility
    if not beside.is_file():
        raise NotFound(
            f"{path}:{Places(text).line(('facility',))}: facility: there is no file {beside}",
            hint="a path in a scenario is relative to the scenario; `meyrin facility export` writes"
            " such a file from a hub, examples/small/facility.toml is one to start from",
            field="facility",
            value=file.facility,
        )
    facility, facility_text = f.load_facility(beside)
    f.refuse(list(_complaints(file, facility)), path, text)
    return Scenario(
        path=str(path),
        text=text,
        file=file,
        facility_path=str(beside),
        facility_text=facility_text,
        facility=facility,
    )


def _complaints(file: ScenarioFile, facility: f.FacilityFile) -> Iterator[f.Complaint]:
    yield from f.unsourced(file, {**facility.source, **file.source})
    yield from f.repeated("option", [option.name for option in file.option])
    yield from f.repeated("group", [group.name for group in file.group])
    yield from f.repeated("demand", [one.country for one in file.demand])
    yield from f.repeated("workload", [part.name for part in file.workload])
    yield from _time_complaints(file, facility)
    for what, parts in (
        ("shares", [group.share for group in file.group]),
        ("parts of the demand (asks)", [group.asked for group in file.group]),
    ):
        total = sum(part.at() for part in parts)
        if abs(total - 1) > 0.005:
            yield ("group",), f"the groups' {what} add up to {total:.3g}; they must make 1 (100 %)"
    if len(set(file.seeds)) != len(file.seeds) or min(file.seeds) < 0:
        yield ("seeds",), f"{list(file.seeds)}: seeds are different numbers from 0 on"
    known = [AS_IS]
    if any(option.one_queue or option.site for option in file.option):
        for site in facility.site:
            if site.shared and site.link is None:
                words = (
                    f"{site.name} is shared but has no link, so nobody can say what moving a job"
                )
                yield ("facility",), f"{words} costs; give it a link, or write shared = false"
    for at, option in enumerate(file.option):
        yield from _option_complaints(file, facility, option, ("option", at), known)
        known.append(option.name)
    if file.focus and file.focus not in known[1:]:
        yield ("focus",), f"{file.focus!r} is no option; known: {', '.join(known[1:])}"


def _time_complaints(file: ScenarioFile, facility: f.FacilityFile) -> Iterator[f.Complaint]:
    length = file.length.at()
    if not 3600 <= length <= 20 * 365 * 86400:
        yield ("length",), f"{length / 86400:g} days; from an hour to 20 years is possible"
        return
    if file.warm_up.at() >= length:
        yield (
            ("warm_up",),
            "the warm-up is as long as the whole run; nothing would be counted",
        )
    end = file.begin + dt.timedelta(seconds=length)
    for site in facility.site:
        if site.closed and site.closed <= file.begin:
            words = f"{site.name} closes on {site.closed}, before the scenario begins"
            yield ("begin",), f"{words}; leave it out of the facility, or begin earlier"
        if site.opened and site.opened >= end:
            words = f"{site.name} opens on {site.opened}, after the scenario ends on {end}"
            yield ("length",), f"{words}; leave it out of the facility, or go on longer"


def _option_complaints(
    file: ScenarioFile, facility: f.FacilityFile, option: Option, loc: f.Loc, known: list[str]
) -> Iterator[f.Complaint]:
    if option.name == AS_IS:
        yield (*loc, "name"), f"{AS_IS!r} is what nothing is done to; choose another name"
    if option.on not in known:
        yield (*loc, "on"), f"{option.on!r} is no option before this one; known: {', '.join(known)}"
    for need in ("filling", "flexible", "pacing"):
        if getattr(option, need) and getattr(file, need) is None:
            yield (*loc, need), f"the scenario has no table [{need}] that says how much"
    yield from _new_site_complaints(file, facility, option, loc)
    names = [site.name for site in facility.site]
    places = [("more", at, one.site) for at, one in enumerate(option.more)]
    places += [("more_at", at, name) for at, name in enumerate(option.more_at)]
    places += [("upgrade", at, one.site) for at, one in enumerate(option.upgrade)]
    for field, at, name in places:
        if name not in names:
            words = f"{name!r} is no site of the facility; known: {', '.join(names)}"
            yield (*loc, field, at, "site"), words
    kinds = [kind.name for kind in facility.accelerator]
    for at, change in enumerate(option.upgrade):
        if change.accelerator not in kinds:
            words = f"{change.accelerator!r} is no kind of accelerator; known: {', '.join(kinds)}"
            yield (*loc, "upgrade", at, "accelerator"), words


def _new_site_complaints(
    file: ScenarioFile, facility: f.FacilityFile, option: Option, loc: f.Loc
) -> Iterator[f.Complaint]:
    kinds = [kind.name for kind in facility.accelerator]
    names = [site.name for site in facility.site]
    end = file.begin + dt.timedelta(seconds=file.length.at())
    for at, site in enumerate(option.site):
        place = (*loc, "site", at)
        yield from f.site_complaints(site, place, kinds)
        if site.name in names:
            yield (*place, "name"), f"there is a site {site.name!r} already; choose another name"
        if site.opened and site.opened >= end:
            words = f"opens on {site.opened}, after the end on {end}; it would change nothing"
            yield (*place, "opened"), words


def found(scenario: Scenario, name: str) -> Option:
    """The option of that name. InvalidInput for none."""
    if name == AS_IS:
        return Option(name=AS_IS, title="As things are", on=AS_IS)
    for option in scenario.file.option:
        if option.name == name:
            return option
    known = ", ".join([AS_IS, *(option.name for option in scenario.file.option)])
    raise InvalidInput(f"there is no option {name!r}", hint=f"options: {known}", field="option")
