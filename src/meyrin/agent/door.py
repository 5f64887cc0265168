"""The door of a site: which attempt goes in now, which later, which never.

It counts what is in the batch system (`live`) and keeps those that find it full waiting in their
order (`held`). A broken veto shuts the door for a while, longer each time, for the site's no must
win: nothing goes in that its program has not seen. May be used by several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import structlog

from meyrin.agent import rules as site_rules
from meyrin.agent import veto
from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.domain.units import show_count

log = structlog.get_logger("meyrin.agent")
SHUT_FIRST_S = 60
SHUT_LONGEST_S = 900


class Way(Enum):
    IN = "in"
    HELD = "held"  # the site is full; asked again when there is room
    NO = "no"  # not this job
    NOT_NOW = "not now"  # not today: the hub may offer it again


@dataclass(frozen=True, slots=True)
class Verdict:
    way: Way
    why: str = ""


class Door:
    """`ask` is the veto, replaced in tests."""

    def __init__(
        self,
        config: AgentConfig,
        clock_ms: Callable[[], int],
        ask: Callable[..., veto.Answer] = veto.ask,
    ) -> None:
        self.config = config
        self._clock_ms = clock_ms
        self._ask = ask
        self._lock = threading.Lock()
        self._live: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._shut_until_s = 0
        self._shut_s = 0
        self._broken = ""
        self._asked_anew = 0

    # --- what is inside

    def inside(self, items: Iterable[Item]) -> None:
        """These are in the batch system, as the journal or the batch system says."""
        with self._lock:
            for item in items:
                self._live[item.work.attempt] = site_rules.accelerators_of(item.work)
                self._held.pop(item.work.attempt, None)

    def left(self, attempts: Iterable[str]) -> None:
        """These ended, or never went in."""
        with self._lock:
            for attempt in attempts:
                self._live.pop(attempt, None)
                self._held.pop(attempt, None)

    def held(self) -> list[str]:
        """Attempts that wait for room, the first first."""
        with self._lock:
            return list(self._held)

    # --- one attempt

    def verdict(self, site: str, item: Item, gone: str = "") -> Verdict:
        """What becomes of an attempt now; `gone` is why its partition is not there. One that is
        let in is counted as inside."""
        work = item.work
        no = site_rules.objection(self.config.rules, work)
        if no:
            return self._away(work.attempt, Way.NO, no)
        shut = self._shut() or gone
        if shut:
            return self._away(work.attempt, Way.NOT_NOW, shut)
        full = self._reserve(item)
        if full:
            return Verdict(Way.HELD, full)
        if self.config.rules.veto is None:
            return Verdict(Way.IN)
        return self._vetoed(site, item)

    def _away(self, attempt: str, way: Way, why: str) -> Verdict:
        self.left([attempt])
        return Verdict(way, why)

    def _reserve(self, item: Item) -> str:
        """Count it as inside, or keep it waiting and say what for."""
        attempt = item.work.attempt
        wanted = site_rules.accelerators_of(item.work)
        with self._lock:
            if attempt in self._live:
                return ""
            first = next(iter(self._held), attempt)
            full = self._full(wanted) or (first != attempt and "others wait before it")
            if full:
                self._held[attempt] = wanted
                return full
            self._held.pop(attempt, None)
            self._live[attempt] = wanted
            return ""

    def _full(self, wanted: int) -> str:
        rules = self.config.rules
        jobs, accelerators = rules.max_jobs_at_once, rules.max_accelerators_at_once
        if jobs is not None and len(self._live) >= jobs:
            return f"the site takes {show_count(jobs, 'job')} at once"
        if accelerators is not None and sum(self._live.values()) + wanted > accelerators:
            return f"the site lends {show_count(accelerators, 'accelerator')} at once"
        return ""

    def _vetoed(self, site: str, item: Item) -> Verdict:
        rules = self.config.rules
        assert rules.veto is not None
        slurm = self.config.slurm
        account = slurm.accounts.get(item.work.project, slurm.default_account)
        asked = veto.question(site, account, item)
        answer = self._ask(rules.veto, asked, rules.veto_timeout_s)
        if answer.broken:
            self._shut_door(answer.broken)
            why = "the site's own check gave no answer"
            return self._away(item.work.attempt, Way.NOT_NOW, why)
        with self._lock:
            self._shut_s, self._broken = 0, ""
        if answer.no:
            log.info("agent.veto", attempt=item.work.attempt, why=answer.no)
            return self._away(item.work.attempt, Way.NO, answer.no)
        return Verdict(Way.IN)

    def _shut_door(self, why: str) -> None:
        with self._lock:
            now_s = self._now_s
            if now_s >= self._shut_until_s:
                self._shut_s = min(max(2 * self._shut_s, SHUT_FIRST_S), SHUT_LONGEST_S)
                self._shut_until_s = now_s + self._shut_s
            self._broken = why
        log.error("agent.veto_broken", error=why, again_in_s=self._shut_s)

    def try_now(self) -> None:
        """The operator mended something: ask the veto again at once. Safe in a signal handler."""
        self._shut_until_s = 0
        self._asked_anew += 1

    def mark(self) -> str:
        """A word for the rules in force; another one when they are others."""
        return site_rules.mark(self.config, self._asked_anew)

    # --- what the hub is told

    @property
    def _now_s(self) -> int:
        return self._clock_ms() // 1000

    def _shut(self) -> str:
        now_s = self._now_s
        closed = site_rules.closed(self.config.rules, now_s)
        if closed or self.config.rules.veto is None:
            return closed
        # a clock that was set back does not keep the door shut for longer than it was meant
        if now_s < self._shut_until_s <= now_s + SHUT_LONGEST_S:
            again = datetime.fromtimestamp(self._shut_until_s, UTC)
            return f"the site's own check gave no answer; asked again at {again:%H:%M} UTC"
        return ""

    def not_now(self) -> str:
        """Why the site takes nothing new at present; empty when it does."""
        shut = self._shut()
        if shut:
            return shut
        with self._lock:
            return self._full(0) or ("jobs wait here for room" if self._held else "")

    def trouble(self) -> str:
        """What the operator should mend; empty when there is nothing."""
        with self._lock:
            asked = self._broken and self.config.rules.veto is not None
            return "its veto gives no answer (see its log)" if asked else ""
