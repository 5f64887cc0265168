"""Which batch system a site has: the one place that knows all of them."""

from __future__ import annotations

from meyrin.agent.batch import BatchSystem
from meyrin.agent.config import AgentConfig
from meyrin.agent.local import LocalBatch
from meyrin.domain.errors import InvalidInput


def batch_system(config: AgentConfig) -> BatchSystem:
    """The batch system that the settings name; InvalidInput when there is no such one."""
    if config.batch != "local":
        raise InvalidInput(
            f"there is no batch system {config.batch!r}", hint="known: local", field="batch"
        )
    if not config.partition:
        raise InvalidInput(
            "the local batch system has nothing to give",
            hint="add a [[partition]] table to the settings",
            field="partition",
        )
    return LocalBatch(config.dir / "batch", config.partition, grace_s=config.grace_s)
