"""Pages are asked for what no browser would ask: none of it is a fault of the hub's.

A few calls a page by default; `MEYRIN_OPENAPI=300` makes it so many, `MEYRIN_OPENAPI_SEED` other
ones.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from urllib.parse import quote

import pytest
from tests.hub import facility
from tests.hub.test_openapi import DRAWS, SEED
from tests.hub.test_routes import World, address, routes

ODD = (
    "", " ", "0", "-1", "1e9", "9" * 5000, "NaN", "inf", "null", "[]", "\0", "\ud800", "\u202e",
    "é", "%00", "../..", "a" * 70_000, "<script>", "2026-13", "2026-02", "0000-00", "10000-01",
    str(2**63), str(2**64), "x,y", "a b",
)  # fmt: skip
PIECES = ("x", "%00", "%ff", "..%2f", "9" * 30, "a%0ab", "%F0%9F%98%80")
ELSEWHERE = ("after", "limit", "month", "key", "reason", "mode", "act", "state", "seen", "next")


@pytest.fixture
def world(sqlite_template, tmp_path):
    made = World(facility.copy_sqlite(sqlite_template, tmp_path / "hub.sqlite"), tmp_path)
    yield made
    made.hub.close()


def fields(route) -> list[str]:
    """What the page takes, and names that other pages take."""
    asked = [route.dependant, *route.dependant.dependencies]
    own = [each.alias for one in asked for each in (*one.query_params, *one.body_params)]
    return [*own, *ELSEWHERE]


def form(draw: random.Random, names: list[str], longest: int) -> str:
    values = {name: draw.choice(ODD) for name in draw.sample(names, draw.randint(1, len(names)))}
    return "&".join(
        f"{name}={quote(value[:longest].encode('utf-8', 'surrogatepass'))}"
        for name, value in values.items()
    )


def test_no_page_ends_in_a_5xx(world):
    draw, codes, failures = random.Random(SEED), Counter(), {}
    pages = [each for each in routes(world.hub.app) if not each[1].startswith("/api")]
    assert len(pages) > 40, "the hub has pages"
    for method, path, route in pages:
        for _ in range(2 * DRAWS):
            client = world.hub.client(draw.choice(["root", "root", "ada"]))
            odd_address = re.sub(r"\{[^}]*\}", lambda _: draw.choice(PIECES), path)
            where = odd_address if draw.random() < 0.3 else address(world, path)
            if method == "POST":
                said = form(draw, fields(route), 70_000).encode()
                kind = {"content-type": "application/x-www-form-urlencoded"}
                answer = client.post(where, content=said, headers=kind)
            else:
                said = form(draw, fields(route), 3000)
                answer = client.request(method, f"{where}?{said}")
            codes[answer.status_code // 100] += 1
            if answer.status_code >= 500:
                failures.setdefault(f"{method} {path}: {answer.text[:300]}", (where, said[:500]))
    assert not failures, failures
    assert codes[2] + codes[3] > len(pages), f"too little of it gets anywhere: {codes}"
