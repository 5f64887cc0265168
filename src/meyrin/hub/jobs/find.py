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
    where = _where(label, whole=True)
    rows = step.rows(sa.select(jobs).where(where).order_by(jobs.c.id))
    rows = [row for row in rows if actor.in_project(row.project_id)]
    if not rows:
        raise _no_job(label)
    return rows


def find_first(step: Step, actor: Actor, label: str) -> sa.Row[Any]:
    """The first of those that `find` finds; an array's other elements are not read."""
    row = step.one(sa.select(jobs).where(_where(label, whole=False)))
    if row is None or not actor.in_project(row.project_id):
        raise _no_job(label)
    return row


def _where(label: str, *, whole: bool) -> sa.ColumnElement[bool]:
    """Which job is meant; of an array's number all its elements if `whole`, else the first."""
    match = _LABEL.match(label)
    if not match:
        raise InvalidInput(
            f"{label!r} is no job", hint="write its number, or NUMBER_TASK in an array", field="job"
        )
    number = int(match[1])
    if match[2] is not None:
        return sa.and_(jobs.c.family == number, jobs.c.task == int(match[2]))
    first = jobs.c.id == number  # an array has the number of its first element
    return sa.or_(first, jobs.c.family == number) if whole else first


def _no_job(label: str) -> NotFound:
    return NotFound(f"there is no job {label}", hint="`meyrin jobs` lists yours", job=label)


def label_of(row: sa.Row[Any]) -> str:
    return str(row.id) if row.task is None else f"{row.family}_{row.task}"
