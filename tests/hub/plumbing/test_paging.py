"""Lists by number: what is no number of a row is refused, whoever wrote it."""

from __future__ import annotations

import pytest

LISTS = (
    "/api/v1/audit",
    "/api/v1/jobs",
    "/api/v1/plans",
    "/api/v1/notices",
    "/api/v1/trace",
    "/api/v1/gates/runs",
    "/api/v1/projects/lab/entries",
    "/api/v1/owners/months/2027-01/comments",
    "/api/v1/sites/alps/queue",
    "/api/v1/sites/alps/drift",
)


@pytest.mark.parametrize("path", LISTS)
def test_a_place_that_no_list_has_is_refused(sqlite_hub, path):
    agent, root = sqlite_hub.agents["alps"], sqlite_hub.client("root")
    told = {"incarnation": agent.incarnation, "at_ms": sqlite_hub.clock.now_ms}
    spoken = sqlite_hub.client(secret=agent.secret)
    assert spoken.post("/api/v1/agent/queue", json={**told, "jobs": []}).status_code == 200
    drift = {**told, "mode": "report", "lines": []}
    assert spoken.post("/api/v1/agent/drift", json=drift).status_code == 200
    headers = {"X-Pseudonym-Key": "k" * 20}
    for after in ("", "7", "0" * 18):
        assert root.get(path, params={"after": after}, headers=headers).status_code == 200
    for after in ("²", "٣", "-1", "1e3", "9" * 19, "9" * 5000):
        answer = root.get(path, params={"after": after}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input"), after
