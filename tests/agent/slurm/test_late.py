"""Accounting read again after the end was told: late and corrected records, each told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.slurm.test_status import Site

from meyrin.agent.batch import Usage
from meyrin.agent.slurm import late
from meyrin.agent.slurm.spool import Run
from meyrin.agent.slurm.transport import AccountingRow
from meyrin.testing.slurm import FakeJob

HOUR, DAY = 3600, 86_400


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def forgotten(site: Site, name: str = "a") -> FakeJob:
    """A job that ran, ended, was told and is forgotten; its record in accounting."""
    site.cluster.holds = False
    site.submit(name)
    site.pass_s(4)
    (record,) = [job for job in site.cluster.recorded if job.name == f"meyrin-{name}"]
    assert site.seen(name).end == "exit"
    site.batch.forget((name,))
    assert not site.batch.look_up((name,))
    return record


def looked(site: Site, after_s: float) -> tuple[late.Late, ...]:
    site.clock.now += after_s
    return site.batch.late()


def test_a_record_that_stays_as_it_is_is_never_told(site: Site) -> None:
    forgotten(site)
    for after_s in (HOUR, HOUR, DAY, 20 * DAY, 20 * DAY):
        assert looked(site, after_s) == ()
    asked = site.commands.asked["sacct"]
    looked(site, 10 * DAY)
    assert site.commands.asked["sacct"] == asked, "its window is over"


def test_a_corrected_record_is_told_until_the_hub_has_it_and_then_no_more(site: Site) -> None:
    record = forgotten(site)
    assert looked(site, HOUR) == ()
    assert record.end_s is not None
    record.end_s += 7
    (found,) = looked(site, DAY)
    assert (found.usage.elapsed_s, found.revision, found.batch_job) == (7, 1, "1")
    assert looked(site, 1) == (found,)
    site.batch.late_told((found,), ())
    assert looked(site, DAY) == ()
    record.end_s -= 3
    (again,) = looked(site, DAY)
    assert (again.usage.elapsed_s, again.revision) == (4, 2)


def test_a_start_of_the_agent_goes_on_where_the_one_before_stopped(site: Site) -> None:
    record = forgotten(site)
    record.end_s = (record.end_s or 0) + 7
    site.batch.leave()
    site.batch = site.open()
    (found,) = looked(site, HOUR)
    site.batch.leave()  # killed before the hub had it
    site.batch = site.open()
    asked = site.commands.asked["sacct"]
    assert looked(site, 1) == (found,)
    assert site.commands.asked["sacct"] == asked, "it is known, and not asked again"
    site.batch.late_told((found,), ())
    assert looked(site, DAY) == ()


def test_an_old_answer_of_the_hub_does_not_take_back_a_later_correction(site: Site) -> None:
    record = forgotten(site)
    record.end_s = (record.end_s or 0) + 7
    (first,) = looked(site, HOUR)
    record.end_s += 1
    (second,) = looked(site, DAY)
    site.batch.late_told((first,), ())
    assert looked(site, 1) == (second,)
    assert (second.usage.elapsed_s, second.revision) == (8, 2)


def test_what_the_hub_does_not_know_is_found_again_later(site: Site) -> None:
    record = forgotten(site)
    record.end_s = (record.end_s or 0) + 7
    (found,) = looked(site, HOUR)
    site.batch.late_told((), (found,))
    assert looked(site, 1) == ()
    (again,) = looked(site, DAY)
    assert (again.usage, again.revision) == (found.usage, 2)


def test_energy_that_accounting_adds_after_the_end_is_told(site: Site) -> None:
    record = forgotten(site)
    record.energy_j = 5_400_000
    (found,) = looked(site, 700)
    assert found.usage.energy_j == 5_400_000
    assert found.usage.elapsed_s == 0


def test_what_the_wrapper_measured_gives_way_to_accounting_that_comes_later(site: Site) -> None:
    site.cluster.accounting_away = True
    site.cluster.holds = False
    site.submit()
    site.pass_s(60)
    assert site.seen().usage is not None
    assert site.seen().usage.source == "wrapper"  # type: ignore[union-attr]
    site.batch.forget(("a",))
    assert looked(site, 700) == (), "accounting is silent: nothing is said"
    site.cluster.accounting_away = False
    (found,) = looked(site, HOUR)
    assert found.usage.source == "batch"


def test_nothing_follows_from_records_that_are_gone_or_open_again(site: Site) -> None:
    record = forgotten(site)
    kept = list(site.cluster.recorded)
    site.cluster.recorded.clear()
    assert looked(site, HOUR) == ()
    site.cluster.recorded[:] = kept
    record.end_s, before = None, record.end_s
    record.state, word = "RUNNING", record.state
    assert looked(site, DAY) == ()
    record.end_s, record.state = before, word
    assert looked(site, DAY) == ()


def test_a_copy_that_came_after_the_end_counts_for_nobody(site: Site) -> None:
    record = forgotten(site)
    copy = replace(record, submit_s=record.submit_s, start_s=(record.end_s or 0) + 60)
    copy.end_s = (copy.start_s or 0) + 1
    site.cluster.recorded.append(copy)
    assert looked(site, HOUR) == ()


def test_a_row_that_never_got_its_name_is_known_by_its_id_and_end(site: Site) -> None:
    """A controller that is killed may never tell accounting the name of what ended before."""
    site.cluster.accounting_away = True
    site.cluster.holds = False
    site.submit()
    site.pass_s(60)
    (record,) = site.cluster.recorded
    (told,) = [each for each in [site.seen().usage] if each is not None]
    assert told.source == "wrapper"
    site.batch.forget(("a",))
    site.cluster.accounting_away = False
    site.cluster.names_after_s = 90 * DAY
    end_s = record.end_s or 0
    record.end_s, record.start_s = end_s - 40, (record.start_s or 0) - 42
    assert looked(site, HOUR) == (), "the same id, ended at another time: not surely ours"
    record.end_s, record.start_s = end_s, end_s - told.elapsed_s - 1
    (found,) = looked(site, DAY)
    assert (found.usage.elapsed_s, found.usage.source) == (told.elapsed_s + 1, "batch")


def test_none_is_looked_at_where_the_site_wants_no_second_look(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.batch.second.use(0, 24)
    record = forgotten(site)
    record.end_s = (record.end_s or 0) + 7
    asked = site.commands.asked["sacct"]
    assert looked(site, DAY) == ()
    assert site.commands.asked["sacct"] == asked


def test_many_attempts_are_one_question_and_each_day_one_more(site: Site) -> None:
    site.cluster.holds = False
    for number in range(30):
        site.submit(f"a{number}")
    site.pass_s(8)
    site.batch.forget(tuple(f"a{number}" for number in range(30)))
    before = site.commands.asked["sacct"]
    for _ in range(10):
        looked(site, DAY)
    assert site.commands.asked["sacct"] == before + 10


def row(start_s: int, end_s: int | None, state: str = "COMPLETED", **more: object) -> AccountingRow:
    elapsed = None if end_s is None else end_s - start_s
    known = {
        "batch_job": "1", "name": "meyrin-a", "user": "u", "partition": "main", "state": state,
        "submit_s": 100, "start_s": start_s, "end_s": end_s, "elapsed_s": elapsed,
    }  # fmt: skip
    return AccountingRow(**(known | more))  # type: ignore[arg-type]


def ended(**more: object) -> late.Ended:
    known = {
        "attempt": "a", "batch_job": "1", "asked_s": 100, "ended_s": 400, "requeue": True,
        "rows": 2, "runs": (), "seconds": (), "told": Usage(150), "since_s": 500,
    }  # fmt: skip
    return late.Ended(**(known | more))  # type: ignore[arg-type]


PREEMPTED = row(150, 200, "PREEMPTED")


@pytest.mark.parametrize(
    ("rows", "elapsed_s"),
    [
        ((PREEMPTED, row(300, 400)), 150),
        ((row(150, 210, "PREEMPTED"), row(300, 400)), 160),
        ((row(150, 215, "REQUEUED"), row(300, 400)), 165),  # as 22.05 has it after a requeue
        ((row(300, 400),), None),  # one of its runs was purged
        ((PREEMPTED, row(300, None, "RUNNING")), None),
        ((PREEMPTED, row(300, 400, "NEW_WORD")), None),
        ((PREEMPTED, row(300, 400, batch_job="2")), None),  # the id of another copy
        ((PREEMPTED, row(300, 400, submit_s=-86_400)), None),  # a job of before, by our name
    ],
)
def test_only_a_sure_word_counts(rows: tuple[AccountingRow, ...], elapsed_s: int | None) -> None:
    found = late.said(ended(), rows)
    assert (None if found is None else found[0].elapsed_s) == elapsed_s


def test_a_run_that_the_wrapper_alone_knew_is_in_accounting_later() -> None:
    runs = (Run(0, "1", 150, end_s=200, code=0), Run(1, "1", 300, end_s=400, code=0))
    one = ended(rows=1, runs=runs, told=Usage(150, source="wrapper"))
    assert late.said(one, (PREEMPTED,)) == (Usage(150, source="wrapper"), 1)
    assert late.said(one, (PREEMPTED, row(300, 401))) == (Usage(151), 2)


def test_a_record_that_was_cut_short_is_not_added_to_what_the_wrapper_saw() -> None:
    """Found by world 36: slurmdbd was away at the end, and its record was mended since."""
    runs = (Run(0, "1", 300, end_s=400, code=0),)
    one = ended(rows=0, runs=runs, requeue=False, told=Usage(100, source="wrapper"))
    assert late.said(one, (row(300, 397),)) == (Usage(97), 1)
    one = ended(rows=1, runs=runs, requeue=False, told=Usage(100))
    assert late.said(one, (row(310, 397),)) == (Usage(87), 1)
