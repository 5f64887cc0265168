"""How long a new person takes from the hub's address to a first job that runs.

Headless Chromium, a real OpenID provider, a real Slurm site. Each run is a person whom the hub has
never seen: log in with the organisation, ask for a starter, run a first job, see that it runs.
Printed for each: seconds until logged in, granted, submitted, running; then half and 95 of 100
(the value that 95 % do not exceed), and the clicks and typed fields after the log-in. Letters are
typed 30 ms apart; reading is not counted. The time of the machine's own work, so a slower machine
takes longer.

    python bench/first_job.py [--people 20] [--most 60] [--json]

Needs root (it starts a cluster of its own, as the tests do). Ends with 1 when 95 of 100 took
longer than --most seconds, or a run needed more than 6 clicks or 3 typed fields.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import components  # noqa: E402
from tests.walk.first_job import (  # noqa: E402
    MOST_CLICKS,
    MOST_TYPED,
    Walked,
    ended_well,
    first_job,
    place_for,
)


def walk(people: list[str], slurm: components.Slurm, root: Path, folder: Path) -> list[Walked]:
    """One after the other, each in a browser without cookies."""
    from playwright.sync_api import sync_playwright

    done = []
    with place_for(people, slurm, root, folder) as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=components.find_chromium(), args=list(components.CHROMIUM_ARGS)
        )
        for person in people:
            context = browser.new_context()
            page = context.new_page()
            one = first_job(page, place, person)
            done.append(one)
            print(
                f"{one.person}: logged in {one.logged_in_s:.1f} s, granted {one.granted_s:.1f} s,"
                f" submitted {one.submitted_s:.1f} s, running {one.running_s:.1f} s;"
                f" {one.clicks} clicks, {len(one.typed)} typed fields",
                file=sys.stderr,
                flush=True,
            )
            if person == people[-1]:
                ended_well(page, place, one)
            context.close()
        browser.close()
    return done


def quantile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--most", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    settings = {name: os.environ[name] for name in ("BASE_PORT",) if name in os.environ}
    slurm = components.start_slurm(**settings)
    folder = Path(tempfile.mkdtemp(prefix="mtb-first-"))
    folder.chmod(0o755)
    try:
        with tempfile.TemporaryDirectory(prefix="mtb-hub-") as root:
            people = [f"person-{number:02}" for number in range(1, asked.people + 1)]
            done = walk(people, slurm, Path(root), folder)
    finally:
        slurm.service.close()
        shutil.rmtree(folder, ignore_errors=True)
    seconds = [one.running_s for one in done]
    told = {
        "runs": len(done),
        "p50_s": round(quantile(seconds, 50), 1),
        "p95_s": round(quantile(seconds, 95), 1),
        "most_s": round(max(seconds), 1),
        "clicks": max(one.clicks for one in done),
        "typed_fields": max(len(one.typed) for one in done),
    }
    if asked.json:
        print(json.dumps({**told, "each": [asdict(one) for one in done]}))
    else:
        print(
            f"{told['runs']} new people: half had a running job after {told['p50_s']} s, 95 % after"
            f" {told['p95_s']} s, the last after {told['most_s']} s; {told['clicks']} clicks and"
            f" {told['typed_fields']} typed fields after the log-in"
        )
    few = told["clicks"] <= MOST_CLICKS and told["typed_fields"] <= MOST_TYPED
    return 0 if told["p95_s"] < asked.most and few else 1


if __name__ == "__main__":
    sys.exit(main())
