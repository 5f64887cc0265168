"""Keys of evidence that were revoked, apart from those that were replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gate_keys", sa.Column("revoked_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("gate_keys", schema=None) as batch_op:
        batch_op.drop_column("revoked_ms")
