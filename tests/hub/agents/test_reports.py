"""Reports: repeated, reordered, skipped, stale, of others; what a site says no to; odd words."""

from __future__ import annotations

import itertools
import json

import pytest
from tests.hub.facility import CPU, at_once

from meyrin.domain.job import ArraySpec, Resources
from meyrin.domain.site import Partition
from meyrin.hub.broker.explaining import ITS_TURN
from meyrin.wire.agents import HelloBody, UsageBody


def leased(hub, **wanted):
    """A job that the agent of `alps` has taken, and its work."""
    job = hub.submit(**wanted)
    assert hub.step() == 1
    (work,) = [each for each in hub.agents["alps"].lease().work if each.job == job]
    return job, work


def end_of(hub, job):
    """All that a job's end is made of."""
    found = hub.detail(job)
    return (
        found.job.model_dump(),
        [(event.state, event.at_ms) for event in found.events],
        [attempt.model_dump() for attempt in found.attempts],
        (found.held_s, found.used_s),
    )


# --- what no report can say


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("end_ms", 2**53),  # in a year that no page can write
        ("at_ms", -1),
        ("start_ms", 2**63),
        ("exit_code", 2**31),
        ("run", 10**9),
        ("attempt", "\ud800"),
    ],
)
def test_what_no_calendar_or_column_has_is_refused_by_name(sqlite_hub, field, value):
    job, work = leased(sqlite_hub)
    agent, now = sqlite_hub.agents["alps"], sqlite_hub.clock()
    right = agent.ended(work, 0, 5, at_ms=now, start_ms=now, end_ms=now).model_dump(mode="json")
    client = sqlite_hub.client(secret=agent.secret)
    body = json.dumps({"reports": [right | {field: value}]})  # httpx writes no half character
    headers = {"content-type": "application/json"}
    answer = client.post("/api/v1/agent/reports", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["facts"]["field"] == f"reports.0.{field}"
    assert sqlite_hub.state(job) == "leased"
    page = sqlite_hub.client("ada").get(f"/jobs/{job}", headers={"accept": "text/html"})
    assert page.status_code == 200


# --- what a site holds back


def test_what_a_site_holds_back_says_what_it_waits_for(hub):
    job, work = leased(hub)
    agent = hub.agents["alps"]
    full = "the site takes no more jobs for now"
    agent.report(agent.held(work, full))
    assert hub.state(job) == "leased"
    assert hub.explain(job).waits == full
    assert hub.explain(job).summary.endswith(f"; it waits there: {full}")
    page = hub.client("ada").get(f"/jobs/{job}", headers={"accept": "text/html"}).text
    assert f"It waits there: <strong>{full}</strong>" in page
    agent.report(agent.queued(work, why="Slurm: QOSGrpGRES"))
    assert hub.state(job) == "queued"
    assert hub.explain(job).waits == "Slurm: QOSGrpGRES"
    before = hub.everything()
    agent.report(agent.held(work, full))
    assert hub.everything() == before, "a late word changes nothing"
    agent.report(agent.running(work))
    assert hub.explain(job).waits == ""
    assert hub.detail(job).attempts[-1].why == "", "it waits for nothing any more"


def test_what_waits_for_its_turn_at_a_site_says_so_once_it_is_late(hub):
    """The site tells no word of it: what is usual would change with each look."""
    job, work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.queued(work))
    assert hub.explain(job).waits == ""
    hub.clock.pass_s(120)
    agent.lease()
    assert hub.explain(job).waits == ITS_TURN
    assert hub.explain(job).summary.endswith(f"; it waits there: {ITS_TURN}")
    assert hub.detail(job).attempts[-1].why == "", "no alarm"
    agent.report(agent.queued(work, why="Slurm: QOSGrpGRES"))
    assert hub.explain(job).waits == "Slurm: QOSGrpGRES"
    agent.report(agent.queued(work, site_word="not in the queue"))
    assert hub.explain(job).waits == ""
    agent.report(agent.running(work))
    assert hub.explain(job).waits == ""


def test_what_is_held_back_can_be_cancelled_and_refused(hub):
    agent = hub.agents["alps"]
    for how, state in ((agent.ended, "cancelled"), (agent.refused, "admitted")):
        job, work = leased(hub)
        agent.report(agent.held(work, "no room"))
        if state == "cancelled":
            hub.client("ada").post(f"/api/v1/jobs/{job}/cancel")
            agent.report(agent.held(work, "no room at all"))
            assert hub.explain(job).waits == ""
            assert hub.detail(job).attempts[-1].why != "no room at all", "why it is to end stays"
            agent.report(how(work, end="cancelled", exit_code=None, start_ms=None))
        else:
            agent.report(how(work))
        assert hub.state(job) == state
    hub.books_balance()


# --- a script that is over

WHOLE = {
    "resources": Resources(nodes_min=4, tasks=4, cores_per_task=8, memory_mb=100),
    "sites": ("alps",),
    "partitions": ("cpu",),
}


def test_what_a_script_had_is_free_when_it_is_over_though_its_site_still_counts(hub):
    agent, now = hub.agents["alps"], hub.clock()
    first, work = leased(hub, **WHOLE)
    agent.report(agent.running(work, start_ms=now))
    second = hub.submit(**WHOLE)
    assert hub.step() == 0
    over = agent.running(work, start_ms=now, end_ms=now + 1000)
    agent.report(over)
    assert hub.step() == 1
    assert hub.states(first, second) == ["running", "placed"]
    assert hub.detail(first).job.end_ms is None, "its end is told by its site's accounting"
    agent.report(agent.ended(work, 0, 1, start_ms=now, end_ms=now + 1000))
    assert hub.state(first) == "completed"
    hub.books_balance()


def test_what_its_site_takes_back_after_its_script_was_over_takes_room_again(hub):
    agent, now = hub.agents["alps"], hub.clock()
    first, work = leased(hub, **WHOLE)
    agent.report(agent.running(work, start_ms=now, end_ms=now + 1000))
    agent.report(agent.queued(work, run=1))
    second = hub.submit(**WHOLE)
    assert hub.step() == 0
    assert hub.states(first, second) == ["queued", "admitted"]


# --- the same end, however the reports come


def story(hub, work):
    """The reports of a job that ran from second 1 to second 6, as an agent would note them."""
    agent, now = hub.agents["alps"], hub.clock()
    return [
        agent.queued(work, at_ms=now),
        agent.running(work, at_ms=now + 1000, start_ms=now + 1000),
        agent.ended(work, 3, 5, at_ms=now + 6000, start_ms=now + 1000, end_ms=now + 6000),
    ]


ORDERS = [
    order
    for count in (1, 2, 3)
    for order in itertools.product(range(3), repeat=count)
    if 2 in order
]


def test_repeated_reordered_and_skipped_reports_give_the_same_end(sqlite_hub):
    hub = sqlite_hub
    agent = hub.agents["alps"]
    ends = set()
    for order in ORDERS:
        job, work = leased(hub)
        reports = story(hub, work)
        for number in order:
            assert agent.report(reports[number]) == []
        view, events, attempts, cost = end_of(hub, job)
        del attempts[0]["attempt"], attempts[0]["batch_job"]
        del view["job"], view["label"]
        # when it was queued is known only if that was said before the end
        events = [(state, at_ms * (state != "queued")) for state, at_ms in events]
        ends.add(repr((view, events, attempts, cost)))
    assert len(ends) == 1, "one end for all orders"
    hub.books_balance()


def test_several_reports_of_one_job_in_one_call(hub):
    job, work = leased(hub)
    queued, running, ended = story(hub, work)
    assert hub.agents["alps"].report(ended, queued, running) == []
    assert hub.state(job) == "failed"
    assert hub.detail(job).job.reason == "exit code 3"


def test_a_report_that_is_behind_changes_nothing(hub):
    _, work = leased(hub)
    queued, running, ended = story(hub, work)
    agent = hub.agents["alps"]
    for known, late in ((running, queued), (ended, queued), (ended, running), (ended, ended)):
        agent.report(known)
        before = hub.everything()
        assert agent.report(late) == []
        assert hub.everything() == before


# --- whose word counts


def test_a_stale_epoch_changes_nothing(hub):
    _, work = leased(hub)
    agent = hub.agents["alps"]
    before = hub.everything()
    for epoch in (work.epoch - 1, work.epoch + 1):
        stale = [agent.ended(work, epoch=epoch), agent.refused(work).model_copy(
            update={"epoch": epoch})]  # fmt: skip
        for report in stale:
            assert agent.report(report) == [work.attempt]
    assert hub.everything() == before


def test_another_sites_report_changes_nothing(hub):
    _, work = leased(hub)
    jura = hub.site("jura", CPU)
    before = hub.everything()
    for report in (jura.queued(work), jura.running(work), jura.refused(work), jura.ended(work)):
        assert jura.report(report) == [work.attempt]
    nobody = work.model_copy(update={"attempt": "00000000-0000-4000-8000-000000000000"})
    assert jura.report(jura.ended(nobody)) == [nobody.attempt]
    assert hub.everything() == before


def test_the_report_of_an_earlier_attempt_is_stale(hub):
    jura = hub.site("jura", CPU)
    job, first = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.refused(first))
    assert hub.step() == 1
    (second,) = jura.lease().work
    assert (second.job, second.epoch) == (job, first.epoch + 1)
    before = hub.everything()
    assert agent.report(agent.ended(first)) == [first.attempt]
    assert agent.report(agent.refused(first)) == [first.attempt]
    assert hub.everything() == before
    jura.finish(second)
    assert hub.state(job) == "completed"


def test_good_reports_count_beside_stale_ones(hub):
    job, work = leased(hub)
    agent = hub.agents["alps"]
    gone = work.model_copy(update={"attempt": "00000000-0000-4000-8000-000000000000"})
    assert agent.report(agent.ended(gone), agent.ended(work)) == [gone.attempt]
    assert hub.state(job) == "completed"


# --- lease


def test_a_late_hello_of_an_earlier_start_shuts_nobody_out(hub):
    """It was under way when its sender died; numbers of one journal say which came last."""
    agent = hub.agents["alps"]
    agent.hello("journal.9")
    agent.hello("journal.10")
    agent.hello("journal.10")
    body = HelloBody(
        incarnation="journal.9", version="1", batch_kind="x", partitions=list(agent.partitions)
    )
    answer = agent.post("hello", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stale_epoch")
    assert agent.lease_raw().status_code == 200
    agent.hello("another-journal.1")


def test_only_the_last_start_of_an_agent_is_heard(hub):
    agent = hub.agents["alps"]
    agent.hello("second")
    agent.incarnation = "first"
    hub.submit()
    hub.step()
    before = hub.everything()
    answer = agent.lease_raw()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "stale_epoch")
    assert "end that one and start this one again" in error["hint"], "what its operator can do"
    assert hub.everything() == before


def test_a_lease_whose_reply_was_lost_is_given_again(hub):
    hub.submit()
    hub.step()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    assert agent.lease().work == []
    hub.clock.pass_s(hub.settings.lease_s + 1)
    assert agent.lease().work == [work], "never spoken of"
    agent.hello("second")
    assert agent.lease().work == [work], "a new start may not know it"
    agent.report(agent.queued(work))
    hub.clock.pass_s(hub.settings.lease_s + 1)
    assert agent.lease().work == [], "spoken of"
    assert len(hub.detail(work.job).events) == 5, "leased once"


def test_no_more_than_asked_for(hub):
    for _ in range(5):
        hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    assert [len(agent.lease(2).work) for _ in range(4)] == [2, 2, 1, 0]


def test_one_attempt_is_leased_once_to_callers_at_once(hub):
    for _ in range(12):
        hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    got = at_once(6, lambda _: agent.lease(5).work)
    attempts = [work.attempt for works in got for work in works]
    assert len(attempts) == len(set(attempts))
    attempts += [work.attempt for _ in range(3) for work in agent.lease(5).work]
    assert len(set(attempts)) == len(attempts) == 12


def test_what_is_asked_travels_once(hub):
    job = hub.submit(
        script="#!/bin/sh\nécho ☃\n",
        name="Привет",
        array=ArraySpec((1, 5, 9)),
        environment=(("LANG", "C.UTF-8"),),
    )
    hub.steps()
    reply = hub.agents["alps"].lease()
    assert [work.task for work in reply.work] == [1, 5, 9]
    assert {work.array_job for work in reply.work} == {job}
    assert {work.task_count for work in reply.work} == {3}
    ((number, request),) = reply.requests.items()
    assert {work.request_id for work in reply.work} == {number}
    assert (request.script, request.name) == ("#!/bin/sh\nécho ☃\n", "Привет")
    assert {(work.person, work.project) for work in reply.work} == {("ada", "lab")}


# --- how it ended


ENDS = [
    ({}, "completed", "", 10),
    ({"exit_code": 2}, "failed", "exit code 2", 10),
    ({"end": "signal", "exit_code": None, "signal": 9}, "failed", "ended by signal 9", 10),
    ({"end": "timeout", "exit_code": None}, "failed", "wall time was over", 10),
    ({"end": "lost", "exit_code": None, "why": "node died"}, "failed", "node died", 10),
    ({"end": "lost", "usage": None, "why": "node died"}, "failed", "node died", 0),
    ({"end": "signal", "signal": 9, "start_ms": None}, "failed", "ended by signal 9", 10),
    ({"end": "cancelled", "why": "by the operator"}, "cancelled", "by the operator", 10),
    (
        {"end": "not_started", "start_ms": None, "usage": None, "why": "no such folder"},
        "failed",
        "no such folder",
        0,
    ),
    ({"start_ms": None}, "completed", "", 10),
    ({"start_ms": None, "usage": None}, "completed", "", 0),
]


def test_every_end_has_its_state_its_reason_and_its_charge(hub):
    for known, state, reason, used_s in ENDS:
        job, work = leased(hub)
        agent = hub.agents["alps"]
        assert agent.report(agent.ended(work, **({"exit_code": 0} | known))) == []
        found = hub.detail(job)
        assert (found.job.state, found.job.reason) == (state, reason), known
        assert (found.held_s, found.used_s) == (0, used_s), known
    hub.books_balance()


def test_a_word_that_we_do_not_know_is_kept_and_freezes_nothing(hub):
    job, work = leased(hub)
    other, next_work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.queued(work, site_word="SPECIAL_EXIT"), agent.running(next_work))
    found = hub.detail(job).job
    assert (found.state, found.shown) == ("queued", "unknown (SPECIAL_EXIT)")
    assert hub.detail(other).job.shown == "running"
    agent.report(agent.running(work, site_word="定義なし"))
    assert hub.detail(job).job.shown == "unknown (定義なし)"
    agent.report(agent.running(work))
    assert hub.detail(job).job.shown == "running"
    agent.finish(work)
    agent.finish(next_work)
    assert hub.states(job, other) == ["completed", "completed"]


# --- a site's own rule


def test_a_refused_job_goes_elsewhere(hub):
    hub.site("jura", CPU)
    allocation = hub.award("lab", hours=1, days=1)
    job, work = leased(hub)
    agent = hub.agents["alps"]
    assert agent.report(agent.refused(work, "no lab work here")) == []
    found = hub.detail(job)
    assert (found.job.state, found.job.site) == ("admitted", None)
    assert found.job.reason == "alps said no: no lab work here"
    assert hub.balance(allocation).held_s == 0
    assert hub.step() == 1
    found = hub.detail(job)
    assert (found.job.site, found.job.reason) == ("jura", "")
    assert [attempt.site for attempt in found.attempts] == ["alps", "jura"]
    hub.books_balance()


def test_a_job_that_every_site_refused_says_why(hub):
    job, work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.refused(work, "no lab work here"))
    assert hub.step() == 0
    assert hub.detail(job).job.reason == "alps said no: no lab work here"
    said = hub.explain(job)
    assert [refusal.reason for refusal in said.refusals] == ["site_said_no"]
    assert said.summary == "alps said no: no lab work here"


def test_a_no_comes_too_late_once_the_batch_system_has_the_job(hub):
    job, work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.queued(work))
    before = hub.everything()
    assert agent.report(agent.refused(work)) == []
    assert hub.everything() == before
    agent.finish(work)
    assert hub.state(job) == "completed"
    hub.books_balance()


def test_a_no_beside_the_end_of_the_same_attempt_counts_once(hub):
    job, work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.refused(work), agent.ended(work))
    assert hub.state(job) == "completed"


# --- charges


def test_beyond_the_hold_is_charged_too(hub):
    allocation = hub.award("lab", hours=1, days=1)
    job, work = leased(hub, walltime_s=60)
    hub.agents["alps"].finish(work, elapsed_s=75)
    assert hub.detail(job).used_s == 75
    assert hub.balance(allocation).used_s == 75
    hub.books_balance()


def test_whole_nodes_are_charged_where_whole_nodes_are_given(empty_hub):
    hub = empty_hub
    agent = hub.site("alps", Partition("cpu", 4, 8, 32_000, whole_node=True))
    hub.award("lab")
    job = hub.submit(walltime_s=60)
    hub.step()
    (work,) = agent.lease().work
    agent.report(agent.ended(work, usage=UsageBody(elapsed_s=10, cpu_ms=900, max_rss_kb=5)))
    assert hub.detail(job).used_s == 80


def test_the_end_told_by_many_at_once_is_charged_once(hub):
    allocation = hub.award("lab", hours=1, days=1)
    job, work = leased(hub)
    agent = hub.agents["alps"]
    report = agent.ended(work, elapsed_s=9)
    at_once(6, lambda _: agent.report(report))
    assert hub.detail(job).used_s == 9
    assert hub.balance(allocation).used_s == 9
    assert [event.state for event in hub.detail(job).events].count("completed") == 1
    hub.books_balance()


# --- taken back by the site


def test_a_job_that_its_site_takes_back_stays_the_same_job_and_attempt(hub):
    job, work = leased(hub)
    agent, now = hub.agents["alps"], hub.clock()
    first = [
        agent.queued(work, at_ms=now),
        agent.running(work, at_ms=now + 1000, start_ms=now + 1000),
    ]
    again = [
        agent.queued(work, at_ms=now + 4000, run=1),
        agent.running(work, at_ms=now + 9000, start_ms=now + 9000, run=1),
    ]
    for each in first:
        assert agent.report(each) == []
    agent.report(again[0])
    assert hub.detail(job).job.state == "queued"
    for stale in first:  # an older word comes once more
        agent.report(stale)
    assert hub.detail(job).job.state == "queued"
    agent.report(again[1])
    agent.report(again[0], again[1])
    usage = UsageBody(elapsed_s=3 + 5)
    end = agent.ended(
        work, 0, 8, at_ms=now + 14_000, start_ms=now + 9000, end_ms=now + 14_000, run=1, usage=usage
    )
    agent.report(end)
    agent.report(end)
    found = hub.detail(job)
    walked = [event.state for event in found.events if event.state not in ("submitted", "admitted")]
    assert walked == [
        "placed", "leased", "queued", "running", "preempted", "queued", "running", "completed",
    ]  # fmt: skip
    assert (len(found.attempts), found.held_s, found.used_s > 0) == (1, 0, True)


def test_a_return_to_the_queue_that_was_never_seen_is_told_all_the_same(sqlite_hub):
    job, work = leased(sqlite_hub)
    agent, now = sqlite_hub.agents["alps"], sqlite_hub.clock()
    agent.report(agent.running(work, at_ms=now, start_ms=now, run=2))
    states = [event.state for event in sqlite_hub.detail(job).events]
    assert states.count("preempted") == 2
    assert states[-1] == "running"


@pytest.mark.parametrize("odd", ["a\x00b", "a\ud800b"])
def test_words_of_a_site_that_no_column_takes_are_told_with_a_mark_in_their_place(hub, odd):
    """A veto or a batch system may print anything; one such word must not stop all reports."""
    job, work = leased(hub)
    agent, now = hub.agents["alps"], hub.clock()
    body = agent.ended(work, 0, 5, at_ms=now, start_ms=now, end_ms=now).model_dump(mode="json")
    words = {"why": odd, "end": "lost", "exit_code": None, "site_word": odd}
    text = json.dumps({"reports": [body | words]})
    headers = {"content-type": "application/json"}
    answer = hub.client(secret=agent.secret).post(
        "/api/v1/agent/reports", content=text, headers=headers
    )
    assert answer.status_code == 200, answer.text
    assert hub.state(job) == "failed"
    assert hub.detail(job).attempts[0].why == "a\ufffdb"
