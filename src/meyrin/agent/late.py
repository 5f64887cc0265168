"""Corrections of use on their way to the hub: told until it has them, each counted once there."""

from __future__ import annotations

import structlog

from meyrin.agent.batch import LooksAgain
from meyrin.agent.hub import Hub

log = structlog.get_logger("meyrin.agent")
EVERY_S = 60.0  # the batch system itself asks its accounting far less often


def tell(batch: LooksAgain, hub: Hub) -> int:
    """Tell the hub what accounting says otherwise than before; how many it took."""
    found = {each.attempt: each for each in batch.late()}
    if not found:
        return 0
    reply = hub.correct(list(found.values()))
    unknown = [found[attempt] for attempt in reply.unknown if attempt in found]
    batch.late_told([found[a] for a in reply.taken if a in found], unknown)
    if unknown:
        log.warning("agent.correction_unknown", attempts=[each.attempt for each in unknown][:20])
    log.info("agent.corrected", attempts=len(reply.taken))
    return len(reply.taken)
