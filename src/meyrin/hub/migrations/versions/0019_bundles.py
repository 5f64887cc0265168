"""Which job left a bundle of evidence, and which run stands on it: found without a walk."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_evidence_bundle", "evidence", ["bundle"])
    op.create_index("ix_gate_runs_bundle", "gate_runs", ["bundle"])


def downgrade() -> None:
    op.drop_index("ix_gate_runs_bundle", "gate_runs")
    op.drop_index("ix_evidence_bundle", "evidence")
