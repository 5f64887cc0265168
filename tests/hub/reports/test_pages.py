"""What pages say, to whom, in how many queries; without a browser."""

from __future__ import annotations

from tests.hub.reports.world import Hub


def test_every_page_answers(hub: Hub) -> None:
    with hub.client("ana") as client:
        for path in ("/", "/jobs", "/sites", "/sites/alpha", "/projects", "/projects/climate"):
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
        for name, number in hub.numbers.items():
            answer = client.get(f"/jobs/{number}")
            assert answer.status_code == (404 if name == "secret" else 200), (name, answer.text)
