"""A project's statement over HTTP: what the entries say, and the energy that sites recorded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.reports import money
from meyrin.wire.ledger import StatementView, TypeStatementView

router = APIRouter(prefix="/api/v1", tags=["reports"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Month = Annotated[str | None, Query(description="YYYY-MM, UTC; without it everything up to now")]


@router.get("/projects/{name}/statement")
def statement(name: str, call: Person, month: Month = None) -> StatementView:
    """Opening balance, what happened, closing balance and energy, by charged type."""
    with call.read() as step:
        project = identity.project_by_name(step, call.actor, name)
        found = ledger.statement(step, project.id, month)
        energy = money.energy(step, project.id, month or "")
    types = [
        TypeStatementView.model_validate(asdict(each) | {"energy": energy.get(each.charged_type)})
        for each in found.types
    ]
    return StatementView(project=project.name, month=month, types=types)
