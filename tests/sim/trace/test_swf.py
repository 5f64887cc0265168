"""The Standard Workload Format: the header, the fields, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sim.trace.samples import DATA, row, written

from meyrin.sim.trace.model import COLUMNS, MEMORY_MAX, TIME_MAX, unusable
from meyrin.sim.trace.read import read
from meyrin.sim.trace.swf import NAMES
from meyrin.sim.trace.swf_write import write_swf


@pytest.fixture(scope="module")
def small():
    return read(DATA / "small.swf")


def test_header(small):
    assert small.header["Computer"] == "Tröpfchen"
    assert small.header["Installation"] == "Ein Ort, 某地"
    assert small.header["Information"] == "https://example.org/\nand a second line"
    assert small.header["Note"].startswith("made by hand")
    assert small.processors_total == 64
    assert small.epoch_s == 1_700_000_000
    assert small.names["queue"] == {0: "interactive", 1: "batch größer"}
    assert small.label("partition", 1) == "north"
    assert small.label("partition", 9) == "9"


def test_columns(small):
    assert small.job_id.tolist() == [1, 2, 3, 4, 5, 6]
    assert small.submit_s.tolist() == [0, 10, 20, 15, 604900, 604901]
    assert small.wait_s.tolist() == [5, 0, -1, 3, 0, 0]
    assert small.run_s.tolist() == [100, 50, 0, 3600, 60, -1]
    assert small.processors.tolist() == [4, 8, 2, 64, 1, -1], "asked for where none is recorded"
    assert small.more["used_processors"].tolist() == [4, -1, 2, 64, 1, -1]
    assert small.limit_s.tolist() == [200, 40, 60, 7200, 60, -1]
    assert small.memory_mb.tolist() == [4, -1, -1, 65536, -1, -1], "KB a processor, MiB a job"
    assert small.more["cpu_s"].tolist() == [90.5, -1, 0, 3599, 59, -1]
    assert small.after.tolist() == [-1, 1, -1, -1, -1, -1]
    assert small.think_s.tolist() == [-1, 30, -1, -1, -1, -1]
    assert small.status.tolist() == [1, 0, 5, 1, 1, -1]
    assert (small.accelerators == -1).all()
    assert all(getattr(small, name).dtype == np.int64 for name in COLUMNS)


def test_usable(small):
    found = {reason: np.flatnonzero(rows).tolist() for reason, rows in unusable(small, 32).items()}
    assert found == {"no size": [5], "no run time": [2], "larger than the machine": [3]}


def test_log_order_is_by_submit_then_job_then_row(small):
    assert small.log_order().tolist() == [0, 1, 3, 2, 4, 5]
    assert small.select(np.array([3, 2, 1])).log_order().tolist() == [2, 0, 1]


def test_three_extra_columns(tmp_path):
    wide = "7 100 2 50 2 -1 1024 2 60 1073741824 1 5 1 1 -1 1 1 1 {11,11,12} q_2h 1:ppn=2#excl\n"
    plain = "8 200 2 50 2 -1 1024 2 60 -1 1 5 1 1 -1 1 1 1\n"
    trace = read(written(tmp_path / "wide.swf", wide + wide.replace("7 100", "9 300") + plain))
    assert trace.names["queue"] == {1: "q_2h"}
    assert trace.queue.tolist() == [1, 1, -1]
    assert trace.nodes.tolist() == [2, 2, -1]
    assert trace.names["allocation"][1] == "11,11,12"
    assert trace.names["request"] == {1: "1:ppn=2#excl"}
    assert trace.memory_mb.tolist() == [1024, 1024, -1], "bytes of the whole job"
    assert trace.after.tolist() == [-1, -1, -1], "fields 16 to 18 are fillers in such logs"


def test_parts_of_a_job_count_once(tmp_path):
    """Status 2 to 4 are lines for parts of a run, beside the line of the whole job."""
    whole = row(1)
    part = whole.replace("-1 1 1 1 -1", "-1 2 1 1 -1")
    alone = row(2).replace("-1 1 1 1 -1", "-1 3 1 1 -1")
    trace = read(written(tmp_path / "parts.swf", whole + part + part + alone))
    assert trace.job_id.tolist() == [1, 2]
    assert trace.skipped == {"part of a job that has a line of its own": 2}
    assert trace.rows == 4


def test_windows_line_ends_byte_order_mark_and_tabs(tmp_path):
    text = b"\xef\xbb\xbf; Computer: A\r\n" + (row(1) + row(2)).replace("\n", "\r\n").encode()
    plain = read(written(tmp_path / "a.swf", text))
    tabs = read(written(tmp_path / "b.swf", text.replace(b" -1", b"\t -1")))
    assert plain.header == {"Computer": "A"}
    assert plain.job_id.tolist() == tabs.job_id.tolist() == [1, 2]
    assert plain.think_s.tolist() == tabs.think_s.tolist()


def test_empty_lines_and_comments_between_jobs(tmp_path):
    text = "\n".join(row(n, submit=n) + "; x\n" for n in range(1, 400))
    trace = read(written(tmp_path / "a.swf", text))
    assert trace.job_id.tolist() == list(range(1, 400))
    assert trace.rows == 399


def test_a_whole_number_may_have_a_point(tmp_path):
    assert read(written(tmp_path / "a.swf", row(1, run="12.0"))).run_s.tolist() == [12]


def test_a_latin_1_header_is_read(tmp_path):
    text = "; Acknowledge: Åke\n".encode("latin-1") + row(1).encode()
    assert read(written(tmp_path / "a.swf", text)).header["Acknowledge"] == "Åke"


TIMES = st.integers(-1, TIME_MAX)
SMALL = st.integers(-1, 2**31)
VALUES = {
    "job_id": st.integers(0, 2**62),
    "submit_s": st.integers(0, TIME_MAX),
    "wait_s": TIMES,
    "run_s": TIMES,
    "cpu_s": st.just(-1.0) | st.floats(0, 2**42, allow_subnormal=False),
    "used_memory_kb": st.integers(-1, MEMORY_MAX),
    "requested_memory_kb": st.integers(-1, MEMORY_MAX),
    "limit_s": TIMES,
    "think_s": TIMES,
    "status": st.sampled_from([-1, 0, 1, 5]),
}
ROWS = st.lists(
    st.tuples(*(VALUES.get(name, SMALL) for name in NAMES)), min_size=1, unique_by=lambda r: r[0]
)


@given(rows=ROWS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_there_and_back(rows, tmp_path):
    """What was read, written and read again is what the text said."""
    text = "; Computer: one\n; Note: a\n;       b\n" + "".join(
        " ".join(f"{value!r}" for value in each) + "\n" for each in rows
    )
    first = read(written(tmp_path / "first.swf", text))
    write_swf(first, tmp_path / "second.swf")
    second = read(tmp_path / "second.swf")
    for number, name in enumerate(NAMES):
        asked = [each[number] for each in rows]
        for trace in (first, second):
            own = getattr(trace, name, None)
            column = trace.more[name] if own is None else own
            assert column.tolist() == asked, name
    assert first.header == second.header == {"Computer": "one", "Note": "a\nb"}
    assert first.memory_mb.tolist() == second.memory_mb.tolist()


def test_fast_and_slow_say_the_same(tmp_path):
    """A comment or one odd line makes its block go the slow way: nothing else may change."""
    rows = [row(n, submit=n * 7, run=n % 90, size=n % 5) for n in range(1, 2000)]
    fast = read(written(tmp_path / "fast.swf", "".join(rows)))
    rows[700] = rows[700].replace(" 0 ", " 0.000 ", 1)
    slow = read(written(tmp_path / "slow.swf", "".join(rows) + "x y\n"), on_error="skip")
    assert slow.skipped == {"wrong number of fields": 1}
    for name in COLUMNS:
        assert getattr(fast, name).tolist() == getattr(slow, name).tolist(), name
