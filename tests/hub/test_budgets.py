"""How many SQL statements a call may take, whatever the number of rows; and how lists are paged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hub.evaluations.rows import add_rows
from tests.hub.facility import chunk

from meyrin.domain.job import ArraySpec, Dependency, DependencyKind, Resources
from meyrin.domain.site import OwnerShare, Partition
from meyrin.domain.units import Unit
from meyrin.hub.agents import service as agents
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import changing, proposals
from meyrin.hub.identity import outside
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.provider import Claims
from meyrin.hub.jobs import eligible, output
from meyrin.hub.jobs import service as jobs
from meyrin.hub.owners import service as owners
from meyrin.hub.plumbing import audit
from meyrin.hub.sites import service as sites
from meyrin.wire.jobs import Submission

WIDE = Partition("cpu", 100, 64, 256_000, max_walltime_s=86_400, default_walltime_s=600)


@pytest.fixture
def wide(empty_hub):
    """A site with room for thousands of jobs."""
    empty_hub.site("alps", WIDE)
    empty_hub.award("lab", hours=10_000_000)
    return empty_hub


def spent(hub, work):
    with hub.counting() as statements:
        work()
    return list(statements)


def same(hub, few, many, *, pages=0):
    """`many` takes what `few` takes, and at most so many more where a bulk goes in pages."""
    small = spent(hub, few)
    large = spent(hub, many)
    more = len(large) - len(small)
    kinds = {statement[:70] for statement in large} - {statement[:70] for statement in small}
    assert more <= pages, f"{len(small)} became {len(large)}:\n" + "\n".join(sorted(kinds))
    return len(small)


# --- writing


def batch(hub, count, **wanted):
    return [Submission(request=hub.ask(**wanted), idempotency_key=hub.key()) for _ in range(count)]


def test_submitting_one_or_a_thousand(wide):
    actor = wide.actor("ada")

    def send(count):
        submissions = batch(wide, count)
        with wide.write() as step:
            jobs.submit(step, actor, submissions)

    assert same(wide, lambda: send(1), lambda: send(100)) <= 16
    # a thousand rows of requests are kept in pages
    same(wide, lambda: send(1), lambda: send(1000), pages=4)


def test_submitting_with_dependencies(wide):
    actor = wide.actor("ada")
    first = wide.submit()
    after = (Dependency(DependencyKind.AFTER_OK, first),)

    def send(count):
        submissions = batch(wide, count, dependencies=after)
        with wide.write() as step:
            jobs.submit(step, actor, submissions)

    assert same(wide, lambda: send(1), lambda: send(100)) <= 18


def test_a_broker_step_over_ten_or_a_thousand(wide):
    def look():
        with wide.read() as step:
            broker.snapshot(step)

    for _ in range(10):
        wide.submit()
    look()
    few = len(spent(wide, look))
    wide.submit_all(batch(wide, 990))
    look()  # what was asked is read once
    assert len(spent(wide, look)) == few <= 10


def test_placing_one_or_hundreds(wide):
    def place(count):
        if count > 1:
            wide.submit(array=ArraySpec(tuple(range(count))))
        else:
            wide.submit()
        return wide.step

    few = len(spent(wide, place(1)))
    many = len(spent(wide, place(240)))
    assert few <= 30
    assert many <= few + 2


def placed(hub, count, **wanted):
    """So many placed jobs, each a request of its own."""
    hub.submit_all(batch(hub, count, **wanted))
    hub.steps()


def test_leasing_one_or_five_hundred(wide):
    agent = wide.agents["alps"]

    def take(count):
        with wide.write() as step:
            assert len(agents.lease(step, agent.site_id, "first", 500, 30).work) == count

    placed(wide, 1)
    few = spent(wide, lambda: take(1))
    placed(wide, 500)
    many = spent(wide, lambda: take(500))
    assert len(many) <= len(few) <= 16


def work_of(hub, count, **wanted):
    placed(hub, count, **wanted)
    agent = hub.agents["alps"]
    found = agent.lease(500).work
    while len(found) < count:
        found += agent.lease(500).work
    return agent, found


@pytest.mark.parametrize(
    ("phase", "count"),
    [("queued", 100), ("running", 100), ("refused", 100), ("not_started", 100), ("ended", 1000)],
)
def test_reporting_one_or_many(wide, phase, count):
    agent, (first, *rest) = work_of(wide, count + 1)
    makers = {
        "queued": agent.queued,
        "running": agent.running,
        "refused": lambda work: agent.refused(work, f"no {work.job} here"),
        "ended": agent.ended,
        "not_started": lambda work: agent.said(
            work, "ended", end="not_started", why=f"no folder {work.job}"
        ),
    }
    make = makers[phase]
    # the first delivery of an owner opens an account
    wide.agents["alps"].report(agent.ended(work_of(wide, 1)[1][0]))

    def tell(works):
        reports = [make(work) for work in works]
        with wide.write() as step:
            assert agents.report(step, agent.site_id, reports) == []

    assert same(wide, lambda: tell([first]), lambda: tell(rest), pages=3) <= 26
    wide.books_balance()


def test_printing_one_or_a_hundred(wide):
    agent, works = work_of(wide, 101)

    def say(some):
        pieces = [chunk(work, b"hello\n") for work in some]
        with wide.write() as step:
            output.take(step, agent.site_id, pieces, 10**6)

    assert same(wide, lambda: say(works[:1]), lambda: say(works[1:])) <= 6


def test_waiting_for_one_or_a_thousand(wide):
    first = wide.submit()
    after = (Dependency(DependencyKind.AFTER_OK, first),)

    def advance():
        with wide.write() as step:
            eligible.advance(step)

    wide.submit(dependencies=after)
    few = len(spent(wide, advance))
    wide.submit_all(batch(wide, 1000, dependencies=after))
    assert len(spent(wide, advance)) == few <= 8


def test_cancelling_an_element_or_an_array(wide):
    array = wide.submit(array=ArraySpec(tuple(range(300))))
    wide.steps()
    agent = wide.agents["alps"]
    agent.lease(100)
    actor = wide.actor("ada")

    def end(label):
        with wide.write() as step:
            jobs.cancel(step, actor, label)

    same(wide, lambda: (end(f"{array}_0"), end(f"{array}_299")), lambda: end(str(array)), pages=2)


# --- lists


@pytest.fixture
def full(wide):
    """Thirty of everything, some of them later."""
    hub = wide
    # something was lent thirty months ago
    with hub.write() as step:
        owner = (OwnerShare("ours", 1),)
        past_s = step.now_s - 30 * 31 * 86_400
        sites.lend(step, "alps", "past", owner, start_s=past_s, end_s=past_s + 5)
        owners.speak(step, hub_root(), "ours", "root")
    with hub.write() as step:
        lab, _ = sites.enrol(step, "lab")
    for number in range(30):
        hub.person(f"p{number:02}")
        with hub.write() as step:
            identity.new_project(step, f"q{number:02}", lead=hub.people["root"].id)
            identity.add_member(step, hub_root(), "lab", f"p{number:02}", "member")
            identity.new_token(step, hub.people["root"].id, f"t{number}")
            sites.enrol(step, f"s{number:02}")
            identity.new_agent_token(step, lab.id, "lab")
            outside.add_organisation(step, f"o{number:02}", f"o{number:02}.example", "")
            outside.enter(step, Claims("i", f"g{number:02}", f"g{number:02}", "", "else.example"))
            audit.note(step, "root", "test.act", f"thing-{number}")
        remark(hub, f"p{number:02}")
        propose(hub, f"a{number:02}")
        resume(hub, hub.award("lab", hours=1))
        add_rows(hub, f"r{number:02}")
        hub.clock.pass_s(1)
        hub.submit()
    hub.agents["alps"].lease()
    hub.steps()
    return hub


def remark(hub, name):
    actor = hub.actor("root")
    with hub.write() as step:
        owners.speak(step, actor, "ours", name)
        owners.comment(step, actor, "2027-01", "ours", "why?", name)


def propose(hub, name):
    said = proposals.Ask(name, name, name, "sme", "try", 5000, Unit.ACCELERATOR, 3, "core")
    actor = hub.actor("root")
    with hub.write() as step:
        proposals.ask(step, actor, said, hub.app.state.modes)


def resume(hub, allocation):
    wanted = changing.Wanted("resume", allocation, hub.key(), "it was never paused")
    actor = hub.actor("root")
    with hub.write() as step:
        changing.ask(step, actor, wanted)


def hub_root():
    from meyrin.hub.plumbing.authz import Actor

    return Actor(person="root", admin=True)


LISTS = {
    "/api/v1/jobs": ("jobs", "job"),
    "/api/v1/people": ("people", "name"),
    "/api/v1/projects": ("projects", "name"),
    "/api/v1/projects/lab/members": ("members", "name"),
    "/api/v1/projects/lab/entries": ("entries", "id"),
    "/api/v1/allocations": ("allocations", "id"),
    "/api/v1/changes": ("changes", "id"),
    "/api/v1/pace": ("paces", "id"),
    "/api/v1/awards": ("awards", "id"),
    "/api/v1/sites": ("sites", "name"),
    "/api/v1/sites/lab/credentials": ("credentials", "id"),
    "/api/v1/tokens": ("tokens", "id"),
    "/api/v1/guests": ("guests", "name"),
    "/api/v1/organisations": ("organisations", "name"),
    "/api/v1/audit": ("rows", "id"),
    "/api/v1/proposals": ("proposals", "id"),
    "/api/v1/proposals/all": ("proposals", "id"),
    "/api/v1/owners/speakers": ("speakers", "person"),
    "/api/v1/owners/months": ("months", "month"),
    "/api/v1/owners/months/2027-01/comments": ("comments", "id"),
    "/api/v1/gates/keys": ("keys", "public"),
    "/api/v1/gates/plans": ("plans", "digest"),
    "/api/v1/gates/runs": ("runs", "digest"),
    "/api/v1/gates/decisions": ("decisions", "digest"),
}


# lists of things that only their own tests can make; those count the queries too
ELSEWHERE = {
    "/api/v1/agent/usage": "usage/test_late.py",
    "/api/v1/sites/lab/queue": "sites/test_queue.py",
    "/api/v1/sites/lab/drift": "agents/test_limits.py",
    "/api/v1/plans": "plans/test_plans.py",
    "/api/v1/pace/off": "calls/test_pace_routes.py",
    "/api/v1/reclaims": "calls/test_reclaiming.py",
    "/api/v1/notices": "calls/test_pace_routes.py",
    "/api/v1/trace": "plans/test_live.py",
    "/api/v1/terms": "sites/test_terms.py",
    "/api/v1/unsent": "calls/test_unsent.py",
    "/api/v1/sites/lab/terms/accepted": "sites/test_terms.py",
    "/api/v1/projects/lab/departures": "jobs/test_leaving.py",
    "/api/v1/roles": "calls/test_roles.py",
}


@pytest.mark.parametrize("file", sorted(set(ELSEWHERE.values())))
def test_the_lists_of_other_tests_have_their_queries_counted_there(file):
    assert ".counting()" in (Path(__file__).parent / file).read_text(encoding="utf-8")


def test_every_list_of_the_api_is_here(sqlite_hub):
    """A reply with `next` is a list; it is paged, and its queries are counted below."""
    schema = sqlite_hub.client("root").get("/api/openapi.json").json()
    found = set()
    for path, methods in schema["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        reply = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        if "next" in schema["components"]["schemas"].get(reply.rpartition("/")[2], {}).get(
            "properties", {}
        ):
            found.add(path.replace("{name}", "lab").replace("{month}", "2027-01"))
    assert found == set(LISTS) | set(ELSEWHERE)


def test_every_list_costs_the_same_for_one_row_or_thirty(full):
    root = full.client("root")
    for path in LISTS:
        cost = same(
            full,
            lambda path=path: root.get(path, params={"limit": 1}),
            lambda path=path: root.get(path, params={"limit": 30}),
        )
        assert cost <= 7, path


def test_walking_the_pages_gives_each_row_once(full):
    root = full.client("root")
    for path, (name, key) in LISTS.items():
        wanted = [row[key] for row in root.get(path, params={"limit": 500}).json()[name]]
        assert len(set(wanted)) == len(wanted) >= 30, path
        seen, after, pages = [], "", 0
        while True:
            reply = root.get(path, params={"limit": 7, "after": after}).json()
            assert len(reply[name]) <= 7
            seen += [row[key] for row in reply[name]]
            pages += 1
            after = reply["next"]
            if not after:
                break
            if pages == 2:  # more of everything while we walk
                add_some(full)
        assert len(seen) == len(set(seen)), path
        assert set(wanted) <= set(seen), path


def add_some(hub):
    mark = hub.key().replace("key-", "n")
    hub.submit()
    hub.steps()
    resume(hub, hub.award("lab", hours=1))
    hub.person(mark)
    with hub.write() as step:
        identity.new_project(step, mark, lead=hub.people["root"].id)
        identity.new_token(step, hub.people["root"].id, mark)
        sites.enrol(step, mark)
        sites.rotate_agent_token(step, hub_root(), "lab")
        outside.add_organisation(step, mark, f"{mark}.example", "")
        outside.enter(step, Claims("i", mark, f"guest-{mark}", "", "else.example"))
        audit.note(step, "root", "test.act", mark)
        identity.add_member(step, hub_root(), "lab", mark, "member")
    remark(hub, mark)
    propose(hub, f"a{mark}")
    add_rows(hub, mark)


def test_the_jobs_of_a_list_are_those_that_were_asked_for(full):
    ada = full.client("ada")
    first = full.submit(by="bob", resources=Resources(tasks=1, memory_mb=1), held=True)

    def listed(**wanted):
        return [row["job"] for row in ada.get("/api/v1/jobs", params=wanted).json()["jobs"]]

    assert listed(state="submitted") == [first]
    assert listed(limit=1) == [first]
    assert first not in listed(mine=True, limit=500)
    assert listed(state=["submitted", "cancelled"]) == [first]
    assert len(listed(site="alps", limit=500)) == 30
    assert listed(site="nowhere") == []


def test_looking_at_one_thing_costs_the_same_for_a_large_one(wide):
    small, large = (wide.submit(array=ArraySpec(tuple(range(size)))) for size in (2, 1000))
    wide.steps()
    ada = wide.client("ada")
    for what in ("", "/explain", "/output"):
        few = spent(wide, lambda what=what: ada.get(f"/api/v1/jobs/{small}{what}"))
        many = spent(wide, lambda what=what: ada.get(f"/api/v1/jobs/{large}{what}"))
        assert len(many) <= len(few) <= 20, what
