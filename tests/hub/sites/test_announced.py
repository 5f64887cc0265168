"""What an agent says of its site: odd characters, and more than any site has."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from tests.hub.facility import CPU

ODD = ("a\x00b", "a\ud800b")
HELLO = {"incarnation": "first", "version": "1", "batch_kind": "scripted"}


def post(hub, path, body):
    """As an agent may write it: httpx writes no half of a character."""
    headers = {"content-type": "application/json"}
    client = hub.client("alps")
    return client.post(f"/api/v1/agent/{path}", content=json.dumps(body), headers=headers)


def looks(hub):
    pages = ("/api/v1/sites", "/api/v1/sites/alps", "/api/v1/sites/alps/queue")
    return [hub.client("root").get(page).status_code for page in pages]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("field", "part", "about"),
    [
        ("partitions.0.features.1", {"features": ["gpu", "{odd}"]}, None),
        (
            "partitions.0.accelerator_type",
            {"accelerators_per_node": 1, "accelerator_type": "{odd}"},
            None,
        ),
        (
            "about.offers.0.owners.0.owner",
            {},
            {"offers": [{"partition": "cpu", "owners": [{"owner": "{odd}", "weight": 1}]}]},
        ),
    ],
)
def test_a_name_that_no_column_takes_is_refused_by_its_field(hub, odd, field, part, about):
    said = HELLO | {"partitions": [asdict(CPU) | part], "about": about}
    said = json.loads(json.dumps(said).replace("{odd}", json.dumps(odd)[1:-1]))
    before = hub.everything()
    answer = post(hub, "hello", said)
    assert answer.status_code == 422
    assert answer.json()["error"]["facts"]["field"] == field
    assert hub.everything() == before
    assert looks(hub) == [200] * 3


@pytest.mark.parametrize("odd", ODD)
def test_words_of_a_site_are_kept_with_a_mark_in_place_of_what_is_none(hub, odd):
    about = {"version": odd, "scheduler": odd, "rules": [odd], "trouble": odd, "news": odd}
    said = HELLO | {"partitions": [asdict(CPU)], "about": about}
    assert post(hub, "hello", said).status_code == 200
    key = {"key": "0" * 16, "user": "0" * 16, "account": None}
    job = key | {"partition": odd, "waits": True, "state": odd, "reason": odd}
    others = [{"partition": odd, "nodes": 1, "jobs": []}]
    now = {"incarnation": "first", "at_ms": 0}
    assert post(hub, "queue", now | {"jobs": [job], "others": others}).status_code == 200
    drift = now | {"mode": "report", "words": odd, "lines": []}
    assert post(hub, "drift", drift).status_code == 200
    assert looks(hub) == [200] * 3
    detail = hub.client("root").get("/api/v1/sites/alps").json()
    assert detail["about"]["version"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("features", {"features": [f"f{n}" for n in range(1001)]}),
        ("features", {"features": ["f" * 101]}),
        ("accelerator_type", {"accelerators_per_node": 1, "accelerator_type": "g" * 101}),
    ],
)
def test_more_words_than_a_partition_has_are_refused(sqlite_hub, field, change):
    said = HELLO | {"partitions": [asdict(CPU) | change]}
    answer = post(sqlite_hub, "hello", said)
    assert answer.status_code == 422
    assert answer.json()["error"]["facts"]["field"] == field


def test_of_all_features_together_there_is_a_most(sqlite_hub):
    features = [f"feature-{n}" for n in range(1000)]
    parts = [asdict(CPU) | {"name": f"p{n}", "features": features} for n in range(51)]
    assert post(sqlite_hub, "hello", HELLO | {"partitions": parts}).status_code == 422
    assert post(sqlite_hub, "hello", HELLO | {"partitions": parts[:50]}).status_code == 200
