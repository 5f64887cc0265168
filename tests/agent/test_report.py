"""What the hub is told of an attempt: when it was queued first, and when it was taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meyrin.agent import check, late
from meyrin.agent.batch import BatchJob, Late, Phase, Usage
from meyrin.agent.report import of_batch
from meyrin.domain.site import Partition
from meyrin.wire.agents import CorrectionsReply, Report, UsageBody


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


def ended(**known: Any) -> Report:
    item = check._sample(Partition("p", 1, 1, 1))
    plain = {"start_ms": 1000, "end_ms": 2000, "end": "exit", "exit_code": 0, "usage": Usage(1)}
    job = BatchJob(item.work.attempt, "7", Phase.ENDED, **(plain | known))
    return of_batch(job, item, handed_ms=100, now_ms=9000)


@pytest.mark.parametrize("odd", [-1, 10**30])
def test_numbers_that_no_hub_takes_are_left_out_and_end_no_agent(odd: int) -> None:
    """A job may write into the folder of its wrapper, and accounting may hold anything."""
    times = ended(start_ms=odd, end_ms=odd)
    assert (times.start_ms, times.end_ms, times.end, times.exit_code) == (None, None, "exit", 0)
    assert ended(usage=Usage(odd)).usage is None
    measured = ended(usage=Usage(5, cpu_ms=odd, energy_j=7)).usage
    assert measured == UsageBody(elapsed_s=5, energy_j=7)


@pytest.mark.parametrize("field", ["exit_code", "signal"])
def test_an_end_with_an_odd_code_is_no_success(field: str) -> None:
    told = ended(**{field: 10**30})
    assert told.end == "lost"
    assert getattr(told, field) is None


def test_a_second_look_at_odd_numbers_ends_no_agent_and_is_not_told_again() -> None:
    odd, partly, good = (
        Late(f"00000000-0000-4000-8000-{number:012}", "7", usage, 1)
        for number, usage in enumerate((Usage(10**30), Usage(5, cpu_ms=-1), Usage(6)))
    )
    heard: list[Any] = []

    class Books:
        def late(self) -> tuple[Late, ...]:
            return odd, partly, good

        def late_told(self, taken: Any, unknown: Any) -> None:
            assert (set(taken), list(unknown)) == ({odd, partly, good}, [])

    class Hub:
        def correct(self, corrections: list[Any]) -> CorrectionsReply:
            heard.extend(corrections)
            return CorrectionsReply(taken=[each.attempt for each in corrections], unknown=[])

    assert late.tell(Books(), Hub()) == 2  # type: ignore[arg-type]
    assert {each.attempt: each.usage for each in heard} == {
        partly.attempt: UsageBody(elapsed_s=5),
        good.attempt: UsageBody(elapsed_s=6),
    }
