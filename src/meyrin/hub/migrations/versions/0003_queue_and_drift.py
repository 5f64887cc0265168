"""What a site told last of its own queue, and of what its accounts and limits lack."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.create_table(
        "site_queues",
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("summary", _JSON, nullable=False),
        sa.Column("jobs", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_site_queues_site_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_site_queues")),
    )
    op.create_table(
        "site_drifts",
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("report", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_site_drifts_site_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_site_drifts")),
    )


def downgrade() -> None:
    op.drop_table("site_drifts")
    op.drop_table("site_queues")
