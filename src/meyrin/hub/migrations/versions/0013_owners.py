"""What owners are entitled to, month by month: dated shares, capacity, statements, comments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from meyrin.hub.plumbing.only_added import guard

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# as they were when this was written; the stores have them too
_ONLY_ADDED = {
    "later_shares": ("offer_id = NEW.offer_id AND from_s = NEW.from_s AND owner = NEW.owner"),
    "capacities": ("site_id = NEW.site_id AND partition = NEW.partition AND at_ms = NEW.at_ms"),
    "owner_statements": "month = NEW.month",
    "owner_publications": "month = NEW.month",
    "owner_comments": "id = NEW.id OR (person_id = NEW.person_id AND key = NEW.key)",
}


def upgrade() -> None:
    op.add_column("offers", sa.Column("price_cents", sa.BigInteger(), nullable=True))
    op.add_column(
        "allocations",
        sa.Column("door", sa.String(length=16), nullable=False, server_default="entitled"),
    )
    op.create_index("ix_allocations_door", "allocations", ["door", "end_s"])
    op.add_column("entries", sa.Column("month", sa.String(length=7), nullable=True))
    op.add_column("entries", sa.Column("corrects", sa.String(length=7), nullable=True))
    op.create_index("ix_entries_month", "entries", ["month"])
    _of_sites()
    _of_owners()
    guard(op.get_bind(), _ONLY_ADDED)


def _of_sites() -> None:
    op.create_table(
        "later_shares",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("from_s", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("weight > 0", name=op.f("ck_later_shares_weight")),
        sa.ForeignKeyConstraint(["offer_id"], ["offers.id"], name=op.f("fk_later_shares_offer_id")),
        sa.PrimaryKeyConstraint("offer_id", "from_s", "owner", name=op.f("pk_later_shares")),
    )
    op.create_table(
        "capacities",
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("partition", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("charged_type", sa.String(), nullable=False),
        sa.CheckConstraint("units >= 0", name=op.f("ck_capacities_units")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_capacities_site_id")),
        sa.PrimaryKeyConstraint("site_id", "partition", "at_ms", name=op.f("pk_capacities")),
    )


def _of_owners() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "owner_people",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_owner_people_person_id")
        ),
        sa.PrimaryKeyConstraint("owner", "person_id", name=op.f("pk_owner_people")),
    )
    op.create_table(
        "owner_statements",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("frozen_ms", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_owner_statements")),
    )
    op.create_table(
        "owner_publications",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["month"], ["owner_statements.month"], name=op.f("fk_owner_publications_month")
        ),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_owner_publications")),
    )
    op.create_table(
        "owner_comments",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("words", sa.String(length=2000), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_owner_comments_person_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner_comments")),
        sa.UniqueConstraint("person_id", "key", name="uq_owner_comments_key"),
    )
    op.create_index("ix_owner_comments_month", "owner_comments", ["month", "id"])


def downgrade() -> None:
    for table in (
        "owner_comments",
        "owner_publications",
        "owner_statements",
        "owner_people",
        "capacities",
        "later_shares",
    ):
        op.drop_table(table)
    op.drop_index("ix_entries_month", "entries")
    op.drop_column("entries", "corrects")
    op.drop_column("entries", "month")
    op.drop_index("ix_allocations_door", "allocations")
    op.drop_column("allocations", "door")
    op.drop_column("offers", "price_cents")
