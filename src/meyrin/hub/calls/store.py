"""Tables and queries of allocations. What is free and held of one is in the ledger, not here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ledger import MAX_REASON
from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("charged_type", sa.String(64), nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("start_s", sa.BigInteger, nullable=False),
    sa.Column("end_s", sa.BigInteger, nullable=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),
    # a rule's first, second … grant to a project; null where no rule counts
    sa.Column("turn", sa.Integer),
    sa.CheckConstraint("start_s < end_s", name="lasts"),
    sa.CheckConstraint("amount_s > 0", name="positive"),
    sa.Index("ix_allocations_project_id", "project_id", "charged_type"),
    sa.Index("uq_allocations_rule_turn", "rule", "project_id", "charged_type", "turn", unique=True),
)


def of_projects(step: Step, project_ids: Collection[str]) -> list[sa.Row[Any]]:
    a = allocations.c
    listed = sa.select(allocations).where(a.project_id.in_(sorted(set(project_ids))))
    return step.rows(listed.order_by(a.end_s, a.id))


def by_rule(step: Step, rule: str, project_id: str, charged_type: str) -> list[sa.Row[Any]]:
    """What a rule granted to a project, in the order in which it did."""
    a = allocations.c
    listed = sa.select(allocations).where(
        a.rule == rule, a.project_id == project_id, a.charged_type == charged_type
    )
    return step.rows(listed.order_by(a.turn))


def one(step: Step, allocation_id: str) -> sa.Row[Any] | None:
    return step.one(sa.select(allocations).where(allocations.c.id == allocation_id))


def listed(
    step: Step, project_ids: Collection[str] | None, after: str, limit: int
) -> list[sa.Row[Any]]:
    """One page and one row, by id; None lists every project's."""
    statement = sa.select(allocations)
    if project_ids is not None:
        statement = statement.where(allocations.c.project_id.in_(sorted(project_ids)))
    return step.rows(page(statement, allocations.c.id, after, limit, newest=False))


def ended(step: Step, allocation_ids: Collection[str]) -> list[str]:
    """Those of the given allocations that have ended or were closed."""
    a = allocations.c
    over = sa.or_(a.end_s <= step.now_s, a.closed_ms.is_not(None))
    statement = sa.select(a.id).where(a.id.in_(sorted(allocation_ids)), over)
    return [row.id for row in step.rows(statement)]
