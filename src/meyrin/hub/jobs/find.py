"""From what people type to the jobs that it means."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.hub.jobs.store import jobs
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step

_LABEL = re.compile(r"^(\d{1,18})(?:_(\d{1,9}))?$")


def find(step: Step, actor: Actor, label: str) -> list[sa.Row[Any]]:
    """The jobs that a label means: one, or all elements of an array, in rising order.

    Raises NotFound when there is none or the caller may not see it, InvalidInput for a label
    that can't be one.
    """
    match = _LABEL.match(label)
    if not match:
        raise InvalidInput(
            f"{label!r} is no job", hint="write its number, or NUMBER_TASK in an array", field="job"
        )
    number, task = int(match[1]), match[2]
    if task is None:
        where = sa.or_(jobs.c.id == number, jobs.c.family == number)
    else:
        where = sa.and_(jobs.c.family == number, jobs.c.task == int(task))
    rows = step.rows(sa.select(jobs).where(where).order_by(jobs.c.id))
    rows = [row for row in rows if actor.in_project(row.project_id)]
    if not rows:
        raise NotFound(f"there is no job {label}", hint="`meyrin jobs` lists yours", job=label)
    return rows


def label_of(row: sa.Row[Any]) -> str:
    return str(row.id) if row.task is None else f"{row.family}_{row.task}"
