"""The migrations and the tables say the same; there and back again; newer databases are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.hub.facility import at_once

import meyrin.hub.app  # noqa: F401 - every room's tables
from meyrin.domain.errors import Conflict
from meyrin.hub.migrations import run
from meyrin.hub.plumbing.database import metadata


@pytest.fixture
def engine(database_url):
    made = sa.create_engine(database_url)
    yield made
    made.dispose()


def names(engine):
    """Tables, indexes and triggers that are ours."""
    inspector = sa.inspect(engine)
    found = {(table, "") for table in inspector.get_table_names() if table != "alembic_version"}
    return found | {
        (table, index["name"]) for table, _ in found for index in inspector.get_indexes(table)
    }


def triggers(engine):
    text = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }[engine.dialect.name]
    with engine.connect() as connection:
        return {row[0] for row in connection.execute(sa.text(text))}


def head():
    return ScriptDirectory.from_config(run.config()).get_current_head()


def test_migrations_make_what_the_tables_say(engine):
    run.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == head() == run.head()


def test_migrations_make_what_create_all_makes(engine, tmp_path):
    run.upgrade(engine)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA twin"))
        twin = sa.create_engine(engine.url.update_query_dict({"options": "-csearch_path=twin"}))
    else:
        twin = sa.create_engine(f"sqlite:///{tmp_path / 'twin.sqlite'}")
    metadata.create_all(twin)
    assert names(twin) == names(engine)
    assert triggers(twin) == triggers(engine)
    twin.dispose()


def test_again_changes_nothing(engine):
    run.upgrade(engine)
    before = names(engine), triggers(engine)
    run.upgrade(engine)
    assert (names(engine), triggers(engine)) == before
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version FROM world")).scalar_one() >= 0


def test_where_nothing_is_missing_alembic_is_not_loaded(tmp_path):
    url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    made = sa.create_engine(url)
    run.upgrade(made)
    made.dispose()
    program = (
        "import sys; import sqlalchemy as sa; from meyrin.hub.migrations import run;"
        "run.upgrade(sa.create_engine(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, url], check=False).returncode == 0


def test_there_and_back_again(engine):
    run.upgrade(engine)
    before = names(engine), triggers(engine)
    with engine.connect() as connection, connection.begin():
        command.downgrade(run.config(connection), "base")
    assert names(engine) == set()
    assert triggers(engine) == set()
    run.upgrade(engine)
    assert (names(engine), triggers(engine)) == before


def test_a_newer_database_is_refused_and_left_alone(engine):
    run.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="9999") as no:
        run.upgrade(engine)
    assert "newer" in no.value.hint
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    assert found == "9999"


def test_equal_hubs_that_start_at_once_migrate_once(fresh_postgres):
    engines = [sa.create_engine(fresh_postgres) for _ in range(4)]
    at_once(4, lambda number: run.upgrade(engines[number]))
    with engines[0].connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM world")).scalar_one() == 1
    for engine in engines:
        engine.dispose()


def test_returns_to_a_queue_that_events_tell_are_counted(tmp_path):
    made = sa.create_engine(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    run.upgrade(made)
    with made.connect() as connection, connection.begin():
        command.downgrade(run.config(connection), "0024")
    events, attempts = (metadata.tables[name] for name in ("events", "attempts"))
    kept = [c for c in attempts.c if not (c.nullable or c.server_default)]
    row = {c.name: 1 if isinstance(c.type, (sa.Integer, sa.BigInteger)) else "a" for c in kept}
    told = [{"job_id": 1, "attempt": "a", "state": s, "at_ms": 0} for s in ("preempted", "queued")]
    with made.begin() as connection:
        connection.execute(sa.insert(attempts).values(row | {"state": "running"}))
        connection.execute(sa.insert(events), told * 2)
    run.upgrade(made)
    with made.connect() as connection:
        assert connection.execute(sa.select(attempts.c.run)).scalar_one() == 2
    made.dispose()
