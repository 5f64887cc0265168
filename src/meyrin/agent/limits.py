"""The seam to whatever keeps a site's own accounts and limits in step with projects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from meyrin.agent.config import AgentConfig
from meyrin.domain.errors import MeyrinError
from meyrin.wire.limits import DriftLine, Left, ProjectLimits, Revoked

if TYPE_CHECKING:
    from meyrin.agent.hub import Hub

log = structlog.get_logger("meyrin.agent")


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass found and did. `words`: why it did nothing at all."""

    lines: tuple[DriftLine, ...] = ()
    words: str = ""


class KeepsLimits(Protocol):
    def once(self, projects: Sequence[ProjectLimits]) -> Pass:
        """Compare what should be with what is, and where the site lets it, mend. Raises
        Unreachable when the site's accounting does not answer; nothing was done then."""
        ...

    def revoke(
        self, left: Sequence[Left], projects: Sequence[ProjectLimits]
    ) -> tuple[Revoked, ...]:
        """Take the users of people who left out of their projects' accounts, and look again.
        That was asked for by name, so it counts against no share. Raises as `once` does."""
        ...


def keep(
    hub: Hub, keeper: KeepsLimits | None, config: AgentConfig, clock_ms: Callable[[], int]
) -> None:
    """One pass: what should be is asked of the hub, what was found is told it."""
    mode = config.limits.mode
    if keeper is None or mode == "off":
        return
    wanted = hub.limits()
    try:
        done = keeper.once(wanted.projects)
    except MeyrinError as error:
        done = Pass(words=f"nothing was done: {error.message}"[:300])
        log.warning("agent.limits_wait", error=error.message)
    hub.drift(mode, done.words, done.lines, clock_ms())


def revoke(hub: Hub, keeper: KeepsLimits | None, config: AgentConfig) -> None:
    """What the hub wants confirmed of people who left; nothing is said while the site is away."""
    wanted = hub.limits()
    if not wanted.left:
        return
    if keeper is not None and config.limits.mode != "off":
        said = keeper.revoke(wanted.left, wanted.projects)
    else:
        said = accounts_unkept(config, wanted.left)
    hub.revoked(said)


def accounts_unkept(config: AgentConfig, left: Sequence[Left]) -> tuple[Revoked, ...]:
    """The answer of an agent that keeps no accounts."""
    if config.batch == "local":
        outcome, words = "no-user", "nobody has an account here: jobs come through the hub only"
    else:
        outcome, words = "unkept", "limits.mode is off: this site keeps its accounts by itself"
    return tuple(
        Revoked.model_validate({"departure": each.departure, "outcome": outcome, "words": words})
        for each in left
    )
