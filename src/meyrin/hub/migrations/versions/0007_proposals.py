"""Asks for hours, and the times at which their clocks stood."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("mode", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("amount_h", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("months", sa.Integer(), nullable=False),
        sa.Column("charged_type", sa.String(length=64), nullable=False),
        sa.Column("amount_s", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("decided_by", sa.String(length=63), nullable=False),
        sa.Column("allocation_id", sa.String(length=64), nullable=True),
        sa.Column("submit_ms", sa.BigInteger(), nullable=False),
        sa.Column("eligible_ms", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("provisioned_ms", sa.BigInteger(), nullable=True),
        sa.Column("first_job_ms", sa.BigInteger(), nullable=True),
        sa.Column("from_s", sa.BigInteger(), nullable=False),
        sa.Column("due_s", sa.BigInteger(), nullable=True),
        sa.Column("turn_person", sa.String(length=200), nullable=True),
        sa.Column("turn_project", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'granted', 'refused', 'withdrawn')",
            name=op.f("ck_proposals_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
        sa.UniqueConstraint("person_id", "key", name="uq_proposals_key"),
        sa.UniqueConstraint("turn_person", name="uq_proposals_turn_person"),
        sa.UniqueConstraint("turn_project", name="uq_proposals_turn_project"),
    )
    op.create_index("ix_proposals_state_due", "proposals", ["state", "due_s", "id"])
    op.create_index("ix_proposals_mode", "proposals", ["mode", "decided_ms"])
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "clock_stops",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("proposal_id", sa.String(length=64), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.id"], name=op.f("fk_clock_stops_proposal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock_stops")),
    )
    op.create_index(op.f("ix_clock_stops_proposal_id"), "clock_stops", ["proposal_id"])


def downgrade() -> None:
    op.drop_table("clock_stops")
    op.drop_table("proposals")
