"""A fake hub and a client of it that never waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.client.fakehub import TOKEN, FakeHub

from meyrin.client.api import Client


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def url(hub: FakeHub) -> Iterator[str]:
    with hub.serving() as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN, pause=lambda _: None, chance=lambda: 0.0) as made:
        yield made
