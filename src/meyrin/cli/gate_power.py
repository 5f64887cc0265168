"""`meyrin gate power`: a plan's own table of false passes and power, by drawing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.exits import DONE, INTERRUPTED
from meyrin.cli.gate import FILE, read_any
from meyrin.cli.progress import Line
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, say
from meyrin.cli.until import Interruption

if TYPE_CHECKING:
    from meyrin.suites.gate.plan import Plan
    from meyrin.suites.gate.simulate import Cell

TITLES = "CLAIM TRUTH ICC> ALLOWED> PASSES> +-> AT_MOST> IN_ALL_TRIES> +->"


@click.command(
    "power",
    epilog="""\b
Examples:
  meyrin gate power plan.toml
  meyrin gate power plan.json --replicates 20000 --seed 2 --json
""",
)
@click.argument("file", type=FILE, metavar="PLAN")
@click.option(
    "--replicates",
    type=click.IntRange(100, 1_000_000),
    default=2000,
    show_default=True,
    help="Data sets drawn for each line.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@json_option
@pass_session
def power(session: Session, file: Path, replicates: int, seed: int) -> int:
    """How often PLAN would pass a model exactly on the bar, and one as good as its alternative.

    \b
    Needs no model, no run and no accelerator: data are drawn, and decided by the
    rule that will decide. Each claim is drawn at several intra-class correlations
    (ICC), the resemblance of samples within a cluster. +- is one Monte Carlo error.

    \b
    False passes (at the bar) should stay below the level of all tries together;
    power (at the alternative) is to reach what the plan states at its own ICC. AT_MOST is
    what no rule can exceed that keeps its level whatever the resemblance is.
    Ctrl-C prints what has been drawn so far.
    """
    from meyrin.suites.gate import simulate  # noqa: PLC0415 - numpy and scipy

    plan = read_any(file).plan
    total = simulate.cells(plan)
    found: list[Cell] = []
    line = Line(session.clock)
    with Interruption() as interruption:
        drawn = simulate.table(plan, replicates, seed)
        while not interruption.came:
            line.tell(lambda: f"drawing {len(found) + 1} of {total} lines")
            cell = next(drawn, None)
            if cell is None:
                break
            found.append(cell)
    line.close()
    complete = len(found) == total
    _show(session, plan, found, seed, complete=complete)
    if not complete:
        say(f"interrupted: {len(found)} of {total} lines were drawn")
    return DONE if complete else INTERRUPTED


def _show(session: Session, plan: Plan, found: list[Cell], seed: int, *, complete: bool) -> None:
    from meyrin.suites.gate.drawn import misfits  # noqa: PLC0415

    stands = [f"no run can pass as the plan stands: {note}" for note in misfits(plan)]
    notes = _notes(plan, found) + stands
    if session.json:
        answer: dict[str, Any] = {
            "plan": plan.digest,
            "seed": seed,
            "level": plan.level,
            "tries": plan.tries,
            "complete": complete,
            "cells": [asdict(each) for each in found],
            "notes": notes,
        }
        data_json(answer)
        return
    rows = [
        (
            each.claim,
            f"{each.at} {each.truth:g}",
            f"{each.icc:g}",
            f"{each.level * 100:.3g} %",
            f"{each.once * 100:.2f} %",
            f"{each.once_error * 100:.2f}",
            "-" if each.most is None else f"{each.most * 100:.1f} %",
            f"{each.ever * 100:.2f} %",
            f"{each.ever_error * 100:.2f}",
        )
        for each in found
    ]
    data(table(columns(TITLES), rows))
    for note in notes:
        say(clean(note))


def _notes(plan: Plan, found: list[Cell]) -> list[str]:
    """What a reader should see: too many false passes, too little power."""
    notes = []
    claims = {each.name: each for each in plan.claim}
    for cell in found:
        claim = claims[cell.claim]
        if cell.at == "bar" and cell.ever > plan.level + 2 * cell.ever_error:
            notes.append(
                f"{cell.claim}: passes at the bar {cell.ever * 100:.2f} % in all tries at ICC "
                f"{cell.icc:g}, more than the level of {plan.level * 100:g} %"
            )
        stated = cell.at == "alternative" and cell.icc == claim.icc
        if stated and cell.once < claim.power - 2 * cell.once_error:
            notes.append(
                f"{cell.claim}: one attempt passes {cell.once * 100:.1f} % of models at "
                f"{claim.alternative:g}, not the {claim.power * 100:g} % that the plan states; "
                "more clusters, fewer tries or a farther alternative would help"
            )
    return notes
