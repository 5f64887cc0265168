"""The compiled core: ready before the first job, and not loaded where nobody asks for anything."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest
import structlog
from tests.components import ROOT
from tests.engine.states_of_the_world import NOW, make_policy, make_state
from tests.hub.plumbing.test_bell import until

import meyrin
from meyrin.engine import late
from meyrin.engine.late import Late
from meyrin.hub.broker import kernels
from meyrin.hub.worker import Worker

IDLE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from tests.hub import facility
from meyrin.hub.worker import Worker

url, folder = sys.argv[1:]
hub = facility.make(url, Path(folder))
hub.site("alps", facility.CPU)
hub.award("lab")
loaded = lambda: [name for name in ("numpy", "numba", "llvmlite", "psycopg") if name in sys.modules]
worker = Worker(hub.database)
worker.start()
said = [hub.client("ada").get(path).status_code for path in ("/api/v1/jobs", "/api/v1/policy")]
placed = [hub.step(), hub.step()]
worker.stop()
idle = loaded()
job = hub.submit()
hub.steps()
few = loaded()
hub.site("atlas", replace(facility.CPU, nodes=5_000))
other = hub.submit()
hub.steps()
print(json.dumps([said, placed, idle, few, loaded(), hub.state(job), hub.state(other)]))
hub.close()
"""


def test_an_idle_hub_loads_no_numpy_and_one_with_little_to_decide_no_compiler(
    sqlite_hub_url, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", IDLE, sqlite_hub_url, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    said, placed, idle, few, many, *states = json.loads(done.stdout.splitlines()[-1])
    assert said == [200, 200]
    assert placed == [0, 0]
    assert idle == []
    assert few == ["numpy"]
    assert many == ["numpy", "numba", "llvmlite"]
    assert states == ["placed", "placed"]


def test_what_is_compiled_ahead_is_all_that_a_decision_needs():
    from meyrin.engine import room, timeline
    from meyrin.engine.explain import explain

    timeline.warm()
    before = signatures(timeline), signatures(room)
    assert before[0]
    for seed in range(200):
        rng = random.Random(seed)
        state, policy = make_state(rng), make_policy(rng)
        explain(rng.choice(state.waiting), state, policy, NOW)
    assert (signatures(timeline), signatures(room)) == before


def signatures(module):
    return {
        name: list(one.run.signatures)
        for name, one in vars(module).items()
        if isinstance(one, Late) and one.__module__ == module.__name__
    }


# --- in the background


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and a compiler that only says that it was there."""
    monkeypatch.setenv("MEYRIN_CACHE", str(tmp_path / "cache"))
    compile_nothing(monkeypatch, "p = b / 'kernels' / 'x'; p.mkdir(parents=True)")
    return tmp_path / "cache"


def compile_nothing(monkeypatch, act):
    begin = "import os, pathlib; b = pathlib.Path(os.environ['MEYRIN_CACHE'])"
    monkeypatch.setattr(kernels, "_COMPILE", f"{begin}; {act}")


def running(seconds):
    """The hub runs on."""
    time.sleep(seconds)
    return False


def prepared(wait=running):
    """What the log says of it."""
    with structlog.testing.capture_logs() as said:
        kernels.prepare(wait)
    return [line["event"] for line in said]


def test_a_cold_cache_is_filled_once(cache, monkeypatch):
    assert prepared() == ["engine.compiles", "engine.compiled"]
    assert prepared() == []
    assert sorted(path.name for path in cache.iterdir()) == ["kernels", "prepared"]
    (cache / "kernels" / "x").rmdir()
    compile_nothing(monkeypatch, "(b / 'kernels' / 'y').mkdir(parents=True)")
    assert prepared() == ["engine.compiles", "engine.compiled"]
    (cache / "kernels" / "y").rmdir()
    (cache / "kernels").rmdir()
    assert prepared() == ["engine.compiles", "engine.compiled"]


def test_another_source_is_compiled_anew_and_the_old_one_stays_known(cache, monkeypatch, tmp_path):
    prepared()
    package = tmp_path / "meyrin"
    for room in ("engine", "domain"):
        (package / room).mkdir(parents=True)
        (package / room / "one.py").write_text("x = 1")
    mine = meyrin.__file__
    monkeypatch.setattr(meyrin, "__file__", str(package / "__init__.py"))
    compile_nothing(monkeypatch, "pass")
    assert prepared() == ["engine.compiles", "engine.compiled"]
    (package / "engine" / "one.py").write_text("x = 2")
    assert prepared() == ["engine.compiles", "engine.compiled"]
    (package / "domain" / "one.py").write_text("x = 2")  # no kernel holds any of it
    assert prepared() == []
    monkeypatch.setattr(meyrin, "__file__", mine)
    assert prepared() == []
    assert len((cache / "prepared").read_text().split()) == 3


def test_a_compiler_that_fails_is_logged_and_tried_again_at_the_next_start(cache, monkeypatch):
    compile_nothing(monkeypatch, "raise SystemExit('no such machine')")
    with structlog.testing.capture_logs() as said:
        kernels.prepare(running)
    assert said[-1] == {
        "event": "engine.not_prepared",
        "log_level": "warning",
        "exit_code": 1,
        "error": "no such machine",
    }
    assert not cache.exists()
    assert prepared() == ["engine.compiles", "engine.not_prepared"]


def test_a_compiler_that_takes_too_long_is_ended_and_said(cache, monkeypatch):
    compile_nothing(monkeypatch, "import time; time.sleep(100)")
    monkeypatch.setattr(kernels, "LONGEST_S", 0.1)
    with structlog.testing.capture_logs() as said:
        kernels.prepare(running)
    assert [line["event"] for line in said] == ["engine.compiles", "engine.not_prepared"]
    assert said[-1]["error"] == "it took too long"
    assert not (cache / "prepared").exists()


@pytest.mark.usefixtures("cache")
def test_a_compiler_that_cannot_be_started_is_no_reason_to_fail(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    assert prepared() == ["engine.compiles", "engine.not_prepared"]


@pytest.mark.parametrize("compiler", ["raise SystemExit(1)", "import time; time.sleep(100)", None])
def test_without_a_compiler_jobs_are_placed_all_the_same(sqlite_hub, monkeypatch, compiler):
    monkeypatch.setattr(kernels, "_marks", lambda _: [])
    monkeypatch.setattr(kernels, "LONGEST_S", 1)
    if compiler is None:
        monkeypatch.setattr(kernels.subprocess, "Popen", no_process)
    else:
        monkeypatch.setattr(kernels, "_COMPILE", compiler)
    job = sqlite_hub.submit()
    worker = Worker(sqlite_hub.database)
    worker.start()
    assert sqlite_hub.client("ada").get("/api/v1/jobs").status_code == 200
    until(sqlite_hub.database.bell, f"job:{job}", lambda: sqlite_hub.state(job) == "placed")
    worker.stop()


def test_a_small_decision_does_not_wait_for_the_compiler(sqlite_hub, monkeypatch):
    monkeypatch.setattr(kernels, "_marks", lambda _: [])
    monkeypatch.setattr(kernels, "_COMPILE", "import time; time.sleep(100)")
    worker = Worker(sqlite_hub.database)
    worker.start()
    job = sqlite_hub.submit()
    until(sqlite_hub.database.bell, f"job:{job}", lambda: sqlite_hub.state(job) == "placed")
    assert late._waits  # still at it
    worker.stop()
    assert not late._waits


def no_process(*_, **__):
    raise OSError("no process is left")


def test_a_hub_that_stops_takes_its_compiler_along(cache, monkeypatch):
    compile_nothing(monkeypatch, "import time; time.sleep(100)")
    begun = time.monotonic()
    assert prepared(lambda _: True) == ["engine.compiles"]
    assert time.monotonic() - begun < 50
    assert not (cache / "prepared").exists()


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(cache, monkeypatch):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    compile_nothing(monkeypatch, "pass")
    assert prepared() == ["engine.not_prepared"]
