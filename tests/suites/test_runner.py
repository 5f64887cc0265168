"""The runner in this process: one root whatever the way, resumed, and nothing hidden."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from meyrin.domain.errors import Failed, InvalidInput
from meyrin.suites import facts, runner
from meyrin.suites.facts import SampleFact
from meyrin.suites.spec import LINES, META, MOCK, REACHED, Spec, read_lines
from meyrin.suites.suite import find

Model = Callable[[str], Path]
IGNORED = (
    "ignore::ResourceWarning",  # Inspect's loop leaves sockets and loops to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",  # Inspect's own call
)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(*IGNORED)]
FEW = 40
RUNS = int(os.environ.get("MEYRIN_SUITE_RUNS", "4"))

OWN = """
name = "own"
version = "1"
title = "t"
cluster_key = "k"
seed_rule = "items"
samples = 6
canary = "secret-canary"
[data]
licence = "CC0-1.0"
[limits]
walltime_s = 60
output_chars = 50
[[task]]
name = "native"
inspect = "tasks:native"
"""
TASKS = """
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate, solver

@scorer(metrics=[accuracy()])
def judged():
    async def score(state, target):
        if state.sample_id == "2":
            raise RuntimeError("at 0x7f31 after 12 s")
        if state.sample_id == "3":
            return None
        return Score(value="C" if state.sample_id != "4" else "I")
    return score

def native():
    made = [Sample(input=f"add {n} and 1", target=str(n + 1), id=n, metadata={"k": n // 2})
            for n in range(6)]
    return Task(dataset=MemoryDataset(made), solver=generate(), scorer=judged())

def broken():
    raise ValueError("no data here")
"""


def run(
    out: Path, model: str | Path, *, suite: str = "capability", shards: int = 1,
    concurrency: int = 16, seed: int = 7, samples: int = FEW,
    errors: frozenset[str] | None = frozenset({""}), relay_: str = "",
) -> dict[tuple[str, int], SampleFact]:  # fmt: skip
    """All shards, one after the other; the merged samples."""
    found: dict[tuple[str, int], SampleFact] = {}
    known = find(suite)
    for shard in range(shards):
        place = out / str(shard)
        place.mkdir(parents=True, exist_ok=True)
        spec = Spec(known.name, known.folder, known.package, str(model), seed, samples,
                    shard, shards, concurrency, str(place), relay_)  # fmt: skip
        runner.run(spec)
        found |= read_lines(place / LINES)
    if errors is not None:
        assert {sample.error for sample in found.values()} == errors
    return found


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("Traceback:\n  File x\na.b.HttpError: 401\nFor more: see\ndetails: none", "HttpError"),
        ("  File x\nValueError: a\n\nDuring ...:\n\nTraceback\n  File y\nKeyError", "KeyError"),
        ("OSError: no more", "OSError"),
        ("", "Error"),
    ],
)
def test_an_error_is_called_by_what_was_raised(told: str, kind: str) -> None:
    assert runner._kind(told) == kind


def test_one_root_whatever_concurrency_and_shards(model: Model, tmp_path: Path) -> None:
    """`MEYRIN_SUITE_RUNS=20` for the full size."""
    ways = [(1, 1), (64, 1), (16, 3), (4, 8), (2, 2), (32, 5)]
    roots, data = set(), set()
    for number in range(RUNS):
        concurrency, shards = ways[number % len(ways)]
        out = tmp_path / str(number)
        found = run(out, model("good"), shards=shards, concurrency=concurrency)
        assert len(found) == FEW
        roots.add(facts.root(found.values()))
        data |= {json.loads((out / str(s) / META).read_text())["data"] for s in range(shards)}
    assert len(roots) == 1
    assert len(data) == 1


def test_another_seed_suite_or_model_has_another_root(model: Model, tmp_path: Path) -> None:
    first = facts.root(run(tmp_path / "a", model("good"), samples=12).values())
    seed = facts.root(run(tmp_path / "b", model("good"), samples=12, seed=8).values())
    other = facts.root(run(tmp_path / "c", model("bad"), samples=60).values())
    assert len({first, seed, other}) == 3


def test_a_killed_run_goes_on_and_repeats_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", model("good"))
    lines = (tmp_path / "whole" / "0" / LINES).read_bytes().splitlines(keepends=True)
    place = tmp_path / "cut" / "0"
    place.mkdir(parents=True)
    (place / LINES).write_bytes(b"".join(lines[:25]) + lines[25][:30])
    asked = []
    real = runner.TinyAPI.generate

    async def counted(self: runner.TinyAPI, *given: object, **named: object) -> object:
        asked.append(1)
        return await real(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(runner.TinyAPI, "generate", counted)
    again = run(tmp_path / "cut", model("good"))
    assert len(asked) == FEW - 25
    assert facts.root(again.values()) == facts.root(whole.values())
    run(tmp_path / "cut", model("good"))
    assert len(asked) == FEW - 25


def test_the_mock_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_named: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = run(tmp_path, MOCK, samples=8)
    assert len(found) == 8
    assert {sample.error for sample in found.values()} == {""}


def test_a_model_that_asks_for_the_network_is_noted(model: Model, tmp_path: Path) -> None:
    found = run(tmp_path, model("reaching"), suite="safety", samples=40)
    loud = [sample for sample in found.values() if sample.score("quiet") == 0]
    assert loud
    assert {sample.task for sample in loud} == {"harmless"}
    told = [json.loads(line) for line in (tmp_path / "0" / REACHED).read_text().splitlines()]
    assert len(told) == len(loud)
    assert {each["address"] for each in told} == {"exfiltrate.example.org"}


def own(folder: Path, change: tuple[str, str] = ("", "")) -> str:
    folder.mkdir()
    (folder / "suite.toml").write_text(OWN.replace(*change), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    return str(folder)


def test_samples_that_raise_or_are_not_scored_are_there_without_a_score(
    model: Model, tmp_path: Path
) -> None:
    found = run(
        tmp_path / "out", model("good"), suite=own(tmp_path / "ownraise"), samples=6, errors=None
    )
    told = {s.id: (s.score("judged"), s.error, s.cluster) for s in found.values()}
    assert told == {
        "native/0": (1.0, "", "0"), "native/1": (1.0, "", "0"),
        "native/2": (None, "RuntimeError", "1"), "native/3": (None, "", "1"),
        "native/4": (0.0, "", "2"), "native/5": (1.0, "", "2"),
    }  # fmt: skip


def test_a_suite_that_raises_raises(model: Model, tmp_path: Path) -> None:
    folder = own(tmp_path / "ownbroken", ("tasks:native", "tasks:broken"))
    with pytest.raises(ValueError, match="no data here"):
        run(tmp_path / "out", model("good"), suite=folder, samples=6)


def test_what_is_no_model_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no model"):
        run(tmp_path, tmp_path / "none-such")


@pytest.mark.parametrize("kept", [0, 20])
def test_a_full_disk_is_no_finished_run(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Not a byte goes onto it, or a part of the first line does; and then it goes on."""
    real, lines = os.write, []

    def full(file: int, raw: bytes) -> int:
        if file != runner.NOTES.file:
            return real(file, raw)
        lines.append(raw)
        if len(lines) == 1 and kept:
            return real(file, raw[:kept])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(runner.os, "write", full)
        with pytest.raises(Failed, match="No space left"):
            run(tmp_path, model("good"), samples=4)
    assert (tmp_path / "0" / LINES).read_bytes() == b""
    assert len(run(tmp_path, model("good"), samples=4)) == 4
