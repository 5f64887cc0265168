"""What was received of each attempt as its evidence: one, and the first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from meyrin.hub.plumbing.only_added import guard

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("attempt", sa.String(length=64), nullable=False),
        sa.Column("draft", sa.String(length=64), nullable=False),
        sa.Column("bundle", sa.String(length=64), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_evidence")),
    )
    guard(op.get_bind(), {"evidence": "attempt = NEW.attempt"})


def downgrade() -> None:
    op.drop_table("evidence")
