"""Whole scripts: what is parsed equals the request written by hand beside each script.

`NN-name.json` holds what differs from the defaults, or the error's facts; `argv` and `environ`
are the command line and the caller's environment where the case needs them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from meyrin.client.sbatch import ClientOptions, Submission, parse, read_script, script_name
from meyrin.domain.errors import BadDirective
from meyrin.domain.job import (
    ArraySpec,
    Dependency,
    DependencyKind,
    JobRequest,
    Resources,
    WarnSignal,
)

SCRIPTS = Path(__file__).parent / "scripts"
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.sh"))
CWD, HOST, NOW_S = "/home/ada/project", "login1", 1800446400  # 2027-01-20T12:00:00Z


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def submit(name: str, case: dict) -> Submission:
    argv = case.get("argv", [f"{name}.sh"])
    named = script_name(argv)
    assert named == f"{name}.sh"
    script = read_script(SCRIPTS / named)
    return parse(script, argv, case.get("environ", {}), cwd=CWD, host=HOST, now_s=NOW_S)


def wanted(name: str, fields: dict) -> JobRequest:
    """The defaults with the case's fields laid over them."""
    values = dict(fields)
    values["resources"] = Resources(**values.pop("resources", {}))
    if array := values.pop("array", None):
        indices = array.get("indices")
        if indices is None:
            first, last, step = array["range"]
            indices = range(first, last + 1, step)
        values["array"] = ArraySpec(tuple(indices), array.get("max_running", 0))
    if signal := values.pop("warn_signal", None):
        values["warn_signal"] = WarnSignal(**signal)
    values["dependencies"] = tuple(
        Dependency(DependencyKind(one["kind"]), one.get("job"), one.get("element"))
        for one in values.get("dependencies", ())
    )
    values["environment"] = tuple((k, v) for k, v in values.get("environment", ()))
    for field in ("partitions", "sites", "features", "arguments", "output_files"):
        values[field] = tuple(values.get(field, ()))
    text = (SCRIPTS / f"{name}.sh").read_text()
    standard = {
        "name": f"{name}.sh",
        "submit_dir": CWD,
        "submit_host": HOST,
        "stdout": "slurm-%A_%a.out" if "array" in values else "slurm-%j.out",
    }
    return JobRequest(script=text, **{**standard, **values})


def test_there_are_forty_and_more():
    assert len(NAMES) >= 40
    assert {path.stem for path in SCRIPTS.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_script(name):
    case = json.loads((SCRIPTS / f"{name}.json").read_text())
    if "error" in case:
        with pytest.raises(BadDirective) as caught:
            submit(name, case)
        facts = {**caught.value.facts, "hint": caught.value.hint}
        assert {key: facts[key] for key in case["error"]} == case["error"]
        assert caught.value.hint
        where = case["error"]["line"]
        assert where is None or f"line {where}" in caught.value.message
        return
    submission = submit(name, case)
    assert submission.request == wanted(name, case["request"])
    client = {k: tuple(v) if isinstance(v, list) else v for k, v in case.get("client", {}).items()}
    assert submission.client == ClientOptions(**client)
    assert submission.notes == tuple(case.get("notes", ()))
