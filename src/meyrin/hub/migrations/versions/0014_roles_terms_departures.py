"""Roles for calls, sites and the facility; terms of sites; who left which project, site by site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _roles()
    _terms()
    _departures()
    # whoever could decide asks so far still can: until now that came with being an administrator
    op.execute(
        "INSERT INTO roles (id, scope, thing, role, holder, organisation, given_ms, given_by)"
        " SELECT 'rol_' || substr(id, 5), 'facility', '', 'programme-officer', id, '',"
        " created_ms, 'migration 0014' FROM people WHERE admin"
    )


def _roles() -> None:
    op.create_table(
        "roles",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("thing", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("given_ms", sa.BigInteger(), nullable=False),
        sa.Column("given_by", sa.String(), nullable=False),
        sa.CheckConstraint("scope IN ('facility', 'call', 'site')", name=op.f("ck_roles_scope")),
        sa.CheckConstraint("(holder = '') <> (organisation = '')", name=op.f("ck_roles_holder")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint(
            "scope", "thing", "role", "holder", "organisation", name="uq_roles_one"
        ),
    )
    op.create_index(op.f("ix_roles_holder"), "roles", ["holder"])
    op.create_index(op.f("ix_roles_organisation"), "roles", ["organisation"])


def _terms() -> None:
    op.create_table(
        "site_terms",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("set_ms", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_site_terms_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_terms")),
        sa.UniqueConstraint("site_id", "version", name="uq_site_terms_version"),
    )
    op.create_table(
        "terms_accepted",
        sa.Column("terms_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["terms_id"], ["site_terms.id"], name=op.f("fk_terms_accepted_terms_id")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_terms_accepted_person_id")
        ),
        sa.PrimaryKeyConstraint("terms_id", "person_id", name=op.f("pk_terms_accepted")),
    )
    op.create_index(op.f("ix_terms_accepted_person_id"), "terms_accepted", ["person_id"])
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.add_column(sa.Column("terms_id", sa.String(), nullable=True))


def _departures() -> None:
    op.create_table(
        "departures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("returned_ms", sa.BigInteger(), nullable=True),
        sa.Column("over_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_departures_project_id")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_departures_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_departures")),
    )
    op.create_index(op.f("ix_departures_project_id"), "departures", ["project_id"])
    op.create_index("ix_departures_open", "departures", ["over_ms", "returned_ms", "at_ms"])
    op.create_table(
        "departure_sites",
        sa.Column("departure_id", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("words", sa.String(length=300), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["departure_id"], ["departures.id"], name=op.f("fk_departure_sites_departure_id")
        ),
        sa.PrimaryKeyConstraint("departure_id", "site_id", name=op.f("pk_departure_sites")),
    )


def downgrade() -> None:
    op.drop_table("departure_sites")
    op.drop_table("departures")
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.drop_column("terms_id")
    op.drop_table("terms_accepted")
    op.drop_table("site_terms")
    op.drop_table("roles")
