"""Brings a database to the present schema, at every start of a hub, once among equal hubs."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from meyrin.domain.errors import Conflict

_LOCK = 0x4D657972  # any constant of our own


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.set_main_option("path_separator", "os")
    found.attributes["connection"] = connection
    return found


def upgrade(engine: sa.Engine) -> None:
    """Run what is missing. Raises Conflict when the database is from a newer Meyrin."""
    with engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        settings = config(connection)
        scripts = ScriptDirectory.from_config(settings)
        present = MigrationContext.configure(connection).get_current_revision()
        if present is not None and present not in {s.revision for s in scripts.walk_revisions()}:
            raise Conflict(
                f"the database is at {present}, which this version of Meyrin does not know",
                hint="start the newer version that wrote it",
            )
        if present != scripts.get_current_head():
            command.upgrade(settings, "head")
