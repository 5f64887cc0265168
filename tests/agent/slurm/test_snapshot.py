"""Slurm's whole queue as entries: what waits, what runs, arrays counted, the ended left out."""

from __future__ import annotations

import pytest
from tests.agent.slurm.recorded import RELEASES, Recorded

from meyrin.agent.slurm.snapshot import elements, entries
from meyrin.agent.slurm.transport import QueueRow


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("17", 1), ("17_3", 1), ("17_[3]", 1), ("17_[3-9]", 7), ("17_[1,3,5,7,9%2]", 5),
        ("17_[0-99:10]", 10), ("17_[1-4,8-9%3]", 6), ("17_[junk]", 1), ("17_[1-4,...]", 4),
    ],
)  # fmt: skip
def test_elements_of_an_array(word, count):
    assert elements(word) == count


def test_ended_jobs_are_no_queue():
    rows = [QueueRow("1", "", "u", "p", state) for state in ("COMPLETED", "RUNNING", "PENDING")]
    assert [(each.state, each.waits) for each in entries(rows)] == [
        ("RUNNING", False),
        ("PENDING", True),
    ]


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_shows_the_same_queue(release):
    found = sorted(
        entries(Recorded(release).transport().whole_queue()),
        key=lambda each: int(each.batch_job.partition("_")[0]),
    )
    seen = [
        (e.waits, e.nodes, e.accelerators, e.count, e.walltime_s, e.start_s is None, e.reason)
        for e in found
    ]
    assert seen == [
        (False, 2, 8, 1, 86400, False, ""),
        (True, 2, 0, 1, 7200, True, "Resources"),
        (True, 1, 8, 5, 600, True, "Priority"),
        (False, 1, 2, 1, 3600, False, ""),
    ]
    assert found[2].batch_job.endswith("_[1,3,5,7,9%2]")
