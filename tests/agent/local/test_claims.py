"""What is on record before a process may exist, whatever happens in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meyrin.agent import keeper_jobs, keeper_process
from meyrin.agent.batch import Phase, Start
from meyrin.agent.keeper_jobs import Jobs
from meyrin.agent.keeper_journal import Journal
from meyrin.agent.keeper_state import State
from meyrin.agent.keeper_wire import Body, dump, pack_partition, pack_starts
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape


def config(grace_s: int, nodes: int = 1) -> Body:
    partition = pack_partition(Partition("p", nodes, 4, 1000))
    return {"partitions": [partition], "grace_s": grace_s, "cluster": "c", "devices": {}}


def one_start(folder: Path, attempt: str = "a1") -> Start:
    return Start(
        attempt=attempt,
        job=1,
        name="n",
        partition="p",
        nodes=1,
        asked=NodeShape(1, 1, 0),
        tasks=1,
        walltime_s=60,
        script="#!/bin/sh\nexit 3\n",
        workdir=str(folder),
    )


def submitted(folder: Path, *starts: Start, nodes: int = 1) -> Jobs:
    """A keeper's jobs without its loop: these are acknowledged, nothing is picked yet."""
    for name in ("spool", "out"):
        (folder / name).mkdir()
    state = State(str(folder), Journal(folder / "journal"))
    state.open("boot")
    jobs = Jobs(state, folder, {"PATH": os.environ["PATH"]}, lambda _: None)
    jobs.configure(config(5, nodes))
    jobs.submit(dump({"do": "submit", **pack_starts(starts)}), starts)
    assert state.journal.sync()
    return jobs


def finished(jobs: Jobs) -> None:
    for pid in list(jobs.running):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    jobs.reap()
    jobs.state.journal.close()


def test_new_settings_start_nothing_before_its_claim_is_durable(tmp_path: Path) -> None:
    """Else a power cut would start it a second time."""
    jobs = submitted(tmp_path, one_start(tmp_path))
    jobs.schedule()
    jobs.configure(config(6))
    jobs.schedule()
    assert jobs.state.jobs["a1"].phase is Phase.QUEUED
    assert jobs.state.journal.sync()
    jobs.schedule()
    assert jobs.state.jobs["a1"].phase is Phase.RUNNING
    finished(jobs)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_nothing_starts_while_its_last_moment_can_not_be_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Else a killed keeper's successor would start it beside itself."""
    jobs = submitted(tmp_path, one_start(tmp_path))
    jobs.schedule()
    state, journal = jobs.state, jobs.state.journal
    assert journal.sync()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        if call == "posix_fallocate":
            state.record(["config", {**state.config, "used": "x" * (1 << 19)}])  # the reserve
            assert journal.flush()
        sizes = []
        for _ in range(4):
            jobs.retry_ns = 0
            jobs.tick()
            jobs.schedule()
            sizes.append(journal.position)
        assert state.jobs["a1"].phase is Phase.QUEUED
        assert not jobs.running
        assert len(set(sizes[1:])) == 1, "a job that can't start fills the journal"
    jobs.retry_ns = 0
    jobs.tick()
    jobs.schedule()
    assert state.jobs["a1"].phase is Phase.RUNNING
    finished(jobs)


@pytest.mark.parametrize("noun", ["stdout", "workdir"])
def test_a_full_disk_of_one_job_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noun: str
) -> None:
    full = tmp_path / "full"
    fields: dict[str, Any] = {noun: str(full), "create_workdir": noun == "workdir"}
    bad = replace(one_start(tmp_path, "bad"), **fields)
    jobs = submitted(tmp_path, bad, one_start(tmp_path, "good"))
    found, opened, made = jobs.state.jobs, os.open, os.makedirs

    def refused(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: object, *others: Any, **more: Any) -> Any:
            if str(path) == str(full):
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
            return call(path, *others, **more)

        return asked

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused(opened))
        patch.setattr(os, "makedirs", refused(made))
        for _ in range(4):
            jobs.schedule()
            jobs.state.journal.sync()
        assert found["good"].phase is Phase.RUNNING
        assert found["bad"].phase is Phase.QUEUED
        assert not found["bad"].claimed, "a restart of the machine would lose it"
        now_ns = keeper_jobs.up_ns()
        assert now_ns < jobs.due_ns() <= now_ns + keeper_jobs.FULL_NS
    monkeypatch.setattr(keeper_jobs, "up_ns", lambda: now_ns + keeper_jobs.FULL_NS)
    jobs.tick()
    jobs.schedule()
    assert found["bad"].phase is Phase.QUEUED, "claimed anew before it starts"
    assert jobs.state.journal.sync()
    jobs.schedule()
    assert found["bad"].phase is Phase.RUNNING
    finished(jobs)


def test_jobs_that_were_set_aside_come_again_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a{number}" for number in range(1, 6)]
    jobs = submitted(tmp_path, *(one_start(tmp_path, name) for name in names))
    tried: list[str] = []

    def full(start: Start, *_: object) -> keeper_process.NotStarted:
        tried.append(start.attempt)
        return keeper_process.NotStarted("no room", full=True)

    monkeypatch.setattr(keeper_jobs, "spawn", full)
    for _ in range(20):
        jobs.schedule()
        jobs.state.journal.sync()
    assert tried == names
    now_ns = keeper_jobs.up_ns()
    monkeypatch.setattr(keeper_jobs, "up_ns", lambda: now_ns + keeper_jobs.FULL_NS)
    jobs.tick()
    for _ in range(20):
        jobs.schedule()
        jobs.state.journal.sync()
    assert tried == [*names, *names]
    jobs.state.journal.close()


def test_what_is_cancelled_while_its_disk_is_full_never_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted(tmp_path, replace(one_start(tmp_path), stdout="/dev/full/out"))
    job = jobs.state.jobs["a1"]
    monkeypatch.setattr(keeper_process, "_FULL", (errno.ENOTDIR,))
    for _ in range(2):
        jobs.schedule()
        jobs.state.journal.sync()
    assert job.phase is Phase.QUEUED
    jobs.cancel(["a1"])
    monkeypatch.setattr(keeper_jobs, "up_ns", jobs.due_ns)
    jobs.tick()
    jobs.schedule()
    assert job.end == "cancelled"
    assert jobs.idle
    finished(jobs)
