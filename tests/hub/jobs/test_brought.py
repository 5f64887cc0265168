"""One person may bring so many bytes in thirty days: claimed at once, given back, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.hub.facility import Facility, at_once
from tests.hub.jobs.test_files import put, sha

from meyrin.hub.jobs import brought
from meyrin.hub.jobs.store import upload_claims

KIB = 1024


@pytest.fixture
def hub(empty_hub: Facility, monkeypatch: pytest.MonkeyPatch) -> Facility:
    """A person may bring 10 KiB: what is a GiB elsewhere is a KiB here."""
    monkeypatch.setattr(brought, "GIB", KIB)
    empty_hub.app.state.settings = replace(empty_hub.settings, upload_gib=10)
    return empty_hub


def some(number: int, kib: int = 1) -> bytes:
    return bytes([number]) * (kib * KIB)


def test_a_person_may_bring_so_much_and_is_told_when_there_is_room_again(hub: Facility) -> None:
    ada = hub.client("ada")
    assert put(ada, some(1, 6)).json()["complete"]
    hub.clock.pass_s(86_400)
    assert put(ada, some(2, 3)).json()["complete"]
    assert put(ada, some(1, 6)).json()["complete"], "what is there is brought once"
    answer = put(ada, some(3, 4))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "refused")
    error = answer.json()["error"]
    assert error["message"] == (
        "you have brought 9 KiB of the 10 KiB that one person may bring in 30 days, "
        "and this file has 4 KiB"
    )
    assert "there is room for it from 20" in error["hint"]
    assert "an administrator may raise the setting upload_gib" in error["hint"]
    facts = {name: int(value) for name, value in error["facts"].items()}
    assert (facts["limit_bytes"], facts["brought_bytes"], facts["size"]) == (10240, 9216, 4096)
    assert facts["from_ms"] == hub.clock() - 86_400_000 + brought.WINDOW_MS
    assert not hub.client("ada").get(f"/api/v1/uploads/{sha(some(3, 4))}").json()["offset"]
    assert put(hub.client("bob"), some(3, 4)).json()["complete"], "each person has their own"
    hub.clock.pass_s((facts["from_ms"] - hub.clock()) // 1000 + 1)
    assert put(ada, some(3, 4)).json()["complete"], "as it was said"
    huge = put(ada, some(4, 11)).json()["error"]
    assert "a file may have 10 KiB at most" in huge["hint"]
    assert "from_ms" not in huge["facts"]


def test_what_is_never_finished_counts_and_what_proves_wrong_does_not(hub: Facility) -> None:
    ada = hub.client("ada")
    for number in (1, 2):
        begun = some(number, 5)
        assert put(ada, begun[:100], size=len(begun), digest=sha(begun)).json()["offset"] == 100
    assert put(ada, some(3)).status_code == 409
    first = some(1, 5)
    for size in (200, 5 * KIB):  # another size frees nothing
        put(ada, b"", offset=100, size=size, digest=sha(first))
    assert put(ada, some(3)).status_code == 409
    wrong = first[:100] + b"?" * (len(first) - 100)
    answer = put(ada, wrong[100:], offset=100, size=len(first), digest=sha(first))
    assert answer.json()["error"]["code"] == "invalid_input", answer.text
    assert put(ada, some(3)).json()["complete"], "its claim is given back"


def test_many_at_once_bring_no_more_than_one_may(hub: Facility) -> None:
    hub.second_hub()
    client = hub.client("ada")
    codes = at_once(12, lambda number: put(client, some(number, 3)).status_code)
    assert sorted(codes) == [200] * 3 + [409] * 9
    with hub.write() as step:
        rows = step.rows(upload_claims.select())
    assert sum(row.size for row in rows) == 9 * KIB


def test_queries_are_few_whatever_was_brought(hub: Facility) -> None:
    """A first piece, a later one, and a refusal; after 2,000 files."""
    with hub.write() as step:
        ada = hub.people["ada"].id
        now_ms = step.now_ms
        step.add(
            upload_claims,
            [{"sha256": f"{n:064x}", "by": ada, "size": 1, "at_ms": now_ms} for n in range(2000)],
        )
    client, data = hub.client("ada"), some(1, 4)
    pieces = [(data[:KIB], 0), (data[KIB:], KIB)]
    counts = []
    for piece, offset in pieces:
        with hub.counting() as statements:
            answer = put(client, piece, offset=offset, size=len(data), digest=sha(data))
            assert answer.status_code == 200, answer.text
            counts.append(len(statements))
    assert answer.json()["complete"]
    with hub.counting() as statements:
        assert put(client, some(2, 9)).status_code == 409
        counts.append(len(statements))
    assert counts == [7, 6, 7], counts
