"""Free and paid doors on one queue, in a whole hub."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU

from meyrin.domain.job import Resources
from meyrin.engine.model import Policy
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import service as calls

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


def test_a_mode_says_who_comes_by_the_paid_door(two_doors):
    hub = two_doors
    pays = [mode for mode in hub.app.state.modes if mode.pays]
    with hub.read() as step:
        found, _ = calls.allocations_page(step, hub.actor("root"), "firm", "", 5)
    assert [one.door for one, _, _ in found] == [calls.PAID]
    assert all(set(mode.pays) <= set(mode.who) for mode in pays)
