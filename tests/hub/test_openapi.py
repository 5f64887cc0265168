"""Every call of the OpenAPI document, with what it allows and with what it does not: never a 5xx.

Schemathesis draws the calls. Names and numbers in an address are drawn too or, every other time,
are those of things that are there, so that calls get further than "no such thing"; and bodies
that are right get odd values in them. A few draws a call by default; `MEYRIN_OPENAPI=300` makes it
so many, `MEYRIN_OPENAPI_SEED` other ones.
"""

from __future__ import annotations

import json
import os
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.hub import facility
from tests.hub.test_routes import BODIES, CONTENT, HEADERS, QUERIES, World, address

DRAWS = int(os.environ.get("MEYRIN_OPENAPI", "3"))
SEED = int(os.environ.get("MEYRIN_OPENAPI_SEED", "7"))
ODD = (
    None, True, -1, 0, 2**31, 2**53, 2**63, 2**64, 10**400, 0.5, "", " ", "a" * 70_000, "\0",
    "\ud800", "\u202e", "NaN", "../..", "%00", [], {}, [None], {"": None}, "9" * 5000,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(sqlite_template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    made = World(facility.copy_sqlite(sqlite_template, folder / "hub.sqlite"), folder)
    yield made
    made.hub.close()


def operations(app):
    """(operation, how calls of it are drawn), in the order of the document."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from schemathesis import GenerationMode

        schema = schemathesis.openapi.from_dict(app.openapi())
        found = [each.ok() for each in schema.get_all_operations()]
        return [(each, tuple(each.as_strategy(mode) for mode in GenerationMode)) for each in found]


def test_no_call_of_the_document_ends_in_a_5xx(world):
    failures: dict[str, str] = {}
    codes: dict[int, int] = {}
    found = operations(world.hub.app)
    assert len(found) > 80, "the document says what the hub serves"
    for operation, ways in found:
        drawn, odd = draws(world, operation, ways)
        for request in (*drawn, *odd):
            status, text = call(world, operation, request)
            codes[status // 100] = codes.get(status // 100, 0) + 1
            if status >= 500:
                failures.setdefault(f"{operation.label}: {text[:300]}", repr(request)[:1500])
    assert not failures, "\n".join(f"{key}\n    {text}" for key, text in failures.items())
    assert codes[2] > len(found) // 2, f"too little of it gets anywhere: {codes}"


def draws(world, operation, ways):
    """Requests as httpx takes them: drawn by the document, and right ones with odd values."""
    known = address(world, operation.path)
    cases = []

    @seed(SEED)
    @settings(
        max_examples=DRAWS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def draw(data):
        way = data.draw(st.sampled_from(ways))
        case = data.draw(way)
        there = data.draw(st.booleans()) and "{" in operation.path
        cases.append(as_sent(case, known if there else None))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draw()
    return cases, list(odd_ones(world, operation, known))


def as_sent(case, known):
    drawn = case.as_transport_kwargs(base_url="http://hub.test")
    names = ("json", "data", "content", "files", "params", "headers", "url")
    sent = {name: drawn[name] for name in names if drawn.get(name) not in (None, {})}
    sent["headers"] = {
        name: value for name, value in sent["headers"].items() if name != "Authorization"
    }
    if isinstance(sent.get("data"), bytes):
        sent["content"] = sent.pop("data")
    if known is not None:
        sent["url"] = f"http://hub.test{known}"
    return sent


def odd_ones(world, operation, known):
    """The way of somebody who may, with one field at a time that is not as it should be."""
    key = f"{operation.method.upper()} {operation.path}"
    if key not in BODIES:
        return
    right = BODIES[key](world)
    places = sorted({str(place) for place in places_of(right)})
    for number in range(DRAWS):
        # spread over fields and values without a draw: every run tries the same ones
        odd = ODD[(SEED + 5 * number + len(key)) % len(ODD)]
        if not places:
            break
        body = json.loads(json.dumps(right))
        put(body, json.loads(places[number % len(places)]), odd)
        yield {
            "url": f"http://hub.test{known}",
            "content": json.dumps(body).encode(),
            "headers": {"content-type": "application/json"},
        }


def places_of(body, before=()):
    """Where values are in a body, as JSON lists of keys."""
    items = body.items() if isinstance(body, dict) else enumerate(body)
    for name, value in items:
        yield json.dumps([*before, name])
        if isinstance(value, dict | list):
            yield from places_of(value, (*before, name))


def put(body, place, value):
    for name in place[:-1]:
        body = body[name]
    body[place[-1]] = value


def call(world, operation, request):
    """The status and the text; whoever gets furthest calls."""
    path, method = operation.path, operation.method.upper()
    key = f"{method} {path}"
    asked = dict(request)
    asked["headers"] = {**HEADERS.get(key, {}), **asked.get("headers", {})}
    if key in QUERIES and "params" not in asked:
        asked["params"] = QUERIES[key]
    if key in CONTENT and "content" not in asked:
        asked["content"] = CONTENT[key]
    if path.endswith("/lease"):  # would wait for work
        asked = no_wait(asked)
    client = world.client("agent") if "/agent/" in path else world.hub.client("root")
    answer = client.request(method, **asked)
    return answer.status_code, answer.text if answer.status_code >= 500 else ""


def no_wait(asked):
    try:
        body = asked.get("json") or json.loads(asked.get("content", b""))
    except ValueError:
        return asked
    if isinstance(body, dict) and isinstance(body.get("wait_s"), int | float):
        return {**{k: v for k, v in asked.items() if k != "content"}, "json": {**body, "wait_s": 0}}
    return asked
