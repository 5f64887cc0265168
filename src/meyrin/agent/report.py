"""What a batch system or the door says of an attempt, as the hub is told."""

from __future__ import annotations

from collections.abc import Iterable

from meyrin.agent.batch import BatchJob, Phase, Usage
from meyrin.agent.journal import Item
from meyrin.wire.agents import Report, UsageBody


def of_batch(job: BatchJob, item: Item, handed_ms: int, now_ms: int) -> Report:
    """A report that says everything up to the job's phase; `handed_ms` is when the batch system
    was given it, 0 where that is not known."""
    first_ms = max(handed_ms, job.queued_ms or 0) or now_ms
    wanted = item.request.output_files
    return Report(
        attempt=job.attempt,
        epoch=item.work.epoch,
        phase=job.phase.value,
        at_ms=min(first_ms, now_ms) if job.phase is Phase.QUEUED and not job.run else now_ms,
        batch_job=job.batch_job,
        start_ms=job.start_ms,
        end_ms=job.end_ms,
        end=job.end,
        exit_code=job.exit_code,
        signal=job.signal,
        why=job.why,
        site_word=job.site_word,
        usage=None if job.usage is None else _usage(job.usage),
        results_follow=bool(wanted) and job.phase is Phase.ENDED and job.start_ms is not None,
        run=job.run,
    )


def _usage(usage: Usage) -> UsageBody:
    return UsageBody(
        elapsed_s=usage.elapsed_s,
        cpu_ms=usage.cpu_ms,
        max_rss_kb=usage.max_rss_kb,
        energy_j=usage.energy_j,
        source=usage.source,
    )


class Waits:
    """What was said of attempts that are held, so that the same is said once."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def news(self, answers: Iterable[Report]) -> list[Report]:
        """Those that say something new."""
        found = [e for e in answers if e.phase != "held" or self._said.get(e.attempt) != e.why]
        self._said |= {each.attempt: each.why for each in found}
        return found

    def forget(self, attempt: str) -> None:
        self._said.pop(attempt, None)
