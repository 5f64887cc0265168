"""Lists at the size of a facility: ten thousand allocations of a hundred projects. Every list of
the API, and every page that is one list, takes at most ten statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from tests.hub import facility
from tests.hub.facility import CPU, Facility
from tests.hub.test_budgets import ELSEWHERE, LISTS

from meyrin.hub.calls import store as calls
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import store as ledger

COUNT, PROJECTS, MOST = 10_000, 100, 10
PAGES = ("/jobs", "/projects", "/officer", "/officer/hours", "/notices")
SEVERAL = {
    "/": 20,
    "/projects/lab": 15,
    "/owners": 20,
}  # pages of several lists, and what each may take
NEEDS = {"/api/v1/agent/usage"}  # asks for an agent's token and a month: its own test counts it
QUERIES = {"/api/v1/trace": {"site": "lab"}}
HEADERS = {"/api/v1/trace": {"x-pseudonym-key": "k" * 32}}


@pytest.fixture(scope="module")
def hub(sqlite_template: Any, tmp_path_factory: Any) -> Iterator[Facility]:
    folder = tmp_path_factory.mktemp("ten-thousand")
    made = facility.make(facility.copy_sqlite(sqlite_template, folder / "hub.sqlite"), folder)
    made.site("lab", CPU)
    first = made.award("lab")
    with made.write() as step:
        projects = [
            identity.new_project(step, f"q{number:03}", lead=made.people["root"].id).id
            for number in range(PROJECTS)
        ]
        _copies(step, first, projects)
    yield made
    made.close()


def _copies(step: Any, first: str, projects: list[str]) -> None:
    """The allocation `first` so many times, each with its accounts and its grant."""
    a, b, e = calls.allocations, ledger.accounts, ledger.entries
    (allocation,) = step.rows(sa.select(a).where(a.c.id == first))
    accounts = step.rows(sa.select(b).where(b.c.allocation_id == first))
    entries = step.rows(sa.select(e).where(e.c.allocation_id == first))
    names = [f"{first[:-6]}{number:06x}" for number in range(1, COUNT)]
    assert first not in names
    entry = max(row.id for row in entries)
    made: dict[Any, list[dict[str, Any]]] = {a: [], b: [], e: []}
    for at, name in enumerate(names):
        mine = {first: name, allocation.project_id: projects[at % len(projects)]}
        made[a].append(_renamed(allocation, mine))
        made[b] += [_renamed(row, mine) for row in accounts]
        for row in entries:
            entry += 1
            made[e].append(_renamed(row, mine) | {"id": entry})
    for table in (a, b, e):
        step.add(table, made[table])


def _renamed(row: Any, names: dict[str, str]) -> dict[str, Any]:
    found = dict(row._mapping)
    for old, new in names.items():
        for key, value in found.items():
            if isinstance(value, str):
                found[key] = value.replace(old, new)
    return found


def test_there_are_ten_thousand(hub: Facility) -> None:
    with hub.read() as step:
        (row,) = step.rows(sa.select(sa.func.count()).select_from(calls.allocations))
        assert row[0] == COUNT


ALL = [*sorted((set(LISTS) | set(ELSEWHERE)) - NEEDS), *PAGES, *SEVERAL]


@pytest.mark.parametrize("path", ALL)
def test_a_list_takes_at_most_ten_statements(hub: Facility, path: str) -> None:
    root = hub.client("root")
    with hub.counting() as statements:
        answer = root.get(path, params=QUERIES.get(path), headers=HEADERS.get(path))
    assert answer.status_code == 200, answer.text
    assert len(statements) <= SEVERAL.get(path, MOST), "\n".join(statements)
