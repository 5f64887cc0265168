"""The same faults as by commands, over slurmrestd: as many runs as submissions, in two dialects.

MEYRIN_ONCE sets how many (the whole show is 10,000), MEYRIN_SEED which.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.agent.slurm.once import DOUBT_S, Clock, Run
from tests.agent.slurm.test_once import COUNT, seed
from tests.agent.slurm.test_status import Site

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.transport import Transport
from meyrin.testing.slurm import FakeSlurm, Faults
from meyrin.testing.slurmrestd import NEW, OLD, FakeRestd


@pytest.mark.timeout(300 + COUNT)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_submission_runs_once_over_slurmrestd(tmp_path: Path, version: str) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    faults = Faults(random.Random(number), lost=0.05, silent=0.1, late=0.1, kill=0.01)
    clock = Clock()
    cluster = FakeSlurm(clock)
    cluster.names_after_s = 5
    restd = FakeRestd(cluster, faults, version)
    config = SlurmConfig(rest_url="http://fake:6820", rest_version=version)

    def speak() -> Transport:
        return Rest(config, cluster.user, clock, transport=httpx2.MockTransport(restd))

    run = Run(tmp_path, cluster, clock, faults, speak, forgets=0.05)
    run.play(max(COUNT // 2, 1))
    print(f"{run.deaths} kills, {dict(faults.counted)}, "
          f"{sum(cluster.launches.values())} launches, {dict(restd.asked)}")  # fmt: skip
    run.check()
    assert run.deaths > 0
    assert faults.counted["silent"] > 0


def test_what_a_sites_plugin_turns_down_ends_though_slurmrestd_tells_no_number_of_it(tmp_path):
    """A real 22.05 answers -1, "Unspecified error"; it may also mean that an answer was lost."""
    site, restd = asked(tmp_path)
    restd._submit = lambda _body: restd._bad(500, -1, "Unspecified error")
    site.submit()
    site.pass_s(DOUBT_S * 2)
    assert (site.seen().end, site.seen().phase) == (None, "held")
    assert "Unspecified error" in site.seen().why
    site.pass_s(DOUBT_S * 20)
    assert site.seen().end == "not_started"
    assert "Unspecified error" in site.seen().why
    assert site.cluster.launches == {}


def test_unclear_answers_between_lost_ones_are_no_no(tmp_path):
    """Found by 5,000 submissions: five doubts of any kind, the last of them unclear."""
    site, restd = asked(tmp_path)
    takes = restd._submit

    def cut(_body):
        raise httpx2.ReadTimeout("no answer")

    def unclear(_body):
        return restd._bad(500, -1, "Unspecified error")

    answers = [cut, unclear, unclear, cut, unclear, cut, unclear, unclear, unclear, takes]

    def answer(body):
        return answers.pop(0)(body)

    restd._submit = answer
    site.submit()
    site.pass_s(DOUBT_S * 40)
    assert (site.seen().end, answers) == ("exit", [])
    assert sum(site.cluster.launches.values()) == 1


def test_an_answer_that_was_cut_makes_no_second_job_where_a_command_gives_tokens(tmp_path):
    site, restd = asked(tmp_path, rest_token_command=("echo", "token"))
    takes, asks = restd._submit, []

    def cut(body):
        asks.append(takes(body))
        return restd._bad(500, 1008, "Insane message length")

    restd._submit = cut
    site.submit()
    site.pass_s(DOUBT_S * 20)
    assert site.seen().end == "exit"
    assert (len(asks), sum(site.cluster.launches.values())) == (1, 1)


def asked(folder: Path, **settings: Any) -> tuple[Site, FakeRestd]:
    """A site whose agent asks a double of slurmrestd, and that."""
    clock = Clock()
    cluster = FakeSlurm(clock)
    restd = FakeRestd(cluster, Faults(random.Random(0)), OLD)
    config = SlurmConfig(rest_url="http://fake:6820", rest_version=OLD, **settings)
    by = Rest(config, cluster.user, clock, transport=httpx2.MockTransport(restd))
    site = Site(folder / "site")
    site.cluster, site.clock = cluster, clock
    site.batch = SlurmBatch(folder / "rest", by, clock_s=clock, doubt_s=DOUBT_S, at_once=1)
    return site, restd
