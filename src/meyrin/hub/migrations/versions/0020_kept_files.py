"""What the content store holds, so that what nothing refers to can leave it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_files",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("look_ms", sa.BigInteger(), nullable=False),
        sa.Column("going_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_kept_files")),
    )
    op.create_index("ix_kept_files_look_ms", "kept_files", ["look_ms"])
    op.create_index(
        "ix_kept_files_going_ms",
        "kept_files",
        ["going_ms"],
        sqlite_where=sa.text("going_ms IS NOT NULL"),
        postgresql_where=sa.text("going_ms IS NOT NULL"),
    )
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_index("ix_plan_files_sha256", "plan_files", ["sha256"])
    op.execute(
        "INSERT INTO kept_files (sha256, size, at_ms, look_ms) "
        "SELECT sha256, max(size), max(at_ms), max(at_ms) FROM uploads GROUP BY sha256"
    )


def downgrade() -> None:
    op.drop_index("ix_plan_files_sha256", "plan_files")
    op.drop_index("ix_files_sha256", "files")
    op.drop_table("kept_files")
