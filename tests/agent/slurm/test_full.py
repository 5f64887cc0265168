"""A Slurm that takes no more for now: the agent holds back and goes on, and fails no job."""

from __future__ import annotations

import os
import sys

import httpx2
import pytest
from tests.agent.slurm.test_status import Site

from meyrin.agent.batch import Phase
from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import Done, runner
from meyrin.agent.slurm.rest import Rest
from meyrin.domain.errors import Unreachable
from meyrin.testing.slurmrestd import NEW, FakeRestd

NAMES = [f"a{number:02}" for number in range(12)]


@pytest.fixture(params=["command", "rest"])
def site(request, tmp_path):
    made = Site(tmp_path / "site")
    if request.param == "rest":
        made.commands = FakeRestd(made.cluster, made.faults, NEW)
        config = SlurmConfig(rest_url="http://fake:6820", rest_version=NEW)
        by = Rest(config, made.cluster.user, made.clock, httpx2.MockTransport(made.commands))
        made.batch = SlurmBatch(tmp_path / "rest", by, clock_s=made.clock, at_once=1)
    made.batch.partitions()
    return made


def submissions(site):
    asked = site.commands.asked
    return asked["sbatch"] or sum(n for path, n in asked.items() if path.endswith("job/submit"))


def phases(site):
    return [site.seen(name).phase for name in NAMES]


def test_at_a_limit_as_many_go_in_as_leave(site):
    site.cluster.most = 3
    for name in NAMES:
        site.submit(name, script="#!/bin/sh\nexit 0\n")
    site.pass_s(20)
    assert len(site.cluster.listed()) == 3
    assert submissions(site) <= 4, "it asks again although nothing has left"
    for left in (6, 3, 0):
        site.cluster.holds = False
        site.cluster.advance()
        site.cluster.holds = True
        site.pass_s(8)
        waits = [name for name in NAMES if not site.seen(name).batch_job]
        assert len(waits) == left
    site.cluster.holds = False
    site.pass_s(30)
    assert {(site.seen(name).end, site.seen(name).exit_code) for name in NAMES} == {("exit", 0)}
    assert submissions(site) < 2 * len(NAMES)
    assert set(site.cluster.launches.values()) == {1}


def test_room_that_others_make_is_found_by_asking_now_and_then(site):
    site.cluster.most = 0
    for name in NAMES:
        site.submit(name)
    site.pass_s(90)
    assert submissions(site) <= 5
    assert set(phases(site)) == {Phase.HELD}
    site.cluster.most = None
    site.pass_s(40)
    assert len(site.cluster.listed()) == len(NAMES)


def test_queued_is_when_slurm_took_it_and_not_when_the_agent_was_given_it(site):
    site.cluster.most = 0
    site.submit("a")
    given_s = int(site.clock())
    site.pass_s(90)
    assert site.seen().queued_ms is None
    site.cluster.most = None
    site.pass_s(40)
    (there,) = site.cluster.listed()
    assert there.submit_s >= given_s + 90
    assert site.seen().queued_ms == there.submit_s * 1000


def test_a_no_that_may_be_for_ever_is_one_in_the_end(tmp_path):
    """slurmrestd has one number for too many jobs and for one that is too large."""
    made = Site(tmp_path / "site")
    restd = FakeRestd(made.cluster, made.faults, NEW)
    config = SlurmConfig(rest_url="http://fake:6820", rest_version=NEW)
    by = Rest(config, made.cluster.user, made.clock, httpx2.MockTransport(restd))
    made.batch = SlurmBatch(tmp_path / "rest", by, clock_s=made.clock, at_once=1)
    made.batch.partitions()
    made.cluster.most = 0
    made.submit()
    made.pass_s(60)
    assert made.seen().phase is Phase.HELD
    made.pass_s(120)
    assert made.seen().end == "not_started"
    assert "violates accounting" in made.seen().why


def test_an_sbatch_that_keeps_asking_by_itself_is_not_waited_for(tmp_path):
    """At MaxJobCount sbatch says so and tries again for two minutes."""
    program = tmp_path / "sbatch"
    words = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    text = f"import sys, time\nprint({words!r}, file=sys.stderr, flush=True)\ntime.sleep(600)\n"
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    with pytest.raises(Unreachable, match="temporarily unable") as caught:
        runner(60)([str(program)], "script", dict(os.environ))
    assert caught.value.facts["full"]


def test_those_that_wait_say_what_for_and_no_longer_once_they_are_in(site):
    site.cluster.most = 3
    for name in NAMES:
        site.submit(name, script="#!/bin/sh\nexit 0\n")
    site.pass_s(20)
    told = {job.attempt: job for job in site.batch.changes("", 0).jobs}
    held = {name for name, job in told.items() if job.phase is Phase.HELD}
    assert held == {name for name in NAMES if not site.seen(name).batch_job}
    assert len(held) == len(NAMES) - 3
    assert all(told[name].why.startswith("the site takes no more jobs for now") for name in held)
    cursor = site.batch.changes("", 0).cursor
    site.pass_s(20)
    assert not [job for job in site.batch.changes(cursor, 0).jobs if job.phase is Phase.HELD]
    site.cluster.most = None
    site.pass_s(60)
    now = {job.attempt: job for job in site.batch.changes(cursor, 0).jobs}
    assert {(now[name].phase, now[name].why) for name in held} == {(Phase.QUEUED, "")}


DENIED = "Access/permission denied"


def no_of(words):
    return Done(1, "", f"sbatch: error: Batch job submission failed: {words}")


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("Required partition not available (inactive or drain)", "UP"),
        ("Invalid account or account/partition combination specified", "UP"),
        (DENIED, "UP ReqResv=YES"),
        (DENIED, "UP RootOnly=YES"),
    ],
)
def test_what_the_site_has_in_hand_fails_no_job(tmp_path, monkeypatch, words, state):
    """Else a drained partition would swallow all that waits, one failed job after the other."""
    made = Site(tmp_path / "site")
    made.batch.partitions()
    made.cluster.partition_state = state
    no = no_of(words)
    obey = made.commands._obey
    with monkeypatch.context() as drained:
        drained.setattr(
            made.commands,
            "_obey",
            lambda name, *more: no if name == "sbatch" else obey(name, *more),
        )
        for name in NAMES:
            made.submit(name, script="#!/bin/sh\nexit 0\n")
        made.pass_s(40)
        assert {made.seen(name).phase for name in NAMES} == {Phase.HELD}
        assert words in made.seen(NAMES[0]).why
        assert made.commands.asked["sbatch"] <= 4
    made.pass_s(60)
    assert len(made.cluster.listed()) == len(NAMES)


def test_a_job_that_a_plugin_denies_ends_and_holds_up_no_other(tmp_path, monkeypatch):
    made = Site(tmp_path / "site")
    made.batch.partitions()
    obey = made.commands._obey

    def plugin(name, options, *more):
        bad = name == "sbatch" and any("meyrin-bad" in each for each in options)
        return no_of(DENIED) if bad else obey(name, options, *more)

    monkeypatch.setattr(made.commands, "_obey", plugin)
    for name in ("bad", *NAMES):
        made.submit(name)
    made.pass_s(40)
    assert made.seen("bad").end == "not_started"
    assert made.seen("bad").why.endswith(DENIED)
    assert len(made.cluster.listed()) == len(NAMES)


def test_of_many_that_are_denied_together_slurm_describes_itself_once(tmp_path, monkeypatch):
    made = Site(tmp_path / "site")
    made.batch.partitions()
    obey, describe, described = made.commands._obey, made.batch.transport.describe, []
    no = no_of(DENIED)
    monkeypatch.setattr(
        made.commands, "_obey", lambda name, *more: no if name == "sbatch" else obey(name, *more)
    )
    monkeypatch.setattr(made.batch.transport, "describe", lambda: described.append(1) or describe())
    for name in NAMES:
        made.submit(name)
    assert {made.seen(name).end for name in NAMES} == {"not_started"}
    assert len(described) == 1
    made.pass_s(2)
    made.cluster.partition_state = "UP RootOnly=YES"
    made.submit("later")
    assert made.seen("later").phase is Phase.HELD, "what was said before counts no more"


def test_a_job_that_is_denied_while_slurm_says_nothing_of_partitions_waits(tmp_path, monkeypatch):
    made = Site(tmp_path / "site")
    made.batch.partitions()
    obey = made.commands._obey
    answers = {"sbatch": no_of(DENIED), "scontrol": Done(1, "", "Unable to contact controller")}
    with monkeypatch.context() as away:
        away.setattr(
            made.commands, "_obey", lambda name, *more: answers.get(name) or obey(name, *more)
        )
        made.submit()
        made.pass_s(40)
        assert made.seen().phase is Phase.HELD
    made.pass_s(60)
    assert len(made.cluster.listed()) == 1
