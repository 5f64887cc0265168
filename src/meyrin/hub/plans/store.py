"""Tables and queries of published studies. Their bytes are in the content store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.paging import page

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("person_id", sa.String, sa.ForeignKey("people.id"), nullable=False),
    # null: everybody who is logged in may read it
    sa.Column("project_id", sa.String, sa.ForeignKey("projects.id")),
    # digest of title, project and files: the same again is the same study
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("withdrawn_ms", sa.BigInteger),
    sa.UniqueConstraint("person_id", "sha256"),
)

plan_files = sa.Table(
    "plan_files",
    metadata,
    sa.Column("plan_id", BigId, sa.ForeignKey("plans.id"), primary_key=True),
    sa.Column("name", sa.String(400), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Index("ix_plan_files_sha256", "sha256"),
)


def is_shown(digest: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a study that was not withdrawn has this file."""
    f = plan_files.c
    of_study = sa.select(f.plan_id).join(plans, plans.c.id == f.plan_id)
    return sa.exists(of_study.where(f.sha256 == digest, plans.c.withdrawn_ms.is_(None)))


def same(step: Step, person_id: str, sha256: str) -> sa.Row[Any] | None:
    p = plans.c
    return step.one(sa.select(plans).where(p.person_id == person_id, p.sha256 == sha256))


def one(step: Step, plan_id: int) -> sa.Row[Any] | None:
    """A study that was not withdrawn."""
    return step.one(sa.select(plans).where(plans.c.id == plan_id, plans.c.withdrawn_ms.is_(None)))


def listed(
    step: Step, project_ids: Collection[str] | None, after: int | None, limit: int
) -> list[sa.Row[Any]]:
    """One page and one row, newest first: those for everybody and of these projects; None: all."""
    statement = sa.select(plans).where(plans.c.withdrawn_ms.is_(None))
    if project_ids is not None:
        mine = plans.c.project_id.in_(sorted(project_ids))
        statement = statement.where(sa.or_(plans.c.project_id.is_(None), mine))
    return step.rows(page(statement, plans.c.id, after, limit, newest=True))


def files_of(step: Step, plan_id: int) -> list[sa.Row[Any]]:
    f = plan_files.c
    return step.rows(sa.select(plan_files).where(f.plan_id == plan_id).order_by(f.name))


def file(step: Step, plan_id: int, name: str) -> sa.Row[Any] | None:
    f = plan_files.c
    return step.one(sa.select(plan_files).where(f.plan_id == plan_id, f.name == name))
