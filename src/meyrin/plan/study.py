"""The points of a study, and how one of them is run.

    points(load_scenario(path)) -> list[Point]        what there is to run
    run_point(point) -> {file name: bytes}            one of them; see `plan.outcome`

A point is small and can be pickled; `run_point` depends on nothing but the content of the files
that the point names by digest, and gives the same bytes on any core of any machine. Where these
files are somewhere else (a worker without this disk), hand them over as `contents`.

Points of one seed and size rule have the same jobs: options are compared job by job. `ends` sets
quantities to an end of their range, for sweeps: (("site.lumi.price", "high"), ...); `ranges` lists
which quantities have one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from meyrin.domain.errors import InvalidInput
from meyrin.plan import outcome
from meyrin.plan.facility import quantities
from meyrin.plan.files import check_same, digest, place_of
from meyrin.plan.scenario import AS_IS, Part, Scenario, SizeRule, load_scenario
from meyrin.plan.world import End, Numbers, Place, named, world_of
from meyrin.sim.toml_file import key_in_words
from meyrin.sim.toml_lines import Places

Ends = tuple[tuple[str, End], ...]
VERSION = version("meyrin")


@dataclass(frozen=True, slots=True)
class Point:
    """One run. `at` is the site of an option that goes from site to site, else empty.

    `inputs` are all files that count, by the words of the scenario, with path and SHA-256.
    """

    scenario: str
    option: str
    at: str
    sizes: SizeRule
    seed: int
    ends: Ends
    inputs: tuple[tuple[str, str, str], ...]

    @property
    def label(self) -> str:
        """How tables and figures call its option: the same for all seeds, rules and ends."""
        return f"{self.option} at {self.at}" if self.at else self.option

    @property
    def key(self) -> str:
        """A name for its folder: changes when anything that counts changes."""
        known = [[word, sha] for word, _, sha in self.inputs]
        made_of = [self.option, self.at, self.sizes, self.seed, self.ends, known]
        made_of += [outcome.VERSION, VERSION]
        short = sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        words = "".join(c if c.isalnum() else "-" for c in self.label.lower())
        return f"{words}_{self.sizes}_s{self.seed}_{short}"


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity that may be other than it is taken to be, in its own unit."""

    name: str
    unit: str
    low: float
    value: float
    high: float
    unknown: bool
    source: str
    note: str


def ranges(scenario: Scenario) -> list[Range]:
    """Every quantity of the scenario and its facility that has a range, unknown ones too."""
    found = []
    for name, number in named(scenario):
        if not number.ranged:
            continue
        unit = getattr(number, "unit")  # noqa: B009 - each kind of quantity has its own
        each = number.UNITS[unit]
        low, value, high = (number.at(end) / each for end in ("low", "value", "high"))
        found.append(
            Range(name, unit, low, value, high, number.unknown, number.source, number.note)
        )
    return found


def points(scenario: Scenario, *, ends: Ends = ()) -> list[Point]:
    """Every option, size rule and seed, as things are first; pairs stand close together."""
    names = {name for name, _ in named(scenario)}
    for name, end in ends:
        if name not in names or end not in {"low", "high"}:
            raise InvalidInput(f"{name}={end} is no end of a number of {scenario.path}")
    inputs = _inputs(scenario)
    return [
        Point(scenario.path, option, at, sizes, seed, ends, inputs)
        for sizes in scenario.file.sizes
        for seed in scenario.file.seeds
        for option, at in _options(scenario)
    ]


def _options(scenario: Scenario) -> Iterator[tuple[str, str]]:
    yield AS_IS, ""
    for option in scenario.file.option:
        if option.more_at_each is None:
            yield option.name, ""
        else:
            for name in option.more_at or [site.name for site in scenario.facility.site]:
                yield option.name, name


def _inputs(scenario: Scenario) -> tuple[tuple[str, str, str], ...]:
    beside = Path(scenario.path).parent
    words = [Path(scenario.path).name, scenario.file.facility]
    facility = Path(scenario.facility_path).parent
    found = [(word, (beside / word).resolve()) for word in words]
    for shape in (scenario.facility.carbon_shape, scenario.facility.price_shape):
        if shape:
            found.append((shape, place_of(shape, facility).resolve()))
    lines = Places(scenario.text)
    for at, part in enumerate(scenario.file.workload):
        if part.file:
            loc = ("workload", at, "trace" if part.trace else "fit")
            said_in = f"{scenario.path}:{lines.line(loc)}: {key_in_words(loc)}"
            found.append((part.file, place_of(part.file, beside, said_in).resolve()))
    return tuple((word, str(path), digest(path)) for word, path in dict(found).items())


def contents_of(point: Point) -> dict[str, bytes]:
    """The files of a point, to hand over to a worker that has none of them."""
    return {word: Path(path).read_bytes() for word, path, _ in point.inputs}


def run_point(point: Point, contents: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The outcome of a point, by file name. Failed where an input is not what it was."""
    if contents is None:
        return _run(point, {word: Path(path) for word, path, _ in point.inputs})
    with tempfile.TemporaryDirectory(prefix="meyrin-point-") as folder:
        paths = {}
        for at, (word, path, _) in enumerate(point.inputs):
            place = Path(folder) / f"{at}" / Path(path).name
            place.parent.mkdir()
            place.write_bytes(contents[word])
            paths[word] = place
        scenario, facility = point.inputs[0][0], point.inputs[1][0]
        beside = paths[scenario].parent / facility
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(contents[facility])
        return _run(point, paths)


def _run(point: Point, paths: Mapping[str, Path]) -> dict[str, bytes]:
    from meyrin.plan.replay import replay  # noqa: PLC0415 - the compiler takes a while to load

    for word, _, known in point.inputs:
        check_same(paths[word], known)
    scenario = load_scenario(paths[point.inputs[0][0]])
    ends = dict(point.ends)
    number = Numbers(scenario, ends)
    as_is = world_of(scenario, AS_IS, ends)
    world = world_of(scenario, point.option, ends, point.at)
    made_by, made = _workload(point, scenario, number, as_is.places, paths)
    facility = scenario.facility
    shapes = (paths.get(facility.carbon_shape), paths.get(facility.price_shape))
    about = _about(point, scenario, world)
    tables, counts = replay(
        scenario, number, as_is, world, made, made_by, point.seed, shapes, about
    )  # fmt: skip
    about["counts"] = dict(counts)
    tables[outcome.ABOUT_FILE] = outcome.about_bytes(about)
    return tables


def _workload(
    point: Point,
    scenario: Scenario,
    number: Numbers,
    homes: tuple[Place, ...],
    paths: Mapping[str, Path],
) -> tuple[Any, Any]:
    """The jobs of a point, and all that decides them. The last ones are kept: points that follow
    often have the same."""
    from meyrin.plan.workload import make  # noqa: PLC0415 - reads logs with NumPy

    file = scenario.file
    said = tuple((loc, number(one)) for loc, one in quantities(file) if loc[0] in WORKLOAD)
    known = tuple((word, sha) for word, _, sha in point.inputs)
    sites = tuple((one.name, one.country, one.homed, one.node, one.longitude, one.owners)
                  for one in homes)  # fmt: skip
    key = (known, said, sites, point.seed, point.sizes)

    if key not in _KEPT:
        _KEPT.clear()
        logs = {
            part.name: _log(part, paths[part.file], number, known)
            for part in file.workload
            if part.file
        }
        _KEPT[key] = make(file, number, homes, logs, point.seed, point.sizes)
    return key, _KEPT[key]


def _log(part: Part, path: Path, number: Numbers, known: Any) -> Any:
    from meyrin.plan.workload import read_fit, read_log  # noqa: PLC0415

    said = tuple(number(one) for loc, one in quantities(part) if loc[-1] != "load")
    key = (known, part.name, said)
    if key not in _LOGS:
        while len(_LOGS) >= LOGS:
            del _LOGS[next(iter(_LOGS))]
        _LOGS[key] = read_log(part, path, number) if part.trace else read_fit(path)
    return _LOGS[key]


_LOGS: dict[Any, Any] = {}
LOGS = 4
_KEPT: dict[Any, Any] = {}
"""At most one workload of this process: worked out anew for the same key it would be the same."""
WORKLOAD = ("length", "group", "demand", "workload")
"""Tables of a scenario that decide the workload."""


def _about(point: Point, scenario: Scenario, world: Any) -> dict[str, Any]:
    file = scenario.file
    number = Numbers(scenario, dict(point.ends))
    return {
        "version": outcome.VERSION,
        "meyrin": VERSION,
        "key": point.key,
        "label": point.label,
        "option": point.option,
        "at": point.at,
        "sizes": point.sizes,
        "seed": point.seed,
        "ends": dict(point.ends),
        "scenario": file.name,
        "facility": scenario.facility.name,
        "inputs": {word: sha for word, _, sha in point.inputs},
        "begin": file.begin.isoformat(),
        "hours": round(number(file.length)) // 3600,
        "warm_up_s": round(number(file.warm_up)),
        "promise_s": round(number(file.promise)),
        "switches": {
            name: getattr(world, name)
            for name in ("one_queue", "backfill", "whole_nodes", "hard_shares", "pacing", "filling")
        }
        | {"flexible": world.flexible},
        "sites": [_site(place) for place in world.places],
    }


def _site(place: Any) -> dict[str, Any]:
    kept = asdict(place)
    kept.pop("gaps")
    kept["owners"] = [
        {"owner": owner, "share": share, "countries": list(codes)}
        for owner, share, codes in place.owners
    ]
    return kept
