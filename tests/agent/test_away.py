"""A day without the hub: jobs go on, the journal keeps what there is to tell, all arrives once."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.agent.scripted import Site

from meyrin.domain.errors import Unreachable

DAY_S = 86_400
STEP_S = 600
JOBS = 60


class Away:
    """The hub behind a network that may be cut. `calls` counts what was tried meanwhile."""

    def __init__(self, hub):
        self.hub = hub
        self.away = False
        self.calls = 0
        self.tried = threading.Event()

    def __getattr__(self, name):
        found = getattr(self.hub, name)
        if name not in {"hello", "lease", "report", "output", "results", "upload", "fetch_input"}:
            return found

        def call(*arguments, **named):
            self.calls += 1
            self.tried.set()
            if self.away:
                raise Unreachable("no hub answers")
            return found(*arguments, **named)

        return call


@pytest.fixture(params=range(3))
def seeded(request, tmp_path):
    site = Site(tmp_path / "site", rules={"max_jobs_at_once": JOBS // 2})
    site.folder.mkdir(exist_ok=True)
    site.hub = Away(site.hub)
    yield site, random.Random(request.param)
    site.close()


def steps(agent, *, known):
    """What an agent does, each step on its own as its threads do. Before hello it only looks."""
    agent.watch_once(0)
    rest = (lambda: agent.lease_once(0), agent.recover_once, agent.send_once, agent.results_once)
    for once in rest if known else ():
        with suppress(Unreachable):
            once()


def go_on(site, chance, second, printed):
    """Ten minutes of the batch system: some end, some begin, all that run print."""
    for attempt in site.batch.running():
        text = f"{second} {attempt}\n".encode()
        site.batch.say(attempt, text)
        printed[attempt] = printed.get(attempt, b"") + text
        if chance.random() < 0.1:
            site.batch.end(attempt)
    for attempt in site.batch.waiting():
        if chance.random() < 0.2:
            site.batch.begin(attempt)


def killed(site):
    """The agent is killed and starts again, without a hub."""
    agent = site.agent()
    agent.remember()
    with pytest.raises(Unreachable):
        agent.hello()
    return agent


def test_a_day_away_and_everything_arrives_once(seeded):
    site, chance = seeded
    works = [site.hub.add() for _ in range(JOBS)]
    agent = site.agent()
    agent.hello()
    steps(agent, known=True)  # half are in the batch system, half wait for room
    site.hub.away = True
    known, printed, sizes = True, {}, []
    for second in range(0, DAY_S, STEP_S):
        site.clock.pass_s(STEP_S)
        if chance.random() < 0.15:
            agent, known = killed(site), False
        go_on(site, chance, second, printed)
        steps(agent, known=known)
        sizes.append(sum(path.stat().st_size for path in site.folder.glob("journal*")))
        assert len(agent.journal.unsent(10_000)) <= JOBS
    told_before = dict(site.hub.reports)
    site.hub.away = False
    if not known:
        agent.hello()
    for second in range(DAY_S, 2 * DAY_S, STEP_S):
        steps(agent, known=True)
        go_on(site, chance, second, printed)
    steps(agent, known=True)
    steps(agent, known=True)
    assert len(told_before) <= JOBS // 2  # of some it was known that they wait or run
    for work in works:
        (end,) = site.hub.ends(work)
        assert (end.phase, end.end, end.exit_code) == ("ended", "exit", 0)
        assert site.batch.launches[work.attempt] == 1
        text = printed.get(work.attempt, b"")
        assert site.hub.printed.get((work.attempt, "stdout"), b"") == text
    assert agent.journal.everything() == []
    assert agent.journal.unsent(10) == []
    assert max(sizes) < 400_000 + 4096 * JOBS  # one report an attempt, however long it lasts


def test_an_agent_that_starts_without_a_hub_notes_what_happens(tmp_path, monkeypatch):
    """The real threads: what ended meanwhile is in the journal before the hub is there."""
    site = Site(tmp_path)
    site.hub = Away(site.hub)
    work = site.hub.add()
    first = site.agent()
    first.hello()
    site.cycle(first)
    site.hub.away = True
    second = site.agent()
    noted = threading.Event()
    note = site.journal.note

    def noting(reports, cursor=None):
        note(reports, cursor)
        if any(each.phase == "ended" for each in reports):
            noted.set()

    monkeypatch.setattr(site.journal, "note", noting)
    site.hub.tried.clear()
    thread = threading.Thread(target=second.run)
    thread.start()
    try:
        assert site.hub.tried.wait(30)
        site.batch.begin(work.attempt)
        site.batch.end(work.attempt)
        assert noted.wait(30)
        assert site.hub.ends(work) == []
        assert site.hub.calls < 50
    finally:
        second.stop()
        thread.join(30)
    assert not thread.is_alive()
    site.hub.away = False
    third = site.agent()
    third.hello()
    third.send_once()
    assert [each.end for each in site.hub.ends(work)] == ["exit"]
    assert Path(site.folder / "journal.sqlite").exists()
    site.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_hub_from_a_backup_hears_of_what_lives_and_ends_what_it_does_not_know(
    tmp_path, restarted
):
    """It knows the one job as leased, and of the other nothing; neither changes for days."""
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    hub = site.hub
    site.hub = Away(hub)
    known, unknown = hub.add(), hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.go_on()
    site.cycle(agent)
    assert [each[-1].phase for each in hub.reports.values()] == ["running", "running"]
    hub.reports[known.attempt].clear()
    hub.reports.pop(unknown.attempt)
    hub.work.pop(unknown.attempt)
    hub.stale.add(unknown.attempt)
    site.hub.away = True
    with suppress(Unreachable):
        agent.lease_once(0)
    site.hub.away = False
    if restarted:
        agent = site.agent()
        agent.hello()
    site.cycle(agent)
    assert [each.phase for each in hub.reports[known.attempt]] == ["running"]
    assert site.batch._asked_to_end == {unknown.attempt}
    hub.reports.clear()
    hub.work.clear()
    site.cycle(agent)
    assert known.attempt not in hub.reports, "told once"
    site.close()
