"""What the hub is told of an attempt: when it was queued first, and when it was taken back."""

from __future__ import annotations

from dataclasses import replace

from meyrin.agent import check
from meyrin.agent.batch import BatchJob, Phase
from meyrin.agent.report import of_batch
from meyrin.domain.site import Partition


def test_a_job_that_waits_again_is_told_as_of_then_and_not_as_of_its_first_turn() -> None:
    item = check._sample(Partition("p", 1, 1, 1))
    job = BatchJob(item.work.attempt, "7", Phase.QUEUED)
    assert of_batch(job, item, handed_ms=100, now_ms=900).at_ms == 100
    assert of_batch(replace(job, run=1), item, handed_ms=100, now_ms=900).at_ms == 900


def test_queued_is_told_as_of_when_the_batch_system_took_it() -> None:
    item = check._sample(Partition("p", 1, 1, 1))
    job = BatchJob(item.work.attempt, "7", Phase.QUEUED, queued_ms=600)
    assert of_batch(job, item, handed_ms=100, now_ms=900).at_ms == 600
    assert of_batch(job, item, handed_ms=0, now_ms=900).at_ms == 600, "after a new start"
    assert of_batch(job, item, handed_ms=650, now_ms=900).at_ms == 650, "its clock is behind"
    assert of_batch(job, item, handed_ms=100, now_ms=500).at_ms == 500, "its clock is ahead"
    unsaid = replace(job, queued_ms=None)
    assert of_batch(unsaid, item, handed_ms=0, now_ms=900).at_ms == 900
