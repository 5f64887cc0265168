"""Allocations, entries, statements and the check over HTTP: who sees what."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.hub.ledger.fixtures import NOW_MS, new_attempt

from meyrin.hub.calls import routes as calls_routes
from meyrin.hub.identity import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import routes as ledger_routes
from meyrin.hub.ledger.service import Hold
from meyrin.hub.plumbing import http
from meyrin.hub.plumbing.authz import Allow
from meyrin.hub.plumbing.database import metadata
from meyrin.hub.reports import statements as statement_routes

AWARD = {
    "key": "panel 2027",
    "project": "biology",
    "charged_type": "h100",
    "amount_s": 5000,
    "end_s": NOW_MS // 1000 + 9000,
    "reason": "the panel said so",
}


@pytest.fixture
def hub(books):
    """Clients by name: root administers and gives hours, ada is in biology, bob in physics."""
    metadata.create_all(books.database.engine)  # a statement tells the energy of attempts, too
    app = FastAPI()
    http.install(app)
    app.include_router(ledger_routes.router)
    app.include_router(calls_routes.router)
    app.include_router(statement_routes.router)
    app.state.database = books.database
    app.state.authenticate = identity.request_actor
    clients = {"": TestClient(app)}
    with books.database.write() as step:
        for name, project in (("root", None), ("ada", "biology"), ("bob", "physics")):
            who = identity.new_person(step, name, admin=project is None)
            if project:
                identity.new_project(step, project, lead=who.id)
            else:
                roles.give(step, "facility", "", "programme-officer", by="test", person=who)
            secret = identity.new_token(step, who.id, "test")[1]
            clients[name] = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    return clients


def test_every_route_says_once_who_may_call():
    for module in (calls_routes, ledger_routes):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            guards = [one for one in route.dependant.dependencies if isinstance(one.call, Allow)]
            assert len(guards) == 1, route.path


def test_programme_officers_award_and_members_see(hub):
    assert hub["ada"].post("/api/v1/allocations", json=AWARD).status_code == 403
    made = hub["root"].post("/api/v1/allocations", json=AWARD)
    assert made.status_code == 201, made.text
    assert made.json()["balance"]["free_s"] == 5000
    assert made.json()["start_s"] == NOW_MS // 1000
    for who, seen in (("root", 1), ("ada", 1), ("bob", 0)):
        reply = hub[who].get("/api/v1/allocations").json()
        assert len(reply["allocations"]) == seen
    reply = hub["ada"].get("/api/v1/allocations", params={"project": "biology"}).json()
    assert reply["allocations"] == [made.json()]
    assert hub["bob"].get("/api/v1/allocations?project=biology").status_code == 404
    assert hub[""].get("/api/v1/allocations").status_code == 401


def test_allocations_come_in_pages_with_few_queries(hub, books):
    for number in range(5):
        hub["root"].post("/api/v1/allocations", json=AWARD | {"key": f"award no {number}"})
    seen, after = [], ""
    while True:
        with books.counted() as statements:
            reply = hub["ada"].get("/api/v1/allocations", params={"limit": 2, "after": after})
        assert len(statements) <= 6, statements
        seen += [row["id"] for row in reply.json()["allocations"]]
        after = reply.json()["next"]
        if not after:
            break
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_s": 0},
        {"key": ""},
        {"amount_s": 1.5},
        {"reason": ""},
        {"end_s": 5},
        {"owner": "Not A Name"},
        {"more": 1},
    ],
)
def test_an_award_that_makes_no_sense_is_refused(hub, wrong):
    assert hub["root"].post("/api/v1/allocations", json=AWARD | wrong).status_code == 422


def test_an_award_to_no_project_is_not_found(hub):
    reply = hub["root"].post("/api/v1/allocations", json=AWARD | {"project": "none"})
    assert reply.status_code == 404


def test_entries_and_statement_are_the_members_own(hub, books):
    made = hub["root"].post("/api/v1/allocations", json=AWARD).json()
    attempt = new_attempt()
    books.hold([Hold(attempt, made["id"], 600)])
    books.settled(attempt, 400)
    listed = hub["ada"].get("/api/v1/projects/biology/entries", params={"limit": 2}).json()
    assert [row["kind"] for row in listed["entries"]] == ["void", "settle"]
    more = {"after": listed["next"], "limit": 500}
    rest = hub["ada"].get("/api/v1/projects/biology/entries", params=more).json()
    assert rest["next"] == ""
    shown = hub["ada"].get("/api/v1/projects/biology/statement?month=2027-01").json()
    assert shown["types"][0]["closing"]["used_s"] == 400
    assert shown["types"][0]["unbalanced_s"] == 0
    for page in ("entries", "statement"):
        assert hub["bob"].get(f"/api/v1/projects/biology/{page}").status_code == 404
    assert hub["ada"].get("/api/v1/projects/biology/statement?month=May").status_code == 422
    assert hub["ada"].get("/api/v1/projects/biology/entries?after=x").status_code == 422


def test_only_administrators_check_the_ledger(hub):
    assert hub["root"].get("/api/v1/ledger/verify").json() == {"findings": []}
    assert hub["ada"].get("/api/v1/ledger/verify").status_code == 403


def test_an_award_that_is_sent_twice_is_made_once(hub, books):
    """Whoever lost the answer asks again; another award under the same key is none."""
    made = hub["root"].post("/api/v1/allocations", json=AWARD)
    again = hub["root"].post("/api/v1/allocations", json=AWARD)
    assert (again.status_code, again.json()) == (201, made.json())
    for other in ({"amount_s": 5001}, {"project": "physics"}, {"door": "paid"}, {"start_s": 1}):
        reply = hub["root"].post("/api/v1/allocations", json=AWARD | other)
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
    assert len(hub["root"].get("/api/v1/allocations").json()["allocations"]) == 1
    with books.database.read() as step:
        verbs = [row.verb for row in step.rows(sa.text("select verb from audit"))]
    assert verbs.count("allocation.award") == 1
    parts = [{"amount_s": 3000}, {"amount_s": 2000, "from_s": NOW_MS // 1000 + 60}]
    staged = AWARD | {"key": "in two parts", "tranches": parts}
    first, second = (hub["root"].post("/api/v1/allocations", json=staged) for _ in range(2))
    assert first.json() == second.json()
    assert (first.json()["balance"]["free_s"], first.json()["promised_s"]) == (3000, 2000)
    assert hub["root"].get("/api/v1/ledger/verify").json() == {"findings": []}


def test_owners_see_a_month_and_administrators_close_it(hub, books):
    made = hub["root"].post("/api/v1/allocations", json=AWARD).json()
    attempt = new_attempt()
    books.hold([Hold(attempt, made["id"], 600)])
    books.settled(attempt, 400)
    found = hub["root"].get("/api/v1/ledger/owners?month=2027-01").json()
    assert sum(one["granted_s"] for one in found["owners"]) == 5000
    assert sum(one["delivered_s"] for one in found["owners"]) == 400
    assert hub["root"].get("/api/v1/ledger/owners?month=soon").status_code == 422
    assert hub["ada"].get("/api/v1/ledger/owners?month=2027-01").status_code == 403
    close = "/api/v1/ledger/months/{}/close"
    assert hub["ada"].post(close.format("2026-12")).status_code == 403
    assert hub["root"].post(close.format("2026-12")).status_code == 204
    early = hub["root"].post(close.format("2027-01"))
    assert (early.status_code, early.json()["error"]["code"]) == (409, "refused")
