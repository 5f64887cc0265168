"""An award that is sent twice under one key is one award."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "award_keys",
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"],
            name=op.f("fk_award_keys_allocation_id_allocations"),
        ),
        sa.PrimaryKeyConstraint("person_id", "key", name=op.f("pk_award_keys")),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("award_keys")
