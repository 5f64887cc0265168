"""`meyrin gate` without a hub: a plan from making to a decision that replays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.suites.gate.planted import claim, draw, harmless, plan
from tests.suites.gate.planted import run as run_of

from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.suites.facts import Facts, save
from meyrin.suites.gate.plan import Plan, from_data

HOUR_MS = 3_600_000
START_S = 1_900_000_000.0

PLAN = """\
gate = "second-tranche"
family = "tiny"
says = "more hours once it adds"
expires = 2031-12-31
owner = {{ name = "ada", key = "{ada}" }}
reviewer = {{ name = "grace", key = "{grace}" }}

[[claim]]
name = "adds"
says = "it adds numbers"
kind = "capability"
suite = "capability"
version = "1.0"
seed = 7
metric = "correct"
bar = 0.9
alternative = 0.97
cluster = "template"
clusters = 60
samples = 300
"""


class Person:
    """Somebody at a terminal, in a folder, with a clock."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.now_s = folder, capsys, START_S

    def __call__(self, *argv: object) -> int:
        session = Session(environ={}, clock=lambda: self.now_s)
        return run([str(one) for one in argv], session)

    def json(self, *argv: object) -> tuple[int, Any]:
        self.capsys.readouterr()
        code = self(*argv, "--json")
        return code, json.loads(self.capsys.readouterr().out)

    def plan(self, *, sign: bool = True) -> Plan:
        keys = {}
        for name in ("ada", "grace"):
            _, told = self.json("gate", "key", f"{name}.key")
            keys[name] = told["public"]
        (self.folder / "plan.toml").write_text(PLAN.format(**keys), "utf-8")
        assert self("gate", "plan", "make", "plan.toml") == 0
        for name, role in (("ada", "owner"), ("grace", "reviewer")):
            if sign:
                sign_it = ("gate", "plan", "sign", "plan.json", "--as", role)
                assert self(*sign_it, "--key", f"{name}.key") == 0
        told = json.loads((self.folder / "plan.json").read_text("utf-8"))
        return from_data(told["plan"])

    def run(self, made: Plan, rate: float, name: str = "a.facts", **changed: Any) -> Path:
        """A run an hour later, and the clock after it."""
        began_ms = int(self.now_s * 1000) + HOUR_MS
        scores = draw(made.claim[0], rate, 0.0, np.random.default_rng(5))
        told = {"started_ms": began_ms, "ended_ms": began_ms + 5, **changed}
        path = self.folder / name
        save(run_of(made.claim[0], made, scores, **told), path)
        self.now_s += 7200
        return path


@pytest.fixture
def person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    monkeypatch.chdir(tmp_path)
    return Person(tmp_path, capsys)


def test_from_a_plan_to_a_decision_that_replays(person: Person) -> None:
    made = person.plan()
    path = person.run(made, 0.99)
    ledger = ("--ledger", "attempts.jsonl")
    code, told = person.json("gate", "decide", "plan.json", path, *ledger)
    assert (code, told["verdict"], told["action"], told["attempt"]) == (0, "pass", "release", 1)
    code, told = person.json("gate", "replay", "attempts.jsonl", "plan.json", path)
    assert (code, told["replays"]) == (0, True)
    as_a_hub_shows_it = {"project": "lab", "decision": json.loads(_lines(person)[0])}
    (person.folder / "shown.json").write_text(json.dumps(as_a_hub_shows_it), "utf-8")
    assert person("gate", "replay", "shown.json", "plan.json", path) == 0
    worse = person.run(made, 0.5, "b.facts")
    code, told = person.json("gate", "decide", "plan.json", worse, *ledger)
    assert (code, told["verdict"], told["attempt"]) == (3, "fail", 2)
    code, told = person.json("gate", "replay", "attempts.jsonl", "plan.json", path)
    assert code == 3
    assert "verdict" in told["differs"]


def _lines(person: Person) -> list[str]:
    return (person.folder / "attempts.jsonl").read_text("utf-8").splitlines()


def test_words_of_a_decision(person: Person) -> None:
    made = person.plan()
    path = person.run(made, 0.5)
    person.capsys.readouterr()
    assert person("gate", "decide", "plan.json", path, "--ledger", "l") == 3
    out = person.capsys.readouterr().out
    assert "attempt 1: fail." in out
    assert "The next tranche is stopped." in out


def test_the_sixth_attempt_is_refused(person: Person) -> None:
    made = person.plan()
    path = person.run(made, 0.99)
    for _ in range(5):
        assert person("gate", "decide", "plan.json", path, "--ledger", "l") == 0
    code, told = person.json("gate", "decide", "plan.json", path, "--ledger", "l")
    assert code == 3
    assert [each["code"] for each in told["problems"]] == ["level_spent"]


def test_a_changed_ledger_is_no_ledger(person: Person) -> None:
    made = person.plan()
    path = person.run(made, 0.99)
    assert person("gate", "decide", "plan.json", path, "--ledger", "l") == 0
    ledger = person.folder / "l"
    ledger.write_bytes(ledger.read_bytes().replace(b'"spent_ppm":10000', b'"spent_ppm":1'))
    assert person("gate", "decide", "plan.json", path, "--ledger", "l") == 2
    assert "line 1 is no decision, or was changed" in person.capsys.readouterr().err


def test_without_both_signatures_nothing_is_decided(person: Person) -> None:
    made = person.plan(sign=False)
    path = person.run(made, 0.99)
    assert person("gate", "decide", "plan.json", path, "--ledger", "l") == 3
    assert "is not signed by owner and reviewer" in person.capsys.readouterr().err
    assert not (person.folder / "l").exists()


def test_a_run_before_its_plan_is_exploratory_for_ever(person: Person) -> None:
    early_ms = int(START_S * 1000) - 1
    made = person.plan()
    path = person.run(made, 0.99, started_ms=early_ms)
    code, told = person.json("gate", "decide", "plan.json", path, "--ledger", "l")
    assert (code, told["verdict"], told["spent_ppm"]) == (3, "not enough evidence", 0)
    assert [each["code"] for each in told["problems"]] == ["exploratory"]


def test_try_tells_of_past_runs_and_keeps_nothing(person: Person) -> None:
    made = person.plan(sign=False)
    early_ms = int(START_S * 1000) - 5 * HOUR_MS
    paths = []
    for number, rate in enumerate((0.5, 0.99)):
        path = person.run(made, rate, started_ms=early_ms + number, ended_ms=early_ms + 9, seed=3)
        facts = _of_weights(path, f"{number}" * 64)
        paths.append(person.folder / f"{number}.facts")
        save(facts, paths[-1])
    code, told = person.json("gate", "try", "plan.toml", *reversed(paths))
    assert code == 0
    would = [each["would"] for each in told["models"]]
    assert [each["verdict"] for each in would] == ["fail", "pass"]
    assert [each["attempt"] for each in would] == [1, 2]
    assert all(each["hypothetical"] for each in would)
    assert "opens nothing" in would[1]["says"][-1]


def _of_weights(path: Path, weights: str) -> Facts:
    from meyrin.suites.facts import load

    facts = load(path)
    prints = replace(facts.run.fingerprints, weights=weights, plan=None)
    return replace(facts, run=replace(facts.run, fingerprints=prints))


def test_power_prints_the_plans_own_table(person: Person) -> None:
    person.plan(sign=False)
    first = person.json("gate", "power", "plan.json", "--replicates", "200")
    again = person.json("gate", "power", "plan.toml", "--replicates", "200")
    assert first[0] == 0
    assert first[1]["complete"]
    assert first[1]["cells"] == again[1]["cells"]
    at_bar = [each for each in first[1]["cells"] if each["at"] == "bar"]
    assert {each["icc"] for each in at_bar} == {0.0, 0.2, 0.5}
    assert all(each["ever"] <= 0.05 + 2 * each["ever_error"] for each in at_bar)
    better = [each for each in first[1]["cells"] if each["at"] == "alternative"]
    assert all(each["most"] is None for each in at_bar)
    rates = [each for each in better if each["rule"] == "rate"]
    assert rates
    assert all(each["once"] <= each["most"] + 2 * each["once_error"] for each in rates)
    assert any("not the 95 % that the plan states" in note for note in first[1]["notes"])
    assert person("gate", "power", "plan.json", "--replicates", "200") == 0
    assert "bar 0.9" in person.capsys.readouterr().out


def test_a_plan_that_no_run_can_pass_says_so(person: Person) -> None:
    """Its suite is installed here in another version: `make` writes it all the same, and says."""
    person.plan(sign=False)
    assert "no run can pass as the plan stands: claim adds: capability is 1.0.0 here" in (
        person.capsys.readouterr().err
    )
    (person.folder / "plan.json").unlink()
    _, told = person.json("gate", "plan", "make", "plan.toml")
    assert told["notes"] == ["claim adds: capability is 1.0.0 here, and the plan has 1.0"]
    _, told = person.json("gate", "power", "plan.json", "--replicates", "100")
    assert told["notes"][-1].endswith("and the plan has 1.0")


def test_a_changed_plan_is_another_plan(person: Person) -> None:
    person.plan()
    path = person.folder / "plan.json"
    path.write_text(path.read_text("utf-8").replace('"bar": 0.9', '"bar": 0.1'), "utf-8")
    assert person("gate", "plan", "show", "plan.json") == 2
    assert "the digest is not that of the plan" in person.capsys.readouterr().err


def test_a_plan_in_words(person: Person) -> None:
    person.plan()
    person.capsys.readouterr()
    assert person("gate", "plan", "show", "plan.json") == 0
    out = person.capsys.readouterr().out
    assert "signed as owner by ada" in out
    assert "level 5 %, 1 % for each of 5 attempts" in out


def test_mistakes_say_the_way_out(person: Person) -> None:
    person.plan(sign=False)
    assert person("gate", "plan", "make", "plan.toml") == 3
    assert person("gate", "key", "ada.key") == 3
    assert person("gate", "plan", "sign", "plan.json", "--key", "ada.key", "--as", "reviewer") == 4
    assert person("gate", "power", "nowhere.toml") == 5
    (person.folder / "bad.toml").write_text("gate = 5\n", "utf-8")
    assert person("gate", "power", "bad.toml") == 2
    (person.folder / "bad.facts").write_text("no facts", "utf-8")
    assert person("gate", "try", "plan.toml", "bad.facts") == 2


def test_several_claims_in_one_table() -> None:
    from meyrin.suites.gate import simulate

    made = plan(claim(), harmless(), claim(name="counts", suite="counts"))
    found = list(simulate.table(made, 100, 1))
    assert len(found) == simulate.cells(made) == 18
    assert {each.level for each in found if each.claim == "adds"} == {0.01, 0.005}
