"""Honest status on a double of a cluster: each row of faults that other tools get wrong."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.agent.slurm.once import DOUBT_S, Clock

from meyrin.agent.batch import BatchJob, Phase, Start
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport
from meyrin.agent.slurm.judge import FORGOTTEN, UNSEEN
from meyrin.agent.slurm.store import Stage
from meyrin.domain.errors import Unreachable
from meyrin.domain.units import NodeShape
from meyrin.testing.slurm import FakeCommands, FakeJob, FakeSlurm, Faults


class Site:
    """A batch system on the double, driven step by step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.cluster = FakeSlurm(self.clock)
        self.cluster.holds = True
        self.faults = Faults(random.Random(0))
        self.commands = FakeCommands(self.cluster, self.faults)
        self.batch = self.open()

    def open(self) -> SlurmBatch:
        transport = CommandTransport(self.commands, user=self.cluster.user)
        return SlurmBatch(
            self.folder, transport, clock_s=self.clock, doubt_s=DOUBT_S, at_once=1,
            accounting_wait_s=30.0,
        )  # fmt: skip

    def submit(self, name: str = "a", **other: object) -> str:
        known = {
            "attempt": name,
            "job": 1,
            "name": "x",
            "partition": "main",
            "nodes": 1,
            "asked": NodeShape(1, 10),
            "tasks": 1,
            "walltime_s": 600,
            "script": "#!/bin/sh\nexit 3\n",
            "workdir": str(self.folder),
            "stdout": os.devnull,
            "stderr": os.devnull,
        }
        start = Start(**(known | other))  # type: ignore[arg-type]
        self.batch.submit((start,))
        with suppress(Unreachable):
            self.batch.step()
        return name

    def pass_s(self, seconds: float, step_s: float = 2.0) -> Counter[str]:
        """Time passes, the batch system works; how often Slurm gave no answer."""
        silent: Counter[str] = Counter()
        for _ in range(max(1, int(seconds / step_s))):
            self.clock.now += step_s
            self.cluster.advance()
            try:
                self.batch.step()
            except Unreachable as error:
                silent[error.message] += 1
        return silent

    def seen(self, name: str = "a") -> BatchJob:
        return self.batch.look_up((name,))[name]

    def job(self, name: str = "a") -> FakeJob:
        return [job for job in self.cluster.jobs if job.name == f"meyrin-{name}"][-1]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site")
    made.batch.partitions()
    return made


@pytest.mark.parametrize("away_s", [90, 7200])
def test_a_controller_that_is_away_changes_no_jobs_state(site, away_s):
    site.submit("waits")
    site.submit("runs")
    site.job("runs").state, site.job("runs").start_s = "RUNNING", site.cluster.now_s
    site.pass_s(60)
    before = site.seen("waits"), site.seen("runs")
    assert [job.phase for job in before] == [Phase.QUEUED, Phase.RUNNING]
    site.cluster.up = False
    assert site.pass_s(away_s).total() > 0
    assert (site.seen("waits"), site.seen("runs")) == before
    assert "does not answer since 20" in site.batch.silence(60)
    site.cluster.up = True
    site.pass_s(60)
    assert (site.seen("waits"), site.seen("runs")) == before
    assert site.batch.silence(0) == ""


def test_a_controller_that_is_back_is_seen_where_nothing_waits_or_runs(site):
    site.cluster.up = False
    site.batch.partitions()
    assert site.batch.silence(0)
    assert site.batch.silence(60) == "", "it may only be started anew"
    site.cluster.up = True
    site.pass_s(60)
    assert site.batch.silence(0) == ""


def test_the_id_of_a_copy_that_was_forgotten_is_another_jobs_by_now(site):
    """In doubt, one of two copies is taken; to end the other must not end whoever has its id."""
    site.submit("a")
    site.job("a").listed = False  # the controller was killed, and gives the id again
    site.cluster.next_number = 1
    site.submit("b")
    assert site.job("b").number == 1
    third = site.cluster.submit("meyrin-a", site.job("a").script, {})
    site.cluster.submit("meyrin-a", site.job("a").script, {})
    copy = site.job("a")
    doubt = site.batch.book.jobs["a"]
    doubt.stage, doubt.seen = Stage.SENDING, replace(doubt.seen, batch_job="")
    site.clock.now += DOUBT_S + 1
    assert site.batch.sender.resolve_once() == 1
    assert site.seen("a").batch_job == str(third)
    assert (site.job("b").state, copy.state) == ("PENDING", "CANCELLED by 1000")
    site.cluster.holds = False
    site.pass_s(60)
    assert [site.seen(name).end for name in "ab"] == ["exit", "exit"]


def test_a_job_that_is_preempted_waits_and_runs_again(site):
    site.submit(requeue=True)
    site.job().state, site.job().start_s = "RUNNING", site.cluster.now_s
    site.pass_s(10)
    first = site.job()
    first.state, first.end_s, first.listed = "PREEMPTED", site.cluster.now_s, False
    again = FakeJob(first.number, first.name, first.script, site.cluster.now_s, restarts=1)
    site.cluster.jobs.append(again)
    site.cluster.recorded.append(again)
    site.pass_s(10)
    assert (site.seen().phase, site.seen().run) == (Phase.QUEUED, 1)
    site.cluster.holds = False
    site.pass_s(10)
    assert (site.seen().end, site.seen().exit_code, site.seen().run) == ("exit", 3, 1)
    assert site.seen().usage.elapsed_s == 10


@pytest.mark.parametrize("listed", [True, False], ids=["seen to wait", "not seen to wait"])
@pytest.mark.parametrize("said", [True, False], ids=["its end told", "killed at once"])
def test_what_slurm_queued_again_and_forgot_is_lost_and_never_begins(site, listed, said):
    """A controller that is killed in the second of a requeue. It is no end by signal 15."""
    site.submit(requeue=True, script="#!/bin/sh\nkill -TERM $$\n")
    site.cluster.holds = False
    site.cluster.advance()
    site.cluster.holds = True
    first = site.job()
    first.state, first.listed, first.end_s = "REQUEUED", False, site.cluster.now_s
    if not said:
        (Path(site.batch.spool.folder("a")) / "end.0").unlink()
    again = FakeJob(
        first.number, first.name, first.script, site.cluster.now_s, restarts=1,
        environment=first.environment, listed=listed,
    )  # fmt: skip
    site.cluster.jobs.append(again)
    if listed:
        site.cluster.recorded.append(again)
        site.pass_s(20)
        assert (site.seen().phase, site.seen().run) == (Phase.QUEUED, 1)
        again.listed = False
    site.pass_s(300)
    assert (site.seen().end, site.seen().why) == ("lost", FORGOTTEN)
    assert (site.seen().exit_code, site.seen().signal) == (None, None)
    assert site.seen().usage.source == "batch"
    again.listed, again.state, site.cluster.holds = True, "PENDING", False
    site.pass_s(10)
    assert (again.code, site.cluster.launches[first.name]) == (75, 2), "it comes back, and ends"


@pytest.mark.parametrize("listed", [True, False], ids=["seen to wait", "not seen to wait"])
def test_a_good_end_stands_though_a_controller_forgot_it_and_then_the_job(site, listed):
    """It came back without what it knew, queued the job as if it had never run, and lost it."""
    site.submit(requeue=True, script="#!/bin/sh\ntrue\n")
    site.cluster.holds = False
    site.cluster.advance()
    site.cluster.holds = True
    first = site.job()
    first.state, first.listed, first.end_s = "COMPLETED", False, site.cluster.now_s
    again = FakeJob(
        first.number, first.name, first.script, site.cluster.now_s,
        environment=first.environment, listed=listed,
    )  # fmt: skip
    site.cluster.jobs.append(again)
    site.cluster.recorded.append(again)
    if listed:
        site.pass_s(20)
        assert site.seen().phase is not Phase.ENDED
        again.listed = False
    site.pass_s(300)
    assert (site.seen().end, site.seen().exit_code) == ("exit", 0)


def test_a_requeue_that_slurm_forgot_and_that_begins_as_the_first_run_is_lost(site):
    """The controller was killed before it noted that it had launched the job: the fence holds,
    and what ended is neither a success nor a failure of the script."""
    site.submit(requeue=True, script="#!/bin/sh\nkill -TERM $$\n")
    site.cluster.holds = False
    site.cluster.advance()
    site.cluster.holds = True
    first = site.job()
    first.state, first.start_s, first.end_s = "PENDING", None, None
    site.pass_s(20)
    assert (site.seen().phase, site.seen().run) == (Phase.QUEUED, 1)
    site.cluster.holds = False
    site.pass_s(20)
    assert (first.code, first.state) == (75, "FAILED")
    assert (site.seen().end, site.seen().why) == ("lost", FORGOTTEN)


def test_a_state_that_nobody_knows_is_shown_and_freezes_nothing_else(site):
    site.submit("odd")
    site.submit("other")
    site.job("odd").state = "WARP_FAILED"
    site.pass_s(60)
    assert (site.seen("odd").phase, site.seen("odd").site_word) == (Phase.QUEUED, "WARP_FAILED")
    site.cluster.holds = False
    site.pass_s(60)
    assert (site.seen("other").end, site.seen("other").exit_code) == ("exit", 3)
    assert site.seen("odd").phase is Phase.QUEUED
    site.job("odd").state = "PENDING"
    site.pass_s(60)
    assert site.seen("odd").site_word is None
    assert site.seen("odd").exit_code == 3


def test_a_lost_answer_is_adopted_and_not_asked_again(site):
    site.faults.silent = 1.0
    site.submit()
    site.faults.silent = 0.0
    assert site.seen().batch_job == ""
    site.pass_s(DOUBT_S + 10)
    assert site.seen().batch_job == "1"
    assert site.commands.asked["sbatch"] == 1
    assert site.seen().queued_ms == site.cluster.jobs[0].submit_s * 1000


def test_a_question_that_never_arrived_is_asked_again_after_two_looks(site):
    site.faults.lost = 1.0
    site.submit()
    site.faults.lost = 0.0
    assert site.commands.asked["sbatch"] == 1
    site.pass_s(DOUBT_S - 4)
    assert site.commands.asked["sbatch"] == 1
    site.pass_s(DOUBT_S * 2)
    assert site.commands.asked["sbatch"] == 2
    assert site.seen().batch_job == "1"


def test_a_submission_that_nobody_took_is_in_no_doubt(site):
    """The connection was refused: it goes in as soon as Slurm is back, before later ones."""
    site.cluster.up = False
    site.submit("first")
    assert site.seen("first").why == "the site's Slurm does not answer"
    site.pass_s(60)
    assert site.batch.book.of(Stage.SENDING) == []
    site.cluster.up = True
    site.pass_s(2)
    site.submit("later")
    site.pass_s(4)
    assert [site.seen(name).batch_job for name in ("first", "later")] == ["1", "2"]
    assert site.seen("first").why == ""


def test_what_is_cancelled_as_nobody_takes_it_ends_and_is_never_sent(site, monkeypatch):
    def refused(_: object) -> str:
        site.batch.sender.cancel(("a",))
        raise Unreachable("nobody listens", sent=False)

    with monkeypatch.context() as patch:
        patch.setattr(site.batch.transport, "submit", refused)
        site.submit()
    assert (site.seen().phase, site.seen().end) == (Phase.ENDED, "cancelled")
    site.pass_s(DOUBT_S * 3)
    assert site.cluster.jobs == []


def test_a_job_that_sits_out_its_doubt_says_so_once_slurm_is_back(site):
    site.faults.lost = 1.0
    site.submit()
    site.pass_s(6)
    assert site.seen().why == "the site's Slurm does not answer"
    site.faults.lost = 0.0
    site.pass_s(6)
    assert site.seen().why.startswith("the site's Slurm answers again, but did not say whether")
    assert site.seen().batch_job == ""
    site.pass_s(DOUBT_S * 2)
    assert (site.seen().batch_job, site.seen().why) == ("1", "")


def test_what_waited_as_slurm_was_silent_says_that_it_is_back(site):
    """There are more than go in at once."""
    site.cluster.up = False
    names = [site.submit(f"a{number:02}") for number in range(40)]
    site.pass_s(30, step_s=1)
    assert {site.seen(name).why for name in names} == {"the site's Slurm does not answer"}
    site.cluster.up = True
    site.pass_s(2)
    waiting = [site.seen(name) for name in names if not site.seen(name).batch_job]
    assert {job.why for job in waiting} == {"the site's Slurm answers again: it goes in soon"}
    site.pass_s(20)
    assert [site.seen(name).batch_job for name in names] == [str(n + 1) for n in range(40)]


def test_a_job_that_ran_and_that_nobody_lists_is_unknown_until_its_wall_time_is_long_over(site):
    site.submit()
    job = site.job()
    job.state, job.start_s = "RUNNING", site.cluster.now_s
    folder = Path(site.batch.spool.folder("a"))
    (folder / "owner").symlink_to("1.0")
    site.pass_s(10)
    site.cluster.jobs.clear()
    site.pass_s(300)
    assert (site.seen().phase, site.seen().site_word) == (Phase.RUNNING, "not in the queue")
    site.pass_s(1200)
    assert (site.seen().end, site.seen().exit_code) == ("lost", None)


def test_a_job_that_slurm_forgot_as_it_ran_and_that_is_cancelled_ends_so_and_never_begins(site):
    site.submit(requeue=True)
    job = site.job()
    job.state, job.start_s = "RUNNING", site.cluster.now_s
    (Path(site.batch.spool.folder("a")) / "owner").symlink_to("1.0")
    site.pass_s(10)
    job.listed, site.cluster.recorded[:] = False, []
    site.pass_s(300)
    assert (site.seen().phase, site.seen().site_word) == (Phase.RUNNING, "not in the queue")
    site.batch.cancel("a")
    site.pass_s(60)
    assert (site.seen().end, site.seen().why, site.seen().usage) == ("cancelled", UNSEEN, None)
    job.listed, job.state, job.restarts, site.cluster.holds = True, "PENDING", 1, False
    site.pass_s(10)
    assert job.code == 75, "its controller remembers, and it ends"


@pytest.mark.parametrize("listed", [True, False], ids=["its copy is listed", "nothing is"])
@pytest.mark.parametrize(("cancelled", "after_s"), [(True, 120), (False, 1800)])
def test_a_run_whose_word_is_gone_ends_though_accounting_has_only_its_copy(
    site, listed, cancelled, after_s
):
    """A controller forgot that it had launched it, launched it again, and the fence held. What
    ran first was ended with its node's memory of it: nobody has a word on that."""
    site.submit()
    job, begun_s = site.job(), int(site.cluster.now_s)
    job.state, job.start_s = "RUNNING", begun_s
    folder = Path(site.batch.spool.folder("a"))
    (folder / "owner").symlink_to("1.0")
    (folder / "start.0").write_text(f"1\n{begun_s}\nn1\nn1\n.\n")
    site.pass_s(30)
    assert site.seen().phase is Phase.RUNNING
    again_s = int(site.cluster.now_s)
    job.state, job.start_s, job.end_s, job.code = "FAILED", again_s, again_s, 75
    job.listed = listed
    (folder / f"second.{again_s}").touch()
    site.pass_s(60)
    assert (site.seen().phase, site.seen().site_word) == (Phase.RUNNING, "not in the queue")
    if cancelled:
        site.batch.cancel("a")
    site.pass_s(after_s)
    assert (site.seen().end, site.seen().exit_code) == ("cancelled" if cancelled else "lost", None)


def test_what_the_controller_forgot_is_sent_once_more(site):
    site.submit()
    site.cluster.forget(1)
    site.cluster.recorded.clear()
    site.pass_s(DOUBT_S * 4)
    assert site.commands.asked["sbatch"] == 2
    site.cluster.holds = False
    site.pass_s(10)
    assert (site.seen().end, site.seen().exit_code) == ("exit", 3)
    assert site.cluster.launches["meyrin-a"] == 1


@pytest.mark.parametrize("held", ["by Slurm's limits", "by the site's rules"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_from_a_backup_starts_nothing_twice(site, held, listed):
    """The backup is of a moment when the job was not in Slurm yet; it ended since."""
    rules = held == "by the site's rules"
    site.cluster.most, site.cluster.holds = 0, False
    if not rules:
        site.submit()
    site.batch.leave()
    backup = site.folder.with_name("backup")
    shutil.copytree(site.folder, backup)
    site.batch = site.open()
    site.cluster.most = None
    if rules:
        site.submit()
    site.pass_s(DOUBT_S)
    assert (site.seen().end, site.cluster.launches["meyrin-a"]) == ("exit", 1)
    site.batch.leave()
    shutil.rmtree(site.folder)
    backup.rename(site.folder)
    site.batch = site.open()
    if not listed:
        site.cluster.drop_ended()
    if rules:
        site.submit(again=True)
    site.pass_s(DOUBT_S * 4)
    assert (site.seen().end, site.seen().exit_code) == ("exit", 3)
    assert site.cluster.launches["meyrin-a"] == 1


def test_what_waited_as_the_agent_ended_goes_in_after_one_look(site):
    site.cluster.most = 0
    site.submit()
    site.batch.leave()
    site.batch = site.open()
    site.cluster.most = None
    site.submit("b", again=True)
    site.pass_s(DOUBT_S)
    assert site.seen("a").batch_job
    assert site.seen("b").batch_job
    assert site.commands.asked["sbatch"] == 3


def test_what_waited_as_the_agent_ended_goes_in_in_its_order(site):
    site.cluster.most = 0
    order = ["m", "c", "z", "a"]  # no order of their names
    for number, name in enumerate(order):
        site.submit(name, job=number + 1)
    site.batch.leave()
    site.batch, site.cluster.most = site.open(), None
    for number, name in enumerate(["y", "b"]):
        site.submit(name, job=len(order) + number + 1, again=True)
    site.pass_s(DOUBT_S)
    assert [job.name[-1] for job in site.cluster.jobs] == [*order, "y", "b"]


def test_a_cancel_never_meets_another_job_that_was_given_the_same_id(site):
    site.submit("a")
    site.cluster.forget(1)
    site.submit("b")
    assert site.seen("a").batch_job == site.seen("b").batch_job == "1"
    site.batch.cancel(("a",))
    site.pass_s(DOUBT_S * 4)
    assert site.job("b").state == "PENDING"
    assert (site.seen("a").end, site.seen("b").end) == ("cancelled", None)
    site.batch.cancel(("b",))
    site.pass_s(20)
    assert site.job("b").state.startswith("CANCELLED")
    assert site.seen("b").end == "cancelled"


def test_a_cancel_in_doubt_leaves_nothing_that_runs(site):
    site.faults.late = 1.0
    site.submit()
    site.faults.late = 0.0
    late, site.cluster.late = site.cluster.late, []
    site.batch.cancel(("a",))
    site.pass_s(DOUBT_S * 4)
    assert site.seen().end == "cancelled"
    site.cluster.late, site.cluster.holds = late, False  # it arrives after all
    site.pass_s(30)
    assert site.cluster.launches["meyrin-a"] == 1
    assert site.job().code == 75
    assert site.seen().end == "cancelled"


def test_what_slurm_would_let_wait_for_ever_is_refused(site):
    site.submit("long", walltime_s=2 * 86_400)
    site.submit("wide", nodes=5)
    assert "172800 s of wall time, main gives 86400" in site.seen("long").why
    assert "5 nodes, main gives 4" in site.seen("wide").why
    assert site.commands.asked["sbatch"] == 0


@pytest.mark.parametrize(
    ("code", "said", "wait"),
    [
        (1, "I/O error writing script/environment to file", "takes no more jobs for now"),
        (1, "Requested nodes are busy", "takes no more jobs for now"),
        (
            127,
            "sbatch: error while loading shared libraries: libslurmfull.so: cannot open",
            "sbatch can't be run: sbatch: error while loading shared libraries",
        ),
    ],
)
def test_what_passes_at_the_site_is_waited_for(site, monkeypatch, code, said, wait):
    from meyrin.agent.slurm.command import Done

    words = f"sbatch: error: Batch job submission failed: {said}" if code == 1 else said
    obey = site.commands._obey
    answers = [Done(code, "", words)] * 20
    monkeypatch.setattr(
        site.commands,
        "_obey",
        lambda name, *more: answers.pop() if name == "sbatch" and answers else obey(name, *more),
    )
    site.submit()
    site.pass_s(10)
    assert site.seen().phase is Phase.HELD
    assert wait in site.seen().why
    site.pass_s(900)
    assert site.seen().batch_job
    assert site.seen().end is None or site.seen().end == "completed"


@pytest.mark.parametrize(
    "words",
    [
        "/usr/local/bin/sbatch: line 3: note-it: command not found",
        "sbatch: symbol lookup error: undefined symbol: slurm_x",
        "note: error while loading shared libraries: libx.so: cannot open",
    ],
)
def test_an_sbatch_of_the_sites_that_breaks_after_its_deed_is_doubt(site, monkeypatch, words):
    from meyrin.agent.slurm.command import Done

    obey = site.commands._obey
    broken = [127, 126]

    def break_after(name, *more):
        done = obey(name, *more)
        return Done(broken.pop(), "", words) if name == "sbatch" and broken else done

    monkeypatch.setattr(site.commands, "_obey", break_after)
    site.submit()
    site.pass_s(900)
    assert site.commands.asked["sbatch"] == 1
    assert site.seen().batch_job


@pytest.mark.parametrize(
    ("plugin", "slurm"),
    [
        ("", "Invalid feature specification"),
        # of job_submit.lua, as a real 22.05 prints them: they hold words of a controller away
        ("say which network connection you want", "Unspecified error"),
        ("your authentication is missing, log in and try again", "Unspecified error"),
        ("invalid account: see the page on protocols", "Invalid feature specification"),
    ],
)
def test_slurms_no_is_told_in_its_words(site, monkeypatch, plugin, slurm):
    from meyrin.agent.slurm.command import Done

    said = f"sbatch: error: {plugin}\n" if plugin else ""
    no = Done(1, "", f"{said}sbatch: error: Batch job submission failed: {slurm}")
    obey = site.commands._obey
    monkeypatch.setattr(
        site.commands,
        "_obey",
        lambda name, *more: no if name == "sbatch" else obey(name, *more),
    )
    site.submit()
    assert (site.seen().end, site.seen().usage) == ("not_started", None)
    assert site.seen().why.endswith(f"Batch job submission failed: {slurm}")
    assert plugin in site.seen().why


def test_an_agent_that_was_away_for_a_day_finds_how_it_ended(site):
    site.submit()
    site.cluster.holds = False
    site.cluster.advance()
    site.batch.store.close()
    site.cluster.drop_ended()
    site.clock.now += 86_400
    site.batch = site.open()
    site.pass_s(10)
    assert (site.seen().end, site.seen().exit_code) == ("exit", 3)


def test_one_look_serves_all_jobs_and_looks_grow_rare(site):
    for number in range(50):
        site.submit(f"a{number}")
    site.commands.asked.clear()
    site.pass_s(600, step_s=0.5)
    assert site.commands.asked["squeue"] <= 600 / 30 + 6
    assert site.commands.asked["sacct"] == 0


def test_what_accounting_cant_name_yet_the_queue_names(site):
    """Slurm 22.05 tells accounting a job's name up to five seconds after its start."""
    site.cluster.names_after_s = 1000
    site.submit()
    site.cluster.holds = False
    site.pass_s(4)
    assert (site.seen().phase, site.seen().end, site.seen().exit_code) == (Phase.ENDED, "exit", 3)
    assert site.seen().usage.source == "batch"


def test_a_row_without_a_name_that_the_queue_does_not_bear_out_is_not_ours(site):
    """The controller forgot us and gave our id to the next one, which ended."""
    site.cluster.names_after_s = 1000
    site.submit()
    job = site.job()
    site.cluster.recorded.remove(job)
    other = replace(job, name="allocation", state="COMPLETED", code=0, script="")
    other.submit_s, other.start_s, other.end_s = (
        job.submit_s + 1,
        job.submit_s + 1,
        job.submit_s + 1,
    )
    site.cluster.recorded.append(other)
    site.batch.watcher._due["a"] = 0.0
    site.pass_s(6)
    assert site.seen().phase is Phase.QUEUED
    job.state, job.start_s, job.end_s = "COMPLETED", job.submit_s, job.submit_s  # in the queue
    site.pass_s(6)
    assert site.seen().phase is Phase.QUEUED


@pytest.mark.parametrize(("takes_s", "rest_s"), [(0.0, 0.4), (3.0, 3.0), (5 * 3600.0, 30.0)])
def test_accounting_is_asked_half_of_the_time_at_most(site, monkeypatch, takes_s, rest_s):
    """Five hours are no answer's: the clock was set on meanwhile, and nothing stands still."""
    site.submit()
    site.pass_s(4)
    site.cluster.jobs.clear()
    asked: list[tuple[float, float]] = []

    def slow(*_: object) -> list[object]:
        began = site.clock.now
        site.clock.now += takes_s
        asked.append((began, site.clock.now))
        return []

    monkeypatch.setattr(site.batch.transport, "accounting", slow)
    watcher = site.batch.watcher
    while len(asked) < 5:
        site.clock.now += 0.1
        watcher._ask_soon("a")
        with suppress(Unreachable):
            site.batch.step()
    rests = [begins - ended for (_, ended), (begins, _) in pairwise(asked)]
    assert min(rests) >= rest_s - 0.01
    assert max(rests) <= rest_s + 0.5


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_set_back_stops_nothing(site, restarted):
    """What was submitted, asked for or noted before lies hours ahead then."""
    site.submit("waits")
    site.pass_s(30)
    site.cluster.up = False
    site.submit("is sent later")
    site.pass_s(4)
    site.cluster.up = True
    site.clock.now -= 5 * 3600
    if restarted:
        site.batch.leave()
        site.batch = site.open()
        site.batch.partitions()
    site.pass_s(10)
    site.cluster.holds = False
    site.pass_s(120 + 3 * DOUBT_S)
    for name in ("waits", "is sent later"):
        assert (site.seen(name).end, site.seen(name).exit_code) == ("exit", 3), name


def test_a_spool_that_was_cleared_away_keeps_no_end_back(site):
    """As file systems do that drop what nobody used lately."""
    site.submit()
    site.pass_s(5)
    shutil.rmtree(site.batch.spool.root)
    site.pass_s(5)
    site.cluster.holds = False
    site.cluster.advance()
    site.pass_s(120)
    assert site.seen().phase is Phase.ENDED
    site.submit("next", script="#!/bin/sh\nexit 0\n")
    site.cluster.advance()
    site.pass_s(30)
    assert (site.seen("next").end, site.seen("next").exit_code) == ("exit", 0)


def test_accounting_that_hangs_keeps_no_job_from_its_cancel(site, monkeypatch):
    site.submit("ended")
    site.submit("waits")
    asked, answers = threading.Event(), threading.Event()

    def hangs(*_: object) -> list[object]:
        asked.set()
        answers.wait(30)
        raise Unreachable("sacct gave no answer in 60 s")

    monkeypatch.setattr(site.batch.transport, "accounting", hangs)
    site.cluster._launch(site.job("ended"))
    site.batch.start()
    try:
        site.batch.changes("", 0)
        site.clock.now += 5
        assert asked.wait(20)
        site.batch.cancel(("waits",))
        deadline = time.monotonic() + 20
        while site.job("waits").state == "PENDING" and time.monotonic() < deadline:
            site.batch.changes(str(2**40), 0.05)
        assert site.job("waits").state.startswith("CANCELLED")
        assert not answers.is_set()
    finally:
        answers.set()
        site.batch.leave()


def test_a_question_that_took_as_long_as_accounting_is_waited_for_is_the_last(site, monkeypatch):
    site.cluster.holds = False
    site.submit()

    def times_out(*_: object) -> list[object]:
        site.clock.now += 60
        raise Unreachable("sacct gave no answer in 60 s")

    monkeypatch.setattr(site.batch.transport, "accounting", times_out)
    site.pass_s(10)
    assert (site.seen().end, site.seen().exit_code) == ("exit", 3)
    assert site.clock.now - site.job().end_s < 100
    assert site.seen().usage.source == "wrapper"


def test_a_bug_in_what_follows_slurm_is_told_and_not_lived_with(site, monkeypatch):
    """Else the agent would go on taking jobs that nobody sends or looks at."""
    monkeypatch.setattr(site.batch.watcher, "look_once", lambda: {}["no such key"])
    site.batch.start()
    with pytest.raises(KeyError):
        site.batch.changes("", 20)
    site.batch.leave()
