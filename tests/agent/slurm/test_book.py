"""The attempts in memory are never ahead of those on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.slurm.test_status import Site

from meyrin.agent.batch import BatchJob, Phase
from meyrin.agent.slurm.book import Book, adopt, end
from meyrin.agent.slurm.store import Job, Stage, Store
from meyrin.agent.slurm.transport import Submission
from meyrin.domain.errors import StorageFull


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "journal")
    yield made
    made.close()


@pytest.fixture
def book(store: Store) -> Book:
    made = Book(store)
    made.add([(a_job("a"), "#!/bin/sh\n", "")])
    return made


def a_job(attempt: str) -> Job:
    asked = Submission(
        name=attempt, script="", partition="p", workdir="/", stdout="/o", nodes=1, tasks=1,
        tasks_per_node=1, cores_per_task=1, cores_per_node=None, memory_mb=1, gres=(),
        exclusive=False, walltime_s=60,
    )  # fmt: skip
    return Job(asked, BatchJob(attempt, "", Phase.QUEUED), "/o", "/o")


def full(*_: object) -> None:
    raise StorageFull("the journal can't be written: database or disk is full")


def refused(job: Job) -> None:
    end(job, "not_started", "Slurm: no")


def test_what_could_not_be_kept_is_not_told(book, store, monkeypatch):
    """Else an attempt whose end was told might be handed over by the next start of the agent."""
    told = book.since("")
    with monkeypatch.context() as patch:
        patch.setattr(store, "save", full)
        with pytest.raises(StorageFull):
            book.change(["a"], refused)
    assert book.since("") == told
    assert Book(store).jobs == book.jobs
    book.change(["a"], refused)
    (job,) = book.since(told.cursor).jobs
    assert (job.phase, job.end) == (Phase.ENDED, "not_started")
    assert Book(store).since(told.cursor) == book.since(told.cursor)


def test_who_holds_an_attempt_sees_it_change(book, store, monkeypatch):
    job = book.jobs["a"]
    with monkeypatch.context() as patch:
        patch.setattr(store, "save", full)
        with pytest.raises(StorageFull):
            book.change(["a"], lambda one: adopt(one, "7", 1))
    assert job.stage is Stage.WAITING
    book.change(["a"], lambda one: adopt(one, "7", 1))
    assert (job.stage, job.seen.batch_job) == (Stage.SENT, "7")


def test_a_cursor_counts_nothing_that_was_not_kept(book, store, monkeypatch):
    """The next start would count from before it, and what it tells would pass for told."""
    over = a_job("b")
    refused(over)
    monkeypatch.setattr(store, "add", full)
    with pytest.raises(StorageFull):
        book.add([(over, "#!/bin/sh\n", "")])
    assert book.since("").cursor == Book(store).since("").cursor
    assert "b" not in book.jobs


def test_what_a_killed_agent_began_to_forget_is_forgotten(tmp_path, monkeypatch):
    """Else script and variables stay for ever."""
    site = Site(tmp_path / "site")
    site.batch.partitions()
    site.submit("a")
    site.job("a").state, site.job("a").end_s = "CANCELLED", site.cluster.now_s
    site.pass_s(300)
    assert site.seen("a").phase is Phase.ENDED
    monkeypatch.setattr(site.batch.spool, "forget", lambda _: None)
    site.batch.forget(("a",))
    site.batch.store.close()
    batch = site.open()
    folder = Path(batch.spool.folder("a"))
    assert folder.exists()
    batch.forget(("a",))
    assert not folder.exists()
