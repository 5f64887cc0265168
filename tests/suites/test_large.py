"""A log of 1 GB is no evidence, says so, and is read by nobody: files are sparse here."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.suites.test_bundle import some_facts

from meyrin.cli import evidence as cli_evidence
from meyrin.cli import gate as cli_gate
from meyrin.domain.errors import Failed, InvalidInput
from meyrin.suites import bundle, evidence, execute
from meyrin.suites.execute import Asked
from meyrin.suites.spec import LOGS
from meyrin.suites.suite import find

GB = 2**30
MB = 2**20


def sparse(path: Path, end: bytes = b"") -> Path:
    """A file of 1 GB with these last bytes, that takes next to no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.seek(GB - len(end))
        file.write(end)
        file.truncate(GB)
    assert path.stat().st_size == GB
    return path


@contextmanager
def little_memory(most: int = 16 * MB) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_a_log_of_a_gigabyte_is_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(find("safety"), "mock", tmp_path / "out")
    log = sparse(asked.out / "shard-0" / LOGS / "a.eval")
    monkeypatch.setattr(execute, "run", lambda _ask, _progress: some_facts(None))
    with little_memory(), pytest.raises(Failed) as caught:
        evidence.hand_in(asked, bundle.APART, lambda _done, _of: None)
    assert caught.value.message.startswith("no evidence: evidence has 256 MiB at most")
    assert "1,024" in caught.value.message
    assert "smaller parts" in caught.value.hint
    assert not list(tmp_path.rglob("evidence.*"))
    log.write_bytes(b"short")  # and it goes on once the log is of a size
    _, path = evidence.hand_in(asked, bundle.APART, lambda _done, _of: None)
    assert bundle.unzipped(path.read_bytes())["log/0/a.eval"] == b"short"


def test_of_a_program_that_said_a_gigabyte_the_last_words_are_told(tmp_path: Path) -> None:
    sparse(tmp_path / "words.log", b"\nValueError: no data\n")
    with little_memory():
        words = execute._trouble(tmp_path, 0, 1)
    assert words == "shard 1 ended with 1: ValueError: no data"


@pytest.mark.parametrize("read", [cli_evidence._read, cli_gate._of_bundle])
def test_a_bundle_of_a_gigabyte_is_refused_before_it_is_read(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """As `meyrin evidence verify` and `meyrin gate decide` open it."""
    path = sparse(tmp_path / "evidence.zip")
    with little_memory(), pytest.raises(InvalidInput, match="256 MiB at most"):
        read(path)


def test_the_largest_evidence_is_verified_in_bounded_memory() -> None:
    """The file, its members and the one form that they are held against: three times its size."""
    size = 24 * MB
    raw = bundle.zipped({"a": bytes(size), "b": b"x"})
    with little_memory(int(2.5 * size)):
        assert len(bundle.unzipped(raw)) == 2
    with pytest.raises(InvalidInput, match="at most"):
        bundle.check_size(bundle.MOST_BYTES + 1)
