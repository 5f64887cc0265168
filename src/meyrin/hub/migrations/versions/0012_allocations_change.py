"""Allocations that change: transfers, pauses, pace, idle hours, awards from elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NEW = ("mode", "paused_ms", "paused_by", "paused_officer", "paused_reason", "pace", "watch_s")


def upgrade() -> None:
    _columns()
    _changes()
    _reclaims_and_notices()
    op.create_index(
        "ix_entries_given",
        "entries",
        ["allocation_id"],
        sqlite_where=sa.text("attempt IS NULL"),
        postgresql_where=sa.text("attempt IS NULL"),
    )
    # the mode of what was asked for here is known
    op.execute(
        "UPDATE allocations SET mode = (SELECT p.mode FROM proposals p "
        "WHERE p.allocation_id = allocations.id) WHERE EXISTS (SELECT 1 FROM proposals p "
        "WHERE p.allocation_id = allocations.id)"
    )


def _columns() -> None:
    with op.batch_alter_table("allocations", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("mode", sa.String(length=63), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("paused_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("paused_by", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("paused_officer", sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("paused_reason", sa.String(length=500), nullable=True))
        batch_op.add_column(
            sa.Column("pace", sa.String(length=8), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("watch_s", sa.BigInteger(), nullable=False, server_default="0")
        )
        batch_op.create_index("ix_allocations_pace", ["pace", "id"])
        batch_op.create_index("ix_allocations_watch_s", ["watch_s"])


def _changes() -> None:
    op.create_table(
        "allocation_changes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("to_id", sa.String(length=64), nullable=True),
        sa.Column("amount_s", sa.BigInteger(), nullable=False),
        sa.Column("end_s", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("asked_by", sa.String(length=100), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=100), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"], name=op.f("fk_allocation_changes_allocation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocation_changes")),
        sa.UniqueConstraint("person_id", "key", name=op.f("uq_allocation_changes_person_id_key")),
    )
    for name, columns in (
        ("allocation_id", ["allocation_id"]),
        ("project_id", ["project_id"]),
        ("state", ["state", "id"]),
    ):
        op.create_index(f"ix_allocation_changes_{name}", "allocation_changes", columns)
    op.create_table(
        "imported_awards",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"], name=op.f("fk_imported_awards_allocation_id")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_imported_awards")),
        sa.UniqueConstraint("allocation_id", name=op.f("uq_imported_awards_allocation_id")),
    )


def _reclaims_and_notices() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "reclaims",
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=500), nullable=False),
        sa.Column("announced_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_s", sa.BigInteger(), nullable=False),
        sa.Column("amount_s", sa.BigInteger(), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"], name=op.f("fk_reclaims_allocation_id")
        ),
        sa.PrimaryKeyConstraint("allocation_id", "number", name=op.f("pk_reclaims")),
    )
    op.create_index("ix_reclaims_state", "reclaims", ["state", "due_s"])
    op.create_table(
        "notices",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("allocation_id", sa.String(length=64), nullable=False),
        sa.Column("mark", sa.String(length=64), nullable=False),
        sa.Column("words", sa.String(length=500), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"], ["allocations.id"], name=op.f("fk_notices_allocation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("allocation_id", "mark", name=op.f("uq_notices_allocation_id_mark")),
    )
    op.create_index("ix_notices_project_id", "notices", ["project_id", "id"])
    op.create_table(
        "notices_seen",
        sa.Column("notice_id", big, nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notices.id"], name=op.f("fk_notices_seen_notice_id")
        ),
        sa.PrimaryKeyConstraint("notice_id", "person_id", name=op.f("pk_notices_seen")),
    )


def downgrade() -> None:
    op.drop_index("ix_entries_given", "entries")
    for table in ("notices_seen", "notices", "reclaims", "imported_awards", "allocation_changes"):
        op.drop_table(table)
    with op.batch_alter_table("allocations", schema=None) as batch_op:
        batch_op.drop_index("ix_allocations_watch_s")
        batch_op.drop_index("ix_allocations_pace")
        for name in _NEW:
            batch_op.drop_column(name)
