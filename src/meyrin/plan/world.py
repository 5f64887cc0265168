"""From an option to a world: the sites as they would be, and the rules by which they would run.

Options build on each other (`on`); what none of them names is as the facility file says. Numbers
are taken at the middle of their range, or at the end that a point of a sweep names.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from meyrin.plan import facility as f
from meyrin.plan import quantity as q
from meyrin.plan.scenario import AS_IS, Option, Scenario, found
from meyrin.sim.toml_file import Table

End = Literal["low", "high"]
DAY_S = 86400
FOR_EVER_S = 2**40
STEPS = 4  # a ramp opens a site in so many equal parts


@dataclass(frozen=True, slots=True)
class Gap:
    """Accelerators out of service from `begin_s` to `end_s`, known before. Not `built`: they are
    not there at all, before a site opens or after it closed."""

    begin_s: int
    end_s: int
    accelerators: int
    built: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A site in a world. `power_w` and `capital_millicents_h` are of one accelerator.

    `whole`: jobs take whole nodes. `homed` says how many accelerators the demand at home was made
    for: 0 at a new site.
    """

    name: str
    title: str
    country: str
    shared: bool
    accelerators: int
    homed: int
    known: bool
    kind: str
    speed: float
    node: int
    whole: bool
    power_w: float
    price: float
    carbon: float
    temperature: float
    link_mb_s: float
    capital_millicents_h: float
    gaps: tuple[Gap, ...]
    opened_s: int
    owners: tuple[tuple[str, float, tuple[str, ...]], ...]
    new: bool
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, slots=True)
class World:
    """Places in order of name, and the switches of an option."""

    places: tuple[Place, ...]
    one_queue: bool
    backfill: bool
    hard_shares: bool
    pacing: bool
    filling: bool
    flexible: bool

    @property
    def whole_nodes(self) -> bool:
        """Whether any site gives nothing less than nodes."""
        return any(place.whole for place in self.places)


class Numbers:
    """Quantities of a scenario, at the ends that a sweep names and else as they stand.

    An end is named by the quantity's place: "site.lumi.price", "failures.rate",
    "accelerator.H100.draw"; arrays are named by the name of their element.
    """

    def __init__(self, scenario: Scenario, ends: Mapping[str, End]) -> None:
        self._by_id = {id(number): ends.get(key) for key, number in named(scenario)}

    def __call__(self, number: q.Quantity) -> float:
        """The number in its base unit."""
        return number.at(self._by_id.get(id(number)) or "value")


def named(scenario: Scenario) -> list[tuple[str, q.Quantity]]:
    """Every quantity of both files under a name that people can say."""
    rows = []
    for file in (scenario.facility, scenario.file):
        for loc, number in f.quantities(file):
            rows.append((_name(file, loc), number))
    return rows


def _name(file: Table, loc: f.Loc) -> str:
    words: list[str] = []
    here: object = file
    for part in loc:
        if isinstance(part, int):
            assert isinstance(here, tuple)
            here = here[part]
            words.append(str(getattr(here, "name", getattr(here, "country", part))))
        else:
            here = getattr(here, part)
            words.append(part)
    return ".".join(words)


def chain(scenario: Scenario, name: str) -> list[Option]:
    """The option and those that it builds on, the first first."""
    options = [found(scenario, name)]
    while options[0].on != AS_IS:
        options.insert(0, found(scenario, options[0].on))
    return options


def world_of(scenario: Scenario, option: str, ends: Mapping[str, End], at: str = "") -> World:
    """The world of an option. `at` is the site where `more_at_each` applies."""
    number = Numbers(scenario, ends)
    rules = scenario.file.rules
    begin = scenario.file.begin
    facility = scenario.facility
    whole = rules.whole_nodes
    places = {site.name: _place(site, facility, number, begin, whole) for site in facility.site}
    made = World((), False, rules.backfill, rules.hard_shares, *[False] * 3)
    packed = False
    for step in chain(scenario, option):
        made = replace(
            made,
            one_queue=made.one_queue or step.one_queue,
            backfill=made.backfill if step.backfill is None else step.backfill,
            hard_shares=made.hard_shares and not step.reclaim,
            pacing=made.pacing or step.pacing,
            filling=made.filling or step.filling,
            flexible=made.flexible or step.flexible,
        )
        for new in step.site:
            place = _place(new, facility, number, begin, whole)
            places[new.name] = replace(place, homed=0, new=True)
        packed = packed or step.packing
        for more in step.more:
            places[more.site] = _larger(places[more.site], number(more.share))
        if step.more_at_each is not None and at:
            places[at] = _larger(places[at], number(step.more_at_each))
        for change in step.upgrade:
            places[change.site] = _upgraded(places[change.site], change, facility, number)
    found = (places[name] for name in sorted(places))
    return replace(
        made, places=tuple(replace(one, whole=False) if packed else one for one in found)
    )


def _place(
    site: f.Site, facility: f.FacilityFile, number: Numbers, begin: dt.date, whole: bool
) -> Place:
    kind = next(one for one in facility.accelerator if one.name == site.accelerator)
    count = round(number(site.accelerators))
    power_w = number(kind.draw)
    if site.power is not None:
        power_w = number(site.power) / count / pue(facility, number, number(site.temperature))
    opened_s = (site.opened - begin).days * DAY_S if site.opened else 0
    owners = tuple(
        (owner.owner, number(owner.share), owner.countries or ()) for owner in site.owners
    ) or ((site.name, 1.0, (site.country,)),)
    return Place(
        name=site.name,
        title=site.title or site.name,
        country=site.country,
        shared=site.shared,
        accelerators=count,
        homed=count,
        known=not site.accelerators.unknown,
        kind=kind.name,
        speed=number(kind.speed),
        node=round(number(site.node)),
        whole=whole if site.whole_nodes is None else site.whole_nodes,
        power_w=power_w,
        price=number(site.price),
        carbon=number(site.carbon),
        temperature=number(site.temperature),
        link_mb_s=number(site.link) if site.link is not None else 0.0,
        capital_millicents_h=_capital(facility.money, number, number(kind.price), power_w),
        gaps=_gaps(site, number, begin, count, opened_s),
        opened_s=max(opened_s, 0),
        owners=owners,
        new=False,
        latitude=number(site.latitude) if site.latitude is not None else None,
        longitude=number(site.longitude) if site.longitude is not None else None,
    )


def _gaps(
    site: f.Site, number: Numbers, begin: dt.date, count: int, opened_s: int
) -> tuple[Gap, ...]:
    gaps = []
    if opened_s > 0:
        ramp_s = round(number(site.ramp)) if site.ramp is not None else 0
        parts = min(STEPS, count) if ramp_s else 1
        for part in range(parts):
            size = count * (part + 1) // parts - count * part // parts
            gaps.append(Gap(0, opened_s + ramp_s * part // parts, size, built=False))
    if site.closed is not None:
        last_s = (site.closed - begin).days * DAY_S
        gaps.append(Gap(last_s, FOR_EVER_S, count, built=False))
    for closure in site.maintenance:
        first, last = ((day - begin).days * DAY_S for day in (closure.begin, closure.end))
        size = round(number(closure.accelerators)) if closure.accelerators else count
        if last > 0:
            gaps.append(Gap(max(first, 0), last, min(size, count), built=True))
    return tuple(gaps)


def pue(facility: f.FacilityFile, number: Numbers, temperature: float) -> float:
    """PUE at an outdoor temperature."""
    climate = facility.climate
    above = max(0.0, temperature - number(climate.pue_from))
    return number(climate.pue_base) + number(climate.pue_slope) * above


def _capital(money: f.Money, number: Numbers, price: float, power_w: float) -> float:
    """Millicents by hour of one accelerator: written off evenly, without interest."""
    hours = number(money.life) / 3600
    building = number(money.building) * power_w / 1e6 / (number(money.building_life) / 3600)
    return price / hours + price * number(money.upkeep) / (365 * 24) + building


def _larger(place: Place, share: float) -> Place:
    return _resized(place, place.accelerators + round(place.accelerators * share))


def _resized(place: Place, count: int) -> Place:
    """The place with another number of accelerators; closures keep their part of it."""
    gaps = tuple(
        replace(gap, accelerators=-(-gap.accelerators * count // place.accelerators))
        for gap in place.gaps
    )
    return replace(place, accelerators=count, gaps=gaps)


def _upgraded(place: Place, change: object, facility: f.FacilityFile, number: Numbers) -> Place:
    from meyrin.plan.scenario import Upgrade  # noqa: PLC0415

    assert isinstance(change, Upgrade)
    kind = next(one for one in facility.accelerator if one.name == change.accelerator)
    power_w = number(kind.draw)
    if change.accelerators is not None:
        count = round(number(change.accelerators))
    else:
        count = int(place.accelerators * place.power_w / power_w)
    return replace(
        _resized(place, count),
        kind=kind.name,
        speed=number(kind.speed),
        power_w=power_w,
        capital_millicents_h=_capital(facility.money, number, number(kind.price), power_w),
    )
