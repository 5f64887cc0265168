"""`meyrin trace describe`, on small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.sim.trace.samples import DATA, row, written

from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.cli.trace_words import _marks, duration


def meyrin(*argv: object) -> int:
    return run([str(one) for one in argv], Session(environ={}))


def test_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert meyrin("trace", "describe", DATA / "small.swf") == 0
    out, err = capsys.readouterr()
    lines = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines())
    facts = {name.strip(): text.strip() for name, text in lines.items()}
    assert facts["of"] == "Tröpfchen, Ein Ort, 某地"
    assert facts["thanks to"] == "nobody in particular"
    assert facts["rows"] == "6"
    assert facts["jobs"] == "6, of them usable 4"
    assert facts["unusable"] == "1 no size, 1 no run time"
    assert facts["order"] == "1 row submitted before the row above"
    assert facts["machine"] == "64 processors"
    assert facts["span"] == "7.0 days, 2023-11-14 23:13 to 2023-11-21 23:15"
    assert "1 (25.0 %) ran past" in facts["limits"]
    assert "batch größer" in out
    assert not err


def test_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert meyrin("trace", "describe", DATA / "sacct.txt", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == "sacct"
    assert told["skipped"] == {"job step": 2}
    assert told["usable"] == 3


def test_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "a.svg"
    assert meyrin("trace", "describe", DATA / "helios.csv", "--picture", picture) == 0
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    assert str(picture) in capsys.readouterr().err


def test_a_picture_of_another_kind_is_refused_before_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meyrin("trace", "describe", tmp_path / "none.swf", "--picture", "a.pdf") == 2
    assert "hint: Name a file that ends in .svg or .png." in capsys.readouterr().err


def test_a_bad_row_stops_or_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "log.swf", row(1) + row(2, run="x") + row(3))
    assert meyrin("trace", "describe", path) == 2
    err = capsys.readouterr().err
    assert f"{path}, line 2: field 4 (run time) is 'x', not a whole number" in err
    assert "--on-error skip" in err
    assert meyrin("trace", "describe", path, "--on-error", "skip") == 0
    assert "skipped  1 not a number" in capsys.readouterr().out


def test_errors_are_data_with_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert meyrin("trace", "describe", tmp_path / "none.swf", "--json") == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_found"


def test_mapping_and_format(capsys: pytest.CaptureFixture[str]) -> None:
    own = ("--mapping", DATA / "own.toml")
    assert meyrin("trace", "describe", DATA / "own.csv", *own, "--json") == 0
    assert json.loads(capsys.readouterr().out)["format"] == "our centre"
    assert meyrin("trace", "describe", DATA / "own.csv", "--format", "sfw") == 2
    assert "Formats: swf, sacct, export" in capsys.readouterr().err


def test_a_header_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "log.swf", "; Computer: \x1b[2Jgone\n" + row(1))
    assert meyrin("trace", "describe", path) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_log_without_a_usable_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "log.swf", row(1, run=0))
    assert meyrin("trace", "describe", path) == 0
    assert "1 no run time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (90, "1.5 min"), (3600, "1.0 h"), (2_592_000, "30.0 d")],
)
def test_durations(seconds: int, said: str) -> None:
    assert duration(seconds) == said


def test_marks() -> None:
    assert _marks([0.0, 1.0, 2.0]) == ("▁▅█", 1)
    assert _marks([0.0, 0.0]) == ("▁▁", 1)
    marks, each = _marks([1.0] * 170)
    assert (len(marks), each) == (57, 3)
