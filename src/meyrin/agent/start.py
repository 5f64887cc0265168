"""An agent as a process has it: over the real hub, a journal on disk, the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from meyrin.agent.batch import BatchSystem
from meyrin.agent.config import AgentConfig
from meyrin.agent.credential import Credential
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Journal, works
from meyrin.agent.limits import KeepsLimits
from meyrin.agent.loop import Agent
from meyrin.agent.watched import Watched
from meyrin.client.connection import Connection
from meyrin.wire.agents import Work


def wall_clock_ms() -> int:
    """The wall clock, for programs."""
    return time.time_ns() // 1_000_000


def noted(config: AgentConfig) -> Path:
    """Where a running agent notes which settings are in force."""
    return Path(config.dir) / "settings.json"


def not_told(config: AgentConfig) -> dict[str, str]:
    """The attempts whose end the agent has not told the hub yet, with their jobs."""
    return {work.attempt: _label(work) for work in works(_journal(config))}


def _label(work: Work) -> str:
    return str(work.job) if work.task is None else f"{work.array_job}_{work.task}"


def _journal(config: AgentConfig) -> Path:
    return Path(config.dir) / "journal.sqlite"


def make(
    config: AgentConfig,
    batch: BatchSystem,
    fresh: str,
    keeper_of: Callable[[AgentConfig], KeepsLimits | None] = lambda _: None,
    path: Path | None = None,
) -> Agent:
    """An agent over the real hub and a journal on disk; `fresh` is a name never used before,
    `path` the settings' file."""
    journal = Journal(_journal(config))
    connection = Connection(config.hub, config.credential)
    hub = Hub(connection, journal.name_start(fresh, wall_clock_ms()))

    def who(secret: str) -> object:
        other = Connection(config.hub, secret)
        try:
            return Hub(other, fresh).who()
        finally:
            other.close()

    return Agent(
        config,
        batch,
        hub,
        journal,
        wall_clock_ms,
        keeper_of,
        watched=None if path is None else Watched(path, noted(config), wall_clock_ms),
        credential=Credential(config.credential_file, connection, hub.follow, who),
    )
