"""Free and paid doors on one queue, in a whole hub."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.hub.facility import CPU

from meyrin.domain.job import Resources
from meyrin.engine.model import Policy
from meyrin.engine.placement import decide
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import service as calls
from meyrin.hub.calls import store as calls_store
from meyrin.hub.jobs import eligible
from meyrin.hub.ledger import service as ledger

NODE = Resources(tasks=1, cores_per_task=8, memory_mb=1)


@pytest.fixture
def two_doors(empty_hub):
    """Four nodes; `lab` is entitled, `firm` pays."""
    hub = empty_hub
    hub.site("alps", CPU)
    hub.award("lab")
    hub.person("eve")
    hub.project("firm", "eve")
    answer = hub.client("root").post(
        "/api/v1/allocations",
        json={
            "key": "contract 5",
            "project": "firm",
            "charged_type": "core",
            "amount_s": 10**7,
            "end_s": hub.clock.now_s + 10**7,
            "reason": "contract 5",
            "door": "paid",
        },
    )
    assert answer.json()["door"] == "paid", answer.text
    return hub


def submit(hub, project, by, count=1):
    return [
        hub.submit(hub.ask(project=project, resources=NODE, walltime_s=60), by=by)
        for _ in range(count)
    ]


def test_entitled_jobs_go_first_whenever_they_came(two_doors):
    hub = two_doors
    paid = submit(hub, "firm", "eve", 3)
    free = submit(hub, "lab", "ada", 3)
    hub.steps()
    assert hub.states(*free) == ["placed"] * 3
    assert sorted(hub.states(*paid)) == ["admitted", "admitted", "placed"]
    with hub.write() as step:
        broker.set_policy(step, Policy(paid_percent=50), "root")
    more, other = submit(hub, "firm", "eve"), submit(hub, "lab", "ada")
    hub.agents["alps"].report(
        *(hub.agents["alps"].ended(work) for work in hub.agents["alps"].lease().work)
    )
    hub.steps()
    assert hub.states(*paid[1:], *other) == ["placed"] * 3
    assert hub.states(*more) == ["placed"]  # what is left when nobody entitled waits
    hub.books_balance()


def test_paid_work_that_would_hide_entitled_jobs_is_looked_at_apart(two_doors, monkeypatch):
    hub = two_doors
    monkeypatch.setattr(broker, "WINDOWS", (2, 3))
    paid = submit(hub, "firm", "eve", 4)
    free = submit(hub, "lab", "ada", 5)
    hub.step()
    assert hub.states(*free[:2], *paid) == ["placed"] * 2 + ["admitted"] * 4
    said = hub.explain(paid[0], by="eve")
    assert said.summary
    hub.steps()
    assert hub.states(*free) == ["placed"] * 4 + ["admitted"]
    assert hub.states(*paid) == ["admitted"] * 4
    said = hub.explain(paid[0], by="eve")
    assert {"busy", "paid_behind"} & {one.reason for one in said.refusals}


def look(hub):
    with hub.read() as step:
        seen = broker.snapshot(step)
        return seen, decide(seen.state, seen.policy, step.now_s)


def write(hub, seen, decision):
    with hub.write() as step:
        return broker.apply(step, seen.state, decision, seen.policy, seen_s=step.now_s)


@pytest.mark.parametrize("gone", ["paused", "closed", "ended", "moved"])
def test_entitled_hours_that_go_before_the_write_let_no_paid_work_ahead(two_doors, gone):
    """`lab` has paid hours too: the job that was placed as entitled must not be paid for by them
    before its turn comes again, behind the entitled job of another."""
    hub = two_doors
    hub.person("dan")
    other = hub.project("other", "dan")
    with hub.write() as step:
        now_s = step.now_s
        lasting = {"start_s": now_s, "end_s": now_s + 10**7, "reason": "a test"}
        calls.award(step, hub.projects["lab"], "core", 10**7, door=calls.PAID, **lasting)
        calls.award(step, other, "core", 10**7, **lasting)
        (entitled,) = [
            one
            for one, _, _ in calls.allocations_page(step, hub.actor("root"), "lab", "", 9)[0]
            if one.door == calls.ENTITLED
        ]
    first = submit(hub, "lab", "ada", 4)
    later = submit(hub, "other", "dan", 4)
    with hub.write() as step:
        eligible.advance(step)
    seen, decision = look(hub)
    assert {placement.job for placement in decision.placements} == set(first)
    with hub.write() as step:
        if gone == "paused":
            said = {"paused_ms": 1, "paused_by": "root", "paused_officer": True}
            calls_store.set_pause(step, entitled.id, {**said, "paused_reason": "floor is wet"})
        elif gone == "closed":
            calls.close(step, entitled.id, "over")
        elif gone == "moved":
            free_s = ledger.balances(step, [entitled.id])[entitled.id].free_s
            ledger.expire(step, [entitled.id], "a test")
            assert free_s > 0
    if gone == "ended":
        hub.clock.now_ms = entitled.end_s * 1000
        with hub.write() as step:
            assert broker.apply(step, seen.state, decision, seen.policy, seen_s=now_s) == 0
        return
    assert write(hub, seen, decision) == 0
    hub.steps()
    assert hub.states(*later, *first) == ["placed"] * 4 + ["admitted"] * 4
    hub.books_balance()


def test_two_hubs_let_no_more_paid_work_ahead_than_one(two_doors):
    hub = two_doors
    with hub.write() as step:
        broker.set_policy(step, Policy(paid_percent=25), "root")
    one, other = submit(hub, "firm", "eve", 2)
    free = submit(hub, "lab", "ada", 5)
    with hub.write() as step:
        eligible.advance(step)
    seen, decision = look(hub)
    paid = [each for each in decision.placements if each.job in {one, other}]
    assert [each.job for each in paid] == [one]
    twin = replace(decision, placements=(replace(paid[0], job=other),))
    assert write(hub, seen, replace(decision, placements=tuple(paid))) == 1
    assert write(hub, seen, twin) == 0
    hub.steps()
    assert hub.states(one, other, *free) == [
        "placed",
        "admitted",
        *["placed"] * 3,
        *["admitted"] * 2,
    ]
    hub.books_balance()


def test_a_mode_says_who_comes_by_the_paid_door(two_doors):
    hub = two_doors
    pays = [mode for mode in hub.app.state.modes if mode.pays]
    with hub.read() as step:
        found, _ = calls.allocations_page(step, hub.actor("root"), "firm", "", 5)
    assert [one.door for one, _, _ in found] == [calls.PAID]
    assert all(set(mode.pays) <= set(mode.who) for mode in pays)
