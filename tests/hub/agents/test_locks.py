"""Calls that lock the same rows at once take them in one order: none of them has to give way."""

from __future__ import annotations

import contextlib
import threading

import pytest
from tests.hub import facility
from tests.hub.facility import CPU, at_once

from meyrin.hub.broker import service as broker
from meyrin.hub.ledger import service as ledger
from meyrin.wire.agents import CorrectionBody, CorrectionsBody, ReportsBody, UsageBody

pytestmark = pytest.mark.real


@pytest.fixture
def both(postgres_hub_url, tmp_path):
    """Two sites and two projects with hours."""
    made = facility.make(postgres_hub_url, tmp_path)
    made.project("two", "bob", "ada")
    for site, project in (("alps", "lab"), ("jura", "two")):
        made.site(site, CPU)
        made.award(project)
    yield made
    made.close()


def works(hub):
    """By site: its work of both projects, at one site in the other's reverse order."""
    found = {}
    for site, projects in (("alps", ("lab", "two")), ("jura", ("two", "lab"))):
        for project in projects:
            hub.submit(sites=(site,), project=project)
            hub.steps()
            found.setdefault(site, []).extend(hub.agents[site].lease().work)
    return found


def meeting(monkeypatch, verb):
    """Let both calls come to the end of their first `ledger.<verb>`, unless one waits before."""
    real, met, known = getattr(ledger, verb), threading.Barrier(2), threading.local()

    def slowly(step, *given, **named):
        answer = real(step, *given, **named)
        if not hasattr(known, "been"):
            known.been = True
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(1)
        return answer

    monkeypatch.setattr(ledger, verb, slowly)


def test_corrections_of_two_sites_for_the_same_projects(both, monkeypatch):
    told = works(both)
    for site, some in told.items():
        for work in some:
            both.agents[site].finish(work, elapsed_s=10)
    meeting(monkeypatch, "correct")

    def tell(number):
        site = ("alps", "jura")[number]
        said = [
            CorrectionBody(
                attempt=w.attempt, batch_job="b", usage=UsageBody(elapsed_s=20), revision=1
            )
            for w in told[site]
        ]
        return both.agents[site].post("usage", CorrectionsBody(corrections=said)).status_code

    assert at_once(2, tell) == [200, 200]
    both.books_balance()


def test_ends_and_refusals_of_two_sites_for_the_same_projects(both, monkeypatch):
    told = works(both)
    meeting(monkeypatch, "settle")

    def tell(number):
        site = ("alps", "jura")[number]
        agent, (first, second) = both.agents[site], told[site]
        said = ReportsBody(reports=[agent.ended(first), agent.refused(second)])
        return agent.post("reports", said).status_code

    assert at_once(2, tell) == [200, 200]
    both.books_balance()


def test_a_site_that_takes_nothing_now_says_so_while_jobs_are_placed_there(both, monkeypatch):
    job = both.submit(sites=("alps",))
    placing, said = threading.Event(), threading.Event()
    real = ledger.hold

    def slowly(step, holds):
        placing.set()
        said.wait(20)
        return real(step, holds)

    monkeypatch.setattr(broker.ledger, "hold", slowly)

    def play(number):
        if number == 0:
            return both.step()
        placing.wait(20)
        threading.Timer(0.5, said.set).start()  # it waits for the site's row by then, if ever
        body = {"incarnation": "first", "wait_s": 0, "not_now": "too much to do"}
        client = both.client("alps")
        return client.post("/api/v1/agent/lease", json=body).status_code

    assert at_once(2, play) == [1, 200]
    assert both.state(job) in ("placed", "leased")
