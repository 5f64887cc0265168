"""What a site's accounting says after the end, or otherwise than before, in any order and twice."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from tests.hub.facility import CPU, at_once

from meyrin.hub.ledger import service as ledger
from meyrin.hub.usage import service as usage
from meyrin.wire.agents import (
    CorrectionBody,
    CorrectionsBody,
    CorrectionsReply,
    CountedList,
    UsageBody,
)


@pytest.fixture
def ended(hub):
    """A job that ended with ten seconds, its site's agent, and its attempt."""
    hub.award("lab", hours=1, days=90)
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.ended(work, elapsed_s=10))
    return hub, agent, work, job


def correction(work, elapsed_s, revision, **more):
    usage = UsageBody(elapsed_s=elapsed_s, **more)
    return CorrectionBody(
        attempt=work.attempt, batch_job=f"b{work.job}", usage=usage, revision=revision
    )


def tell(agent, *corrections):
    answer = agent.post("usage", CorrectionsBody(corrections=list(corrections)))
    assert answer.status_code == 200, answer.text
    return CorrectionsReply.model_validate_json(answer.content)


def counted(agent, **wanted):
    asked = {"from_ms": 0, "until_ms": 2**60, **wanted}
    client = agent.hub.client(secret=agent.secret)
    return CountedList.model_validate_json(client.get("/api/v1/agent/usage", params=asked).content)


def test_a_late_word_is_charged_once_and_nothing_is_edited(ended):
    hub, agent, work, job = ended
    assert tell(agent, correction(work, 25, 1)).taken == [work.attempt]
    assert hub.detail(job).used_s == 25
    before = hub.everything()
    assert tell(agent, correction(work, 25, 1)).taken == [work.attempt]
    assert hub.everything() == before
    hub.books_balance()


def test_whatever_the_order_the_last_word_of_the_site_holds(ended):
    hub, agent, work, job = ended
    first, second = correction(work, 25, 1), correction(work, 7, 2)
    end = agent.ended(work, elapsed_s=10)
    for order in itertools.permutations((first, second, end, second)):
        for each in order:
            if each is end:
                assert agent.report(end) == []
            else:
                tell(agent, each)
        assert hub.detail(job).used_s == 7
    tell(agent, second, first)
    assert hub.detail(job).used_s == 7
    hub.books_balance()


@pytest.mark.parametrize("order", [(1, 2, 1), (2, 1, 2)])
def test_a_last_word_that_equals_the_first_holds(ended, order):
    hub, agent, work, job = ended
    said = {1: correction(work, 12, 1), 2: correction(work, 10, 2)}
    for revision in order:
        tell(agent, said[revision])
    assert hub.detail(job).used_s == 10
    hub.books_balance()


def test_told_by_many_at_once_it_counts_once(ended):
    hub, agent, work, job = ended
    at_once(6, lambda _: tell(agent, correction(work, 33, 1)))
    assert hub.detail(job).used_s == 33
    (one,) = counted(agent).counted
    assert one.corrections == 1
    hub.books_balance()


def test_energy_that_comes_late_is_kept_and_charges_nothing(ended):
    hub, agent, work, job = ended
    assert hub.detail(job).energy_j is None
    entries = len(hub.everything()["entries"])
    tell(agent, correction(work, 10, 1, energy_j=5_400_000))
    assert len(hub.everything()["entries"]) == entries
    found = hub.detail(job)
    assert (found.energy_j, found.attempts[0].energy_j, found.used_s) == (5_400_000, 5_400_000, 10)


def test_a_statement_tells_energy_as_far_as_it_is_known(ended):
    hub, agent, work, job = ended
    asked, person = "/projects/lab/statement", hub.client("ada")

    def statement():
        (one,) = person.get(f"/api/v1{asked}?month=2027-01").json()["types"]
        return one["energy"]

    def column():
        rows = csv.DictReader(io.StringIO(person.get(f"{asked}.csv").text))
        return {row["job"]: row["energy_j"] for row in rows if row["kind"] == "settle"}

    def page():
        return person.get("/projects/lab", headers={"accept": "text/html"}).text

    assert statement() == {"energy_j": None, "known": 0, "unknown": 1}
    assert column() == {str(job): "unknown"}
    assert "recorded it: <strong>unknown</strong>, for no site recorded any." in page()
    tell(agent, correction(work, 10, 1, energy_j=5_400_000))
    assert statement() == {"energy_j": 5_400_000, "known": 1, "unknown": 0}
    assert column() == {str(job): "5400000"}
    assert "<strong>5,400,000 J (1.500 kWh)</strong>." in page()
    other = hub.submit()
    hub.steps()
    (second,) = agent.lease().work
    agent.report(agent.ended(second, elapsed_s=5))
    assert statement() == {"energy_j": 5_400_000, "known": 1, "unknown": 1}
    assert column() == {str(job): "5400000", str(other): "unknown"}
    assert "</strong> of 1 run; of 1 more it is unknown." in page()
    assert person.get(f"/api/v1{asked}?month=2020-01").json()["types"] == []


def test_use_that_nobody_had_measured_is_charged_in_the_end(hub):
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.ended(work, end="lost", exit_code=None, usage=None))
    assert counted(agent).counted[0].measured_by is None
    tell(agent, correction(work, 44, 1))
    assert hub.detail(job).used_s == 44
    (one,) = counted(agent).counted
    assert (one.elapsed_s, one.used_s, one.measured_by) == (44, 44, "batch")
    hub.books_balance()


def test_use_that_can_not_be_is_charged_to_nobody(hub):
    allocation = hub.award("lab", hours=1, days=1)
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    hub.clock.pass_s(50)
    never = UsageBody(elapsed_s=253_370_764_799)
    agent.report(agent.ended(work, elapsed_s=40, usage=never))
    found = hub.detail(job)
    assert (found.job.state, found.held_s, found.used_s) == ("completed", 0, 0)
    assert found.job.reason == (
        "its use is unknown: its site said 253370764799 s, and from its placement until now there"
        " were 50 s"
    )
    assert hub.balance(allocation).used_s == 0
    assert tell(agent, correction(work, 180_000, 1)).taken == [work.attempt]
    assert counted(agent).counted[0].measured_by is None
    tell(agent, correction(work, 40, 2))
    assert tell(agent, correction(work, 180_000, 3)).taken == [work.attempt]
    assert hub.detail(job).used_s == 40, "what was known stays"
    hub.books_balance()


def test_use_by_clocks_that_went_apart_is_charged(hub):
    """The site's a day ahead in the course of a run, the hub's an hour back (world 256)."""
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    hub.clock.pass_s(-3_600)
    agent.report(agent.ended(work, elapsed_s=87_232, usage=UsageBody(elapsed_s=87_232)))
    assert hub.detail(job).used_s == 87_232


def test_a_correction_to_nothing_gives_all_back(ended):
    hub, agent, work, job = ended
    tell(agent, correction(work, 0, 1))
    assert hub.detail(job).used_s == 0
    tell(agent, correction(work, 12, 2))
    assert hub.detail(job).used_s == 12
    hub.books_balance()


def test_a_site_that_never_ends_to_correct_fills_no_table(ended, monkeypatch):
    hub, agent, work, job = ended
    monkeypatch.setattr(usage, "_MOST_LATER", 3)
    for revision, elapsed_s in enumerate((12, 12, 14, 14, 16), start=1):
        assert tell(agent, correction(work, elapsed_s, revision)).taken == [work.attempt]
    assert counted(agent).counted[0].corrections == 3
    assert hub.detail(job).used_s == 14
    hub.books_balance()


def test_what_has_not_ended_here_is_unknown_and_unchanged(hub):
    running = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.running(work))
    jura = hub.site("jura", CPU)
    before = hub.everything()
    assert tell(agent, correction(work, 5, 1)).unknown == [work.attempt]
    agent.finish(work)
    after = hub.everything()
    assert tell(jura, correction(work, 500, 1)).unknown == [work.attempt]
    nobody = CorrectionBody(attempt="no", batch_job="1", usage=UsageBody(elapsed_s=1), revision=1)
    assert tell(agent, nobody).unknown == ["no"]
    assert hub.everything()["usage_records"] == after["usage_records"]
    assert before["entries"] == [row for row in after["entries"] if row in before["entries"]]
    assert hub.detail(running).used_s == 10


def test_a_closed_month_stays_as_it_was(ended):
    """The correction is dated in the open month."""
    from datetime import UTC, datetime

    hub, agent, work, job = ended
    month = datetime.fromtimestamp(hub.clock.now_s, UTC).strftime("%Y-%m")
    hub.clock.pass_s(33 * 86_400)
    with hub.write() as step:
        ledger.close_month(step, month)
    with hub.read() as step:
        before = ledger.statement(step, hub.projects["lab"], month)
    tell(agent, correction(work, 25, 1))
    with hub.read() as step:
        assert ledger.statement(step, hub.projects["lab"], month) == before
    assert hub.detail(job).used_s == 25
    hub.books_balance()


def test_what_was_counted_is_listed_by_the_time_of_its_end(hub):
    agent = hub.agents["alps"]
    for number in range(4):
        hub.submit()
        hub.steps()
        (work,) = agent.lease().work
        agent.finish(work, elapsed_s=10 + number)
        hub.clock.pass_s(3600)
        agent.hello()
    begun = hub.clock.now_ms - 4 * 3_600_000
    found = counted(agent, from_ms=begun + 3_600_000, until_ms=begun + 3 * 3_600_000).counted
    assert sorted(one.elapsed_s for one in found) == [11, 12]
    seen, after = [], ""
    while True:
        page = counted(agent, limit=3, after=after)
        seen += [one.attempt for one in page.counted]
        after = page.next
        if not after:
            break
    assert len(seen) == len(set(seen)) == 4
    jura = hub.site("jura", CPU)
    assert counted(jura).counted == []


def test_what_ended_unseen_is_listed_by_when_its_site_told_it(hub):
    hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    never = agent.ended(work, end="cancelled", exit_code=None, usage=None)
    agent.report(never.model_copy(update={"start_ms": None, "end_ms": None}))
    (one,) = counted(agent, from_ms=never.at_ms, until_ms=never.at_ms + 1).counted
    assert (one.attempt, one.elapsed_s, one.end_ms) == (work.attempt, None, never.at_ms)


def test_counting_takes_the_same_queries_for_one_or_thirty(hub):
    agent = hub.agents["alps"]
    for _ in range(8):
        hub.submit()
    while hub.steps():
        for work in agent.lease().work:
            agent.finish(work)
    with hub.counting() as statements:
        assert len(counted(agent, limit=1).counted) == 1
    few = len(statements)
    with hub.counting() as statements:
        assert len(counted(agent, limit=30).counted) == 8
    assert len(statements) == few <= 6
