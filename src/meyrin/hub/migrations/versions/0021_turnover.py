"""What short jobs freed lately at each partition."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("partitions", sa.Column("turnover", kept, nullable=True))


def downgrade() -> None:
    op.drop_column("partitions", "turnover")
