"""How many nodes of a partition take work now, where that is not all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("partitions", sa.Column("shortage", kept, nullable=True))


def downgrade() -> None:
    op.drop_column("partitions", "shortage")
