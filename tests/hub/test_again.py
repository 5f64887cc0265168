"""What a write does when it is sent again, because its answer was lost: nothing more.

Each route that writes says here how it is guarded, and is sent twice to a whole house; what the
second one changed is held against what was said. A new route fails until it says so too. What
can't be had in one house is shown by another test, which is named.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.hub import facility
from tests.hub.test_routes import BODIES, CONTENT, HARM, QUERIES, World, address, routes

from meyrin.domain.units import HOUR_S
from meyrin.hub.calls import notices
from meyrin.hub.calls import service as calls
from meyrin.hub.owners import service as owners

KEY = "the key that its sender chose"
SAME = "what is so already is so: nothing changes"
ONCE = "it is refused, as it is done"
NEVER = "it keeps nothing"
LATEST = "the latest word counts"
# a secret is told once, in the answer; whoever lost it makes another
SECRET = "another secret; one that nobody has ends by itself, or is taken back"
REPLACED = "another secret, and those before it count no more"

GUARDS = {
    "DELETE /api/v1/gates/keys/{public}": SAME,
    "DELETE /api/v1/organisations/{name}": ONCE,
    "DELETE /api/v1/owners/speakers/{owner}/{person}": ONCE,
    "DELETE /api/v1/plans/{plan}": ONCE,
    "DELETE /api/v1/projects/{name}/members/{person}": ONCE,
    "DELETE /api/v1/roles": ONCE,
    "DELETE /api/v1/sites/{name}/agent-token": SAME,
    "DELETE /api/v1/sites/{name}/operators/{person}": ONCE,
    "DELETE /api/v1/sites/{name}/terms": SAME,
    "DELETE /api/v1/tokens/{token}": SAME,
    "DELETE /api/v1/unsent/{key}": SAME,
    "POST /api/v1/agent/credential": SAME,
    "POST /api/v1/agent/drift": LATEST,
    "POST /api/v1/agent/hello": LATEST,
    "POST /api/v1/agent/join": KEY,
    "POST /api/v1/agent/lease": SAME,
    "POST /api/v1/agent/output": SAME,
    "POST /api/v1/agent/queue": LATEST,
    "POST /api/v1/agent/queue/forget": SAME,
    "POST /api/v1/agent/reports": SAME,
    "POST /api/v1/agent/results": SAME,
    "POST /api/v1/agent/revoked": SAME,
    "POST /api/v1/agent/usage": SAME,
    "POST /api/v1/allocations": KEY,
    "POST /api/v1/allocations/{allocation}/changes": KEY,
    "POST /api/v1/awards/import": KEY,
    "POST /api/v1/changes/{change_id}/decide": SAME,
    "POST /api/v1/forecast": NEVER,
    "POST /api/v1/gates/decisions": SAME,
    "POST /api/v1/gates/keys": SAME,
    "POST /api/v1/gates/plans": SAME,
    "POST /api/v1/gates/runs": SAME,
    "POST /api/v1/jobs": KEY,
    "POST /api/v1/jobs/{label}/cancel": SAME,
    "POST /api/v1/jobs/{label}/release": ONCE,
    "POST /api/v1/ledger/months/{month}/close": SAME,
    "POST /api/v1/login-links": SECRET,
    "POST /api/v1/notices/{notice}/seen": SAME,
    "POST /api/v1/organisations": ONCE,
    "POST /api/v1/owners/months/{month}/comments": KEY,
    "POST /api/v1/owners/months/{month}/publish": SAME,
    "POST /api/v1/owners/speakers": SAME,
    "POST /api/v1/people": ONCE,
    "POST /api/v1/people/{name}/approve": SAME,
    "POST /api/v1/people/{name}/disable": SAME,
    "POST /api/v1/plans": SAME,
    "POST /api/v1/projects": ONCE,
    "POST /api/v1/projects/{name}/leave": ONCE,
    "POST /api/v1/projects/{name}/members": SAME,
    "POST /api/v1/proposals": KEY,
    "POST /api/v1/proposals/{proposal}/decide": SAME,
    "POST /api/v1/proposals/{proposal}/start-clock": SAME,
    "POST /api/v1/proposals/{proposal}/stop-clock": SAME,
    "POST /api/v1/proposals/{proposal}/withdraw": SAME,
    "POST /api/v1/reclaims/run": SAME,
    "POST /api/v1/roles": SAME,
    "POST /api/v1/sites": ONCE,
    "POST /api/v1/sites/{name}/agent-token": REPLACED,
    "POST /api/v1/sites/{name}/drain": SAME,
    "POST /api/v1/sites/{name}/enrolment": REPLACED,
    "POST /api/v1/sites/{name}/offers": ONCE,
    "POST /api/v1/sites/{name}/offers/{offer}/end": SAME,
    "POST /api/v1/sites/{name}/offers/{offer}/shares": SAME,
    "POST /api/v1/sites/{name}/operators": SAME,
    "POST /api/v1/sites/{name}/resume": SAME,
    "POST /api/v1/sites/{name}/terms/accept": SAME,
    "POST /api/v1/tokens": SECRET,
    "POST /api/v1/tokens/openid": SECRET,
    "POST /apply": KEY,
    "POST /apply/discard": SAME,
    "POST /apply/keep": LATEST,
    "POST /jobs/{label}/cancel": SAME,
    "POST /login": SAME,
    "POST /logout": SAME,
    "POST /notices/{notice}/seen": SAME,
    "POST /officer/changes/{change}": SAME,
    "POST /officer/{proposal}": SAME,
    "POST /owners/{month}/comments": KEY,
    "POST /owners/{month}/publish": SAME,
    "POST /projects/{name}/people/{person}/remove": ONCE,
    "POST /proposals/{proposal}/withdraw": SAME,
    "POST /run": KEY,
    "POST /terms/{site}": SAME,
    "PUT /api/v1/policy": SAME,
    "PUT /api/v1/sites/{name}/projects": SAME,
    "PUT /api/v1/sites/{name}/terms": SAME,
    "PUT /api/v1/uploads/{sha256}": SAME,
}
# which test shows it, for what takes more than one house
ELSEWHERE = {
    "POST /api/v1/agent/join": "sites/test_joining.py::test_an_answer_that_was_lost_is_asked_for",
    "POST /api/v1/gates/decisions": "evaluations/test_gates.py::test_evidence_opens",
    "POST /api/v1/gates/runs": "evaluations/test_gates.py::test_evidence_opens",
    "POST /api/v1/owners/months/{month}/publish": "owners/test_statement.py::test_a_month_is",
    "POST /owners/{month}/publish": "owners/test_statement.py::test_a_month_is",
    "POST /api/v1/tokens/openid": "identity/test_outside.py::test_the_command_line_gets_a_token",
    "POST /login": "identity/test_routes.py::test_a_link_changes_who",
}
# what the second one may change, by its guard: all else is done twice
MAY = {LATEST: {"sites", "site_queues", "site_drifts", "unsent_asks"}, SECRET: {"tokens", "audit"},
       REPLACED: {"tokens", "audit"}}  # fmt: skip
WHO = {
    "POST /api/v1/projects/{name}/leave": "member",
    "POST /api/v1/proposals/{proposal}/withdraw": "outsider",
    "POST /proposals/{proposal}/withdraw": "outsider",
    "DELETE /api/v1/plans/{plan}": "lead",
    "PUT /api/v1/uploads/{sha256}": "lead",
    "DELETE /api/v1/tokens/{token}": "lead",
}
PROGRAMME = ("/changes/{", "/officer", "/proposals/{proposal}/", "/roles", "/reclaims", "/awards",
             "/owners/speakers", "/ledger/months", "/allocations")  # fmt: skip
ADMIN = ("/organisations", "/people", "/gates/keys", "/policy", "/sites", "POST /api/v1/projects ")
ORDER = {  # beside those of the matrix
    "POST /api/v1/agent/lease": -0.5,
    "POST /api/v1/organisations": -1,
    "POST /api/v1/owners/speakers": -1,
    "POST /run": -1,
    "PUT /api/v1/policy": -1,
    "POST /api/v1/proposals/{proposal}/withdraw": 2,
    "POST /proposals/{proposal}/withdraw": 3,
    "POST /projects/{name}/people/{person}/remove": 2,
    "POST /api/v1/projects/{name}/leave": 1,
    "DELETE /api/v1/projects/{name}/members/{person}": 1.5,
    "POST /api/v1/agent/credential": 6,
}
ASK = {"project": "idea", "title": "An idea", "amount_h": "5000", "charged_type": "core",
       "kind": "academic", "purpose": "try", "months": "3", "mode": "", "mark": "m"}  # fmt: skip
MONTH = "2027-01"


class House(World):
    """The house of the matrix, with what else it takes to send every write as one who may."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        hub = self.hub
        ada = hub.client("ada")
        assert ada.post("/api/v1/sites/jura/terms/accept", json={"version": "1"}).status_code == 200
        with hub.write() as step:
            owners.speak(step, hub.actor("root"), "alps-owner", "ada")
            mine = calls.allocation(step, self.allocation)
            notices.tell(step, mine, "a mark", "Something to know.")
            self.notice = step.one(sa.text("SELECT max(id) AS id FROM notices")).id
        self.changes = [self.asked(f"longer by {hours}", mine.end_s + hours * HOUR_S)
                        for hours in (1, 2)]  # fmt: skip
        eve = hub.client("eve")
        self.asks = []
        for _ in range(2):
            body = BODIES["POST /api/v1/proposals"](self)
            self.asks.append(eve.post("/api/v1/proposals", json=body).json()["id"])

    def asked(self, reason: str, end_s: int) -> str:
        body = {"kind": "extend", "end_s": end_s, "reason": reason, "key": reason}
        path = f"/api/v1/allocations/{self.allocation}/changes"
        return str(self.hub.client("ada").post(path, json=body).json()["id"])

    def address(self, name: str) -> str:
        path = name.partition(" ")[2]
        values = {
            "{notice}": str(self.notice),
            "{change_id}": self.changes[0],
            "{change}": self.changes[1],
            "{month}/comments": f"{MONTH}/comments",
            "{site}": "jura",
            "/organisations/{name}": "/organisations/uni",
            "/{name}/people/{person}/remove": "/lab/people/zoe/remove",
        }
        if "withdraw" in path:
            values["{proposal}"] = self.asks["/api/" in path]
        for key, value in values.items():
            path = path.replace(key, value)
        return address(self, path)

    def copied(self) -> sqlite3.Connection:
        """The database as it is now."""
        copy = sqlite3.connect(":memory:")
        with self.hub.read() as step:
            plain = step.conn.connection.dbapi_connection
            assert isinstance(plain, sqlite3.Connection)
            plain.backup(copy)
        return copy


def differ(one: sqlite3.Connection, other: sqlite3.Connection) -> set[str]:
    """The tables that hold other rows."""
    names = [name for (name,) in one.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    found = {name for name in names if _rows(one, name) != _rows(other, name)}
    other.close()
    return found


def _rows(database: sqlite3.Connection, table: str) -> list[str]:
    return sorted(map(repr, database.execute(f'SELECT * FROM "{table}"')))


def said(house: House, name: str) -> dict[str, Any]:
    """What is sent, both times alike."""
    incarnation = {"incarnation": "second"}
    forms = {
        "POST /apply": ASK | {"key": "ask-1"},
        "POST /apply/keep": ASK | {"key": "ask-2"},
        "POST /apply/discard": {"key": "ask-2"},
        "POST /officer/{proposal}": {"act": "refuse", "reason": "test"},
        "POST /officer/changes/{change}": {"act": "refuse", "reason": "test"},
        "POST /owners/{month}/comments": {"owner": "alps-owner", "words": "why?", "key": "c-1"},
        "POST /run": {"project": "lab", "key": "key-of-ada", "script": "#!/bin/sh\n#SBATCH -t 1\n"},
        "POST /terms/{site}": {"version": "1"},
    }
    bodies = {
        "POST /api/v1/agent/drift": {**incarnation, "at_ms": 1, "mode": "report", "lines": []},
        "POST /api/v1/agent/queue": {**incarnation, "at_ms": 1, "jobs": []},
        "POST /api/v1/agent/queue/forget": incarnation,
        "POST /api/v1/agent/usage": {"corrections": []},
        "POST /api/v1/organisations": {"name": "uni", "domain": "uni.example"},
        "POST /api/v1/owners/months/{month}/comments": {
            "owner": "alps-owner", "words": "why?", "key": "c-2"},
        "POST /api/v1/changes/{change_id}/decide": {"grant": False, "reason": "test"},
    }  # fmt: skip
    if name in forms:
        return {"data": forms[name]}
    if name in CONTENT:
        return {"content": CONTENT[name]}
    if name in bodies:
        return {"json": bodies[name]}
    return {"json": BODIES[name](house)} if name in BODIES else {}


def caller(name: str) -> str:
    if name in WHO:
        return WHO[name]
    if "/agent/" in name:
        return "agent"
    if any(part in name for part in PROGRAMME) and not name.endswith("/changes"):
        return "programme"
    if any(part in f"{name} " for part in ADMIN) and "/accept" not in name:
        return "lead" if name.startswith("POST /projects") else "admin"
    return "lead"


def test_each_write_says_how_it_is_guarded_and_is_so(sqlite_template: Path, tmp_path: Path) -> None:
    house = House(facility.copy_sqlite(sqlite_template, tmp_path / "hub.sqlite"), tmp_path / "f")
    writes = {f"{m} {path}" for m, path, _ in routes(house.hub.app) if m not in {"GET", "HEAD"}}
    assert writes == set(GUARDS), "say in GUARDS how it is guarded"
    house.hub.person("zoe")
    house.hub.client("ada").post("/api/v1/projects/lab/members", json={"person": "zoe"})
    wrong = []
    for name in sorted(GUARDS, key=lambda one: (ORDER.get(one, HARM.get(one, 0)), one[6:], one)):
        if name in ELSEWHERE:
            continue
        more = said(house, name) | {"params": QUERIES.get(name)}
        method, path, client = name.split()[0], house.address(name), house.client(caller(name))
        first = client.request(method, path, **more)
        before = house.copied()
        house.hub.clock.pass_s(1)
        with house.hub.counting() as statements:
            second = client.request(method, path, **more)
        wrote = any(each.startswith(("INSERT", "UPDATE", "DELETE")) for each in statements)
        changed = differ(before, house.copied()) if wrote else set()
        before.close()
        refused = second.status_code in {404, 409, 422}
        good = first.status_code < 400 and refused == (GUARDS[name] == ONCE)
        if not good or changed - MAY.get(GUARDS[name], set()):
            wrong.append((name, first.status_code, second.status_code, changed, first.text[:120]))
    house.hub.close()
    assert not wrong, "\n".join(map(str, wrong))


def test_what_is_shown_elsewhere_is_there() -> None:
    for name, place in ELSEWHERE.items():
        file, _, test = place.partition("::")
        assert name in GUARDS
        assert f"def {test}" in (Path(__file__).parent / file).read_text(encoding="utf-8")
