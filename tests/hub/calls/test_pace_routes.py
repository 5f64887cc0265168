"""Lists of pace and of notices over HTTP: paged, few queries, by whom."""

from __future__ import annotations

import pytest

from meyrin.hub.calls import pace


@pytest.fixture
def off(empty_hub):
    """Thirty allocations of which nothing is used, visited by the watch after ten days."""
    for _ in range(30):
        empty_hub.award("lab", hours=10, days=60)
    empty_hub.clock.pass_s(10 * 86_400)
    with empty_hub.write() as step:
        assert len(pace.watch(step, ())) == 30
    return empty_hub


@pytest.mark.parametrize(
    ("path", "who", "name"),
    [("/api/v1/pace/off", "root", "paces"), ("/api/v1/notices", "ada", "notices")],
)
def test_a_list_is_paged_with_few_queries(off, path, who, name):
    client, spent = off.client(who), {}
    for limit in (1, 30):
        with off.counting() as statements:
            assert len(client.get(path, params={"limit": limit}).json()[name]) == limit
        spent[limit] = len(statements)
    assert spent[1] == spent[30] <= 8
    seen, after = [], ""
    while True:
        reply = client.get(path, params={"limit": 7, "after": after}).json()
        seen += [row["id"] for row in reply[name]]
        after = reply["next"]
        if not after:
            break
    assert len(set(seen)) == len(seen) == 30


def test_who_sees_what(off):
    ada, root = off.client("ada"), off.client("root")
    assert ada.get("/api/v1/pace/off").status_code == 403
    first = ada.get("/api/v1/notices").json()["notices"][0]
    assert "too little is used" in first["words"]
    assert root.get("/api/v1/notices").json()["notices"] == []  # in no project
    assert root.post(f"/api/v1/notices/{first['id']}/seen").status_code == 404
    assert ada.post(f"/api/v1/notices/{first['id']}/seen").status_code == 204
    assert first not in ada.get("/api/v1/notices").json()["notices"]
    shown = ada.get("/api/v1/pace?project=lab&limit=1").json()["paces"][0]
    assert (shown["pace"]["verdict"], shown["pace"]["left_s"]) == ("slow", 36_000)
