"""A hub that is away, a site that is cut off, Ctrl-C: what runs goes on, its end arrives once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.walk.books import Books, check_balances, check_charges, check_histories
from tests.walk.facility import MARK, Facility, Hub, facility, request, wait_for

GATE = 'echo begun; while [ ! -e "{gate}" ]; do sleep 0.05; done; echo "gone on"; exit {code}\n'


def gated(place: Facility, code: int = 0) -> tuple[str, Path]:
    """A script that goes on when the test makes a file."""
    gate = place.root / "gate"
    return GATE.format(gate=gate, code=code), gate


@pytest.fixture
def books(either: Facility) -> Iterator[Books]:
    found = Books(either.database_url)
    yield found
    found.close()


def test_jobs_end_while_the_hub_is_away_and_are_told_once(either: Facility, books: Books) -> None:
    either.grant(100_000)
    agent = either.agent("alps")
    agent.start()
    either.joined("alps")
    script, gate = gated(either, code=7)
    with either.hub.client() as client:
        jobs = [client.submit(request(either.mark, script)).job for _ in range(4)]
        for job in jobs:
            wait_for(lambda job=job: client.job(job).job.state == "running", f"job {job} to run")
    either.hub.process.signal(signal.SIGTERM)
    assert either.hub.process.ended() == 0
    gate.touch()
    out = agent.folder / "batch" / "out"
    wait_for(lambda: len(ends(out)) == len(jobs), "the jobs to end without a hub")
    agent.kill()  # even what the agent remembered is only on disk now
    agent.start()
    either.hub.start()
    books.wait_for_all()
    with either.hub.client() as client:
        for job in jobs:
            found = client.job(job)
            assert (found.job.state, found.job.exit_code) == ("failed", 7)
            assert client.output(job) == b"begun\ngone on\n"
            assert len(found.attempts) == 1
        assert client.verify().findings == []
    check_histories(books)
    assert check_charges(books) == len(jobs)
    check_balances(books)


def ends(out: Path) -> list[Path]:
    return [path for path in out.glob("*.out") if b"gone on" in path.read_bytes()]


def test_cancelling_while_the_site_is_cut_off(either: Facility, books: Books) -> None:
    """Cancelled while the agent is dead: at once if no agent knew of it, else when it is back."""
    either.grant(100_000)
    agent = either.agent("alps", cores_per_node=1)
    agent.start()
    either.joined("alps")
    script, _ = gated(either)
    with either.hub.client() as client:
        running = client.submit(request(either.mark, script)).job
        wait_for(lambda: client.job(running).job.state == "running", "a job to run")
        agent.kill()
        waiting = client.submit(request(either.mark, script)).job
        assert client.cancel(waiting).ended == [waiting]
        assert client.cancel(running).asked == [running]
        assert client.job(running).job.state == "running"
        agent.start()
        ended = client.wait(running)
        assert ended.job.state == "cancelled"
        assert ended.job.reason.startswith("cancelled by ")
        assert client.cancel(running).already == [running]
    check_histories(books)
    assert check_charges(books) == 1
    check_balances(books)


def test_ctrl_c_of_up_leaves_the_job_running_and_the_next_up_finds_it(tmp_path: Path) -> None:
    with facility(tmp_path) as place:
        # `meyrin up` with its own local site, whose agent it starts itself
        place.hub = Hub(tmp_path / "home", place.environ())
        place.hub.start()
        script, gate = gated(place, code=5)
        with place.hub.client() as client:
            wait_for(lambda: client.sites.show("local").site.last_heard_ms, "the local site")
            job = client.submit(request(place.mark, script)).job
            wait_for(lambda: client.job(job).job.state == "running", "the job to run")
            wait_for(lambda: client.output(job) == b"begun\n", "its first line")
        place.hub.process.signal(signal.SIGINT)
        assert place.hub.process.ended() == 0
        assert "jobs that run go on" in place.hub.process.said()
        gate.touch()
        out = tmp_path / "home" / "sites" / "local" / "batch" / "out"
        wait_for(lambda: len(ends(out)) == 1, "the job to end on its own")
        place.hub.start()
        with place.hub.client() as client:
            ended = client.wait(job)
            assert (ended.job.state, ended.job.exit_code) == ("failed", 5)
            assert client.output(job) == b"begun\ngone on\n"
            assert [event.state for event in ended.events].count("failed") == 1
            wait_for(lambda: client.job(job).used_s > 0, "the charge")
            assert client.verify().findings == []
        place.hub.process.signal(signal.SIGINT)
        assert place.hub.process.ended() == 0
        # nothing is left: an idle keeper ends when its agent leaves
        mine = {os.getpid(), place.reaper.pid}
        wait_for(lambda: not set(place.marked()) - mine, f"the end of all that bears {MARK}")
