"""`meyrin plan impact` without the command line: a scenario in, a folder with a report out.

Chooses which points are run and gathers what they left; how they run is `sweep`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meyrin.plan.scenario import AS_IS
from meyrin.plan.study import Point, Range, contents_of, points, ranges, run_point
from meyrin.plan.sweep import Kept, Place, Standing, sweep
from meyrin.plan.sweep import Point as Run

if TYPE_CHECKING:
    from meyrin.plan.measures import Measured
    from meyrin.plan.report.gather import Study
    from meyrin.plan.scenario import Scenario

POINTS = "points"  # folder of outcomes, below that of the report


@dataclass(frozen=True, slots=True)
class Carried:
    """A point as it travels: with the files that it reads, where the other end has no disk."""

    point: Point
    contents: Mapping[str, bytes] | None


def run_carried(carried: Carried) -> dict[str, bytes]:
    """The outcome of a point, wherever it has come to."""
    return run_point(carried.point, carried.contents)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a study runs. With `vary`, the numbers with a range are moved to both ends: for as-is
    and the focus, the first seed and the first size rule."""

    scenario: Scenario
    focus: str = ""
    vary: bool = True
    command: str = ""


def planned(asked: Asked) -> tuple[list[Point], list[Range]]:
    """All points of a study, those at ends of ranges last; and the ranges."""
    from meyrin.plan.report.gather import choices, focus_of  # noqa: PLC0415 - loads pandas

    scenario = asked.scenario
    plain, known = points(scenario), ranges(scenario)
    focus = focus_of(choices(scenario, plain), asked.focus or scenario.file.focus)
    if not asked.vary:
        return plain, known
    rule, seed = scenario.file.sizes[0], scenario.file.seeds[0]
    moved = [
        point
        for each in known
        for end in ("low", "high")
        for point in points(scenario, ends=((each.name, end),))
        if (point.sizes, point.seed) == (rule, seed) and point.label in (AS_IS, focus)
    ]
    return plain + moved, known


def runs(these: Sequence[Point], *, carry: bool) -> list[Run]:
    """The points as a sweep takes them; with `carry` each brings its files along."""
    contents: dict[tuple[Any, ...], Mapping[str, bytes]] = {}
    found = []
    for point in these:
        files = None
        if carry:
            files = contents.get(point.inputs) or contents_of(point)
            contents[point.inputs] = files
        facts = {
            "option": point.option,
            "at": point.at,
            "sizes": point.sizes,
            "seed": point.seed,
            "ends": [list(end) for end in point.ends],
            "inputs": [[word, sha] for word, _, sha in point.inputs],
        }
        found.append(Run(point.label, facts, Carried(point, files)))
    return found


def study(
    asked: Asked,
    out: Path,
    place: Place,
    clock: Callable[[], float],
    *,
    carry: bool = False,
    told: Callable[[Standing], None] = lambda _: None,
    gathering: Callable[[int, int], None] = lambda _done, _total: None,
    read: Callable[[Path], Measured] | None = None,
) -> Study:
    """Run what misses and gather all; outcomes lie below `out` and are used again. `read` gives
    what is measured of a point, by default as the point left it."""
    from meyrin.plan.measures import kept as kept_measures  # noqa: PLC0415 - loads pandas
    from meyrin.plan.report.gather import gather  # noqa: PLC0415

    these, known = planned(asked)
    kept = Kept(out / POINTS)
    folders = sweep(runs(these, carry=carry), run_carried, kept, place, clock, told)
    return gather(
        asked.scenario, these, folders, known,
        focus=asked.focus or asked.scenario.file.focus, command=asked.command, told=gathering,
        read=read or kept_measures,
    )  # fmt: skip
