"""HEAD answers as GET does, to the same callers, without a body."""

from __future__ import annotations

import pytest

PATHS = ("/healthz", "/", "/jobs", "/jobs/1", "/static/meyrin.css", "/api/v1/jobs", "/nowhere")


@pytest.mark.parametrize("who", ["ada", None])
def test_a_head_is_a_get_without_its_body(sqlite_hub, who):
    sqlite_hub.submit()
    client = sqlite_hub.client(who)
    for path in PATHS:
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert dict(head.headers) == dict(whole.headers), path


def test_a_head_writes_nothing(sqlite_hub):
    job = sqlite_hub.submit()
    assert sqlite_hub.client("ada").head(f"/api/v1/jobs/{job}/cancel").status_code == 405
    assert sqlite_hub.client("ada").head(f"/api/v1/jobs/{job}/follow").status_code == 200


def test_a_head_uses_no_login_up(sqlite_hub):
    link = sqlite_hub.client("ada").post("/api/v1/login-links", json={}).json()["url"]
    assert sqlite_hub.client().head(link).status_code == 200
    assert sqlite_hub.client().head("/login/openid").status_code == 405
    assert sqlite_hub.client().get(link).status_code == 303
