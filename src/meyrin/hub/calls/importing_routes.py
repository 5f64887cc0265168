"""Awards from elsewhere over HTTP: files come in by officers, and go out to who may see them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from meyrin.hub.calls import importing
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.allocations import (
    AwardImport,
    AwardList,
    AwardRow,
    ImportedView,
    ImportReply,
    OutgoingAward,
)

router = APIRouter(prefix="/api/v1/awards", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]


@router.get("")
def awards(
    call: Person,
    project: str | None = None,
    after: After = "",
    limit: Limit = 50,
    *,
    ended: bool = False,
) -> AwardList:
    """The awards of your projects as an import takes them; an officer sees all."""
    with call.read() as step:
        found, following = importing.going_out(step, call.actor, project, after, limit, ended=ended)
    shown = [
        OutgoingAward(id=each.id, row=AwardRow.model_validate(asdict(award)))
        for each, award in found
    ]
    return AwardList(awards=shown, next=following)


@router.post("/import")
def bring(body: AwardImport, request: Request, call: Programme) -> ImportReply:
    """Award all rows that are not known yet, or none; or say what would be awarded."""
    rows = [(each.line, importing.Award(**each.row.model_dump())) for each in body.rows]
    with call.write() as step:
        done = importing.bring(
            step, call.actor, rows, request.app.state.modes, dry_run=body.dry_run
        )
    return ImportReply(
        dry_run=body.dry_run,
        rows=[
            ImportedView(
                line=each.line,
                award=each.award.award,
                project=each.award.project,
                charged_type=each.award.charged_type,
                amount_s=each.award.amount_s,
                state=each.state,
                allocation_id=each.allocation_id,
                new_project=each.new_project,
            )
            for each in done
        ],
    )
