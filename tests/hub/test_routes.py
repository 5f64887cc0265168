"""Who may call what: one access a route, and what every kind of caller gets.

`routes.txt` and `matrix.txt` are read by reviewers. After a change that is meant:

    MEYRIN_GOLDEN=write .venv/bin/python -m pytest tests/hub/test_routes.py
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Mount
from tests.hub import facility
from tests.hub.facility import CPU, chunk
from tests.suites.gate.planted import plan, signed

from meyrin.domain.job import ArraySpec, InputFile
from meyrin.hub.calls import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Access, Actor, Allow
from meyrin.hub.sites import joining, terms
from meyrin.hub.sites import service as sites

HERE = Path(__file__).parent
WRITE = os.environ.get("MEYRIN_GOLDEN") == "write"
CALLERS = (
    "stranger",
    "outsider",
    "member",
    "lead",
    "operator",
    "reviewer",
    "officer",
    "programme",
    "auditor",
    "admin",
    "agent",
    "other agent",
)
# framework's own, without anything of ours in it
FREE = {"/api/openapi.json", "/static"}


def golden(name, lines):
    path = HERE / name
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    if WRITE:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"see the top of {Path(__file__).name}"


def guards(dependant: Dependant) -> list[Allow]:
    found = [dependant.call] if isinstance(dependant.call, Allow) else []
    for each in dependant.dependencies:
        found += guards(each)
    return found


def routes(app) -> list[tuple[str, str, APIRoute]]:
    """(method, path, route) of the whole application; fails for one that is not ours."""
    found = []
    for route in everything(app.routes):
        path = getattr(route, "path", "")
        if path in FREE or isinstance(route, Mount):
            assert path in FREE, path
            continue
        assert isinstance(route, APIRoute), f"{route} is served without a guard"
        found += [(method, path, route) for method in sorted(route.methods)]
    return sorted(found, key=lambda each: (each[1], each[0]))


def everything(listed):
    """The routes, those of included routers too."""
    for route in listed:
        included = getattr(route, "original_router", None)  # newer FastAPI keeps them whole
        if included is None:
            yield route
        else:
            yield from everything(included.routes)


def access(route: APIRoute) -> str:
    found = guards(route.dependant)
    assert len(found) == 1, f"{route.path} names {len(found)} accesses; it must name one"
    return str(found[0].access)


def test_every_route_names_one_access(sqlite_hub):
    listed = [
        (f"{method:6} {path}", access(route)) for method, path, route in routes(sqlite_hub.app)
    ]
    width = max(len(left) for left, _ in listed) + 2
    golden("routes.txt", [f"{left:{width}}{right}" for left, right in listed])


def test_every_access_is_used(sqlite_hub):
    used = {access(route) for _, _, route in routes(sqlite_hub.app)}
    assert used == {str(each) for each in Access}


# --- the matrix


DATA = b"results"
DIGEST = hashlib.sha256(DATA).hexdigest()


class World:
    """A house with one of everything, and a caller of every kind."""

    def __init__(self, url, folder):
        self.hub = hub = facility.make(url, folder)
        self.agent = hub.site("alps", CPU)
        self.other = hub.site("jura", CPU)
        self.allocation = hub.award("lab")
        for name in ("eve", "olga", "gone", "rita", "otto", "petra", "aude"):
            hub.person(name)
        hub.person("anna", admin=True, officer=False)
        hub.project("elsewhere", "eve")
        with hub.write() as step:
            sites.add_operator(step, "alps", "olga")
            root = Actor(person="root", name="root", admin=True)
            for role, person in ROLES.items():
                thing = "reviewed" if roles.SCOPES[role] == "call" else ""
                roles.give(step, root, roles.Wish(role, thing, person), {"reviewed"})
            terms.put(step, root, "jura", "1", "be kind", "")
            made = joining.new_enrolment(step, root, "alps", again=True)
            self.enrolment = made.secret
            self.token = identity.new_token(step, hub.people["ada"].id, "spare")[0].id
            self.offer = sites.offers_of(step, sites.site_by_name(step, "alps"))[0].id
        body = BODIES["POST /api/v1/proposals"](self)
        self.proposal = hub.client("eve").post("/api/v1/proposals", json=body).json()["id"]
        hub.clock.pass_s(0.001)  # it was first, whatever the ids that chance gives
        self.bring("ada")
        made = hub.client("ada").post("/api/v1/plans", json=BODIES["POST /api/v1/plans"](self))
        self.plan = made.json()["id"]
        given = (InputFile("in", DIGEST, len(DATA)),)
        self.job = hub.submit(inputs=given, output_files=("*",), sites=("alps",))
        self.held = hub.submit(held=True)
        hub.steps()
        (self.work,) = self.agent.lease().work
        self.agent.print(chunk(self.work, b"hello\n"))
        self.bring("alps")
        self.agent.report(self.agent.ended(self.work, results_follow=True))
        body = {
            "attempt": self.work.attempt,
            "epoch": self.work.epoch,
            "state": "complete",
            "files": [{"name": "out", "sha256": DIGEST, "size": len(DATA)}],
        }
        self.results = body
        assert hub.client("alps").post("/api/v1/agent/results", json=body).status_code == 200
        names = {"member": "bob", "lead": "ada", "operator": "olga", "admin": "anna"}
        names |= {"reviewer": "rita", "officer": "otto", "programme": "petra", "auditor": "aude"}
        names |= {"outsider": "eve", "agent": "alps", "other agent": "jura"}
        self.names = names

    def bring(self, name):
        path, size = f"/api/v1/uploads/{DIGEST}", {"offset": 0, "size": len(DATA)}
        assert self.hub.client(name).put(path, params=size, content=DATA).json()["complete"]

    def client(self, caller):
        return self.hub.client(self.names.get(caller))


def submission(world):
    request = {"script": "#!/bin/sh\n", "project": "lab", "walltime_s": 60}
    return {"submissions": [{"request": request, "idempotency_key": world.hub.key()}]}


def planned(world):
    now_ms = world.hub.clock.now_ms
    return signed(plan(expires_ms=now_ms + 10**9), at_ms=now_ms - 5)


def report(world):
    return {"reports": [world.agent.ended(world.work).model_dump(mode="json")]}


# what is sent where a call needs more than its path: the way of somebody who may
BODIES = {
    "POST /api/v1/agent/credential": lambda _: {"digest": "c" * 64},
    "POST /api/v1/agent/join": lambda world: {"enrolment": world.enrolment, "digest": DIGEST},
    "POST /api/v1/agent/hello": lambda _: {
        "incarnation": "second",
        "version": "1",
        "batch_kind": "x",
        "partitions": [],
    },
    "POST /api/v1/agent/lease": lambda _: {"incarnation": "second", "wait_s": 0},
    "POST /api/v1/agent/output": lambda _: {"chunks": []},
    "POST /api/v1/agent/reports": report,
    "POST /api/v1/agent/results": lambda world: world.results,
    "POST /api/v1/allocations": lambda world: {
        "key": world.hub.key(),
        "project": "lab",
        "charged_type": "core",
        "amount_s": 5,
        "end_s": 2**32,
        "reason": "test",
    },
    "POST /api/v1/allocations/{allocation}/changes": lambda world: {
        "kind": "pause",
        "key": world.hub.key(),
        "reason": "test",
    },
    "POST /api/v1/awards/import": lambda _: {"rows": []},
    "POST /api/v1/changes/{change_id}/decide": lambda _: {"grant": True, "reason": "test"},
    "POST /api/v1/forecast": lambda _: {"script": "x", "project": "lab", "walltime_s": 60},
    "POST /api/v1/gates/decisions": lambda _: {"project": "lab", "plan": DIGEST, "runs": []},
    "POST /api/v1/gates/keys": lambda _: {"name": "alps", "public": DIGEST},
    "POST /api/v1/gates/plans": lambda world: {
        "project": "lab",
        "signed": planned(world).as_data(),
    },
    "POST /api/v1/gates/runs": lambda _: {"project": "lab", "bundle": DIGEST},
    "POST /api/v1/jobs": submission,
    "POST /api/v1/login-links": lambda _: {},
    "POST /api/v1/plans": lambda _: {
        "title": "new",
        "project": "lab",
        "files": [{"name": "report.html", "sha256": DIGEST, "size": len(DATA)}],
    },
    "POST /api/v1/owners/months/{month}/comments": lambda world: {
        "owner": "ours",
        "words": "why?",
        "key": world.hub.key(),
    },
    "POST /api/v1/owners/speakers": lambda _: {"owner": "ours", "person": "gone"},
    "POST /api/v1/people": lambda world: {"name": f"new-{world.hub.key()}"},
    "POST /api/v1/projects": lambda world: {"name": f"new-{world.hub.key()}"},
    "POST /api/v1/projects/{name}/members": lambda _: {"person": "gone"},
    "POST /api/v1/proposals": lambda world: {
        "key": world.hub.key(),
        "project": f"idea-{world.hub.key()}",
        "title": "An idea",
        "kind": "academic",
        "purpose": "try",
        "amount_h": 500,
        "unit": "accelerator",
        "months": 3,
        "charged_type": "core",
    },
    "POST /api/v1/proposals/{proposal}/decide": lambda _: {"grant": False, "reason": "test"},
    "POST /api/v1/proposals/{proposal}/stop-clock": lambda _: {"reason": "test"},
    "POST /api/v1/roles": lambda _: {"role": "reviewer", "thing": "reviewed", "person": "bob"},
    "PUT /api/v1/sites/{name}/terms": lambda _: {"version": "1", "text": "be kind"},
    "POST /api/v1/sites/{name}/terms/accept": lambda _: {"version": "1"},
    "POST /api/v1/agent/revoked": lambda _: {"incarnation": "second", "said": []},
    "POST /api/v1/sites": lambda world: {"name": f"new-{world.hub.key()}"},
    "POST /api/v1/sites/{name}/enrolment": lambda _: {"again": True},
    "POST /api/v1/sites/{name}/drain": lambda _: {"reason": "test"},
    "POST /api/v1/sites/{name}/offers": lambda _: {
        "partition": "gpu",
        "owners": [{"owner": "ours", "weight": 1}],
    },
    "POST /api/v1/sites/{name}/offers/{offer}/shares": lambda world: {
        "owners": [{"owner": "theirs", "weight": 2}],
        "from_s": world.hub.clock.now_s + 60,
    },
    "POST /api/v1/sites/{name}/offers/{offer}/end": lambda _: {},
    "POST /api/v1/sites/{name}/operators": lambda _: {"person": "olga"},
    "POST /api/v1/tokens": lambda _: {"name": "new"},
    "PUT /api/v1/policy": lambda _: {"queue_ahead": 1},
    "PUT /api/v1/sites/{name}/projects": lambda _: {"projects": None},
}
# what callers of a kind hold besides, by role
ROLES = {
    "reviewer": "rita",
    "officer": "otto",
    "programme-officer": "petra",
    "auditor": "aude",
}
HEADERS = {"GET /api/v1/trace": {"x-pseudonym-key": "k" * 32}}
QUERIES = {
    "DELETE /api/v1/roles": {"role": "reviewer", "thing": "reviewed", "person": "bob"},
    "PUT /api/v1/uploads/{sha256}": {"offset": 0, "size": len(DATA)},
    "GET /api/v1/ledger/owners": {"month": "2027-01"},
    "GET /api/v1/owners/return": {"year": 2027},
    "GET /api/v1/trace": {"site": "alps"},
}
CONTENT = {"PUT /api/v1/uploads/{sha256}": DATA}


def address(world, path):
    """The path with the names of things of `lab` and `alps`; of others where it would harm."""
    name = "lab" if "/projects/" in path else "alps"
    values = {
        "label": world.held if "release" in path else world.job,
        "name:path": "out",
        "name:name": "in" if "inputs" in path else "out",
        "attempt": world.work.attempt,
        "sha256": DIGEST,
        "name": "gone" if "/people/" in path else name,
        "person": "gone" if "members" in path or "speakers" in path else "olga",
        "token": world.token,
        "offer": world.offer,
        "allocation": world.allocation,
        "month": "2027-01" if "owners" in path else "2020-01",
        "owner": "ours",
        "plan": world.plan,
        "proposal": world.proposal,
    }
    if "/terms" in path and "{" in path:
        values["name"] = "alps" if path.endswith("/terms") else "jura"
    if path.startswith("/plans/"):
        values["name:path"] = "report.html"
    return re.sub(r"\{([^}]+)\}", lambda found: str(values.get(found[1], "nowhere")), path)


def call(world, caller, method, path):
    """What one caller gets, as a class; changes are taken back with the world."""
    key = f"{method} {path}"
    content = CONTENT.get(key)
    if path.endswith("/follow"):  # a stream: its beginning tells
        url = address(world, path)
        with world.client(caller).stream(method, url) as answer:
            return shown(answer.status_code)
    body = BODIES[key](world) if key in BODIES else None
    answer = world.client(caller).request(
        method,
        address(world, path),
        params=QUERIES.get(key),
        headers=HEADERS.get(key),
        **({"content": content} if content else {"json": body} if body is not None else {}),
    )
    assert answer.status_code != 500, (caller, key, answer.text)
    return shown(answer.status_code)


def shown(status):
    return "2xx" if 200 <= status < 300 else str(status)


def test_what_every_kind_of_caller_gets(sqlite_template, tmp_path):
    """A row a route, a column a kind of caller; each column on a house of its own."""
    columns = {}
    listed = []
    for number, caller in enumerate(CALLERS):
        path = tmp_path / f"{number}.sqlite"
        world = World(facility.copy_sqlite(sqlite_template, path), tmp_path / str(number))
        listed = [(method, path) for method, path, _ in routes(world.hub.app)]
        # what changes who may do what comes last
        order = sorted(listed, key=lambda each: (HARM.get(" ".join(each), 0), each))
        columns[caller] = {each: call(world, caller, *each) for each in order}
        world.hub.close()
    width = max(len(f"{method:6} {path}") for method, path in listed) + 2
    lines = [f"{'':{width}}" + "".join(f"{caller:13}" for caller in CALLERS)]
    for each in listed:
        cells = "".join(f"{columns[caller][each]:13}" for caller in CALLERS)
        lines.append(f"{each[0]:6} {each[1]:{width - 7}}{cells}")
    golden("matrix.txt", lines)


HARM = {
    "POST /api/v1/allocations/{allocation}/changes": 1,
    "POST /api/v1/agent/hello": -1,
    "POST /api/v1/jobs": -1,
    "POST /api/v1/forecast": -1,
    "POST /api/v1/projects/{name}/members": 1,
    "DELETE /api/v1/projects/{name}/members/{person}": 2,
    "POST /api/v1/projects/{name}/leave": 2,
    "POST /api/v1/proposals/{proposal}/stop-clock": -2,
    "POST /api/v1/proposals/{proposal}/start-clock": -1,
    "POST /api/v1/proposals/{proposal}/decide": 1,
    "POST /api/v1/roles": 2,
    "DELETE /api/v1/roles": 3,
    "GET /api/v1/sites/{name}/terms/accepted": 1,
    "PUT /api/v1/sites/{name}/terms": 2,
    "DELETE /api/v1/sites/{name}/terms": 4,
    "POST /api/v1/sites/{name}/operators": 3,
    "DELETE /api/v1/sites/{name}/operators/{person}": 4,
    "POST /api/v1/sites/{name}/offers/{offer}/end": 5,
    "POST /api/v1/people/{name}/disable": 6,
    "DELETE /api/v1/tokens/{token}": 7,
    "POST /api/v1/agent/credential": 7,
    "POST /api/v1/sites/{name}/enrolment": 8,
    "POST /api/v1/sites/{name}/agent-token": 8,
    "DELETE /api/v1/sites/{name}/agent-token": 9,
    "DELETE /api/v1/plans/{plan}": 9,
    "POST /logout": 10,
    "POST /api/v1/agent/join": 11,
}


# who gets past the door of a route that asks for a right of its own
RIGHTS = {
    Access.ADMIN: {"admin"},
    Access.PROGRAMME: {"programme"},
    Access.OFFICER: {"reviewer", "officer", "programme"},
    Access.AUDITOR: {"auditor", "admin"},
    Access.BOOKS: {"programme", "auditor", "admin"},
}


def test_the_golden_matrix_says_what_the_accesses_mean():
    """The rules that hold for every row, whatever the file says."""
    header, *rows = (HERE / "matrix.txt").read_text(encoding="utf-8").splitlines()
    kinds = dict(
        line.split(maxsplit=2)[:2]
        and (tuple(line.split(maxsplit=2)[:2]), line.split(maxsplit=2)[2])
        for line in (HERE / "routes.txt").read_text(encoding="utf-8").splitlines()
    )
    starts = [header.index(f" {caller}") + 1 for caller in CALLERS]
    for row in rows:
        method, path = row.split()[:2]
        cells = {
            caller: row[start : start + 13].strip()
            for caller, start in zip(CALLERS, starts, strict=True)
        }
        kind = kinds[method, path]
        if kind == Access.AGENT:
            assert {cells[c] for c in CALLERS if "agent" not in c} == {"401"}, row
        elif kind in RIGHTS:
            others = set(CALLERS) - RIGHTS[kind] - {"stranger", "agent", "other agent"}
            assert {cells[c] for c in others} == {"403"}, row
            assert "403" not in {cells[c] for c in RIGHTS[kind] - {"reviewer"}}, row
        if kind not in {Access.ANYONE, Access.AGENT}:
            # a browser is shown the way to the log-in page
            assert cells["stranger"] in {"401", "303"}, row
        if kind not in {Access.ANYONE, Access.AGENT, Access.CALLER}:
            assert {cells["agent"], cells["other agent"]} <= {"401", "303"}, row


OF_LAB = (
    "/api/v1/jobs/{job}",
    "/api/v1/jobs/{job}/explain",
    "/api/v1/jobs/{job}/output",
    "/api/v1/jobs/{job}/follow",
    "/api/v1/jobs/{job}/files/out",
    "/api/v1/jobs?project={project}",
    "/api/v1/projects/{project}",
    "/api/v1/projects/{project}/members",
    "/api/v1/projects/{project}/entries",
    "/api/v1/projects/{project}/statement",
    "/api/v1/allocations?project={project}",
    "/api/v1/changes?project={project}",
    "/api/v1/pace?project={project}",
    "/api/v1/awards?project={project}",
    "/api/v1/reclaims?project={project}",
    "/api/v1/gates/plans?project={project}",
    "/api/v1/gates/runs?project={project}",
    "/api/v1/gates/decisions?project={project}",
    "/jobs/{job}",
    "/projects/{project}",
    "/projects/{project}/models",
    "/projects/{project}/statement.csv",
)


def test_what_is_of_others_can_not_be_told_from_what_is_not(hub):
    hub.person("eve")
    hub.project("elsewhere", "eve")
    job = hub.submit() + 6000
    hub.submit(array=ArraySpec((0, 1)))
    eve = hub.client("eve")
    for path in OF_LAB:
        said = []
        for number, project in ((job - 6000, "lab"), (job, "nil")):
            answer = eve.get(path.format(job=number, project=project))
            assert answer.status_code == 404, path
            text = re.sub(rf"\b({number}|{project})\b", "N", answer.text)
            said.append(text if path.startswith("/api") else "")
        assert said[0] == said[1], path


def test_lists_hold_nothing_of_others(hub):
    hub.person("eve")
    hub.project("elsewhere", "eve")
    hub.submit()
    eve = hub.client("eve")
    assert eve.get("/api/v1/jobs").json()["jobs"] == []
    assert eve.get("/api/v1/allocations").json()["allocations"] == []
    assert [one["name"] for one in eve.get("/api/v1/projects").json()["projects"]] == ["elsewhere"]
    for what in ("cancel", "release"):
        assert eve.post(f"/api/v1/jobs/1/{what}").status_code == 404
