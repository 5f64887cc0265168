"""What an agent says of its site to the hub: partitions shown, rules in words, offers proposed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from meyrin import __version__
from meyrin.agent.batch import BatchSystem
from meyrin.agent.config import AgentConfig, Offer, Rules
from meyrin.agent.rules import in_words
from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.sites import About, ProposedOffer

_TRANSPORTS = {"command": "Slurm's commands", "rest": "slurmrestd"}


def shown(rules: Rules, partitions: Sequence[Partition]) -> list[Partition]:
    """The partitions that the site lets the hub hear of."""
    wanted = rules.partitions_shown
    return [one for one in partitions if wanted is None or one.name in wanted]


def about(config: AgentConfig, batch: BatchSystem, trouble: str = "") -> About:
    """Shown on the site's page. `trouble` is what the operator should mend."""
    slurm = config.batch == "slurm"
    return About(
        version=__version__,
        scheduler=str(getattr(batch, "scheduler", "") or batch.kind)[:200],
        transport=_TRANSPORTS[config.slurm.transport] if slurm else "",
        rules=in_words(config),
        offers=tuple(proposed(one) for one in config.offer),
        trouble=trouble[:2000],
    )


def proposed(offer: Offer) -> ProposedOffer:
    return ProposedOffer(
        partition=offer.partition,
        owners=[OwnerShare(name, weight) for name, weight in sorted(offer.owners.items())],
        start_s=_first_second(offer.start),
        end_s=_first_second(offer.until),
    )


def _first_second(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())
