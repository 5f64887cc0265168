"""Two tenants in one house: a person of one project calls every route there is, with the names and
ids of the other's things. Nothing of theirs comes back, and nothing of theirs changes.

The routes are the application's own list, so a new one is walked without a word here; what is sent
to it is what `test_routes` sends for those who may.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.hub import facility
from tests.hub.facility import chunk
from tests.hub.test_routes import (
    BODIES,
    CONTENT,
    HARM,
    HEADERS,
    QUERIES,
    World,
    address,
    routes,
)

SECRET = "zanzibar"
"""Stands in everything that one tenant has: names, titles, scripts, output, reasons."""
THEIRS = (
    "/api/v1/jobs/{job}",
    "/api/v1/jobs?project=lab",
    "/api/v1/projects/lab",
    "/api/v1/projects/lab/members",
    "/api/v1/projects/lab/entries",
    "/api/v1/projects/lab/statement",
    "/api/v1/allocations?project=lab",
    "/api/v1/changes?project=lab",
    "/api/v1/awards?project=lab",
    "/api/v1/gates/plans?project=lab",
    "/api/v1/gates/runs?project=lab",
    "/api/v1/proposals",
    "/api/v1/plans",
    "/api/v1/tokens",
)
SHOWN = 6  # routes of THEIRS at least on which the tenant itself finds its word


class Two(World):
    """The house of the matrix, in which all that is of `lab` has a word of its own."""

    def __init__(self, url: str, folder: Any) -> None:
        super().__init__(url, folder)
        hub = self.hub
        script = f"#!/bin/sh\necho {SECRET}\n"
        self.job = hub.submit(script=script, name=f"{SECRET}-job", output_files=("*",))
        hub.steps()
        (self.work,) = self.agent.lease().work
        self.agent.print(chunk(self.work, f"{SECRET}\n".encode()))
        self.held = hub.submit(script=script, name=f"{SECRET}-held", held=True)
        ada = hub.client("ada")
        said = BODIES["POST /api/v1/proposals"](self) | {
            "project": f"{SECRET}-idea",
            "title": SECRET,
        }
        self.proposal = _made(ada.post("/api/v1/proposals", json=said))["id"]
        said = BODIES["POST /api/v1/plans"](self) | {"title": SECRET}
        self.plan = _made(ada.post("/api/v1/plans", json=said))["id"]
        _made(ada.post("/api/v1/tokens", json={"name": SECRET}))
        said = {"kind": "pause", "key": hub.key(), "reason": SECRET}
        _made(ada.post(f"/api/v1/allocations/{self.allocation}/changes", json=said))

    def seen_by_ada(self) -> list[str]:
        ada = self.hub.client("ada")
        answers = [ada.get(path.format(job=self.job)) for path in THEIRS]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.text for answer in answers]


def _made(answer: Any) -> Any:
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def asked(world: World, name: str, method: str, path: str) -> tuple[int, str]:
    """The answer to a call as that person, of a stream its beginning."""
    key = f"{method} {path}"
    client, url = world.hub.client(name), address(world, path)
    if path.endswith("/follow"):
        with client.stream(method, url) as answer:
            text = "" if answer.status_code != 200 else next(answer.iter_text(), "")
            return answer.status_code, text
    sent: dict[str, Any] = {}
    if key in CONTENT:
        sent = {"content": CONTENT[key]}
    elif key in BODIES:
        sent = {"json": BODIES[key](world)}
    answer = client.request(
        method,
        url,
        params=QUERIES.get(key),
        headers=HEADERS.get(key),
        follow_redirects=False,
        **sent,
    )
    return answer.status_code, answer.text + str(answer.headers)


@pytest.fixture
def world(sqlite_template: Any, tmp_path: Any) -> Any:
    made = Two(facility.copy_sqlite(sqlite_template, tmp_path / "hub.sqlite"), tmp_path)
    yield made
    made.hub.close()


def every_route(world: World) -> list[tuple[str, str]]:
    listed = [(method, path) for method, path, _ in routes(world.hub.app)]
    return sorted(listed, key=lambda each: (HARM.get(" ".join(each), 0), each))


def test_nothing_of_another_tenant_comes_back_or_changes(world: Two) -> None:
    before = world.seen_by_ada()
    assert sum(SECRET in text for text in before) >= SHOWN
    walked = 0
    for method, path in every_route(world):
        if path in {"/logout", "/api/v1/tokens/{token}"} and method != "GET":
            continue  # of the caller's own; that of another's token is asked below
        status, text = asked(world, "eve", method, path)
        assert status < 500, (method, path, text)
        assert SECRET not in text.lower(), (method, path)
        walked += 1
    assert walked > 150
    assert world.hub.client("eve").delete(f"/api/v1/tokens/{world.token}").status_code == 404
    assert world.seen_by_ada() == before


def test_the_tenant_itself_finds_its_word_on_these_routes(world: Two) -> None:
    """Else the walk above could not fail."""
    found = [
        path
        for method, path in every_route(world)
        if method == "GET" and SECRET in asked(world, "ada", method, path)[1].lower()
    ]
    assert len(found) >= 2 * SHOWN, found
