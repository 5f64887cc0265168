"""Brings a database to the present schema, at every start of a hub, once among equal hubs.

Where nothing is missing, Alembic is not even loaded: that would be a tenth of a hub's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from meyrin.domain.errors import Conflict

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x4D657972  # any constant of our own


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config  # noqa: PLC0415

    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.set_main_option("path_separator", "os")
    found.attributes["connection"] = connection
    return found


def head() -> str:
    """The revision of the newest migration, by the names of their files."""
    versions = Path(__file__).parent / "versions"
    return max(path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py"))


def upgrade(engine: sa.Engine) -> None:
    """Run what is missing. Raises Conflict when the database is from a newer Meyrin."""
    with engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if sa.inspect(connection).has_table("alembic_version"):
            found = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
            if found == [head()]:
                return
        _run_missing(connection)


def _run_missing(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

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
