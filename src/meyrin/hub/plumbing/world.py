"""The version of the world: one number that moves when a rule or a capacity changes.

A decision names the version that it saw and is refused if it moved. Single jobs and balances
do not move it: their own rows are guarded when the decision is written.
"""

from __future__ import annotations

import sqlalchemy as sa

from meyrin.domain.errors import WorldMoved
from meyrin.hub.plumbing.database import Step, metadata

BROKER = "broker"  # the topic that wakes the broker

world = sa.Table(
    "world",
    metadata,
    sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1", name="single"), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)


_VERSION = sa.select(world.c.version)
_HELD = _VERSION.with_for_update()


def version(step: Step) -> int:
    row = step.one(_VERSION)
    assert row is not None, "the first migration writes the row"
    return int(row.version)


def moved(step: Step) -> None:
    """Say that a rule or a capacity changed: open decisions are refused, the broker wakes."""
    step.change(sa.update(world).values(version=world.c.version + 1))
    step.ring(BROKER)


def check(step: Step, seen: int) -> None:
    """Raise WorldMoved unless the version is still `seen`; holds it until the step ends, and
    with it whoever else would write a decision."""
    row = step.one(_HELD)
    current = int(row.version) if row else -1
    if current != seen:
        raise WorldMoved(f"decided on version {seen} of the world, it is {current} now")
