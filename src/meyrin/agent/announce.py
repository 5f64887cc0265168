"""What an agent says of its site to the hub: partitions shown, rules in words, offers proposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from meyrin import __version__
from meyrin.agent import check
from meyrin.agent.batch import BatchSystem, HasShortages, MayBeSilent, MayRefuse, Start, unfit
from meyrin.agent.config import AgentConfig, Offer, Rules
from meyrin.agent.offers import first_second
from meyrin.agent.rules import in_words
from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.sites import About, ProposedOffer, Shortage

log = structlog.get_logger("meyrin.agent")
LOOK_EVERY_MS = 300_000
LOOK_AGAIN_MS = 60_000  # while a partition takes nothing: it may be open again
LOOK_SOON_MS = 20_000  # where a job was refused for its partition
_SILENT_S = 60  # jobs go elsewhere then; a controller that is only started anew is back sooner
_TRANSPORTS = {"command": "Slurm's commands", "rest": "slurmrestd"}


def shown(rules: Rules, partitions: Sequence[Partition]) -> list[Partition]:
    """The partitions that the site lets the hub hear of, with the wall time and accelerators that
    it lets jobs have there: so that the hub says no by itself, and asks for no more where nobody
    said how much."""
    wanted = rules.partitions_shown
    return [
        _with_accelerators(_within(one, rules.max_walltime_s), rules)
        for one in partitions
        if wanted is None or one.name in wanted
    ]


def _within(one: Partition, most_s: int | None) -> Partition:
    if most_s is None:
        return one
    usual_s = one.default_walltime_s
    return replace(
        one,
        max_walltime_s=min(one.max_walltime_s or most_s, most_s),
        default_walltime_s=usual_s and min(usual_s, most_s),
    )


def _with_accelerators(one: Partition, rules: Rules) -> Partition:
    said = (rules.max_accelerators, rules.max_accelerators_at_once, one.max_accelerators_per_job)
    known = [most for most in said if most is not None]
    if not one.accelerators_per_node or not known:
        return one
    return replace(one, max_accelerators_per_job=min(known))


class Announcer:
    """What the agent says of its site now. The batch system is asked now and then, for that may
    cost a good deal; what it said last holds meanwhile."""

    def __init__(self, batch: BatchSystem, clock_ms: Callable[[], int]) -> None:
        self._batch = batch
        self._clock_ms = clock_ms
        self._partitions: tuple[Partition, ...] = ()
        self._shortages: tuple[Shortage, ...] = ()
        self._looked_ms: int | None = None
        self._at_once = self._soon = False
        self._absent = ""

    def look(self) -> None:
        """Ask what the site has. Raises Unreachable when its batch system does not answer."""
        self._partitions = self._batch.partitions()
        self._at_once = self._soon = False
        if isinstance(self._batch, HasShortages):
            self._shortages = self._batch.shortages()
        self._looked_ms = self._clock_ms()

    @property
    def known(self) -> tuple[Partition, ...]:
        """What the site has, as it said last."""
        return self._partitions

    def look_if_due(self) -> None:
        if isinstance(self._batch, MayRefuse):
            self._soon |= self._batch.partition_refused()
        every_ms = LOOK_EVERY_MS if all(s.usable_nodes for s in self._shortages) else LOOK_AGAIN_MS
        if self._soon:
            every_ms = LOOK_SOON_MS
        looked_ms = self._looked_ms
        due = looked_ms is not None and abs(self._clock_ms() - looked_ms) >= every_ms
        if due or self._at_once:
            self.look()

    def look_at_once(self) -> None:
        """When it is asked next whether a look is due, one is. Safe in a signal handler."""
        self._at_once = True

    def saying(
        self, config: AgentConfig, mark: str, *troubles: str
    ) -> tuple[list[Partition], About]:
        refused = self._batch.refusals() if isinstance(self._batch, MayRefuse) else ""
        absent = self._named_in_vain(config)
        trouble = "; ".join(each for each in (*troubles, absent, self._silence(0), refused) if each)
        parts = shown(config.rules, self._partitions)
        names = {one.name for one in parts}
        short = tuple(each for each in self._shortages if each.partition in names)
        return parts, about(config, self._batch, trouble, mark, short)

    def gone(self, partition: str) -> str:
        """Why a job for this partition can't go in now; empty: it is there, as far as is known."""
        if self._looked_ms is None or any(one.name == partition for one in self._partitions):
            return ""
        return f"there is no partition {partition} at the site now"

    def outgrown(self, start: Start) -> str:
        """Why its partition can't run it any more, as that is smaller, or gives less, than the hub
        knew; empty: it can, as far as is known."""
        known = (one for one in self._partitions if one.name == start.partition)
        return next((unfit(start, one) for one in known), "")

    def _named_in_vain(self, config: AgentConfig) -> str:
        """What the settings name that is not there: its jobs stay away, so the operator is told."""
        if self._looked_ms is None:
            return ""
        names = sorted(one.name for one in self._partitions)
        words = "; ".join(check.absent(config, names))
        if words:
            words += f" (there are: {', '.join(names) or 'none'})"
        if words not in ("", self._absent):
            log.warning("agent.partition_absent", words=words)
        self._absent = words
        return words

    def not_now(self) -> str:
        """Why no new job should come, as far as the batch system is concerned; empty: they may."""
        return self._silence(_SILENT_S)

    def _silence(self, at_least_s: int) -> str:
        return self._batch.silence(at_least_s) if isinstance(self._batch, MayBeSilent) else ""


def about(
    config: AgentConfig,
    batch: BatchSystem,
    trouble: str = "",
    mark: str = "",
    shortages: tuple[Shortage, ...] = (),
) -> About:
    """Shown on the site's page. `trouble` is what the operator should mend, `mark` a word for
    the rules in force, `shortages` say which partitions take less than they have."""
    slurm = config.batch == "slurm"
    return About(
        version=__version__,
        scheduler=str(getattr(batch, "scheduler", "") or batch.kind)[:200],
        transport=_TRANSPORTS[config.slurm.transport] if slurm else "",
        rules=in_words(config),
        offers=tuple(proposed(one) for one in config.offer),
        trouble=trouble[:2000],
        news=str(getattr(batch, "news", ""))[:300],
        rules_mark=mark,
        shortages=shortages,
    )


def proposed(offer: Offer) -> ProposedOffer:
    return ProposedOffer(
        partition=offer.partition,
        owners=[OwnerShare(name, weight) for name, weight in sorted(offer.owners.items())],
        start_s=first_second(offer.start),
        end_s=first_second(offer.until),
    )
