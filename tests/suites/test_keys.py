"""Files of keys: whole or not there, and one for all who look for it at once."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from meyrin.domain.errors import InvalidInput
from meyrin.suites import keys


def test_all_who_need_a_key_first_get_the_same(tmp_path: Path) -> None:
    path, found, gate = tmp_path / "keys" / "hub.key", set[str](), threading.Barrier(20)

    def need() -> None:
        gate.wait()
        found.add(keys.make(path))

    threads = [threading.Thread(target=need) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {keys.public_of(keys.read(path))}
    assert [one.name for one in path.parent.iterdir()] == ["hub.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_is_there_is_kept_and_a_broken_one_named(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    first = keys.make(path)
    assert keys.make(path) == first
    path.write_text("")
    with pytest.raises(InvalidInput, match="is no key"):
        keys.make(path)
