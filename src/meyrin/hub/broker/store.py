"""Scheduling policies, each with its date; the newest is in force."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from meyrin.engine.model import Policy
from meyrin.hub.plumbing.database import BigId, Json, Step, metadata

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("spec", Json, nullable=False),
)


_CURRENT = sa.select(policies.c.spec).order_by(policies.c.id.desc()).limit(1)


def current(step: Step) -> Policy:
    """The policy in force; the default one until somebody sets another."""
    row = step.one(_CURRENT)
    return Policy(**row.spec) if row is not None else Policy()


def put(step: Step, policy: Policy, by: str) -> None:
    step.add(policies, [{"at_ms": step.now_ms, "by": by, "spec": asdict(policy)}])
