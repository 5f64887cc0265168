"""Whenever the agent dies, and whatever reply is lost: one submit, one end, nothing forgotten."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from tests.agent.scripted import Crash, Fuse, Site

from meyrin.agent.config import Rules
from meyrin.domain.errors import Failed, Unreachable
from meyrin.domain.job import InputFile, JobRequest

INPUT = b"data\n"
DIGEST = hashlib.sha256(INPUT).hexdigest()
BRINGS = JobRequest(
    script="#!/bin/sh\n",
    inputs=(InputFile("in/data.txt", DIGEST, len(INPUT)),),
    output_files=("result.txt",),
)


def prepare(folder):
    """Three jobs: a plain one, one with files, one that the site's rules don't let in."""
    folder.mkdir()
    site = Site(folder, rules={"max_walltime_s": 1000})
    site.hub.files[DIGEST] = INPUT
    plain, files = site.hub.add(), site.hub.add(BRINGS)
    refused = site.hub.add(walltime_s=1001)
    return site, plain, files, refused


def finish(site):
    """A new start of the agent, that works until nothing is left to do."""
    agent = site.agent()
    agent.hello()
    for _ in range(12):
        site.cycle(agent)
        site.go_on()
    return agent


def check(site, plain, files, refused):
    for work in (plain, files):
        assert site.batch.launches[work.attempt] == 1
        assert site.batch.submits[work.attempt] == 1, "exactly one submit"
        (end,) = site.hub.ends(work)
        assert (end.phase, end.end, end.exit_code) == ("ended", "exit", 0)
        assert end.usage.elapsed_s == 3
        assert site.hub.printed[work.attempt, "stdout"] == b"hello\ndone\n"
    assert site.batch.submits[refused.attempt] == 0
    assert {each.phase for each in site.hub.reports[refused.attempt]} == {"refused"}
    state, results = site.hub.left[files.attempt]
    assert (state, [each.name for each in results]) == ("complete", ["result.txt"])
    assert site.journal.everything() == []
    assert site.journal.unsent(10) == []
    assert site.batch.look_up((plain.attempt, files.attempt)) == {}
    assert list((site.folder / "work").iterdir()) == [], "job folders are gone"


def run_until_it_blows(site, fuse):
    agent = site.agent(fuse)
    agent.hello()
    for _ in range(12):
        site.cycle(agent)
        site.go_on()


def calls_in_all(folder):
    site, *_ = prepare(folder)
    fuse = Fuse()
    run_until_it_blows(site, fuse)
    site.close()
    return fuse.calls


def test_without_a_crash_all_is_well(tmp_path):
    site, *works = prepare(tmp_path / "site")
    finish(site)
    check(site, *works)
    site.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [Crash(), Unreachable("lost")], ids=["crash", "lost"])
def test_a_crash_or_a_lost_reply_at_any_call(tmp_path, after, error):
    names = set()
    for at in range(1, calls_in_all(tmp_path / "count") + 1):
        site, *works = prepare(tmp_path / f"{at}")
        fuse = Fuse(at, after=after, error=error)
        with contextlib.suppress(Crash, Unreachable):
            run_until_it_blows(site, fuse)
        names.add(fuse.name)
        finish(site)
        try:
            check(site, *works)
        except AssertionError as failed:
            raise AssertionError(f"{'after' if after else 'before'} call {at}, {fuse.name}: "
                                 f"{failed}") from failed  # fmt: skip
        site.close()
    assert names >= CALLS


CALLS = {
    *("hello", "lease", "report", "output", "upload", "results", "fetch_input"),
    *("take", "taken", "handed", "note", "unsent", "sent", "results_sent", "forgettable"),
    *("submit", "changes", "forget"),
}


def test_work_that_is_given_again_is_not_started_again(site):
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    for _ in range(3):
        agent.lease_once(0)
    assert site.batch.submits[work.attempt] == 1
    site.agent().hello()
    agent = site.agent()
    agent.hello()
    agent.lease_once(0)
    agent.recover_once()
    assert site.batch.submits[work.attempt] == 1


def test_the_hub_may_be_away_for_long(site):
    """The batch system goes on; the journal keeps what there is to tell."""
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    agent.lease_once(0)
    for _ in range(3):
        agent.watch_once(0)
        site.go_on()
    agent.watch_once(0)
    assert site.hub.reports == {}
    agent = site.agent()
    agent.hello()
    agent.send_once()
    (end,) = site.hub.ends(work)
    assert (end.start_ms, end.end_ms) == (site.clock.now_ms - 6000, site.clock.now_ms - 3000)
    assert site.hub.printed[work.attempt, "stdout"] == b"hello\ndone\n"


# --- ending


def test_a_running_job_is_ended_and_told_as_cancelled(site):
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.go_on()
    site.hub.to_cancel = [work.attempt, "00000000-0000-0000-0000-00000000dead"]
    site.cycle(agent)
    site.go_on()
    site.cycle(agent)
    (end,) = site.hub.ends(work)
    assert (end.end, end.usage.elapsed_s) == ("cancelled", 3)


def test_a_queued_job_is_ended_without_having_run(site):
    work = site.hub.add()
    site.hub.to_cancel = [work.attempt]
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.cycle(agent)
    (end,) = site.hub.ends(work)
    assert (end.end, end.usage, end.start_ms) == ("cancelled", None, None)


def test_what_the_batch_system_never_got_never_starts(site):
    """Also not when the agent dies between noting its end and telling it."""
    work = site.hub.add()
    agent = site.agent()
    site.journal.take([work], site.hub.requests)
    agent.hello()
    agent._cancel((work.attempt,))
    agent = site.agent()
    agent.hello()
    agent.recover_once()
    site.cycle(agent)
    site.cycle(agent)
    assert site.batch.submits[work.attempt] == 0
    (end,) = site.hub.ends(work)
    assert end.end == "cancelled"
    assert site.journal.everything() == []


def test_a_stale_attempt_is_ended_and_forgotten(site):
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.go_on()
    site.hub.stale.add(work.attempt)
    for _ in range(3):
        site.cycle(agent)
        site.go_on()
    assert site.journal.everything() == []
    assert site.batch.look_up((work.attempt,)) == {}


def test_a_stale_attempt_that_waits_here_never_starts(site):
    """Another attempt of its job may run elsewhere by now."""
    work, other = site.hub.add(BRINGS), site.hub.add(BRINGS)

    def away(*_):
        raise Unreachable("away")

    fetch, site.hub.fetch_input = site.hub.fetch_input, away
    agent = site.agent()
    agent.hello()
    site.hub.stale.add(work.attempt)
    agent.lease_once(0)
    look_up, site.batch.look_up = site.batch.look_up, away
    with pytest.raises(Unreachable):
        agent.send_once()
    site.batch.look_up = look_up
    agent.send_once()
    site.hub.fetch_input = fetch
    site.hub.files[DIGEST] = INPUT
    for _ in range(3):
        agent.recover_once()
        agent.watch_once(0)
        agent.send_once()
        agent.results_once()
    assert site.batch.submits[work.attempt] == 0
    assert site.batch.submits[other.attempt] == 1
    assert [item.work for item in site.journal.everything()] == [other]
    assert site.journal.unsent(10) == []


def test_results_that_the_hub_can_not_take_keep_nothing_of_other_jobs(site):
    stuck, works = site.hub.add(BRINGS), []
    site.hub.files[DIGEST] = INPUT
    real = site.hub.results

    def broken(attempt, *rest):
        if attempt == stuck.attempt:
            raise Failed("a bug")
        real(attempt, *rest)

    site.hub.results = broken
    agent = site.agent()
    agent.hello()
    for number in range(8):
        if number == 4:
            works.append(site.hub.add())
        agent.lease_once(0)
        agent.recover_once()
        agent.watch_once(0)
        agent.send_once()
        with contextlib.suppress(Failed):
            agent.results_once()
        site.go_on()
    with pytest.raises(Failed):
        agent.results_once()
    assert site.hub.ends(*works)
    assert [item.work for item in site.journal.everything()] == [stuck]


def test_a_word_of_the_site_travels_as_it_is(site):
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.batch.begin(work.attempt, "SPECIAL_EXIT")
    site.cycle(agent)
    assert site.hub.reports[work.attempt][-1].site_word == "SPECIAL_EXIT"


# --- threads


class Bug(Exception):
    """Nobody waits for this to pass."""


@pytest.mark.parametrize("party", ["hub.lease", "batch.changes", "journal.unsent"])
def test_a_bug_in_any_thread_stops_the_agent(site, monkeypatch, party):
    agent = site.agent()

    def broken(*_args, **_kwargs):
        raise Bug

    where, _, name = party.partition(".")
    inner = object.__getattribute__(getattr(agent, where), "_party")
    monkeypatch.setattr(inner, name, broken)
    with pytest.raises(Bug):
        agent.run()


# --- threads that meet


class Meanwhile:
    """Runs another step just after one call of the journal."""

    def __init__(self, journal, name, step):
        self._journal, self._name, self._step = journal, name, step

    def __getattr__(self, name):
        found = getattr(self._journal, name)

        def call(*arguments, **named):
            answer = found(*arguments, **named)
            if name == self._name and self._step is not None:
                step, self._step = self._step, None
                step()
            return answer

        return call if callable(found) else found


@pytest.mark.parametrize("rules", [{}, {"max_walltime_s": 1}], ids=["let in", "refused"])
def test_what_is_being_taken_is_not_in_doubt(site, rules):
    """The thread that recovers comes between the journal's note and the hand-over."""
    site.config = site.config.model_copy(update={"rules": Rules(**rules)})
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    blocked = []

    def recover():
        if agent._handing.locked():  # a thread would wait here until all is noted
            blocked.append(True)
        else:
            agent.recover_once()

    agent.journal = Meanwhile(agent.journal, "take", recover)
    agent.lease_once(0)
    agent.recover_once()
    assert blocked == [True]
    assert site.batch.submits[work.attempt] == (0 if rules else 1)


def test_a_start_is_named_by_its_journal_and_counts_up(site):
    site.agent()
    names = [site.journal.name_start("fresh", now_ms) for now_ms in (5000, 7000, 6000)]
    assert names == ["fresh.5000", "fresh.7000", "fresh.7001"]
    site.agent()
    assert site.journal.name_start("other", 8000) == "fresh.8000"
