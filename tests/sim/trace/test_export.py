"""Meyrin's own form: there and back, for whatever a trace may hold."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sim.trace.samples import DATA, written

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace.export import KEY, VERSION, write_export
from meyrin.sim.trace.faults import LIMITS
from meyrin.sim.trace.model import COLUMNS, Trace, from_columns
from meyrin.sim.trace.read import read

ABOUT = ("header", "processors_total", "accelerators_total", "epoch_s", "pool_unit", "format")
ABOUT += ("rows", "skipped", "mended", "notes")


def same(a: Trace, b: Trace) -> None:
    for name in COLUMNS:
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    assert {k: v.tolist() for k, v in a.more.items()} == {k: v.tolist() for k, v in b.more.items()}
    assert {k: dict(v) for k, v in a.names.items()} == {k: dict(v) for k, v in b.names.items()}
    for name in ABOUT:
        assert getattr(a, name) == getattr(b, name), name


@pytest.mark.parametrize("name", ["small.swf", "sacct.txt", "acme.csv", "helios.csv"])
def test_there_and_back_of_a_file(name, tmp_path):
    trace = read(DATA / name)
    write_export(trace, tmp_path / "a.parquet")
    same(trace, read(tmp_path / "a.parquet"))


def test_names_of_jobs_travel(tmp_path):
    trace = read(DATA / "own.csv", mapping=DATA / "own.toml")
    write_export(trace, tmp_path / "a.parquet")
    back = read(tmp_path / "a.parquet")
    same(trace, back)
    assert back.label("job", 2) == "two\nlines"


COUNTS = st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3)


@st.composite
def traces(draw):
    length = draw(st.integers(1, 8))
    columns = {}
    for name in (*COLUMNS, "requested_processors", "accelerator_milli"):
        least, most = LIMITS.get(name, (-1, 2**62))
        values = st.integers(max(least, -1), min(most, 2**53))
        columns[name] = np.array(draw(st.lists(values, min_size=length, max_size=length)))
    columns["job_id"] = np.array(
        draw(st.lists(st.integers(0, 2**62), min_size=length, max_size=length, unique=True))
    )
    cpu = st.just(-1.0) | st.floats(0, 2**40)
    columns["cpu_s"] = np.array(draw(st.lists(cpu, min_size=length, max_size=length)))
    labels = st.dictionaries(st.integers(0, 2**40), st.text(), max_size=3)
    return from_columns(
        columns,
        names={"user": draw(labels), "queue": draw(labels)},
        header=draw(st.dictionaries(st.text(), st.text(), max_size=3)),
        processors_total=draw(st.none() | st.integers(1, 2**40)),
        epoch_s=draw(st.none() | st.integers(0, 2**40)),
        pool_unit=draw(st.sampled_from(["processors", "accelerators"])),
        rows=length,
        skipped=draw(COUNTS),
        mended=draw(COUNTS),
        notes=tuple(draw(st.lists(st.text(), max_size=2))),
    )


@given(trace=traces())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_there_and_back(trace, tmp_path):
    write_export(trace, tmp_path / "a.parquet")
    same(trace, read(tmp_path / "a.parquet"))


def test_other_programs_see_null_for_unknown(tmp_path):
    write_export(read(DATA / "small.swf"), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["wait_s"].to_pylist() == [5, 0, None, 3, 0, 0]
    assert json.loads(table.schema.metadata[KEY])["version"] == VERSION


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about | {"version": 99}, "it has version 99"),
        (lambda about: {k: v for k, v in about.items() if k != "names"}, "lacks names"),
        (lambda _: [], "can't be read"),
    ],
)
def test_an_export_that_is_another(change, said, tmp_path):
    write_export(read(DATA / "small.swf"), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    about = change(json.loads(table.schema.metadata[KEY]))
    pq.write_table(
        table.replace_schema_metadata({KEY: json.dumps(about).encode()}), tmp_path / "b.parquet"
    )
    with pytest.raises(InvalidInput, match="no export of a trace") as caught:
        read(tmp_path / "b.parquet")
    assert said in caught.value.message


def test_an_export_without_a_column(tmp_path):
    write_export(read(DATA / "small.swf"), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.drop_columns(["run_s"]), tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match="it has no column run_s"):
        read(tmp_path / "b.parquet")


def test_an_export_cut_short(tmp_path):
    write_export(read(DATA / "small.swf"), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(InvalidInput, match="no whole Parquet file"):
        read(written(tmp_path / "b.parquet", data[: len(data) // 2]))
