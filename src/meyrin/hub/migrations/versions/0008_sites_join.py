"""What an agent says about its site, and the proof that a credential was used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.add_column(sa.Column("about", json, nullable=True))
        batch_op.add_column(sa.Column("not_now", sa.String(), nullable=True))
        batch_op.add_column(
            sa.Column("lend_proposed", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.drop_column("lend_proposed")
        batch_op.drop_column("not_now")
        batch_op.drop_column("about")
