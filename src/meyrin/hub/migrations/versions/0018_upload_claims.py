"""What people claim of the content store when they begin to bring a file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload_claims",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "by", name=op.f("pk_upload_claims")),
    )
    op.create_index("ix_upload_claims_by", "upload_claims", ["by", "at_ms"])


def downgrade() -> None:
    op.drop_table("upload_claims")
