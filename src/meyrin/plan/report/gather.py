"""Everything that the report is made from, gathered from outcome folders and the scenario.

Works out no difference and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from meyrin.domain.errors import InvalidInput
from meyrin.plan import measures
from meyrin.plan.report import byhour
from meyrin.plan.scenario import AS_IS

if TYPE_CHECKING:
    from meyrin.plan.scenario import Scenario
    from meyrin.plan.study import Point, Range

KEYS = ("option", "size_rule", "seed")
FAIR = ("gini", "best_to_worst", "wait_longest_to_shortest")


@dataclass(frozen=True, slots=True)
class Choice:
    """An option as the report names it. `on` is the label of what it builds on."""

    label: str
    title: str
    on: str


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """All numbers of a study, by seed; see `measures` for the columns of `per_seed`.

    `served` has the work of each country with its contribution, `swings` the points at ends of
    ranges: `per_seed`'s rows for all jobs, with the columns `quantity` and `end` before them.
    `focus` is the option that the page is about. `played` has the note of each option's first
    point, `day` and `asked` the hours of a day (`byhour`), of the first seed and size rule.
    """

    name: str
    facility: str
    begin: str
    hours: int
    warm_up_s: int
    promise_s: int
    rules: tuple[str, ...]
    seeds: tuple[int, ...]
    options: tuple[Choice, ...]
    focus: str
    per_seed: pd.DataFrame
    fair: pd.DataFrame
    served: pd.DataFrame
    swings: pd.DataFrame
    sites: Mapping[str, list[dict[str, Any]]]
    played: Mapping[str, Mapping[str, Any]]
    day: pd.DataFrame
    asked: pd.DataFrame
    ranges: tuple[Range, ...]
    sources: Mapping[str, str]
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    scenario: str
    version: str
    command: str

    @property
    def rule(self) -> str:
        """The size rule of single figures: the scenario's first."""
        return self.rules[0]

    def choice(self, label: str) -> Choice:
        return next(each for each in self.options if each.label == label)

    def chain(self, label: str) -> list[str]:
        """From as-is to this option, each built on the one before."""
        steps = [label]
        while steps[0] != AS_IS:
            steps.insert(0, self.choice(steps[0]).on)
        return steps


def choices(scenario: Scenario, points: Iterable[Point]) -> tuple[Choice, ...]:
    """The options of a study by label, in its order."""
    by_name = {option.name: option for option in scenario.file.option}
    titles = {site.name: site.title or site.name for site in scenario.facility.site}
    found: dict[str, Choice] = {}
    for point in points:
        if point.label in found:
            continue
        if point.option == AS_IS:
            found[AS_IS] = Choice(AS_IS, "Everything stays as it is", AS_IS)
            continue
        option = by_name[point.option]
        title = option.title or option.name
        if point.at:
            title = f"{title}: {titles[point.at]}"
        found[point.label] = Choice(point.label, title, option.on)
    return tuple(found.values())


def focus_of(options: Sequence[Choice], asked: str) -> str:
    """The option that was asked for, else the one with most steps behind it, the first of such."""
    labels = [each.label for each in options]
    if asked:
        if asked not in labels[1:]:
            raise InvalidInput(
                f"--focus {asked!r} is no option of this scenario",
                hint=f"one of: {', '.join(labels[1:])}",
                field="--focus",
                value=asked,
            )
        return asked
    on = {each.label: each.on for each in options}

    def depth(label: str) -> int:
        return 0 if label == AS_IS else 1 + depth(on[label])

    return max(labels, key=depth)


def gather(
    scenario: Scenario,
    points: Sequence[Point],
    folders: Sequence[Path],
    ranges: Sequence[Range],
    *,
    focus: str = "",
    command: str = "",
    told: Callable[[int, int], None] = lambda _done, _total: None,
    read: Callable[[Path], measures.Measured] = measures.kept,
) -> Study:
    """The study of these points, whose outcomes lie in `folders`; `told` hears how far it is.

    `read` gives what is measured of a point: as the point left it, or worked out again."""
    weights = {one.country: one.weight.at() for one in scenario.file.demand}
    options = choices(scenario, (point for point in points if not point.ends))
    rows, fair, served, swings = [], [], [], []
    sites: dict[str, list[dict[str, Any]]] = {}
    about: Mapping[str, Any] = {}
    first: dict[str, tuple[Path, measures.Measured]] = {}
    for done, (point, folder) in enumerate(zip(points, folders, strict=True), 1):
        found = read(folder)
        measured = found.rows
        keys: dict[str, Any] = dict(zip(KEYS, (point.label, point.sizes, point.seed), strict=True))
        if point.ends:
            (quantity, end), *_ = point.ends
            one = measured[measured["dimension"] == measures.ALL]
            swings.append(_led(one, {"quantity": quantity, "end": end} | keys))
        else:
            about = about or found.about
            sites.setdefault(point.label, list(found.about["sites"]))
            first.setdefault(point.label, (folder, found))
            given = contributions(found.about["sites"], weights)
            rows.append(_led(measures.mask(found), keys))
            fair.append({**keys, **measures.fairness(measured, given)})
            mine = measured[measured["dimension"] == "country"]
            curve = measures.lorenz(mine.set_index("slice")["served_acch"].to_dict(), given)
            served.append(_led(curve, keys))
        told(done, len(points))
    return Study(
        name=scenario.file.name,
        facility=scenario.facility.name,
        begin=str(about["begin"]),
        hours=int(about["hours"]),
        warm_up_s=int(about["warm_up_s"]),
        promise_s=int(about["promise_s"]),
        rules=tuple(scenario.file.sizes),
        seeds=tuple(scenario.file.seeds),
        options=options,
        focus=focus_of(options, focus),
        per_seed=pd.concat(rows, ignore_index=True),
        fair=pd.DataFrame(fair),
        served=pd.concat(served, ignore_index=True),
        swings=pd.concat(swings, ignore_index=True) if swings else pd.DataFrame(),
        sites=sites,
        played={label: found.about for label, (_, found) in first.items()},
        day=_day(first, focus_of(options, focus)),
        asked=byhour.demand_by_hour(first[AS_IS][0], about),
        ranges=tuple(ranges),
        sources=_sources(scenario),
        inputs=about["inputs"],
        files={"scenario.toml": scenario.text, "facility.toml": scenario.facility_text},
        scenario=Path(scenario.path).name,
        version=str(about["meyrin"]),
        command=command,
    )


def _day(first: Mapping[str, tuple[Path, measures.Measured]], focus: str) -> pd.DataFrame:
    """A day at the sites, for each option worth showing."""
    days = [
        _led(byhour.sites_by_hour(folder), {"option": label})
        for label, folder in _days(first, focus)
    ]
    return pd.concat(days, ignore_index=True)


def _days(
    first: Mapping[str, tuple[Path, measures.Measured]], focus: str
) -> Iterator[tuple[str, Path]]:
    """As things are, the focus, and the option that moves most energy, if any does."""
    moved = {
        label: float(found.rows.loc[found.rows["dimension"] == measures.ALL, "moved_mwh"].iloc[0])
        for label, (_, found) in first.items()
    }
    most = max(moved, key=lambda label: moved[label])
    for label in first:
        if label in (AS_IS, focus) or (label == most and moved[most] > 0):
            yield label, first[label][0]


def _led(frame: pd.DataFrame, first: Mapping[str, Any]) -> pd.DataFrame:
    """The frame behind columns that say the same in each row."""
    led = frame.copy()
    for at, (name, value) in enumerate(first.items()):
        led.insert(at, name, value)
    return led


def _sources(scenario: Scenario) -> dict[str, str]:
    """What the names of sources stand for."""
    both = {**scenario.facility.source, **scenario.file.source}
    return {
        name: " ".join(part for part in (one.title, one.address) if part)
        for name, one in both.items()
    }


def contributions(
    sites: Iterable[Mapping[str, Any]], weights: Mapping[str, float]
) -> dict[str, float]:
    """What each country gave: H100-equivalents of the parts of sites that are its own.

    A part that several countries share counts for each by its weight in the demand; a part that
    is open to all counts for all countries of the demand.
    """
    given = dict.fromkeys(weights, 0.0)
    for site in sites:
        worth = float(site["accelerators"]) * float(site["speed"])
        for owner in site["owners"]:
            codes = [code for code in owner["countries"] if code in weights] or (
                [] if owner["countries"] else list(weights)
            )
            total = sum(weights[code] for code in codes)
            for code in codes:
                part = weights[code] / total if total else 1 / len(codes)
                given[code] += worth * float(owner["share"]) * part
    return given
