"""What no run of an installed suite could pass is said while a plan is written."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from tests.components import ROOT
from tests.docs.pages import blocks
from tests.suites.gate.planted import claim, plan

from meyrin.suites.gate import drawn, simulate
from meyrin.suites.gate.plan import Claim, Exclusion, Plan
from meyrin.suites.suite import find

HOW_TO = ROOT / "docs" / "how-to" / "gate.md"


def _claim(**changed: Any) -> Claim:
    """One of the capability suite that its runs can pass."""
    told = {"suite": "capability", "version": "1.0.0", "metric": "exact", "clusters": 126}
    return claim(**told | {"samples": 300, "seed": 7} | changed)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"task": "sums", "samples": 150, "clusters": 50}, ""),
        ({"suite": "somewhere-else", "version": "9"}, ""),
        ({"version": "1.0"}, "claim adds: capability is 1.0.0 here, and the plan has 1.0"),
        ({"metric": "correct"}, "claim adds: capability has no score correct; it has exact"),
        (
            {"task": "algebra"},
            "claim adds: capability has no task algebra; it has orders, successors, sums",
        ),
        (
            {"clusters": 127},
            (
                "claim adds: of 300 samples, capability draws 300 samples in 126 clusters "
                "with seed 7, and the plan has 127 clusters"
            ),
        ),
        (
            {"samples": 400},
            (
                "claim adds: of 400 samples, capability draws 376 samples in 155 clusters "
                "with seed 7, and the plan has 126 clusters"
            ),
        ),
        (
            {"samples": 299, "exclude": (Exclusion(id="sum-0-0-9", reason="odd"),)},
            "claim adds: capability draws no sample sum-0-0-9 that could be left out",
        ),
    ],
)
def test_what_the_installed_suite_can_not_give(changed: dict[str, Any], says: str) -> None:
    assert drawn.misfits(plan(_claim(**changed))) == ([says] if says else [])


def test_of_inspects_own_tasks_only_the_version_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = find("capability")
    task = replace(known.tasks[0], items="", inspect="tasks:agents", scores=())
    monkeypatch.setattr(drawn, "find", lambda _name: replace(known, tasks=(task,)))
    assert drawn.misfits(plan(_claim(metric="anything", clusters=300))) == []
    assert len(drawn.misfits(plan(_claim(version="2")))) == 1


def test_the_plan_of_the_how_to_page_can_pass() -> None:
    """As it stands there: its suites draw what it asks for, and its power is what it states."""
    (told,) = [block.text for block in blocks(HOW_TO) if block.text.startswith("gate = ")]
    keys = {"PUBLIC KEY OF ADA": "a" * 64, "PUBLIC KEY OF GRACE": "b" * 64}
    for word, key in keys.items():
        told = told.replace(word, key)
    made = Plan.model_validate(tomllib.loads(told))
    assert drawn.misfits(made) == []
    stated = {each.name: each for each in made.claim}
    for cell in simulate.table(made, 400, 1):
        if cell.at == "alternative" and cell.icc == stated[cell.claim].icc:
            assert cell.once >= stated[cell.claim].power - 2 * cell.once_error
    runs = drawn.run_words(made)
    assert [run.split(" --plan")[0] for run in runs] == [
        "meyrin suite run capability --model MODEL --seed 7 --samples 300",
        "meyrin suite run safety --model MODEL --seed 7 --samples 360",
    ]
