"""What a batch system or the door says of an attempt, as the hub is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import ValidationError

from meyrin.agent.batch import BatchJob, Phase, Usage
from meyrin.agent.journal import Item
from meyrin.wire.agents import Report, UsageBody

log = structlog.get_logger("meyrin.agent")


def of_batch(job: BatchJob, item: Item, handed_ms: int, now_ms: int) -> Report:
    """A report that says everything up to the job's phase; `handed_ms` is when the batch system
    was given it, 0 where that is not known. Numbers that the hub would not take are left out, as
    one of them would hold up what is told of all other jobs."""
    first_ms = max(handed_ms, job.queued_ms or 0) or now_ms
    wanted = item.request.output_files
    at_ms = min(first_ms, now_ms) if job.phase is Phase.QUEUED and not job.run else now_ms
    said: dict[str, Any] = {
        "attempt": job.attempt,
        "epoch": item.work.epoch,
        "phase": job.phase.value,
        "at_ms": at_ms if at_ms >= 0 else now_ms,
        "batch_job": job.batch_job,
        "start_ms": job.start_ms,
        "end_ms": job.end_ms,
        "end": job.end,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "why": job.why,
        "site_word": job.site_word,
        "usage": None if job.usage is None else usage_of(job.attempt, job.usage),
        "results_follow": bool(wanted) and job.phase is Phase.ENDED and job.start_ms is not None,
        "run": job.run,
    }
    try:
        return Report(**said)
    except ValidationError as error:
        odd = _named(error)
        if not odd <= _MAY_LACK:
            raise
        _say_odd(job.attempt, odd, job)
        if odd & {"exit_code", "signal"} and job.end in ("exit", "signal"):
            said["end"] = "lost"  # how it ended is not known: no success
        return Report(**{name: value for name, value in said.items() if name not in odd})


_MAY_LACK = frozenset({"start_ms", "end_ms", "exit_code", "signal"})


def usage_of(attempt: str, usage: Usage) -> UsageBody | None:
    """What of it the hub takes; None, not measured, where that is not even how long it ran."""
    measured = asdict(usage)
    try:
        return UsageBody(**measured)
    except ValidationError as error:
        odd = _named(error)
        _say_odd(attempt, odd, usage)
        if "elapsed_s" in odd:
            return None
        return UsageBody(**{name: value for name, value in measured.items() if name not in odd})


def _named(error: ValidationError) -> set[str]:
    return {str(each["loc"][0]) for each in error.errors()}


def _say_odd(attempt: str, odd: set[str], given: BatchJob | Usage) -> None:
    values = {name: str(getattr(given, name))[:40] for name in sorted(odd)}
    log.warning("agent.odd_numbers", attempt=attempt, left_out=values)


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
