"""The journal: torn tails, full disks, replay and compaction."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.agent.contract import run, start
from tests.agent.local.conftest import Make, wait_ended

from meyrin.agent.batch import Start
from meyrin.agent.keeper_journal import Journal
from meyrin.agent.keeper_state import End, State
from meyrin.agent.keeper_wire import Frames, dump, frame, pack_starts, unpack_starts
from meyrin.domain.job import WarnSignal
from meyrin.domain.units import NodeShape

RECORDS = [f"record {i} ".encode() * (i + 1) for i in range(12)]


def written(path: Path) -> int:
    journal = Journal(path)
    assert journal.open() == []
    for record in RECORDS:
        journal.append(record)
    assert journal.sync()
    journal.close()
    return journal.offset


def reopened(path: Path) -> list[bytes]:
    journal = Journal(path)
    records = journal.open()
    journal.close()
    return records


def test_every_torn_tail_falls_off_and_nothing_else(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    length = written(whole)
    data = whole.read_bytes()
    path = tmp_path / "journal"
    for cut in range(16, length, 7):
        path.write_bytes(data[:cut] + b"\xff" * 3 + bytes(length - cut))
        records = reopened(path)
        assert records == RECORDS[: len(records)]
        journal = Journal(path)
        assert journal.open() == records
        journal.append(b"after")
        assert journal.sync()
        journal.close()
        assert reopened(path) == [*records, b"after"]


@given(some.integers(16, 900), some.integers(0, 255))
def test_a_changed_byte_is_never_taken_for_a_record(at: int, value: int) -> None:
    path = Path(f"/dev/shm/meyrin-journal-{os.getpid()}")
    path.unlink(missing_ok=True)
    try:
        length = written(path)
        data = bytearray(path.read_bytes())
        at %= length
        data[at] ^= value
        path.write_bytes(data)
        if at >= 16:
            records = reopened(path)
            assert records == RECORDS[: len(records)]
    finally:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.torn").unlink(missing_ok=True)


def test_a_removed_folder_is_noticed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.open()
    assert journal.in_place()
    (tmp_path / "journal").rename(tmp_path / "elsewhere")
    assert not journal.in_place()
    (tmp_path / "journal").write_text("another")
    assert not journal.in_place()
    journal.close()


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match="no journal"):
        Journal(tmp_path / "journal").open()


def test_full_disk_refuses_new_records_and_keeps_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.open()

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        journal.room(1 << 20)
    journal.append(b"an end")
    assert journal.sync()  # from the reserve
    journal.append(b"x" * (1 << 20))
    assert not journal.flush()
    monkeypatch.undo()
    assert journal.sync()
    journal.close()
    assert len(reopened(tmp_path / "journal")) == 2


def some_start(i: int, script: str = "#!/bin/sh\n") -> Start:
    return Start(
        attempt=f"attempt {i}",
        job=i,
        name="ñame",
        partition="cpu",
        nodes=1,
        asked=NodeShape(1, 2, 3),
        tasks=1,
        walltime_s=60,
        script=script,
        arguments=("a", "\udcff"),
        environment=(("A", "1"), ("I", str(i)), ("B", "2")),
        workdir="/",
        warn_signal=WarnSignal("USR1", 5, shell_only=True) if i % 2 else None,
    )


def test_starts_travel_unchanged() -> None:
    starts = [some_start(i, f"#!/bin/sh\n{i % 3}") for i in range(10)]
    (payload,) = Frames().feed(frame({"do": "submit", **pack_starts(starts)}))
    again = unpack_starts(json.loads(payload))
    assert [dict(one.environment) for one in again] == [dict(one.environment) for one in starts]
    assert [one.attempt for one in again] == [one.attempt for one in starts]
    assert [one.warn_signal for one in again] == [one.warn_signal for one in starts]
    assert again[0].arguments == starts[0].arguments
    assert again[0].script is again[3].script


def normal(one: Start | None) -> Start | None:
    """The order of an environment's entries means nothing."""
    return one and replace(one, environment=tuple(sorted(one.environment)))


def state(folder: Path) -> State:
    made = State(str(folder), Journal(folder / "journal"))
    made.open("boot")
    return made


def test_replay_and_compaction_give_the_same_state(tmp_path: Path) -> None:
    one = state(tmp_path)
    one.record(["config", {"partitions": []}])
    starts = [some_start(i) for i in range(30)]
    one.submit(dump({"do": "submit", **pack_starts(starts)}), starts)
    one.submit(dump(pack_starts(starts[:2])), starts[:2])
    one.record(["claim", [1, 2, 3, 4]])
    one.record(["at", 1, 1000, 5, [0], [["0"]], "s1"])
    one.record(["run", 1, 4711, 99])
    one.record(["at", 2, 1000, 5, [0], [["1"]], "s1"])
    one.record(["run", 2, 4712, 99])
    one.record(["stop", 2, "cancelled"])
    one.end(one.by_serial[1], End("exit", exit_code=3, elapsed_ms=1500))
    one.end(one.by_serial[9], End("not_started", why="kein Platz für ñ"))
    one.record(["forget", [9]])
    assert one.journal.sync()
    one.journal.close()

    def facts(of: State) -> object:
        jobs = [
            (j.serial, j.view(), j.start and j.claimed, j.place, j.stopping, normal(j.start))
            for j in sorted(of.jobs.values(), key=lambda j: j.serial)
        ]
        return jobs, list(of.gone), of.config, of.next_serial, of.boot

    again = state(tmp_path)
    assert facts(again) == facts(one)
    again._compact_at = 0
    assert again.compact_if_large()
    again.record(["claim", [5]])
    again.by_serial[5].claimed = ""
    again.journal.sync()
    again.journal.close()
    compacted = state(tmp_path)
    compacted.by_serial[5].claimed = ""
    assert facts(compacted) == facts(one)
    compacted.journal.close()


def test_a_torn_journal_starts_a_keeper(make: Make, folder: Path, tmp_path: Path) -> None:
    batch = make()
    one = start(batch, tmp_path, "exit 3")
    run(batch, one)
    batch.stop()
    wait_ended(folder)
    journal = folder / "journal"
    data = journal.read_bytes().rstrip(b"\0")
    journal.write_bytes(data + b"\x40\0\0\0torn")
    assert batch.look_up((one.attempt,))[one.attempt].exit_code == 3
    assert run(batch, start(batch, tmp_path, "exit 4")).exit_code == 4
    assert (folder / "journal.torn").read_bytes().endswith(b"torn")


def test_an_acknowledged_submit_is_in_the_journal(make: Make, folder: Path, tmp_path: Path) -> None:
    """A copy of the folder, as a power cut would leave it, starts what was accepted."""
    batch = make()
    blocked = start(batch, tmp_path, "exit 0", nodes=1, partition="gpu", asked=NodeShape(8, 10, 4))
    batch.submit((blocked,))
    copied = tmp_path / "copy"
    copied.mkdir()
    shutil.copy(folder / "journal", copied / "journal")
    assert blocked.attempt in state(copied).jobs
