"""How often an attempt went back to its site's queue: counted from its events until now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = sa.Column("run", sa.Integer, nullable=False, server_default="0")
    op.add_column("attempts", run)
    op.execute(
        "UPDATE attempts SET run = (SELECT count(*) FROM events"
        " WHERE events.job_id = attempts.job_id AND events.attempt = attempts.id"
        " AND events.state = 'preempted') WHERE attempts.state NOT IN ('ended', 'refused')"
    )


def downgrade() -> None:
    op.drop_column("attempts", "run")
