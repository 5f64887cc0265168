"""What others have of a partition, as its site's agent tells it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("partitions", sa.Column("others", kept, nullable=True))


def downgrade() -> None:
    op.drop_column("partitions", "others")
