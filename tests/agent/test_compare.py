"""The site's accounting beside Meyrin's: every difference is said, and nothing else."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from tests.agent.scripted import StoryHub

from meyrin.agent.compare import Compared, compare, judged
from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Journal
from meyrin.agent.slurm.transport import AccountingRow
from meyrin.agent.start import not_told
from meyrin.agent.trial import is_trial, new_attempt
from meyrin.domain.job import JobRequest
from meyrin.wire.agents import CountedList, CountedView

HOUR = 3_600_000
FROM, UNTIL = 100 * HOUR, 200 * HOUR
END_MS = 150 * HOUR
END_S = END_MS // 1000


def counted(attempt: str = "a", elapsed_s: int | None = 60, **more: object) -> CountedView:
    known = {
        "attempt": attempt, "job": "17", "batch_job": "5", "placed_ms": END_MS - HOUR,
        "start_ms": END_MS - 60_000, "end_ms": END_MS, "charged_type": "core",
        "elapsed_s": elapsed_s, "used_s": elapsed_s or 0, "energy_j": None,
        "measured_by": None if elapsed_s is None else "batch", "corrections": 0,
    }  # fmt: skip
    return CountedView(**(known | more))  # type: ignore[arg-type]


def row(elapsed_s: int = 60, end_s: int = END_S, **more: object) -> AccountingRow:
    known = {
        "batch_job": "5", "name": "meyrin-a", "user": "u", "partition": "p", "state": "COMPLETED",
        "start_s": end_s - elapsed_s, "end_s": end_s, "elapsed_s": elapsed_s,
    }  # fmt: skip
    return AccountingRow(**(known | more))  # type: ignore[arg-type]


def said(ours: list[CountedView], rows: list[AccountingRow]) -> Compared:
    by_attempt: dict[str, list[AccountingRow]] = {}
    for each in rows:
        by_attempt.setdefault(each.name.removeprefix("meyrin-"), []).append(each)
    return judged({one.attempt: one for one in ours}, by_attempt, FROM, UNTIL)


def test_the_test_job_of_a_join_is_listed_and_is_no_difference():
    trial = new_attempt()
    found = said([counted()], [row(), row(2, name=f"meyrin-{trial}", batch_job="4")])
    ((attempt, site_s, bad, what),) = [(n.attempt, n.site_s, n.bad, n.what) for n in found.lines]
    assert (attempt, site_s, bad) == (trial, 2, False)
    assert "test job" in what
    assert (found.attempts, found.site_s, found.meyrin_s) == (1, 60, 60)
    assert not is_trial(str(uuid.uuid4()))


PREEMPTED = row(40, END_S - 600, state="PREEMPTED")


@pytest.mark.parametrize(
    ("ours", "rows", "site_s"),
    [
        (counted(), [row()], 60),
        (counted(elapsed_s=100), [PREEMPTED, row()], 100),
        (counted(elapsed_s=62), [row(2, END_S - 90, state="REQUEUED"), row()], 62),
        (counted(elapsed_s=None), [], 0),  # it never ran, and the site says so too
        (counted(elapsed_s=None), [row(start_s=None, elapsed_s=0)], 0),
        (counted(energy_j=7), [row(energy_j=7)], 60),
        (counted(energy_j=7), [row()], 60),  # the site does not record it any more
        (counted(elapsed_s=0), [], 0),
    ],
)
def test_they_agree(ours: CountedView, rows: list[AccountingRow], site_s: int) -> None:
    found = said([ours], rows)
    assert (found.lines, found.attempts, found.site_s) == ((), 1, site_s)


@pytest.mark.parametrize(
    ("ours", "rows", "what"),
    [
        (counted(), [row(61)], "seconds differ"),
        (counted(), [PREEMPTED, row()], "seconds differ"),
        (counted(), [], "not in accounting"),
        (
            counted(),
            [row(end_s=END_S + 1, state="RUNNING")],
            "ended for Meyrin, open in accounting",
        ),
        (
            counted(elapsed_s=None, start_ms=None),
            [row(5, state="RUNNING")],
            "ended for Meyrin, open in accounting",
        ),
        (None, [row()], "not counted by Meyrin"),
        (counted(), [row(energy_j=7)], "energy differs"),
        (counted(energy_j=8), [row(energy_j=7)], "energy differs"),
        (counted(), [row(), row(60, batch_job="6")], "a further copy that did not end at once"),
        (counted(), [row(), row(90, END_S + 900)], "a further copy that did not end at once"),
    ],
)
def test_they_differ(ours: CountedView | None, rows: list[AccountingRow], what: str) -> None:
    found = said([ours] if ours else [], rows)
    assert [line.what for line in found.lines] == [what]
    assert found.differ == 1


def test_a_copy_that_ended_at_once_is_said_and_is_no_difference() -> None:
    found = said([counted()], [row(), row(1, END_S + 900), row(0, batch_job="6")])
    assert [line.what for line in found.lines] == ["a copy that ended at once"] * 2
    assert (found.differ, found.site_s) == (0, 60)


@pytest.mark.parametrize("code", [75, None])  # slurmrestd of 22.05 tells no exit code
def test_a_copy_of_what_was_given_up_that_the_fence_ended_is_no_difference(code) -> None:
    """A killed controller forgot the job, its person gave it up, and then it remembered."""
    given_up = counted(elapsed_s=None, start_ms=None)
    found = said([given_up], [row(0, END_S + 5, state="FAILED", exit_code=code)])
    assert [(line.what, line.bad) for line in found.lines] == [("a copy that ended at once", False)]
    assert (found.differ, found.site_s) == (0, 0)


def test_a_run_that_a_killed_controller_forgot_is_one_line() -> None:
    """It launched the job anew and ended it before it began: all that accounting has of it."""
    anew = row(0, END_S + 20, state="CANCELLED by 0")
    found = said([counted(elapsed_s=40)], [anew])
    ((line,), forgot) = found.lines, "Slurm's controller forgot how long it ran"
    assert (line.what, line.site_s, line.meyrin_s, line.bad) == (forgot, 0, 40, True)
    assert said([counted()], [row(), anew]).differ == 0, "its own run is there"


def test_runs_of_a_job_that_waits_again_are_of_the_job_and_no_difference() -> None:
    """It was queued again after it ran, and the hub has no end of it."""
    rows = {"a": [row(15, state="REQUEUED"), replace(row(0), start_s=None, end_s=None)]}
    found = judged({}, rows, FROM, UNTIL, {"a": "17"})
    ((line,), what) = found.lines, "not over for Meyrin yet: counted when it is"
    assert (line.job, line.site_s, line.what, line.bad) == ("17", 15, what, False)
    assert (found.attempts, found.site_s, found.differ) == (0, 0, 0)
    assert judged({}, rows, FROM, UNTIL).differ == 1


def test_the_agents_journal_says_what_is_not_told_yet(tmp_path) -> None:
    config = AgentConfig(hub="http://h", credential_file=tmp_path / "c", dir=tmp_path)
    assert not_told(config) == {}
    assert not (tmp_path / "journal.sqlite").exists()
    journal = Journal(tmp_path / "journal.sqlite")
    hub = StoryHub()
    request = JobRequest(script="x")
    plain, element = hub.add(request), hub.add(request, array_job=40, task=3)
    journal.take([plain, element], hub.requests)
    assert not_told(config) == {plain.attempt: str(plain.job), element.attempt: "40_3"}
    journal.close()


def test_what_ended_at_another_time_is_of_another_statement() -> None:
    late = counted(end_ms=UNTIL)
    assert said([late], [row(end_s=UNTIL // 1000)]).attempts == 0
    assert said([], [row(end_s=UNTIL // 1000)]).attempts == 0
    assert said([counted(end_ms=FROM)], [row(end_s=FROM // 1000)]).attempts == 1


class Accounting:
    """Answers as a transport does; notes what it was asked."""

    def __init__(self, rows: list[AccountingRow]) -> None:
        self.rows, self.asked = rows, []

    def accounting(self, names, since_s, batch_jobs=()):  # type: ignore[no-untyped-def]
        self.asked.append((tuple(names), since_s, tuple(batch_jobs)))
        return [r for r in self.rows if not names or r.name in names or r.unnamed]


def test_all_pages_and_both_ways_are_asked() -> None:
    pages = {"": (["a"], "a"), "a": (["b"], "")}

    def listed(from_ms: int, until_ms: int, after: str) -> CountedList:
        assert (from_ms, until_ms) == (FROM - 24 * HOUR, UNTIL + 24 * HOUR)
        names, following = pages[after]
        return CountedList(counted=[counted(name) for name in names], next=following)

    by = Accounting([row(), row(name="meyrin-b"), row(name="meyrin-c"), row(name="mine")])
    found = compare(listed, by, FROM, UNTIL, lambda _: None)  # type: ignore[arg-type]
    assert [(line.attempt, line.what) for line in found.lines] == [("c", "not counted by Meyrin")]
    assert found.attempts == 3
    (named, everything) = by.asked
    assert named[0] == ("meyrin-a", "meyrin-b")
    assert named[2] == ("5",)
    assert everything[0] == ()


def test_energy_is_summed_where_it_is_known_and_counted_where_not() -> None:
    ours = [counted(energy_j=7), counted("b", batch_job="6"), counted("c", elapsed_s=None)]
    rows = [row(energy_j=7), row(name="meyrin-b", batch_job="6")]
    found = said(ours, rows)
    assert (found.site_j, found.meyrin_j, found.energy_unknown) == (7, 7, 1)
    assert said([counted()], [row()]).site_j is None
    of_one_run = said([counted(elapsed_s=100)], [PREEMPTED, row(energy_j=5)])
    assert (of_one_run.site_j, of_one_run.energy_unknown) == (None, 1)


def test_what_accounting_never_heard_the_name_of_is_known_by_its_id_and_end() -> None:
    nameless = row(name="allocation", partition="")
    other = row(name="allocation", partition="", end_s=END_S - 500)  # an id that was given before

    by = Accounting([nameless, other])
    page = CountedList(counted=[counted()], next="")
    found = compare(lambda *_: page, by, FROM, UNTIL, lambda _: None)  # type: ignore[arg-type]
    assert (found.lines, found.attempts, found.site_s, found.meyrin_s) == ((), 1, 60, 60)
