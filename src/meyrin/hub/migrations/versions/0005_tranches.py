"""Allocations may come in tranches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tranches",
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("amount_s", sa.BigInteger(), nullable=False),
        sa.Column("from_s", sa.BigInteger(), nullable=False),
        sa.Column("gate", sa.String(length=100), nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("reviewer", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("offer_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("given_s", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.CheckConstraint("amount_s > 0", name=op.f("ck_tranches_positive")),
        sa.CheckConstraint("given_s >= 0", name=op.f("ck_tranches_given")),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"], name=op.f("fk_tranches_allocation_id")
        ),
        sa.PrimaryKeyConstraint("allocation_id", "number", name=op.f("pk_tranches")),
    )
    with op.batch_alter_table("tranches", schema=None) as batch_op:
        batch_op.create_index("ix_tranches_state", ["state", "gate", "family"], unique=False)
        batch_op.create_index("ix_tranches_decision", ["decision"], unique=False)


def downgrade() -> None:
    op.drop_table("tranches")
