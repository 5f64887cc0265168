"""`meyrin suite run` as a job: what is lost on the way makes no second job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub


def test_a_lost_hub_says_the_key_that_comes_back_to_the_job(
    meyrin: Meyrin, hub: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("x")
    ask = ("suite", "run", "safety", "--model", "model")
    hub.fail("follow", "drop", times=999)
    assert meyrin(*ask) == 6
    said = capfd.readouterr().err
    key = re.search(
        r"hint: the same command with (--idempotency-key=\w+) comes back to job 1\n", said
    )
    assert key
    assert "nothing is done twice" not in said
    hub.faults.clear()
    hub.end(hub.jobs[1], "failed", exit_code=1)
    assert meyrin(*ask, key[1]) == 1
    assert "job 1 did not finish its run" in capfd.readouterr().err
    assert list(hub.jobs) == [1], "no second job, no second charge"


def test_a_key_is_of_a_job(meyrin: Meyrin, capfd: pytest.CaptureFixture[str]) -> None:
    assert meyrin("suite", "run", "safety", "--model", "m", "--local", "--idempotency-key=k") == 2
    assert "--idempotency-key is of a job" in capfd.readouterr().err
