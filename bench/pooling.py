"""What pooling does to waiting: one log on one, four and sixteen times the machine, at four loads.

    python bench/pooling.py [--json] [--seeds N]

The first eight weeks of the KTH log on 100 nodes, EASY, as in the planner's research note; k
copies of the log, each turned round in time, go to k times the nodes. Use is set by stretching
the times of submission; run times stay. Three tables:

- sizes as recorded: k copies of every job, each as large as in the log, shifted by any time;
- the same, shifted by whole days: everybody is at work at the same hours, which the note warns of;
- sizes grown with the machine: as many jobs as one copy has, each k times as large, drawn from
  the copies. At equal use that is the other end: training runs that take what there is.

Beside our 90 % waits stand those of the note, which come from another program (its own 40 lines of
EASY) and one draw of shifts. The log is found by MEYRIN_SHARED.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.outcome import quantile, waits
from meyrin.sim.policy import load
from meyrin.sim.run import on_pool, replay
from meyrin.sim.trace.model import Trace, from_columns
from meyrin.sim.trace.read import read

SHARED = Path(os.environ.get("MEYRIN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
KTH = SHARED / "traces" / "kth-sp2-1996" / "KTH-SP2-1996-2.1-cln.swf.zst"
NODES, DAY = 100, 86400
SPAN_DAYS = 56
POOLS = (1, 4, 16)
USES = (0.6, 0.7, 0.8, 0.9)
RULES = ("as recorded", "as recorded, shifted by whole days", "grown with the machine")
PUBLISHED_H = {  # the note's 90 % waits, hours
    1: (4.5, 9.3, 12.4, 24.0),
    4: (0.2, 0.9, 2.3, 3.7),
    16: (0.0, 0.0, 0.1, 0.9),
}
PUBLISHED_JOBS = 4181

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Weeks:
    """The jobs of eight weeks; submit times from 0, in order."""

    submit: Ints
    size: Ints
    run: Ints
    limit: Ints

    @property
    def load(self) -> float:
        """Use of the recorded machine if every job ran."""
        return float((self.size * self.run).sum()) / (NODES * SPAN_DAYS * DAY)


def eight_weeks(log: Trace) -> Weeks:
    """The first eight weeks, which have as many jobs as the note says."""
    good = (log.run_s > 0) & (log.processors > 0) & (log.processors <= NODES)
    submit, size = log.submit_s[good], log.processors[good]
    limit = np.where(log.limit_s[good] > 0, log.limit_s[good], log.run_s[good])
    run = np.minimum(log.run_s[good], limit)
    order = np.argsort(submit, kind="stable")
    submit, size, run, limit = (each[order] for each in (submit, size, run, limit))
    mine = submit < submit[0] + SPAN_DAYS * DAY
    return Weeks(submit[mine] - submit[0], size[mine], run[mine], limit[mine])


def pooled(weeks: Weeks, copies: int, use: float, rule: str, seed: int) -> Trace:
    """The jobs of `copies` shifted logs on as many times the machine, at this use of it."""
    chance = np.random.default_rng([seed, copies])
    turns = chance.integers(0, SPAN_DAYS * DAY, copies)
    if rule == RULES[1]:
        turns = turns // DAY * DAY
    submit = (weeks.submit[None, :] + turns[:, None]) % (SPAN_DAYS * DAY)
    grown = rule == RULES[2]
    which = np.ones(submit.shape, np.bool_)
    if grown:  # each job once, from one of the copies
        which = np.arange(copies)[:, None] == chance.integers(0, copies, submit.shape[1])[None, :]
    columns = [np.broadcast_to(each, submit.shape)[which] for each in (weeks.size, weeks.run)]
    limit = np.broadcast_to(weeks.limit, submit.shape)[which]
    at = np.round(submit[which] * (weeks.load / use)).astype(np.int64)
    order = np.argsort(at, kind="stable")
    size = columns[0] * (copies if grown else 1)
    return from_columns(
        {
            "job_id": np.arange(1, len(at) + 1),
            "submit_s": at[order],
            "processors": size[order],
            "run_s": columns[1][order],
            "limit_s": limit[order],
        }
    )


def p90_h(trace: Trace, processors: int) -> float:
    outcome = replay(on_pool(trace, load("easy"), processors), "kth", load("easy"),
                     time.process_time)  # fmt: skip
    return quantile(waits(outcome), 90) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one object instead")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the copies' shifts")
    asked = parser.parse_args()
    weeks = eight_weeks(read(KTH))
    begun = time.process_time()
    found: dict[str, dict[int, list[list[float]]]] = {
        rule: {
            copies: [
                [p90_h(pooled(weeks, copies, use, rule, s), NODES * copies)
                 for s in range(asked.seeds)]
                for use in USES
            ]
            for copies in POOLS
        }
        for rule in RULES
    }  # fmt: skip
    spent = time.process_time() - begun
    if asked.json:
        told = {"jobs": len(weeks.submit), "recorded_use": weeks.load, "uses": USES}
        told |= {"p90_wait_h": found, "published_p90_wait_h": PUBLISHED_H, "cpu_s": spent}
        print(json.dumps(told))
        return
    print(f"KTH, {len(weeks.submit):,} jobs of eight weeks"
          f" (the note: {PUBLISHED_JOBS:,}), recorded use {weeks.load:.2f}; EASY, {NODES} nodes a"
          f" copy; {asked.seeds} draws of shifts; {spent:.1f} CPU s")  # fmt: skip
    head = "".join(f"{f'use {use:.2f}':>20}" for use in USES)
    for rule in RULES:
        print(
            f"\n90 % wait in hours, sizes {rule}: mean of draws (lowest to highest)\n{'':10}{head}"
        )
        for copies in POOLS:
            cells = (
                f"{np.mean(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in found[rule][copies]
            )
            print(f"pool x{copies:<4}" + "".join(f"{cell:>20}" for cell in cells))
            if rule != RULES[2]:
                told = "".join(f"{hours:>20.1f}" for hours in PUBLISHED_H[copies])
                print(f"{'  note':10}{told}")


if __name__ == "__main__":
    main()
