"""Jobs as a planner takes them: what was placed, when and how large, in pseudonyms.

A pseudonym is a keyed hash of an internal id: whoever exports brings the key, so that two exports
with one key fit together and names can't be told from them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Header

from meyrin.domain.errors import NotAllowed
from meyrin.hub.jobs.store import attempts, jobs
from meyrin.hub.plumbing.authz import Access, Actor, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import After, Limit, cut, number, page
from meyrin.hub.sites import service as sites
from meyrin.wire.plans import TraceJob, TraceJobs

router = APIRouter(prefix="/api/v1/trace", tags=["reports"])
Operator = Annotated[Call, Depends(Allow(Access.OPERATOR))]
Key = Annotated[str, Header(alias="X-Pseudonym-Key", min_length=16, max_length=200)]
LETTERS = 16


@router.get("")
def trace(
    call: Operator, key: Key, site: str = "", after: After = "", limit: Limit = 50
) -> TraceJobs:
    """Jobs that were placed, oldest first: of one's own site, or (administrators) of all."""
    with call.read() as step:
        return placed(step, call.actor, key, site, after, limit)


def placed(step: Step, actor: Actor, key: str, site: str, after: str, limit: int) -> TraceJobs:
    """One page of the jobs that were placed, oldest first, by their last attempt."""
    a, j = attempts.c, jobs.c
    statement = sa.select(
        j.id, j.person_id, j.project_id, j.state, j.submit_ms, j.start_ms, j.end_ms,
        a.site, a.partition, a.nodes, a.cores, a.accelerators, a.memory_mb, a.walltime_s,
    ).join(attempts, a.id == j.attempt)  # fmt: skip
    if site:
        found = sites.site_by_name(step, site)
        if not actor.runs_site(found.id):
            raise _not_yours(site)
        statement = statement.where(a.site_id == found.id)
    elif not actor.admin:
        raise _not_yours("all sites")
    rows = step.rows(page(statement, j.id, number(after), limit, newest=False))
    rows, following = cut(rows, limit, "id")
    return TraceJobs(
        jobs=[
            TraceJob(
                job=row.id,
                person=pseudonym(key, "person", row.person_id),
                project=pseudonym(key, "project", row.project_id),
                site=row.site,
                partition=row.partition,
                submit_ms=row.submit_ms,
                start_ms=row.start_ms,
                end_ms=row.end_ms,
                nodes=row.nodes,
                cores=row.cores * row.nodes,
                accelerators=row.accelerators * row.nodes,
                memory_mb=row.memory_mb * row.nodes,
                walltime_s=row.walltime_s,
                state=row.state,
            )
            for row in rows
        ],
        next=following,
    )


def pseudonym(key: str, kind: str, name: str) -> str:
    """16 hexadecimal digits (HMAC-SHA-256) that stand for a person or project."""
    return hmac.new(key.encode(), f"{kind} {name}".encode(), hashlib.sha256).hexdigest()[:LETTERS]


def _not_yours(what: str) -> NotAllowed:
    return NotAllowed(
        f"the jobs of {what} are for its operators and for administrators",
        hint="name a site that you run: `meyrin trace export --site NAME`",
    )
