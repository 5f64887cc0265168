"""The shipped fake keeps a batch system's promises.

`contract.py` holds those that need real processes; these are the others, told as a story. They
run without `forgetful`: the fake then dedups by itself, as the contract asks.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.agent.contract import start
from tests.agent.scripted import CPU, Clock

from meyrin.agent.batch import BatchSystem, Phase
from meyrin.domain.units import NodeShape
from meyrin.testing.batch import FakeBatch


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def batch(tmp_path, clock):
    made: BatchSystem = FakeBatch(tmp_path, (CPU,), clock)
    return made


def test_a_job_queues_runs_and_ends(batch, clock, tmp_path):
    one = start(batch, tmp_path, "true")
    batch.submit((one,))
    assert batch.look_up((one.attempt,))[one.attempt].phase is Phase.QUEUED
    clock.pass_s(5)
    batch.begin(one.attempt)
    running = batch.look_up((one.attempt,))[one.attempt]
    assert (running.phase, running.start_ms) == (Phase.RUNNING, clock.now_ms)
    clock.pass_s(2.5)
    batch.end(one.attempt, 3)
    ended = batch.look_up((one.attempt,))[one.attempt]
    assert (ended.end, ended.exit_code, ended.usage.elapsed_s) == ("exit", 3, 3)
    assert ended.end_ms - ended.start_ms == 2500


def test_a_second_copy_never_starts(batch, tmp_path):
    one = start(batch, tmp_path, "true")
    batch.submit((one, one))
    batch.submit((one,))
    batch.begin(one.attempt)
    batch.end(one.attempt)
    batch.submit((one,))
    batch.forget((one.attempt,))
    batch.submit((one,))
    assert batch.launches[one.attempt] == 1
    assert batch.look_up((one.attempt,)) == {}


def test_a_forgetful_one_starts_it_again(tmp_path, clock):
    batch = FakeBatch(tmp_path, (CPU,), clock, forgetful=True)
    one = start(batch, tmp_path, "true")
    batch.submit((one,))
    batch.submit((one,))
    assert batch.launches[one.attempt] == 2


def test_changes_are_told_again_until_forgotten(batch, tmp_path):
    one, other = start(batch, tmp_path, "true"), start(batch, tmp_path, "true")
    batch.submit((one, other))
    first = batch.changes("", 0)
    assert [job.attempt for job in first.jobs] == [one.attempt, other.attempt]
    batch.begin(one.attempt)
    second = batch.changes(first.cursor, 0)
    assert [job.phase for job in second.jobs] == [Phase.RUNNING]
    batch.forget((one.attempt, "unknown"))
    assert len(batch.changes("", 0).jobs) == 2, "what lives is not forgotten"
    batch.end(one.attempt)
    batch.forget((one.attempt,))
    assert [job.attempt for job in batch.changes("", 0).jobs] == [other.attempt]
    assert batch.output(one.attempt) is None


def test_who_waits_for_changes_is_woken(batch, tmp_path):
    one = start(batch, tmp_path, "true")
    found = []
    thread = threading.Thread(target=lambda: found.append(batch.changes("", 20)))
    thread.start()
    batch.submit((one,))
    thread.join(20)
    assert [job.attempt for job in found[0].jobs] == [one.attempt]


def test_cancelling(batch, tmp_path):
    queued, running = start(batch, tmp_path, "true"), start(batch, tmp_path, "true")
    batch.submit((queued, running))
    batch.begin(running.attempt)
    batch.cancel((queued.attempt, running.attempt, "unknown"))
    batch.cancel((queued.attempt, running.attempt))
    assert batch.look_up((queued.attempt,))[queued.attempt].end == "cancelled"
    batch.end(running.attempt, 5)
    ended = batch.look_up((running.attempt,))[running.attempt]
    assert (ended.end, ended.exit_code) == ("cancelled", 5)
    batch.cancel((running.attempt,))
    assert batch.look_up((running.attempt,))[running.attempt] == ended


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"workdir": "/no/such/dir"}, "/no/such/dir"),
        ({"partition": "elsewhere"}, "elsewhere"),
        ({"asked": NodeShape(10_000, 10, 0)}, "10,000 cores"),
        ({"nodes": 10_000}, "10,000 nodes"),
    ],
)
def test_what_can_never_run_says_why(batch, tmp_path, other, words):
    one = start(batch, tmp_path, "true", **other)
    batch.submit((one,))
    job = batch.look_up((one.attempt,))[one.attempt]
    assert (job.end, job.usage, job.start_ms) == ("not_started", None, None)
    assert words in job.why
    assert batch.launches[one.attempt] == 0


def test_makes_its_directory_when_asked(batch, tmp_path):
    one = start(batch, tmp_path / "new" / "dir", "true", create_workdir=True)
    batch.submit((one,))
    assert (tmp_path / "new" / "dir").stat().st_mode & 0o777 == 0o700


def test_what_it_prints_is_where_it_says(batch, tmp_path):
    own = start(batch, tmp_path, "true")
    named = start(batch, tmp_path, "true", stdout=str(tmp_path / "o"), stderr=str(tmp_path / "e"))
    batch.submit((own, named))
    for one in (own, named):
        batch.say(one.attempt, b"out")
        batch.say(one.attempt, b"err", "stderr")
    assert Path(batch.output(own.attempt).stdout).read_bytes() == b"outerr"
    assert (tmp_path / "o").read_bytes() == b"out"
    assert (tmp_path / "e").read_bytes() == b"err"
