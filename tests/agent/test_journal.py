"""What was sent leaves the journal, and nothing else does."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest

from meyrin.agent import check
from meyrin.agent.journal import Journal
from meyrin.domain.site import Partition
from meyrin.wire.agents import Report


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def report(phase, attempt="a"):
    return Report.model_validate(
        {"attempt": attempt, "epoch": 1, "phase": phase, "at_ms": 5, "batch_job": "7"}
    )


def test_a_newer_word_stays_when_the_older_was_sent(journal):
    journal.note([report("queued"), report("queued", "b")])
    sending = journal.unsent(10)
    journal.note([report("running")])
    journal.sent(sending)
    assert journal.unsent(10) == [report("running")]
    journal.sent(sending)  # late, and once more
    assert journal.unsent(10) == [report("running")]
    journal.sent([report("running")])  # an equal one, wherever it came from
    assert journal.unsent(10) == []


def test_a_word_that_an_earlier_version_wrote_leaves_too(journal, tmp_path):
    journal.note([report("running")])
    with sqlite3.connect(tmp_path / "journal") as db:
        ((body,),) = db.execute("SELECT body FROM reports").fetchall()
        fewer = {name: value for name, value in json.loads(body).items() if value is not None}
        db.execute("UPDATE reports SET body = ?", (json.dumps(fewer),))
    sending = journal.unsent(10)
    assert sending == [report("running")]
    journal.sent(sending)
    assert journal.unsent(10) == []


def test_two_copies_of_a_journal_are_two_starts_and_one_from_a_backup_is_no_earlier_one(tmp_path):
    first = Journal(tmp_path / "journal.sqlite")
    first.name_start("fresh", 1000)
    first.close()
    shutil.copy(tmp_path / "journal.sqlite", tmp_path / "copy.sqlite")
    first, copy = Journal(tmp_path / "journal.sqlite"), Journal(tmp_path / "copy.sqlite")
    own = [first.name_start("fresh", now_ms) for now_ms in (2000, 3000, 4000)]
    assert own == ["fresh.2000", "fresh.3000", "fresh.4000"]
    assert copy.name_start("fresh", 2001) == "fresh.2001", "at the same time: not the same start"
    assert copy.name_start("fresh", 5000) == "fresh.5000", "the hub takes it for the later one"
    first.close()
    copy.close()


def test_what_it_took_is_known_again_in_the_order_of_the_jobs(tmp_path):
    """The first first, where a site's limits let jobs wait: also after a new start."""
    item = check._sample(Partition("p", 1, 1, 1))
    journal = Journal(tmp_path / "journal.sqlite")
    names = ["m", "c", "z", "a"]
    works = [
        item.work.model_copy(update={"attempt": name, "job": number})
        for number, name in enumerate(names)
    ]
    journal.take(works, {item.work.request_id: item.request})
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert [one.work.attempt for one in again.taken()] == names
    again.close()
