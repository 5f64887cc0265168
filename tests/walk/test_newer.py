"""A database that a newer Meyrin wrote is left alone, on both databases."""

from __future__ import annotations

import sqlalchemy as sa
from tests.walk.facility import Facility


def test_a_database_from_a_newer_version_is_refused(either: Facility) -> None:
    either.hub.kill()
    engine = sa.create_engine(either.database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    either.hub.launch()
    assert either.hub.process.ended() == 1
    said = either.hub.process.said()
    assert "9999" in said
    assert "newer version" in said
    assert "Traceback" not in said
    with engine.connect() as connection:
        version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    assert version == "9999"
    engine.dispose()
