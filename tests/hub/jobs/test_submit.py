"""Submitting: same key, same job; all or none; refused with reasons; odd input."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from tests.hub.facility import CPU, GPU, ONE_CORE, at_once

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, Refused
from meyrin.domain.job import ArraySpec, Dependency, DependencyKind, Resources
from meyrin.hub.jobs import change
from meyrin.hub.jobs import service as jobs
from meyrin.hub.jobs.store import jobs as jobs_table
from meyrin.hub.jobs.store import requests
from meyrin.wire.jobs import CostView, Submission


def count(hub, table):
    with hub.read() as step:
        return step.one(sa.select(sa.func.count().label("n")).select_from(table)).n


def sent(hub, key, **wanted):
    return Submission(request=hub.ask(**wanted), idempotency_key=key)


# --- idempotency


def test_the_same_again_is_the_same_job(hub):
    first = hub.submit_all([sent(hub, "key-one-1")])
    again = hub.submit_all([sent(hub, "key-one-1")])
    assert (again[0].job, first[0].again, again[0].again) == (first[0].job, False, True)
    assert count(hub, jobs_table) == 1


def test_another_request_under_a_used_key_is_a_conflict(hub):
    hub.submit_all([sent(hub, "key-one-1")])
    before = hub.everything()
    with pytest.raises(Conflict, match="another request"):
        hub.submit_all([sent(hub, "key-two-2"), sent(hub, "key-one-1", name="other")])
    assert hub.everything() == before


def test_keys_are_each_persons_own(hub):
    mine = hub.submit_all([sent(hub, "key-one-1")])
    theirs = hub.submit_all([sent(hub, "key-one-1", name="other")], by="bob")
    assert mine[0].job != theirs[0].job


def test_a_key_twice_in_one_batch(hub):
    found = hub.submit_all([sent(hub, "key-one-1"), sent(hub, "key-two-2"), sent(hub, "key-one-1")])
    assert [one.again for one in found] == [False, False, True]
    assert found[0].job == found[2].job != found[1].job
    with pytest.raises(Conflict):
        hub.submit_all([sent(hub, "key-six-6"), sent(hub, "key-six-6", name="other")])
    assert count(hub, requests) == 2


def test_an_array_again_is_the_same_array(hub):
    first = hub.submit_all([sent(hub, "key-one-1", array=ArraySpec((1, 2, 3)))])
    again = hub.submit_all([sent(hub, "key-one-1", array=ArraySpec((1, 2, 3)))])
    assert (again[0].job, again[0].elements) == (first[0].job, 3)
    assert count(hub, jobs_table) == 3


def test_twenty_clients_with_one_key_at_once_get_one_job(hub):
    found = at_once(20, lambda _: hub.submit_all([sent(hub, "key-one-1")])[0])
    assert len({one.job for one in found}) == 1
    assert [one.again for one in found].count(False) == 1
    assert count(hub, jobs_table) == 1


def test_crossing_batches_at_once_neither_hang_nor_fail(hub):
    """Two clients that send the same keys in opposite order."""
    keys = [f"crossing-{number}" for number in range(8)]

    def send(number):
        ordered = keys if number % 2 else keys[::-1]
        return [one.job for one in hub.submit_all(
            [sent(hub, key, script=f"#!/bin/sh\necho {key}\n") for key in ordered])]  # fmt: skip

    found = at_once(8, send)
    assert len({tuple(sorted(numbers)) for numbers in found}) == 1
    assert count(hub, requests) == 8


def test_submitting_again_after_the_site_left_is_still_the_same_job(hub):
    """What was accepted is not judged anew."""
    first = hub.submit_all([sent(hub, "key-one-1")])
    hub.drain("alps")
    hub.agents["alps"].partitions = ()
    hub.agents["alps"].hello("second")
    assert hub.submit_all([sent(hub, "key-one-1")])[0].job == first[0].job


# --- all or none


def test_one_bad_submission_keeps_none(hub):
    before = hub.everything()
    bad = [
        sent(hub, "bad-wall", walltime_s=10**6),
        sent(hub, "bad-gpus", resources=Resources(accelerators=1)),
        sent(hub, "bad-dep1", dependencies=(Dependency(DependencyKind.AFTER_OK, 999),)),
        sent(hub, "bad-site", sites=("jura",)),
        sent(hub, "bad-proj", project="nowhere"),
    ]
    for each in bad:
        with pytest.raises((Refused, InvalidInput, NotFound)):
            hub.submit_all([sent(hub, "good-one"), each, sent(hub, "good-two")])
    assert hub.everything() == before


@pytest.mark.parametrize(
    ("wanted", "reasons"),
    [
        ({"walltime_s": 86_401}, {"walltime"}),
        ({"resources": Resources(accelerators=1)}, {"accelerators_per_node"}),
        ({"resources": Resources(nodes_min=5, tasks=5)}, {"node_count"}),
        ({"resources": Resources(cores_per_task=9)}, {"cores_per_node"}),
        ({"resources": Resources(memory_mb=32_001)}, {"memory_per_node"}),
        ({"features": ("ib",)}, {"feature"}),
        ({"sites": ("jura",)}, {"site_not_asked"}),
        ({"partitions": ("gpu",)}, {"partition_not_asked"}),
        ({"walltime_s": 86_400, "resources": Resources(nodes_min=4, tasks=32)}, set()),
    ],
)
def test_what_can_never_run_is_refused_with_every_reason(sqlite_hub, wanted, reasons):
    request = sqlite_hub.ask(**wanted)
    if not reasons:
        assert sqlite_hub.submit(request)
        return
    with pytest.raises(Refused) as no:
        sqlite_hub.submit(request)
    assert {refusal.reason for refusal in no.value.refusals} == reasons
    assert {refusal.site for refusal in no.value.refusals} == {"alps"}
    assert no.value.message
    assert no.value.hint


def test_hours_are_asked_before(empty_hub):
    hub = empty_hub
    with pytest.raises(Refused, match="no site has joined"):
        hub.submit()
    hub.site("alps", CPU, GPU)
    with pytest.raises(Refused) as no:
        hub.submit()
    assert {refusal.reason for refusal in no.value.refusals} >= {"no_allocation"}
    hub.award("lab", hours=0.1, days=1)
    with pytest.raises(Refused) as no:
        hub.submit(walltime_s=3600)
    assert "balance" in {refusal.reason for refusal in no.value.refusals}
    hub.submit(walltime_s=360)
    hub.clock.pass_s(86_400)
    with pytest.raises(Refused) as no:
        hub.submit(walltime_s=360)
    assert "allocation_ended" in {refusal.reason for refusal in no.value.refusals}


def test_a_name_that_nothing_here_has_is_told_as_such(hub):
    with pytest.raises(Refused, match="there is no site apls here") as no:
        hub.submit(sites=("apls",))
    assert no.value.hint == "there are: alps"
    with pytest.raises(Refused, match="there is no partition gpus here"):
        hub.submit(partitions=("gpus",))
    hub.submit(sites=("apls", "alps"))
    hub.submit(partitions=(CPU.name.upper(),))  # as a site may spell it


def test_a_refusal_travels_with_its_reasons(sqlite_hub):
    body = {
        "submissions": [
            {
                "request": {"script": "#!/bin/sh\n", "project": "lab", "walltime_s": 10**6},
                "idempotency_key": "key-one-1",
            }
        ]
    }
    answer = sqlite_hub.client("ada").post("/api/v1/jobs", json=body)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["code"], error["retry"]) == ("refused", False)
    assert error["refusals"][0] == {
        "reason": "walltime",
        "site": "alps",
        "partition": "cpu",
        "asked": 10**6,
        "limit": 86_400,
    }


def test_a_silent_or_drained_site_lets_jobs_wait(hub):
    hub.drain("alps")
    hub.clock.pass_s(600)
    assert hub.state(hub.submit()) == "admitted"


# --- whose


def test_a_project_of_others_is_not_there(hub):
    hub.person("eve")
    with pytest.raises(NotFound):
        hub.submit(by="eve")
    with pytest.raises(Refused, match="no open project"):
        hub.submit(by="eve", project=None)
    hub.submit(by="ada", project=None)
    hub.project("other", "ada")
    with pytest.raises(InvalidInput, match="say which project"):
        hub.submit(by="ada", project=None)


def test_a_dependency_on_a_job_of_others_is_not_there(hub):
    job = hub.submit()
    hub.person("eve")
    hub.project("hers", "eve")
    hub.award("hers")
    after = (Dependency(DependencyKind.AFTER_OK, job),)
    with pytest.raises(InvalidInput, match="no such job of yours"):
        hub.submit(by="eve", project="hers", dependencies=after)


# --- odd input


NAMES = (
    "Привет",
    "训练",
    "🤖 with blanks",
    "a'b\"c;--",
    "%s %j \\",
    "zero\u200bwidth",
    "x" * 200,
)


def test_names_in_any_alphabet(hub):
    for name in NAMES:
        job = hub.submit(name=name, comment=name, environment=(("TEXT", name),))
        hub.steps()
        assert hub.detail(job).job.name == name
        assert hub.detail(job).comment == name
        reply = hub.agents["alps"].lease()
        assert next(iter(reply.requests.values())).environment == (("TEXT", name),)


def api(hub, **wanted):
    request = {"script": "#!/bin/sh\n", "project": "lab", "walltime_s": 60} | wanted
    body = {"submissions": [{"request": request, "idempotency_key": hub.key()}]}
    headers = {"content-type": "application/json"}
    return hub.client("ada").post("/api/v1/jobs", content=json.dumps(body), headers=headers)


ODD = {
    "NUL in a name": {"name": "a\0b"},
    "NUL in a variable": {"environment": [["A", "b\0"]]},
    "NUL in an argument": {"arguments": ["\0"]},
    "NUL in a folder": {"chdir": "/tmp/\0"},
    "huge nice": {"nice": 10**30},
    "nice of 40 bits": {"nice": 2**40},
    "huge begin": {"begin_s": 10**30},
    "huge deadline": {"deadline_s": 10**30},
    "huge dependency": {"dependencies": [{"kind": "afterok", "job": 10**30}]},
    "huge element": {"array": {"indices": [10**12]}},
    "falling indices": {"array": {"indices": [2, 1]}},
    "no indices": {"array": {"indices": []}},
    "unknown field": {"wall_time": 5},
    "empty script": {"script": ""},
    "script of 5 MiB": {"script": "#" * 5 * 2**20},
    "no script": {"script": None},
    "walltime zero": {"walltime_s": 0},
    "a lone half of a character": {"name": "\ud800"},
}


def test_odd_input_is_named_and_never_breaks_the_hub(hub):
    for odd, wanted in ODD.items():
        answer = api(hub, **wanted)
        assert answer.status_code == 422, (odd, answer.text)
        assert answer.json()["error"]["code"] == "invalid_input", odd
        assert answer.json()["error"]["message"], odd
    assert count(hub, jobs_table) == 0


def test_a_huge_answer_to_a_small_question_is_not_given(hub):
    ada = hub.client("ada")
    for path in (
        "/api/v1/jobs?limit=501",
        "/api/v1/jobs?limit=0",
        "/api/v1/jobs?after=x",
        "/api/v1/jobs?after=%C2%B2",
        "/api/v1/jobs?after=" + "9" * 40,
        "/api/v1/jobs?state=odd",
        "/api/v1/jobs?site=%00",
        "/api/v1/jobs/17_x",
        "/api/v1/jobs/-1",
    ):
        assert ada.get(path).status_code in {200, 422}, path
    assert ada.get("/api/v1/jobs/" + "9" * 18).status_code == 404
    assert ada.get("/api/v1/jobs/" + "9" * 19).status_code == 422
    job = hub.submit()
    for path in ("output?offset=" + "9" * 40, "output?offset=-1", "output?stream=stdin"):
        assert ada.get(f"/api/v1/jobs/{job}/{path}").status_code == 422, path


# --- big arrays


def test_an_array_costs_what_its_elements_cost(hub):
    array = hub.submit(array=ArraySpec((0, 1, 2)), resources=ONE_CORE, walltime_s=100)
    hub.step()
    agent = hub.agents["alps"]
    first, second, _ = agent.lease().work
    agent.finish(first, elapsed_s=30)
    agent.finish(second, elapsed_s=40)
    detail = hub.detail(array)
    assert (detail.held_s, detail.used_s) == (0, 30)
    assert detail.array_costs == [CostView(charged_type="core", held_s=100, used_s=70)]
    assert hub.detail(f"{array}_1").array_costs == []


def test_more_jobs_than_one_call_makes_in_memory_are_refused(sqlite_hub, monkeypatch):
    monkeypatch.setattr("meyrin.hub.jobs.submit.MAX_ARRAY", 5)
    arrays = [sent(sqlite_hub, f"key-{n:06}", array=ArraySpec(tuple(range(3)))) for n in range(2)]
    with pytest.raises(InvalidInput, match="6 jobs in one call"):
        sqlite_hub.submit_all(arrays)
    assert count(sqlite_hub, jobs_table) == 0
    assert sqlite_hub.submit_all(arrays[:1])[0].elements == 3


@pytest.mark.parametrize(
    ("elements", "dependencies", "words"),
    [
        (1, 1001, "a job with 1001 dependencies"),
        (1001, 200, "1,001 jobs with 200,200 dependencies in one call"),
    ],
)
def test_more_dependencies_than_one_call_keeps_are_refused(
    sqlite_hub, elements, dependencies, words
):
    first = sqlite_hub.submit(held=True)
    after = (Dependency(DependencyKind.AFTER_ANY, first),) * dependencies
    with pytest.raises(InvalidInput, match=words) as no:
        sqlite_hub.submit(array=ArraySpec(tuple(range(elements))), dependencies=after)
    assert "depend on" in no.value.hint
    assert sqlite_hub.submit(dependencies=after[:1000])


def test_an_array_of_ten_thousand(hub):
    array = hub.submit(array=ArraySpec(tuple(range(10_000))), resources=ONE_CORE)
    assert hub.detail(array).array == {"admitted": 10_000}
    assert hub.detail(f"{array}_9999").job.task == 9999
    assert hub.steps() == 32, "four nodes of eight cores"
    reply = hub.cancel(array)
    assert len(reply.ended) == 10_000
    assert hub.detail(array).array == {"cancelled": 10_000}
    hub.books_balance()


def test_more_jobs_are_locked_than_a_statement_has_values(postgres_hub):
    """PostgreSQL takes 65,535 values with a statement; an array may be larger."""
    job = postgres_hub.submit()
    with postgres_hub.write() as step:
        assert set(change.locked(step, range(70_000))) == {job}


def test_no_statement_grows_with_the_array_that_is_released_and_cancelled(hub):
    """PostgreSQL takes 65,535 values with a statement, SQLite 32,766; an array may be larger."""
    most: list[int] = []

    def note(_conn, _cursor, _statement, values, _context, many):
        if not many:
            most.append(len(values))

    array = hub.submit(array=ArraySpec(tuple(range(400))), held=True)
    sa.event.listen(hub.database.engine, "before_cursor_execute", note)
    with hub.write() as step:
        assert len(jobs.release(step, hub.actor("ada"), str(array))) == 400
    hub.step()
    assert hub.detail(array).array == {"placed": 32, "admitted": 368}
    assert len(hub.cancel(array).ended) == 400
    sa.event.remove(hub.database.engine, "before_cursor_execute", note)
    assert max(most) < 50
    assert hub.detail(array).array == {"cancelled": 400}
