"""Honest status: every word of Slurm, known or not; what ends a job and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meyrin.agent.batch import BatchJob, Phase
from meyrin.agent.slurm.judge import (
    ENDS,
    RUNS,
    WAITS,
    Witnesses,
    ending,
    is_of_a_copy,
    live,
    may_go_on,
    queued_again,
    unknown_word,
    usage,
)
from meyrin.agent.slurm.spool import Run
from meyrin.agent.slurm.transport import AccountingRow, QueueRow

QUEUED = BatchJob("a", "7", Phase.QUEUED)
RUNNING = replace(QUEUED, phase=Phase.RUNNING, start_ms=100_000)


def row(state: str, **other) -> QueueRow:
    return QueueRow("7", "meyrin-a", "me", "gpu", state, submit_s=90, **other)


def acct(state: str, start_s=100, end_s=110, **other) -> AccountingRow:
    known = {"submit_s": 90, "elapsed_s": (end_s or 0) - (start_s or 0)}
    return AccountingRow(
        "7", "meyrin-a", "me", "gpu", state, start_s=start_s, end_s=end_s, **(known | other)
    )


@pytest.mark.parametrize("word", sorted(WAITS))
def test_what_waits_is_queued(word):
    assert live(QUEUED, row(word)).phase is Phase.QUEUED


@pytest.mark.parametrize("word", sorted(RUNS))
def test_what_runs_runs(word):
    seen = live(QUEUED, row(word, start_s=100))
    assert (seen.phase, seen.start_ms) == (Phase.RUNNING, 100_000)


@pytest.mark.parametrize("word", ["LAUNCHPAD", "NOT A STATE", "RUNNING_BACKWARDS"])
@pytest.mark.parametrize("before", [QUEUED, RUNNING])
def test_an_unknown_state_is_kept_as_their_word_and_changes_nothing(word, before):
    seen = live(before, row(word))
    assert seen == replace(before, site_word=word)
    assert ending(before, Witnesses(queue=row(word))) is None
    assert ending(before, Witnesses(accounting=(acct(word),))) is None
    assert unknown_word(Witnesses(accounting=(acct(word),))) == word
    assert live(seen, row("RUNNING", start_s=100)).site_word is None


@pytest.mark.parametrize("word", ["SUSPENDED", "STOPPED"])
def test_a_job_that_stands_still_has_begun_and_says_so(word):
    seen = live(RUNNING, row(word, start_s=100))
    assert (seen.phase, seen.why) == (Phase.RUNNING, f"Slurm: {word}")
    assert live(seen, row("RUNNING", start_s=100)) == live(RUNNING, row("RUNNING", start_s=100))


def test_a_launch_that_its_node_refused_has_no_exit_code_of_the_script():
    """Seen on 22.05: a controller that was killed forgot a run, its node killed it, and the next
    launch is FAILED 1:0 by "Job credential revoked"."""
    again = acct("FAILED", start_s=226, end_s=226, exit_code=1, signal=None)
    job = ending(RUNNING, Witnesses(accounting=(again,), runs=(Run(0, "7", 100),)))
    assert (job.end, job.exit_code, job.usage.elapsed_s) == ("lost", None, 0)
    assert job.why == "how it ended was not recorded"
    queued = row("FAILED", start_s=226, end_s=226, exit_code=1)
    job = ending(RUNNING, Witnesses(queue=queued, runs=(Run(0, "7", 100),)))
    assert (job.end, job.exit_code) == ("lost", None)
    for start_s, code in ((100, 1), (105, 1), (95, 1), (226, 3)):  # its own, by another clock too
        its_own = replace(again, start_s=start_s, end_s=start_s, exit_code=code)
        job = ending(RUNNING, Witnesses(accounting=(its_own,), runs=(Run(0, "7", 100),)))
        assert (job.end, job.exit_code) == ("exit", code)


def test_a_copy_that_failed_in_the_second_in_which_the_run_began_is_no_end_of_it():
    """The queue tells no exit code, and accounting tells nothing."""
    copy = row("FAILED", start_s=100, end_s=100)
    goes_on = Witnesses(queue=copy, runs=(Run(0, "7", 100),), seconds=(100,))
    assert ending(RUNNING, goes_on) is None
    job = ending(RUNNING, replace(goes_on, runs=(Run(0, "7", 100, end_s=110, code=0),)))
    assert (job.end, job.exit_code) == ("exit", 0)
    short = replace(goes_on, runs=(Run(0, "7", 100, end_s=100, code=3),))
    assert (ending(RUNNING, short).end, ending(RUNNING, short).exit_code) == ("exit", 3)
    assert ending(RUNNING, replace(goes_on, seconds=())).end == "lost"
    # our run began before, and came to its end in the second of the copy
    before = replace(goes_on, runs=(Run(0, "7", 50, end_s=100, code=0),))
    assert is_of_a_copy(copy, before)


def test_a_run_that_a_controller_forgot_and_queued_again_may_go_on_to_its_good_end():
    """World 454: accounting has it open, and the job pending again; the queue lists nothing."""
    rows = (acct("RUNNING", end_s=None), acct("PENDING", start_s=None, end_s=None, elapsed_s=None))
    running = Witnesses(accounting=rows, runs=(Run(0, "7", 100),))
    assert may_go_on(running)
    assert ending(RUNNING, running) is None
    over = replace(running, runs=(Run(0, "7", 100, end_s=160, code=0),))
    assert not may_go_on(over)
    assert queued_again(RUNNING, over) == 0
    assert (ending(RUNNING, over).end, ending(RUNNING, over).exit_code) == ("exit", 0)
    ended = (acct("REQUEUED"), rows[1])
    assert not may_go_on(replace(running, accounting=ended))
    # it was taken back as Slurm says: the end of that run is none of the job's
    assert ending(RUNNING, replace(over, accounting=ended)) is None


def test_times_are_the_wrappers_where_accounting_has_no_row_of_the_run():
    """The queue's row may be of a copy that ended in the second in which the run began."""
    ran = Run(0, "7", 100, end_s=110, code=0)
    job = ending(RUNNING, Witnesses(queue=row("FAILED", start_s=100, end_s=100), runs=(ran,)))
    assert (job.start_ms, job.end_ms, job.usage.elapsed_s) == (100_000, 110_000, 10)
    own = Witnesses(queue=row("COMPLETED", start_s=99, end_s=111), runs=(ran,))
    job = ending(RUNNING, own)
    assert (job.start_ms, job.end_ms) == (99_000, 111_000)


def test_a_job_that_nobody_lists_has_not_ended():
    assert ending(RUNNING, Witnesses()) is None
    assert ending(RUNNING, Witnesses(runs=(Run(0, "7", 100),))) is None
    assert ending(RUNNING, Witnesses(accounting=(acct("RUNNING", end_s=None),))) is None


def test_preempted_and_requeued_is_the_same_job_and_runs_again():
    seen = live(RUNNING, row("PENDING", reason="BeginTime"))
    assert (seen.phase, seen.run, seen.start_ms) == (Phase.QUEUED, 1, None)
    again = live(seen, row("RUNNING", start_s=200))
    assert (again.phase, again.run, again.start_ms) == (Phase.RUNNING, 1, 200_000)
    first = acct("PREEMPTED", 100, 110)
    w = Witnesses(
        queue=row("PENDING"), accounting=(first,), runs=(Run(0, "7", 100, end_s=110, code=143),)
    )
    assert ending(RUNNING, w) is None


def test_a_run_that_begins_after_a_scripts_end_is_not_over():
    """Nobody saw it wait in between, and the wrapper's word of the new run is not here yet."""
    over = BatchJob("a", "7", Phase.RUNNING, start_ms=1_000_000, end_ms=1_010_000)
    found = live(over, row("RUNNING", start_s=1_020))
    assert (found.start_ms, found.end_ms) == (1_020_000, None)
    assert live(over, row("COMPLETING", start_s=1_000)).end_ms == 1_010_000
    assert live(over, row("PENDING")).end_ms is None


def test_what_the_wrapper_did_not_begin_has_no_end_of_a_run_before():
    over = BatchJob("a", "7", Phase.RUNNING, start_ms=1_000_000, end_ms=1_010_000)
    never = Run(1, "7", never="its folder is gone")
    found = ending(over, Witnesses(accounting=(acct("FAILED"),), runs=(never,)))
    assert (found.end, found.start_ms, found.end_ms) == ("not_started", None, None)


def test_preempted_for_good_is_no_success():
    job = ending(RUNNING, Witnesses(accounting=(acct("PREEMPTED", signal=15),)))
    assert (job.end, job.exit_code) == ("lost", None)
    assert "took its nodes" in job.why


@pytest.mark.parametrize("word", sorted(ENDS - {"COMPLETED"}))
@pytest.mark.parametrize("started", [True, False])
def test_only_completed_is_a_success(word, started):
    one = acct(word, exit_code=0) if started else acct(word, None, 110, exit_code=0)
    job = ending(RUNNING, Witnesses(accounting=(one,)))
    assert job.phase is Phase.ENDED
    assert (job.end, job.exit_code) != ("exit", 0)
    assert (job.usage is not None) == started


@pytest.mark.parametrize(
    ("state", "run", "expected"),
    [
        ("COMPLETED", Run(0, "7", 100, end_s=110, code=0), ("exit", 0, None)),
        ("FAILED", Run(0, "7", 100, end_s=110, code=3), ("exit", 3, None)),
        ("FAILED", Run(0, "7", 100, end_s=110, code=137), ("signal", None, 9)),
        ("CANCELLED by 0", Run(0, "7", 100, end_s=110, code=5), ("cancelled", 5, None)),
        ("TIMEOUT", Run(0, "7", 100, end_s=110, code=143), ("timeout", None, 15)),
        ("OUT_OF_MEMORY", Run(0, "7", 100, end_s=110, code=137), ("signal", None, 9)),
        ("NODE_FAIL", Run(0, "7", 100), ("lost", None, None)),
        ("NODE_FAIL", Run(0, "7", 100, end_s=111, code=0), ("lost", None, None)),
        ("NODE_FAIL", Run(0, "7", 100, end_s=110, code=7), ("lost", 7, None)),
        ("OUT_OF_MEMORY", Run(0, "7", 100, end_s=110, code=0), ("lost", None, None)),
        ("OUT_OF_MEMORY", Run(0, "7", 100, end_s=110, code=3), ("exit", 3, None)),
        ("DEADLINE", Run(0, "7", 100), ("cancelled", None, None)),
        ("FAILED", Run(0, "7", 100, end_s=101, code=143, over_time=True), ("timeout", None, 15)),
    ],
)
def test_how_it_ended(state, run, expected):
    job = ending(RUNNING, Witnesses(accounting=(acct(state),), runs=(run,)))
    assert (job.end, job.exit_code, job.signal) == expected
    assert job.usage.elapsed_s == 10
    assert job.usage.source == "batch"


BY_SITE = ["NODE_FAIL", "PREEMPTED", "REVOKED", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL"]


@pytest.mark.parametrize("state", BY_SITE)
@pytest.mark.parametrize("end_s", [391, 400, 430])
@pytest.mark.parametrize("code", [0, 7])
def test_a_script_that_ended_as_slurm_ended_the_job_did_not_end_by_itself(state, end_s, code):
    """It trapped TERM: before the end where Slurm warned it, in KillWait after it elsewhere."""
    run = Run(0, "7", 100, end_s=end_s, code=code)
    row_ = acct(state, end_s=400)
    job = ending(RUNNING, Witnesses(accounting=(row_,), runs=(run,)))
    assert (job.end, job.exit_code) == ("lost", code or None)
    assert job.why
    line = row(state, start_s=100, end_s=400)
    alone = ending(RUNNING, Witnesses(queue=line, runs=(run,), has_accounting=False))
    assert (alone.end, alone.why) == ("lost", job.why)


@pytest.mark.parametrize("code", [0, 7])
def test_a_script_that_was_over_long_before_its_node_failed_keeps_its_end(code):
    """The node could not tell the controller, which gave it up after SlurmdTimeout."""
    run = Run(0, "7", 100, end_s=110, code=code)
    w = Witnesses(accounting=(acct("NODE_FAIL", end_s=400),), runs=(run,))
    job = ending(RUNNING, w)
    assert (job.end, job.exit_code, job.why) == ("exit", code, "")
    line = row("NODE_FAIL", start_s=100, end_s=400)
    alone = ending(RUNNING, Witnesses(queue=line, runs=(run,), has_accounting=False))
    assert (alone.end, alone.exit_code) == ("exit", code)


@pytest.mark.parametrize(
    ("state", "end_s", "end"),
    [("NODE_FAIL", 402, "lost"), ("TIMEOUT", 402, "timeout"), ("NODE_FAIL", 110, "exit")],
)
def test_the_controllers_cause_counts_where_accounting_still_has_the_run_open(state, end_s, end):
    """slurmdbd is away, and the wrapper tells a good end."""
    run = Run(0, "7", 100, end_s=end_s, code=0)
    still = acct("RUNNING", 100, None)
    line = row(state, start_s=100, end_s=400)
    job = ending(RUNNING, Witnesses(queue=line, accounting=(still,), runs=(run,)))
    assert (job.end, job.end_ms, job.usage.source) == (end, 400_000, "wrapper")


def test_the_good_end_of_a_run_before_is_none_of_the_run_whose_node_failed():
    rows = (acct("REQUEUED", 100, 110), acct("NODE_FAIL", 200, 400))
    run = Run(0, "7", 100, end_s=110, code=0)
    job = ending(replace(RUNNING, run=1), Witnesses(accounting=rows, runs=(run,)))
    assert (job.end, job.exit_code) == ("lost", None)


@pytest.mark.parametrize("state", ["FAILED", "NODE_FAIL", "COMPLETED"])
def test_what_its_person_cancelled_and_a_signal_ended_is_cancelled(state):
    """The controller that did it was killed, forgot it and found an end of its own for it."""
    run = Run(0, "7", 100, end_s=110, code=143)
    w = Witnesses(accounting=(acct(state),), runs=(run,), cancelled=True)
    assert ending(RUNNING, w).end == ("lost" if state == "NODE_FAIL" else "cancelled")
    by_itself = replace(w, runs=(replace(run, code=3),))
    assert ending(RUNNING, by_itself).exit_code == 3
    memory = Witnesses(accounting=(acct("OUT_OF_MEMORY"),), runs=(run,), cancelled=True)
    assert ending(RUNNING, memory).why == "out of memory"


def test_without_a_wrappers_word_slurms_own_exit_counts():
    assert ending(RUNNING, Witnesses(accounting=(acct("FAILED", exit_code=3),))).exit_code == 3
    assert ending(RUNNING, Witnesses(accounting=(acct("FAILED", signal=9),))).signal == 9
    job = ending(RUNNING, Witnesses(accounting=(acct("FAILED"),)))
    assert (job.end, job.why) == ("lost", "how it ended was not recorded")


def test_out_of_memory_is_said():
    run = Run(0, "7", 100, end_s=110, code=137)
    job = ending(RUNNING, Witnesses(accounting=(acct("OUT_OF_MEMORY"),), runs=(run,)))
    assert job.why == "out of memory"


def test_what_never_began_is_charged_to_nobody():
    refused = ending(
        QUEUED, Witnesses(accounting=(acct("FAILED", None, 95, reason="BadConstraints"),))
    )
    assert (refused.end, refused.usage) == ("not_started", None)
    assert "BadConstraints" in refused.why
    gone = ending(QUEUED, Witnesses(accounting=(acct("CANCELLED by 0", None, 95),)))
    assert (gone.end, gone.usage) == ("cancelled", None)
    never = Run(0, "7", end_s=101, never="stdin /x: No such file")
    job = ending(RUNNING, Witnesses(accounting=(acct("FAILED"),), runs=(never,)))
    assert (job.end, job.why, job.usage) == ("not_started", "stdin /x: No such file", None)


def test_all_runs_of_a_requeued_job_are_charged_together():
    rows = (acct("NODE_FAIL", 100, 130), acct("COMPLETED", 200, 245, submit_s=130))
    runs = (Run(0, "7", 100), Run(1, "7", 200, end_s=245, code=0))
    job = ending(replace(RUNNING, run=1), Witnesses(accounting=rows, runs=runs))
    assert (job.end, job.exit_code, job.usage.elapsed_s) == ("exit", 0, 30 + 45)
    assert (job.start_ms, job.end_ms, job.run) == (200_000, 245_000, 1)


def test_a_second_copy_is_charged_to_nobody():
    rows = (acct("COMPLETED", 100, 130), acct("FAILED", 300, 300, exit_code=75))
    run = Run(0, "7", 100, end_s=130, code=0)
    job = ending(RUNNING, Witnesses(accounting=rows, runs=(run,), seconds=(300,)))
    assert (job.end, job.exit_code, job.usage.elapsed_s) == ("exit", 0, 30)
    assert (job.start_ms, job.end_ms) == (100_000, 130_000)


def test_a_run_that_accounting_never_closed_is_measured_by_the_wrapper():
    run = Run(0, "7", 100, end_s=130, code=0, cpu_ms=500)
    used = usage(Witnesses(accounting=(acct("RUNNING", 100, None, elapsed_s=9999),), runs=(run,)))
    assert (used.elapsed_s, used.source, used.cpu_ms) == (30, "wrapper", 500)
    none = ending(RUNNING, Witnesses(runs=(run,), has_accounting=False))
    assert (none.end, none.exit_code, none.usage.source) == ("exit", 0, "wrapper")


def test_without_accounting_the_last_run_counts_though_its_wrapper_was_killed():
    """It was queued again after a run of 10 s, and then ran into its limit."""
    runs = (Run(0, "7", 1000, end_s=1010, code=143), Run(1, "7", 2000))
    over = row("TIMEOUT", start_s=2000, end_s=9200)
    used = ending(RUNNING, Witnesses(queue=over, runs=runs, has_accounting=False)).usage
    assert (used.elapsed_s, used.source) == (7210, "queue")
    # what the wrapper saw the end of counts once, and a run whose end nobody saw not at all
    seen = (runs[0], replace(runs[1], end_s=9198, code=143))
    used = usage(Witnesses(queue=over, runs=seen))
    assert (used.elapsed_s, used.source) == (7208, "wrapper")
    unseen = (Run(0, "7", 1000), runs[1])
    assert usage(Witnesses(queue=over, runs=unseen)).elapsed_s == 7200
    assert usage(Witnesses(runs=unseen)) is None


@pytest.mark.parametrize("apart_s", [-290, -70, -1, 0, 1, 70, 290])
@pytest.mark.parametrize("restarts", [None, 0])
def test_without_accounting_a_run_counts_once_though_its_nodes_clock_is_off(apart_s, restarts):
    ran = Run(0, "7", 1000, end_s=1060, code=0)
    over = row("COMPLETED", start_s=1000 - apart_s, end_s=1060 - apart_s, restarts=restarts)
    used = ending(RUNNING, Witnesses(queue=over, runs=(ran,), has_accounting=False)).usage
    assert (used.elapsed_s, used.source) == (60, "wrapper")


def test_without_accounting_a_run_that_left_no_word_counts_after_one_that_did():
    """By REST its number is told; else it was seen to wait in between, or began far later."""
    ran = Run(0, "7", 1000, end_s=1100, code=143)
    at_once = row("NODE_FAIL", start_s=1101, end_s=1601)
    for seen, over, runs in (
        (RUNNING, at_once, (ran, Run(1, "7", 1102))),
        (RUNNING, replace(at_once, restarts=1), (ran,)),
        (replace(RUNNING, run=1), at_once, (ran,)),
        (RUNNING, row("NODE_FAIL", start_s=1500, end_s=2000), (ran,)),
    ):
        used = ending(seen, Witnesses(queue=over, runs=runs, has_accounting=False)).usage
        assert (used.elapsed_s, used.source) == (600, "queue")


def test_reasons_that_are_usual_are_not_shown_and_others_are_slurms_own_words():
    assert live(QUEUED, row("PENDING", reason="Priority")).why == ""
    odd = "ReqNodeNotAvail, UnavailableNodes:n[1-2]"
    assert live(QUEUED, row("PENDING", reason=odd)).why == f"Slurm: {odd}"


def test_a_copy_that_ended_says_nothing_of_the_run_that_goes_on_beside_it():
    """The controller launched it twice; the queue and accounting tell of the copy's end."""
    first, copy = acct("RUNNING", 100, None), acct("FAILED", 106, 106, exit_code=75)
    seen = row("FAILED", start_s=106, end_s=106)
    goes_on = Witnesses(
        queue=seen, accounting=(first, copy), runs=(Run(0, "7", 100),), seconds=(106,)
    )
    assert ending(RUNNING, goes_on) is None
    over = replace(goes_on, runs=(Run(0, "7", 100, end_s=2150, code=0),))
    job = ending(RUNNING, over)
    assert job is not None
    assert (job.end, job.exit_code) == ("exit", 0)
    assert job.usage is not None
    assert job.usage.elapsed_s == 2050


def test_a_clock_that_stepped_back_makes_a_length_of_nothing_not_less():
    back = acct("COMPLETED", start_s=300, end_s=188)
    assert usage(Witnesses(accounting=(back,))).elapsed_s == 0
    run = Run(0, "7", 300, end_s=188, code=0)
    assert usage(Witnesses(runs=(run,))).elapsed_s == 0
    assert usage(Witnesses(queue=row("COMPLETED", start_s=300, end_s=188))).elapsed_s == 0


def test_the_queues_word_on_a_further_copy_says_nothing_of_the_run_beside_it():
    """World 94: accounting is silent, and the queue lists how the copy ended."""
    copy = row("FAILED", start_s=130, end_s=130)
    goes_on = Witnesses(queue=copy, runs=(Run(0, "7", 100),), seconds=(130,))
    assert ending(RUNNING, goes_on) is None
    over = replace(goes_on, runs=(Run(0, "7", 100, end_s=160, code=0),))
    ended = ending(RUNNING, over)
    assert (ended.end, ended.exit_code, ended.usage.elapsed_s) == ("exit", 0, 60)


def test_a_copy_that_began_in_the_second_of_our_run_is_known_by_its_exit_code():
    """World 611."""
    rows = (acct("RUNNING", end_s=None), acct("FAILED", start_s=101, end_s=101, exit_code=75))
    assert (
        ending(RUNNING, Witnesses(accounting=rows, runs=(Run(0, "7", 100),), seconds=(101,)))
        is None
    )


@pytest.mark.parametrize("listed", [True, False])
def test_what_slurm_launched_anew_and_ended_before_it_began_is_no_word_on_the_script(listed):
    """A controller forgot that it ran, launched it on the node that still knew it, and ended it."""
    anew = acct("CANCELLED by 0", 120, 120)
    runs = (Run(0, "7", 100, "n1", 104, 3),)
    line = row("CANCELLED", start_s=120, end_s=120) if listed else None
    ended = ending(RUNNING, Witnesses(queue=line, accounting=(anew,), runs=runs))
    assert (ended.end, ended.exit_code, ended.end_ms) == ("exit", 3, 104_000)
    assert (ended.usage.elapsed_s, ended.usage.source) == (4, "wrapper")
    # but that a run which was queued again is ended before it begins, is its end
    accounting = (acct("REQUEUED", 100, 104), anew)
    again = ending(replace(QUEUED, run=1), Witnesses(accounting=accounting, runs=runs))
    assert again.end == "cancelled"


WELL = Run(0, "7", 100, "n1", end_s=110, code=0)


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("first", [acct("COMPLETED"), acct("RUNNING", end_s=None)])
def test_a_cancel_of_what_waited_again_after_a_good_end_is_no_end_of_it(first, cancelled):
    """The controller had forgotten the end and queued the job again; then its person cancelled."""
    late = acct("CANCELLED by 1000", start_s=None, end_s=150)
    w = Witnesses(
        queue=row("CANCELLED", end_s=150), accounting=(first, late), runs=(WELL,),
        cancelled=cancelled,
    )  # fmt: skip
    told = ending(RUNNING, w)
    assert (told.end, told.exit_code) == ("exit", 0)
    assert ending(RUNNING, replace(w, queue=None)).end == "exit"


def test_a_script_that_ends_well_because_it_was_cancelled_was_cancelled():
    for end_s in (110, 111):
        late = acct("CANCELLED by 1000", start_s=None, end_s=end_s)
        w = Witnesses(accounting=(acct("RUNNING", end_s=None), late), runs=(WELL,), cancelled=True)
        assert ending(RUNNING, w).end == "cancelled"
    bad = replace(WELL, code=3)
    late = acct("CANCELLED by 1000", start_s=None, end_s=150)
    w = Witnesses(accounting=(acct("FAILED"), late), runs=(bad,), cancelled=True)
    assert ending(RUNNING, w).end == "cancelled"
