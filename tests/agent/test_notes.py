"""A journal that has no room: the site takes nothing new and says so, until it has room again."""

from __future__ import annotations

import pytest
from tests.agent.scripted import Site

from meyrin.agent.notes import WORDS
from meyrin.domain.errors import StorageFull, Unreachable
from meyrin.domain.job import JobRequest

LARGE = JobRequest(script="#!/bin/sh\n" + "# a long script\n" * 20_000)


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site")
    site.folder.mkdir(exist_ok=True)
    yield site
    site.close()


def fill(site):
    """SQLite itself says then that the disk is full."""
    (pages,) = site.journal._db.execute("PRAGMA page_count").fetchone()
    site.journal._db.execute(f"PRAGMA max_page_count={pages}")


def empty(site):
    site.journal._db.execute("PRAGMA max_page_count=1000000")


def test_what_can_not_be_noted_is_not_run_and_says_what_it_waits_for(site):
    agent = site.agent()
    agent.hello()
    work = site.hub.add(LARGE)
    fill(site)
    with pytest.raises(StorageFull):
        agent.lease_once(0)
    assert site.batch.look_up((work.attempt,)) == {}
    (told,) = site.hub.reports.pop(work.attempt)
    assert (told.phase, told.why) == ("held", WORDS)
    with pytest.raises(StorageFull):
        agent.lease_once(0)
    assert site.hub.not_now[-2:] == ["", WORDS]
    site.hub.reports.clear()  # it is given again after a while, as it still waits
    empty(site)
    site.cycle(agent)
    assert site.hub.not_now[-1] == ""
    assert site.batch.look_up((work.attempt,))
    assert site.hub.reports[work.attempt][-1].phase != "held"


def test_a_hub_that_is_away_meanwhile_makes_it_no_worse(site, monkeypatch):
    agent = site.agent()
    agent.hello()
    work = site.hub.add(LARGE)
    fill(site)

    def away(_reports):
        raise Unreachable("no hub answers")

    with monkeypatch.context() as patch:
        patch.setattr(site.hub, "report", away)
        with pytest.raises(StorageFull):
            agent.lease_once(0)
    empty(site)
    site.cycle(agent)
    assert site.batch.look_up((work.attempt,))
