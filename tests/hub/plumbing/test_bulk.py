"""Arrays that are written here come out of PostgreSQL as they went in, whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meyrin.hub.plumbing import bulk
from meyrin.hub.plumbing.bulk import JsonText
from meyrin.hub.plumbing.database import Json

TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.String),
    sa.Column("text", sa.Text),
    sa.Column("small", sa.Integer),
    sa.Column("yes", sa.Boolean),
    sa.Column("said", Json),
)
# what an array, a quoted string, COPY and SQL itself might stumble over
NASTY = ['"', "\\", '\\"', "{", "}", "{}", ",", "NULL", "null", "'", "''", " ", "\t", "\n", "\r"]
NASTY += ["", "\\N", "\\.", "\\x41", "%s", "%(a)s", ":v_id", "$1", "');--", "é", "\u202e", "😀"]
TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.lists(st.sampled_from(NASTY), max_size=6).map("".join),
)
JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {
        "name": st.none() | TEXT,
        "text": st.none() | TEXT,
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "yes": st.none() | st.booleans(),
        "said": JSON,
    }
)
ROWS = st.lists(ROW, min_size=4, max_size=9)  # fewer go another way
WORST = [{"name": n, "text": n, "small": None, "yes": None, "said": {n: [n]}} for n in NASTY]
many = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def postgres(fresh_postgres: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(fresh_postgres, json_serializer=bulk.as_json)
    TABLE.metadata.create_all(engine)
    yield engine
    engine.dispose()


def numbered(rows):
    return [{"id": number, **row} for number, row in enumerate(rows)]


def stored(conn):
    return [dict(row) for row in conn.execute(sa.select(TABLE).order_by(TABLE.c.id)).mappings()]


@many
@given(rows=ROWS)
@example(rows=WORST)
def test_what_is_inserted_comes_back(postgres, rows):
    sent = numbered(rows)
    for way in ("new", "copy"):
        with postgres.connect() as conn:  # never committed
            if way == "copy":
                bulk.insert(conn, TABLE, sent)
            else:
                told = bulk.insert_new(conn, TABLE, sent, tuple(TABLE.c))
                assert sorted((dict(r._mapping) for r in told), key=lambda r: r["id"]) == sent
                assert bulk.insert_new(conn, TABLE, sent, tuple(TABLE.c)) == []
            assert stored(conn) == sent


@many
@given(rows=ROWS)
@example(rows=WORST)
def test_what_is_set_comes_back(postgres, rows):
    sent = [{key: row[key] for key in row if key != "said"} for row in numbered(rows)]
    with postgres.connect() as conn:
        conn.execute(sa.insert(TABLE), [{"id": row["id"], "said": 0} for row in sent])
        bulk.update(conn, TABLE, "id", sent)
        assert stored(conn) == [{**row, "said": 0} for row in sent]


@many
@given(rows=ROWS, data=st.data())
@example(rows=WORST, data=None)
def test_among_finds_just_those(postgres, rows, data):
    sent = numbered(rows)
    with postgres.connect() as conn:
        conn.execute(sa.insert(TABLE), sent)
        for column in (TABLE.c.id, TABLE.c.name, TABLE.c.text, TABLE.c.small, TABLE.c.yes):
            held = [row[column.name] for row in sent if row[column.name] is not None]
            asked = held if data is None or not held else data.draw(st.lists(st.sampled_from(held)))
            found = conn.scalars(sa.select(TABLE.c.id).where(bulk.among(column, asked)))
            assert set(found) == {row["id"] for row in sent if row[column.name] in set(asked)}


def test_json_that_is_written_already_is_kept_as_it_is(postgres):
    said = JsonText(json.dumps({'a"\\': "{,}'"}))
    for count in (1, 5):
        for put in (bulk.insert, lambda *given: bulk.insert_new(*given, tuple(TABLE.c))):
            with postgres.connect() as conn:
                empty = {"name": None, "text": None, "small": None, "yes": None}
                put(conn, TABLE, numbered([{**empty, "said": said}] * count))
                assert [row["said"] for row in stored(conn)] == [json.loads(said)] * count


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800"])
def test_what_is_no_text_is_refused(postgres, wrong):
    with postgres.connect() as conn, pytest.raises((sa.exc.DataError, UnicodeEncodeError)):
        conn.execute(sa.select(TABLE.c.id).where(bulk.among(TABLE.c.name, [wrong])))


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_a_statement_put_together_once_finds_those_named_each_time(database_url, count):
    engine = sa.create_engine(database_url)
    listed = sa.select(TABLE.c.id).where(bulk.one_of(TABLE.c.id, "ids")).order_by(TABLE.c.id)
    others = sa.select(sa.func.count()).where(sa.not_(bulk.one_of(TABLE.c.text, "texts")))
    blank = {"name": None, "small": None, "yes": None, "said": None}
    TABLE.create(engine)
    with engine.connect() as conn:
        conn.execute(
            sa.insert(TABLE), [{"id": n, "text": f"{n}'\"\\,", **blank} for n in range(60)]
        )
        for first in (0, 7):
            ids = list(range(first, first + count))
            assert list(conn.scalars(listed, {"ids": ids})) == ids
            texts = [f"{n}'\"\\," for n in ids]
            assert conn.scalar(others.select_from(TABLE), {"texts": texts}) == 60 - count
    engine.dispose()
