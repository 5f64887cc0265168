"""Corrections of use on their way to the hub: told until it has them, each counted once there."""

from __future__ import annotations

import structlog

from meyrin.agent.batch import Late, LooksAgain
from meyrin.agent.hub import Hub
from meyrin.agent.report import usage_of
from meyrin.wire.agents import CorrectionBody

log = structlog.get_logger("meyrin.agent")
EVERY_S = 60.0  # the batch system itself asks its accounting far less often


def tell(batch: LooksAgain, hub: Hub) -> int:
    """Tell the hub what accounting says otherwise than before; how many it took."""
    found = {each.attempt: each for each in batch.late()}
    if not found:
        return 0
    said = {attempt: _body(each) for attempt, each in found.items()}
    # what no hub takes is passed over, and not said again
    unsaid = [found[attempt] for attempt, body in said.items() if body is None]
    reply = hub.correct([body for body in said.values() if body is not None])
    unknown = [found[attempt] for attempt in reply.unknown if attempt in found]
    batch.late_told([*(found[a] for a in reply.taken if a in found), *unsaid], unknown)
    if unknown:
        log.warning("agent.correction_unknown", attempts=[each.attempt for each in unknown][:20])
    log.info("agent.corrected", attempts=len(reply.taken))
    return len(reply.taken)


def _body(each: Late) -> CorrectionBody | None:
    """What of it the hub takes; None where that is not even how long it ran."""
    usage = usage_of(each.attempt, each.usage)
    if usage is None:
        return None
    return CorrectionBody(
        attempt=each.attempt, batch_job=each.batch_job, usage=usage, revision=each.revision
    )
