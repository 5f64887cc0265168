"""Mode files: each fault is named with its file, key and value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.components import ROOT

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.hub.calls.modes.file import read_modes

GOOD = (ROOT / "examples/modes/fast-lane.toml").read_text(encoding="utf-8")
RULE = (ROOT / "examples/modes/starter.toml").read_text(encoding="utf-8")
FAULTS = [
    ("least_h = 10_000", "least_h = 0", "size.least_h is 0"),
    ("least_h = 10_000", "least_h = 60_000", "least_h is 60000, above most_h"),
    ("least_h = 10_000", 'least_h = "many"', "size.least_h is 'many'"),
    ('unit = "accelerator"', 'unit = "gpu"', "size.unit is 'gpu'"),
    ('"working-days"', '"days"', "clock.counts is 'days'"),
    ('"Europe/Luxembourg"', '"Europe/Atlantis"', "no time zone of this name"),
    ('country = "LU"', 'country = "Luxembourg"', "clock.country is 'Luxembourg'"),
    (
        'country = "LU"',
        "cutoffs = [2026-01-01T10:00:00+01:00]\ncountry = 'LU'",
        "leave out the off",
    ),
    ("promise = 4", "promise = 4\nhurry = true", "clock.hurry is no key of this file"),
    ('name = "fast-lane"', 'name = "Fast Lane"', "name is 'Fast Lane'"),
    ('kind = "technical"', 'kind = "dice"', "'dice'"),
    ('kind = "technical"', 'kind = "rule"', "a promise in seconds needs steps of kind rule only"),
    ("months = [1, 2, 3]", "months = []", "months is []"),
]


@pytest.mark.parametrize(("old", "new", "words"), FAULTS, ids=lambda text: str(text)[:20])
def test_a_fault_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    (tmp_path / "m.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        read_modes(tmp_path)
    assert "m.toml" in caught.value.message


def test_all_of_an_award_can_not_wait_for_gates(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(GOOD + gate(60) + gate(40), encoding="utf-8")
    with pytest.raises(InvalidInput, match="usable before any gate"):
        read_modes(tmp_path)


def gate(percent: int, more: str = "") -> str:
    return f"\n[[gate]]\nname = 'more'\npercent = {percent}\nclaim = 'a'\n{more}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + gate(0), "gate[1].percent is 0"),
        (GOOD + gate(30, "reviewer = 'grace'"), "gate[1].reviewer is 'grace'"),
        (GOOD + gate(30, "after_percent = 50") + gate(30), "no gate's part comes before"),
        (RULE + gate(30), "give each gate its reviewer's key"),
    ],
)
def test_a_gate_is_whole(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=re.escape(words)):
        read_modes(tmp_path)


def test_two_modes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(InvalidInput, match="two modes are called fast-lane"):
        read_modes(tmp_path)


def test_an_empty_folder_and_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no mode files"):
        read_modes(tmp_path)
    with pytest.raises(NotFound, match="there is no folder"):
        read_modes(tmp_path / "none")
