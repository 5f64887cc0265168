"""Plans of gates, runs, decisions, and the keys whose evidence counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from meyrin.hub.evaluations.store import install_guards

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, _JSON, nullable=False)


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, autoincrement=True, nullable=False)


def upgrade() -> None:
    op.create_table(
        "gate_keys",
        _text("public", 64),
        _text("name", 100),
        _text("role", 16),
        _number("since_ms"),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("public", name=op.f("pk_gate_keys")),
    )
    op.create_table(
        "gate_plans",
        _id(),
        _text("project_id", 64),
        _text("digest", 64),
        _text("gate", 100),
        _text("family", 100),
        _number("registered_ms"),
        _text("by", 64),
        _json("signed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_plans")),
    )
    op.create_table(
        "gate_runs",
        _id(),
        _text("project_id", 64),
        _text("digest", 64),
        _text("bundle", 64),
        _text("family", 100),
        _text("root", 64),
        _text("weights", 200),
        _text("suite", 200),
        sa.Column("plan", sa.String(length=64), nullable=True),
        _number("registered_ms"),
        _text("by", 64),
        _json("run"),
        _json("scores"),
        _json("signers"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_runs")),
    )
    op.create_table(
        "gate_decisions",
        _id(),
        _text("project_id", 64),
        _text("digest", 64),
        _text("asked", 64),
        _text("gate", 100),
        _text("family", 100),
        _text("plan", 64),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("spent_ppm", sa.Integer(), nullable=False),
        _text("verdict", 32),
        _text("action", 16),
        _number("decided_ms"),
        _text("by", 64),
        _json("runs"),
        _json("decision"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_decisions")),
    )
    for table, name, columns, unique in INDEXES:
        op.create_index(f"{name}", table, columns, unique=unique)
    install_guards(op.get_bind())


INDEXES = (
    ("gate_plans", "uq_gate_plans_project_id", ["project_id", "digest"], True),
    ("gate_runs", "uq_gate_runs_project_id", ["project_id", "digest"], True),
    ("gate_runs", "ix_gate_runs_family", ["project_id", "family", "id"], False),
    ("gate_decisions", "uq_gate_decisions_asked", ["project_id", "asked"], True),
    ("gate_decisions", "uq_gate_decisions_turn", ["project_id", "gate", "family", "turn"], True),
    ("gate_decisions", "ix_gate_decisions_family", ["project_id", "family", "id"], False),
)


def downgrade() -> None:
    for table in ("gate_decisions", "gate_runs", "gate_plans", "gate_keys"):
        op.drop_table(table)
