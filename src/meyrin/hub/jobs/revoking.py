"""Refusing the agent of a site, over HTTP: from then on nothing is told of the jobs there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.jobs import attempts
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.sites import service as sites
from meyrin.wire.sites import AgentRefused

router = APIRouter(prefix="/api/v1/sites", tags=["sites"])
Operator = Annotated[Call, Depends(Allow(Access.OPERATOR))]


@router.delete("/{name}/agent-token")
def revoke_agent_token(name: str, call: Operator) -> AgentRefused:
    """Refuse the site's agent, and every enrolment, until a new one is made; how many jobs are
    there, whose ends are not told meanwhile."""
    with call.write() as step:
        ended = sites.revoke(step, call.actor, name)
        if ended:
            audit.note(step, call.actor.name, "site.revoke", name, ended=ended)
        return AgentRefused(jobs=attempts.count_at(step, name))
