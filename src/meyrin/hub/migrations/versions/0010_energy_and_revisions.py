"""Usage records know energy and their place among corrections; sites, when their rules changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # plain additions: a table that is built anew would lose its guards
    op.add_column("usage_records", sa.Column("energy_j", sa.BigInteger(), nullable=True))
    op.add_column(
        "usage_records", sa.Column("revision", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "sites", sa.Column("rules_version", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("sites", "rules_version")
    op.drop_column("usage_records", "revision")
    op.drop_column("usage_records", "energy_j")
