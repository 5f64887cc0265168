"""The broker step against a moving world: drained, cancelled, out of hours, two hubs at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa
from tests.hub.facility import CPU, GPU, at_once

from meyrin.domain.errors import Refused, WorldMoved
from meyrin.domain.job import ArraySpec, Dependency, DependencyKind, Resources
from meyrin.domain.site import Partition
from meyrin.engine.model import Policy
from meyrin.engine.placement import decide
from meyrin.hub.broker import explaining
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import service as calls
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import service as jobs
from meyrin.hub.jobs.store import attempts
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import service as sites

NODE = Resources(nodes_min=1, tasks=1, cores_per_task=8, memory_mb=100)
ROOT = Actor(person="root", name="root", admin=True)


def look(hub):
    """What a broker would decide now."""
    with hub.read() as step:
        seen = broker.snapshot(step)
        return seen.state, decide(seen.state, seen.policy, step.now_s)


def apply(hub, seen):
    with hub.write() as step:
        return broker.apply(step, *seen)


def announced(step):
    """What alps says, as it said it."""
    site = sites.site_by_name(step, "alps")
    return site.id, site.batch_kind, site.partitions, site.incarnation


# --- the world moves between looking and writing


MOVES = {
    "drain": lambda step: sites.drain(step, ROOT, "alps", "floor is wet"),
    "project shut out": lambda step: sites.allow_projects(step, ROOT, "alps", []),
    "fewer nodes": lambda step: sites.announce(
        step, sites.site_by_name(step, "alps").id, "x", [Partition("cpu", 1, 8, 32_000)], "second"
    ),
    "nodes out": lambda step: sites.announce(
        step, *announced(step), {"shortages": [{"partition": "cpu", "usable_nodes": 3, "why": "x"}]}
    ),
    "another policy": lambda step: broker.set_policy(step, Policy(queue_ahead=3), "root"),
    "a new offer": lambda step: sites.lend(
        step, "alps", "gpu", [sites.OwnerShare("x", 1)], start_s=step.now_s
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_decision_on_an_older_world_is_refused(hub, move):
    job = hub.submit()
    seen = look(hub)
    assert len(seen[1].placements) == 1
    with hub.write() as step:
        MOVES[move](step)
    before = hub.everything()
    with pytest.raises(WorldMoved):
        apply(hub, seen)
    assert hub.everything() == before
    assert hub.state(job) == "admitted"


def test_a_drained_site_gets_nothing_new_and_keeps_what_it_has(hub):
    first = hub.submit()
    hub.step()
    hub.drain("alps", "floor is wet")
    second = hub.submit()
    assert hub.step() == 0
    assert [refusal.reason for refusal in hub.explain(second).refusals] == ["site_drained"]
    (work,) = hub.agents["alps"].lease().work
    hub.agents["alps"].finish(work)
    assert hub.state(first) == "completed"
    with hub.write() as step:
        sites.resume(step, ROOT, "alps")
    assert hub.step() == 1
    assert hub.state(second) == "placed"


def short_of(hub, **usable_nodes):
    """The agent of alps says how many nodes of its partitions take work now; of the others all."""
    why = "new cooling"
    short = [{"partition": p, "usable_nodes": n, "why": why} for p, n in usable_nodes.items()]
    with hub.write() as step:
        sites.announce(step, *announced(step), {"shortages": short})


def test_a_partition_that_takes_nothing_gets_nothing_until_it_does_again(hub):
    first = hub.submit()
    hub.step()
    short_of(hub, cpu=0)
    second = hub.submit()  # it passes: no reason to refuse the job
    assert hub.step() == 0
    assert hub.states(first, second) == ["placed", "admitted"]
    (refusal,) = hub.explain(second).refusals
    assert refusal.reason == "site_drained"
    assert "alps/cpu takes no new jobs at present (new cooling)" in refusal.words
    short_of(hub)
    assert hub.step() == 1
    assert hub.state(second) == "placed"


def test_of_a_partition_with_nodes_out_the_others_are_filled(hub):
    """Four nodes, of which two take work; a job that needs more waits, and holds up nobody."""
    short_of(hub, cpu=2)
    wide = hub.submit(hub.ask(walltime_s=600, resources=replace(NODE, nodes_min=3, tasks=3)))
    one = hub.ask(walltime_s=600, resources=NODE)
    first = hub.submit(one, one, one)
    assert hub.step() == 2
    assert hub.states(wide, first, first + 1, first + 2) == [
        "admitted",
        *["placed"] * 2,
        "admitted",
    ]
    (refusal,) = hub.explain(wide).refusals
    assert (refusal.reason, refusal.asked, refusal.limit) == ("site_drained", 3, 2)
    assert "needs 3 nodes at alps/cpu; 2 can be used at present (new cooling)" in refusal.words
    short_of(hub, cpu=1)  # what runs there stays
    assert hub.step() == 0
    for work in hub.agents["alps"].lease().work:
        hub.agents["alps"].finish(work)
    assert hub.step() == 1
    short_of(hub)
    assert hub.step() == 1
    assert hub.states(wide, first + 2) == ["placed", "placed"]


def test_jobs_of_one_call_are_looked_at_in_its_order(hub):
    """Equal priority: the lower number goes first, and numbers go up in the order of the call."""
    sent = [hub.ask(name=name, walltime_s=600, resources=NODE) for name in "abcdef"]
    first = hub.submit(*sent)
    assert [hub.detail(first + n).job.name for n in range(6)] == list("abcdef")
    assert hub.step() == 4  # as many as there are nodes
    assert hub.states(*range(first, first + 6)) == ["placed"] * 4 + ["admitted"] * 2


def test_a_job_cancelled_meanwhile_is_left_out_and_holds_nothing(hub):
    allocation = hub.award("lab", hours=1, days=1)
    gone, stays = hub.submit(), hub.submit()
    seen = look(hub)
    hub.cancel(gone)
    assert apply(hub, seen) == 1
    assert hub.states(gone, stays) == ["cancelled", "placed"]
    assert hub.detail(gone).attempts == []
    assert hub.balance(allocation).held_s == 600
    hub.books_balance()


def test_a_decision_is_written_once(hub):
    allocation = hub.award("lab", hours=1, days=1)
    job = hub.submit()
    seen = look(hub)
    assert apply(hub, seen) == 1
    before = hub.everything()
    assert apply(hub, seen) == 0
    assert hub.everything() == before
    assert len(hub.detail(job).attempts) == 1
    assert hub.balance(allocation).held_s == 600


def test_hours_that_are_gone_meanwhile_are_not_overdrawn(empty_hub):
    hub = empty_hub
    hub.site("alps", CPU)
    allocation = hub.award("lab", hours=0.25)  # 900 s: one job of 600 s
    one = hub.submit()
    seen = look(hub)
    other = hub.submit()
    assert hub.step() == 1
    apply(hub, seen)
    hub.step()
    assert hub.balance(allocation).held_s == 600
    assert hub.states(one, other) == ["placed", "admitted"]
    assert "balance_held" in [refusal.reason for refusal in hub.explain(other).refusals]
    hub.books_balance()


def test_an_allocation_closed_meanwhile_pays_nothing(empty_hub):
    hub = empty_hub
    hub.site("alps", CPU)
    allocation = hub.award("lab")
    job = hub.submit()
    seen = look(hub)
    with hub.write() as step:
        calls.close(step, allocation, "over")
    assert apply(hub, seen) == 0
    assert hub.state(job) == "admitted"
    hub.books_balance()


def test_an_offer_that_ran_out_by_the_clock_takes_no_job(empty_hub):
    hub = empty_hub
    hub.site("alps", CPU, lend=False)
    hub.award("lab")
    with hub.write() as step:
        owner = [sites.OwnerShare("x", 1)]
        sites.lend(step, "alps", "cpu", owner, start_s=step.now_s, end_s=step.now_s + 10)
    job = hub.submit()
    seen = look(hub)
    assert len(seen[1].placements) == 1
    hub.clock.pass_s(10)
    assert apply(hub, seen) == 0
    assert hub.step() == 0
    assert hub.state(job) == "admitted"
    assert [refusal.reason for refusal in hub.explain(job).refusals] == ["no_offer"]


def test_a_silent_site_gets_nothing_until_it_is_heard(hub):
    hub.clock.pass_s(120)
    job = hub.submit()
    assert hub.step() == 0
    assert [refusal.reason for refusal in hub.explain(job).refusals] == ["site_silent"]
    hub.agents["alps"].lease()
    assert hub.step() == 1


# --- two hubs on one database


def test_two_hubs_place_no_job_twice_and_overdraw_nothing(postgres_hub):
    hub = postgres_hub
    other = hub.second_hub()
    tight = hub.project("tight", "ada")
    allocation = hub.award("tight", hours=2)  # 7,200 s: twelve jobs of 600 s
    numbers = [hub.submit(project="tight") for _ in range(16)]
    assert tight
    brokers = [hub.database, other]

    def many(number):
        placed = 0
        for _ in range(6):
            try:
                placed += hub.step(brokers[number % 2])
            except WorldMoved:
                continue
        return placed

    assert sum(at_once(4, many)) == 12
    states = hub.states(*numbers)
    assert (states.count("placed"), states.count("admitted")) == (12, 4)
    with hub.read() as step:
        rows = step.rows(sa.select(attempts.c.job_id))
    assert len(rows) == len({row.job_id for row in rows}) == 12
    balance = hub.balance(allocation)
    assert (balance.held_s, balance.free_s) == (7200, 0)
    hub.books_balance()


def test_equal_decisions_written_at_once_place_once(postgres_hub):
    hub = postgres_hub
    numbers = [hub.submit() for _ in range(8)]
    seen = look(hub)
    other = hub.second_hub()

    def write(number):
        with (hub.database, other)[number % 2].write() as step:
            return broker.apply(step, *seen)

    assert sum(at_once(4, write)) == 8
    assert all(len(hub.detail(number).attempts) == 1 for number in numbers)
    hub.books_balance()


# --- order, windows, arrays


def test_jobs_behind_those_that_must_wait_get_their_turn(hub):
    """A thousand jobs that fit nowhere at present don't close the door for others."""
    hub.site("jura", Partition("fast", 1, 1, 1000))
    hub.drain("jura")
    many = ArraySpec(tuple(range(1500)))
    blocked = hub.ask(partitions=("fast",), array=many, walltime_s=60)
    hub.submit(blocked)
    behind = hub.submit(by="bob")
    assert hub.step() == 1
    assert hub.state(behind) == "placed"


def test_a_limited_array_lets_others_pass(hub):
    hub.submit(array=ArraySpec(tuple(range(1500)), 2))
    behind = hub.submit(by="bob")
    hub.steps()
    assert hub.state(behind) == "placed"


def test_a_limited_array_never_runs_more_than_it_may(hub):
    agent = hub.agents["alps"]
    array = hub.submit(array=ArraySpec(tuple(range(7)), 2))
    running, most, ended = [], 0, 0
    for _ in range(30):
        hub.steps()
        running += agent.lease().work
        most = max(most, len(running))
        assert len(running) <= 2
        said = hub.detail(array).array
        assert sum(said.get(state, 0) for state in ("placed", "leased", "running")) <= 2
        if not running:
            break
        work = running.pop(0)
        agent.report(agent.running(work))
        agent.finish(work)
        ended += 1
    assert (ended, most) == (7, 2)
    assert hub.detail(array).array == {"completed": 7}


def test_the_limit_of_an_array_is_explained(hub):
    array = hub.submit(array=ArraySpec((0, 1), 1))
    hub.steps()
    said = hub.explain(f"{array}_1")
    assert said.refusals[0].reason == "array_limit"
    assert (said.refusals[0].asked, said.refusals[0].limit) == (2, 1)


def test_an_array_spreads_over_equal_sites(hub):
    hub.site("jura", CPU)
    array = hub.submit(array=ArraySpec(tuple(range(8))))
    hub.steps()
    places = [hub.detail(f"{array}_{task}").job.site for task in range(8)]
    assert (places.count("alps"), places.count("jura")) == (4, 4)


def test_a_job_follows_the_one_that_it_depends_on_to_its_site(hub):
    hub.site("jura", CPU)
    here, there = hub.submit(sites=("alps",)), hub.submit(sites=("jura",))
    array = hub.submit(array=ArraySpec((0, 1)), sites=("jura",))
    hub.steps()
    for agent in hub.agents.values():
        for work in agent.lease().work:
            agent.finish(work)
    one, asked_once = _follow(hub, (here, None))
    more, asked = _follow(hub, (there, None), (array, None), (array, 1))
    assert (one, more) == (["alps"], ["jura", "jura", "jura"])
    assert asked == asked_once > 0, "as many questions for three as for one"


def _follow(hub, *on):
    """Where jobs go that depend on these, and how often the database was asked for that."""
    jobs = [hub.submit(dependencies=(Dependency(DependencyKind.AFTER_OK, *each),)) for each in on]
    with hub.counting() as statements:
        hub.steps()
    sites = [hub.detail(job).job.site for job in jobs]
    return sites, sum("AS earlier" in statement for statement in statements)


# --- explain and forecast


def reasons(hub, job):
    return [refusal.reason for refusal in hub.explain(job).refusals]


@pytest.fixture
def full(hub):
    """All nodes of `alps` taken for 600 s."""
    for _ in range(4):
        hub.submit(resources=NODE)
    hub.steps()
    for work in hub.agents["alps"].lease().work:
        hub.agents["alps"].report(hub.agents["alps"].running(work))
    return hub


def test_a_busy_partition_is_explained_with_a_start(full):
    job = full.submit(resources=NODE)
    said = full.explain(job)
    assert [refusal.reason for refusal in said.refusals] == ["busy"]
    assert said.where.expected_start_s == full.clock.now_s + 600
    assert "in about 00:10:00" in said.summary


def test_an_explanation_counts_those_ahead_of_other_projects(full):
    full.project("other", "bob")
    full.award("other")
    for _ in range(4):
        full.submit(resources=NODE, project="other", by="bob")
    job = full.submit(resources=NODE)
    assert full.explain(job).where.expected_start_s == full.clock.now_s + 1200


def test_what_blocks_a_submitted_job_is_explained(hub):
    held = hub.submit(held=True)
    assert reasons(hub, held)[0] == "held"
    begin = hub.submit(begin_s=hub.clock.now_s + 3600)
    assert reasons(hub, begin)[0] == "begin"
    said = hub.explain(begin)
    assert said.refusals[0].asked == hub.clock.now_s + 3600
    both = hub.submit(held=True, begin_s=hub.clock.now_s + 3600)
    assert reasons(hub, both)[:2] == ["held", "begin"]
    assert all(refusal.words for refusal in hub.explain(both).refusals)


def test_hours_on_hold_and_hours_over_are_told_apart(empty_hub):
    hub = empty_hub
    hub.site("alps", CPU)
    hub.award("lab", hours=0.25, days=1)
    hub.submit()
    hub.steps()
    second = hub.submit()
    hub.steps()
    assert "balance_held" in reasons(hub, second)
    hub.clock.pass_s(2 * 86_400)
    hub.agents["alps"].lease()
    assert "allocation_ended" in reasons(hub, second)


def test_a_placed_job_says_where_else_it_could_have_gone(hub):
    hub.site("jura", CPU)
    job = hub.submit()
    hub.steps()
    said = hub.explain(job)
    assert (said.where.site, [other.site for other in said.others]) == ("alps", ["jura"])
    assert said.summary == (
        "went to alps/cpu, where it could start at once; next best was jura/cpu, now"
    )


def test_a_job_that_ended_early_says_why(hub):
    job = hub.submit(held=True)
    hub.cancel(job)
    assert hub.explain(job).summary == (
        f"job {job} was cancelled before it was placed: cancelled by ada"
    )


def forecast(hub, request, by="ada"):
    actor = hub.actor(by)
    with hub.read() as step:
        return explaining.test_only(step, actor, request)


def test_a_forecast_keeps_nothing(hub):
    before = hub.everything()
    said = forecast(hub, hub.ask())
    assert (said.job, said.state, said.where.site) == (0, "forecast", "alps")
    assert said.where.expected_start_s == hub.clock.now_s
    assert hub.everything() == before


def test_a_forecast_waits_behind_those_who_wait(full):
    said = forecast(full, full.ask(resources=NODE))
    assert said.where.expected_start_s == full.clock.now_s + 600


def test_a_forecast_of_the_impossible_is_a_refusal(hub):
    with pytest.raises(Refused) as no:
        forecast(hub, hub.ask(walltime_s=10**6))
    assert [refusal.reason for refusal in no.value.refusals] == ["walltime"]
    with pytest.raises(Refused) as no:
        forecast(hub, hub.ask(resources=Resources(accelerators=1)))
    assert no.value.hint


def test_a_forecast_knows_the_site_that_is_silent(hub):
    hub.clock.pass_s(600)
    said = forecast(hub, hub.ask())
    assert said.where is None
    assert [refusal.reason for refusal in said.refusals] == ["site_silent"]


# --- policy


def test_the_policy_is_kept_with_its_date(hub):
    root = hub.client("root")
    assert root.get("/api/v1/policy").json()["queue_ahead"] == 0
    with hub.read() as step:
        before = world.version(step)
    assert root.put("/api/v1/policy", json={"queue_ahead": 4}).json()["queue_ahead"] == 4
    assert hub.client("ada").get("/api/v1/policy").json()["queue_ahead"] == 4
    with hub.read() as step:
        assert world.version(step) == before + 1
    for wrong in (
        {"queue_ahaed": 4},
        {"queue_ahead": "many"},
        {"queue_ahead": 1.5},
        {"pace_ahead_s": -2},
        [],
    ):
        assert root.put("/api/v1/policy", json=wrong).status_code == 422, wrong
    assert root.get("/api/v1/policy").json()["queue_ahead"] == 4


def test_jobs_are_sent_ahead_when_the_policy_says_so(full):
    with full.write() as step:
        broker.set_policy(step, Policy(send_ahead_s=3600, queue_ahead=1), "root")
    first, second = full.submit(resources=NODE), full.submit(resources=NODE)
    full.steps()
    assert full.states(first, second) == ["placed", "admitted"]
    assert full.detail(first).attempts[0].expected_start_s == full.clock.now_s + 600


# --- several databases in one process


def test_what_was_asked_is_not_mixed_up_between_databases(hub, tmp_path, sqlite_template):
    from tests.hub import facility

    elsewhere = facility.make(
        facility.copy_sqlite(sqlite_template, tmp_path / "other.sqlite"), tmp_path
    )
    elsewhere.site("jura", GPU)
    elsewhere.award("lab", "gh200")
    here, there = hub.submit(), elsewhere.submit(resources=Resources(accelerators=3))
    assert (hub.step(), elsewhere.step()) == (1, 1)
    assert hub.detail(here).attempts[0].accelerators_per_node == 0
    assert elsewhere.detail(there).attempts[0].accelerators_per_node == 3
    elsewhere.close()


def test_readers_and_the_broker_may_ask_at_once(sqlite_hub):
    hub = sqlite_hub
    for _ in range(20):
        hub.submit(resources=NODE)
    label = hub.submit(resources=NODE)
    with ThreadPoolExecutor(4) as pool:
        said = [pool.submit(hub.explain, label) for _ in range(8)]
        placed = hub.steps()
    assert placed == 4
    assert {one.result().job for one in said} == {label}


def test_disabled_people_and_gone_names_break_no_list(hub):
    job = hub.submit(by="bob")
    with hub.write() as step:
        identity.disable(step, "bob")
    hub.steps()
    with hub.read() as step:
        rows = jobs.jobs_page(step, ROOT).jobs
    assert [(row.job, row.person) for row in rows] == [(job, "bob")]
