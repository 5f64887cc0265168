"""`meyrin plan impact`: from a scenario to a folder, stopped, gone on, and refused."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub
from tests.components import ROOT
from tests.plan import studies

from meyrin.cli.exits import DONE, USAGE
from meyrin.cli.main import run
from meyrin.cli.plan_jobs import like
from meyrin.cli.session import Session
from meyrin.domain.errors import BadDirective


@pytest.fixture
def meyrin_at_hub(meyrin: Meyrin) -> Meyrin:
    return meyrin


def alone(*words: str | Path) -> int:
    return run([str(word) for word in words], Session(environ={}))


def test_a_study_is_run_once_and_redrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = studies.cut(tmp_path / "in", options=("packing",))
    out = tmp_path / "out"
    asked = ("plan", "impact", scenario, "--out", out, "--cores", "1", "--no-ranges")
    assert alone(*asked, "--json") == DONE
    told = json.loads(capsys.readouterr().out)
    assert told["focus"] == "packing"
    assert (out / "report.html").is_file()
    assert told["inputs"].keys() == {"scenario.toml", "facility.toml"}
    (out / "figures" / "waterfall.svg").unlink()
    assert alone(*asked, "--figure", "waterfall") == DONE
    said = capsys.readouterr()
    assert "8 points (8 kept from before)" in said.err
    assert "MiB of memory" in said.err
    assert (out / "figures" / "waterfall.svg").is_file()


@pytest.mark.parametrize("kind", ["facility", "scenario"])
def test_the_schema_is_the_one_beside_the_examples(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert alone("plan", "schema", kind) == DONE
    beside = ROOT / "examples" / f"{kind}.schema.json"
    assert capsys.readouterr().out == beside.read_text("utf-8")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--on", "moon"], "no place"),
        (["--focus", "cake"], "no option of this scenario"),
        (["--cores", "0"], "--cores is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    scenario = studies.cut(tmp_path / "in")
    assert alone("plan", "impact", scenario, "--out", tmp_path / "out", *more) == USAGE
    said = capsys.readouterr().err
    assert words in said
    assert "hint:" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = studies.cut(tmp_path / "in")
    assert alone("plan", "impact", scenario, "--out", tmp_path / "in") == USAGE
    assert "holds other things" in capsys.readouterr().err


def test_a_study_is_put_on_the_hubs_pages(
    meyrin_at_hub: Meyrin, hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "points" / "ab").mkdir(parents=True)
    (out / "points" / "ab" / "jobs.parquet").write_bytes(b"large")
    (out / "tables").mkdir()
    (out / "tables" / "map.csv").write_text("a\n")
    (out / "report.html").write_text("<h1>Pooling</h1>")
    assert meyrin_at_hub("plan", "publish", str(out), "--project", "home") == USAGE
    assert "holds no whole study" in capsys.readouterr().err
    for torn in ("[]", '{"kind": "impact"}'):
        (out / "study.json").write_text(torn)
        assert meyrin_at_hub("plan", "publish", str(out), "--project", "home") == USAGE
        assert "holds no whole study" in capsys.readouterr().err
    (out / "study.json").write_text('{"name": "Pooling", "kind": "impact"}')
    assert meyrin_at_hub("plan", "publish", str(out)) == USAGE
    assert "who may read it" in capsys.readouterr().err
    assert meyrin_at_hub("plan", "publish", str(out), "--project", "home") == DONE
    assert "/plans/3/files/report.html" in capsys.readouterr().err
    assert hub.calls[-1] == "POST /plans"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--time=5 --hold", "--hold"),
        ("--dependency=afterok:5", "--dependency=afterok:5"),
        ("--input x", "--input=x"),
        ("--test-only", "--test-only"),
        ("--begin=now+1hour", "counts from now"),
    ],
)
def test_options_that_the_jobs_of_a_sweep_can_not_have_are_refused(options: str, name: str) -> None:
    with pytest.raises(BadDirective) as refused:
        like(options, 1_700_000_000)
    assert name in refused.value.message
    assert "--" in refused.value.hint


def test_a_day_that_was_not_yet_in_1970_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as around:
        around.setenv("TZ", "America/New_York")
        time.tzset()
        with pytest.raises(BadDirective, match="counts from now"):
            like("--begin=today", 1_700_000_000)
    time.tzset()


def test_options_that_they_can_have() -> None:
    asked = like("-A lab --site=alps --gpus=2 -t 60 --begin=2027-01-31T20:00", 1_700_000_000)
    assert (asked.project, asked.sites, asked.walltime_s) == ("lab", ("alps",), 3600)
    assert asked.begin_s == int(datetime(2027, 1, 31, 20).astimezone().timestamp())
