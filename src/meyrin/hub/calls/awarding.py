"""Awards that a programme officer makes outright: at once or in tranches, each with a key.

Sent twice under one key it is one award, so an answer that was lost can be asked for again.
"""

from __future__ import annotations

import hashlib

from meyrin.domain.errors import Conflict, InvalidInput
from meyrin.domain.ledger import Source
from meyrin.hub.calls import service, store, tranches
from meyrin.hub.calls.service import Allocation
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.wire.ledger import NewAward


def award(step: Step, actor: Actor, wanted: NewAward) -> tuple[Allocation, str]:
    """The allocation and its project's name; the same key again is the same award.

    Raises Conflict when the key was used for another one, NotFound where there is no such
    project, InvalidInput and Refused as `service.award` does.
    """
    assert actor.person is not None, "the route asked for a person"
    digest = hashlib.sha256(wanted.model_dump_json(exclude={"key"}).encode()).hexdigest()
    known = store.award_by_key(step, actor.person, wanted.key)
    if known is not None:
        if known.sha256 != digest:
            raise Conflict(
                f"the key {wanted.key!r} was used for another award",
                hint="take a new key for a new award",
            )
        made = service.allocation(step, known.allocation_id)
        return made, identity.project(step, made.project_id).name
    project = identity.project_named(step, wanted.project)
    made = _made(step, project.id, wanted)
    row = {
        "person_id": actor.person,
        "key": wanted.key,
        "allocation_id": made.id,
        "sha256": digest,
        "created_ms": step.now_ms,
    }
    if not step.add_new(store.award_keys, [row]):
        # what was done above goes with this step; whoever was first has done it
        raise Conflict(f"the key {wanted.key!r} is in use just now", hint="send it again")
    audit.note(step, actor.name, "allocation.award", made.id, project=project.name,
               amount_s=made.amount_s, type=made.charged_type, reason=wanted.reason,
               door=made.door)  # fmt: skip
    return made, project.name


def _made(step: Step, project_id: str, wanted: NewAward) -> Allocation:
    start_s = step.now_s if wanted.start_s is None else wanted.start_s
    source = Source(wanted.owner, wanted.offer_id)
    if not wanted.tranches:
        return service.award(
            step,
            project_id,
            wanted.charged_type,
            wanted.amount_s,
            start_s=start_s,
            end_s=wanted.end_s,
            reason=wanted.reason,
            source=source,
            door=wanted.door,
        )
    total_s = sum(part.amount_s for part in wanted.tranches)
    if total_s != wanted.amount_s:
        raise InvalidInput(
            f"the tranches sum to {total_s} s, the award is {wanted.amount_s} s",
            hint="make amount_s the sum of its tranches",
            field="amount_s",
        )
    parts = [
        tranches.Part(
            part.amount_s,
            start_s if part.from_s is None else part.from_s,
            part.gate,
            part.family,
            part.reviewer,
        )
        for part in wanted.tranches
    ]
    return tranches.award(
        step,
        project_id,
        wanted.charged_type,
        parts,
        start_s=start_s,
        end_s=wanted.end_s,
        reason=wanted.reason,
        source=source,
        door=wanted.door,
    )
