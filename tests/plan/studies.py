"""A study for tests: the small example, cut down, run and written into a folder."""

from __future__ import annotations

import re
from pathlib import Path

from meyrin.plan.impact import Asked, study
from meyrin.plan.report import write as report
from meyrin.plan.report.gather import Study
from meyrin.plan.scenario import load_scenario
from meyrin.plan.sweep import Here

RANGE = re.compile(r" low = [^,]+, high = [^,]+,")
SMALL = Path(__file__).parents[2] / "examples" / "small"


def cut(into: Path, *, options: tuple[str, ...] = ("packing", "one queue", "new site")) -> Path:
    """The small example with five days, two seeds, two ranges and these options; its scenario."""
    into.mkdir(parents=True, exist_ok=True)
    text = (SMALL / "scenario.toml").read_text()
    text = text.replace("length = { value = 28,", "length = { value = 5,")
    text = text.replace("warm_up = { value = 3,", "warm_up = { value = 1,")
    text = text.replace("seeds = [1, 2, 3]", "seeds = [1, 2]")
    text = text.replace("opened = 2026-03-09", "opened = 2026-03-03")
    text = text.replace("ramp = { value = 4,", "ramp = { value = 1,")
    head, *parts = re.split(r"(?m)^(?=\[\[option\]\])", text)
    kept = [part for part in parts if any(f'name = "{name}"\n' in part for name in options)]
    (into / "scenario.toml").write_text(RANGE.sub("", head) + "".join(kept))
    facility = (SMALL / "facility.toml").read_text().splitlines()
    ranged = ("accelerators = { unknown", "price = { value = 20")
    lines = [one if one.startswith(ranged) else RANGE.sub("", one) for one in facility]
    (into / "facility.toml").write_text("\n".join(lines) + "\n")
    return into / "scenario.toml"


def run(scenario: Path, out: Path, *, vary: bool = True) -> Study:
    """The study of this scenario, in this process, with its report below `out`."""
    asked = Asked(load_scenario(scenario), vary=vary, command="meyrin plan impact x --out out")
    found = study(asked, out, Here(1), lambda: 0.0)
    report.write(out, report.report(found))
    return found
