"""Hostile and broken input: each gets the message or the count that the how-to promises."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
import tracemalloc

import pyarrow as pa
import pytest
from tests.sim.trace.samples import DATA, row, written

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.sim.trace.model import COUNT_MAX, TIME_MAX, TOO_LARGE, unusable
from meyrin.sim.trace.read import read

GOOD = "".join(row(n, submit=n * 10) for n in range(1, 6))
PLAIN = "id,submit,run,cpus\n1,0,10,2\n2,5,10,2\n3,9,10,2\n"
MAP = """
[columns]
job = "id"
submit = "submit"
run = "run"
processors = "cpus"
"""


def refused(path, **options):
    with pytest.raises(InvalidInput) as caught:
        read(path, **options)
    assert str(path) in caught.value.message, "the message names the file"
    assert caught.value.hint, "and a way out"
    return caught.value


def zstd(data: bytes, name: str = "zstd") -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, name) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS = {
    "zstd": zstd,
    "lz4": lambda data: zstd(data, "lz4"),
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed(kind, tmp_path):
    """Told by content: the name says nothing. Two streams behind each other are one file."""
    pack = PACKERS[kind]
    half = len(GOOD) // 5 * 2
    packed = pack(GOOD[:half].encode()) + pack(GOOD[half:].encode())
    assert read(written(tmp_path / "any", packed)).job_id.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed_and_cut_short(kind, tmp_path):
    text = "".join(row(n, submit=n * 31 % 977) for n in range(1, 5000)).encode()
    packed = PACKERS[kind](text)
    error = refused(written(tmp_path / "log.swf.z", packed[: len(packed) // 2]))
    assert kind in error.message
    assert "cut short" in error.message
    with pytest.raises(InvalidInput):
        read(tmp_path / "log.swf.z", on_error="skip")


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed_and_damaged(kind, tmp_path):
    packed = bytearray(PACKERS[kind](os.urandom(3000).hex().encode()))
    for at in range(40, 60):
        packed[at] ^= 0xFF
    refused(written(tmp_path / "log.swf.z", bytes(packed)))


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(NotFound):
        read(tmp_path / "none.swf")
    refused(tmp_path)


@pytest.mark.parametrize("text", [b"", b"\n\n", b"; Computer: A\n", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("name", ["log.swf", "log.csv"])
def test_empty(text, name, tmp_path):
    error = refused(written(tmp_path / name, text))
    assert "is empty" in error.message or "no jobs" in error.message


def test_cut_short_in_the_middle_of_a_line(tmp_path):
    error = refused(written(tmp_path / "log.swf", GOOD[:-20]))
    assert f"line 5: {len(GOOD[:-20].splitlines()[-1].split())} fields instead of 18" in (
        error.message
    )
    assert "cut short" in error.message
    assert error.facts["line"] == 5
    skipped = read(tmp_path / "log.swf", on_error="skip")
    assert skipped.job_id.tolist() == [1, 2, 3, 4]
    assert skipped.skipped == {"wrong number of fields": 1}
    assert skipped.rows == 5


@pytest.mark.parametrize(
    "data", [b"\x7fELF\x02\x01\x01" + bytes(200), bytes(range(256)) * 50, GOOD.encode("utf-16")]
)
@pytest.mark.parametrize("name", ["log.swf", "log"])
def test_binary(data, name, tmp_path):
    assert "binary" in refused(written(tmp_path / name, data)).message


@pytest.mark.parametrize("line", [b"; " + b"x" * 1000 + b"\n", b"\n", b";\n"])
def test_a_header_without_end(line, tmp_path):
    """A pipe that would give 10 GB of comments: refused early, in little memory."""
    pipe = tmp_path / "log.swf"
    os.mkfifo(pipe)
    given = []

    def feed() -> None:
        block = line * (2**20 // len(line))
        with pipe.open("wb", buffering=0) as file:
            try:
                for _ in range(10_000):
                    given.append(file.write(block))
            except BrokenPipeError:
                return

    feeder = threading.Thread(target=feed)
    feeder.start()
    read_it = [pipe, {"format": "swf"}]
    tracemalloc.start()
    try:
        error = refused(read_it[0], **read_it[1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        feeder.join()
    assert "16 MiB of comments" in error.message
    assert sum(given) < 64 * 2**20
    assert peak < 150 * 2**20


def test_a_line_without_end(tmp_path):
    path = tmp_path / "log.swf"
    with path.open("wb") as file:
        file.write(GOOD.encode() + b"; ")
        file.truncate(10 * 2**30)  # a hole: 10 GB that take no disk
    error = refused(path)
    assert "line 6: longer than 1 MiB" in error.message


def test_a_packed_header_without_end(tmp_path):
    packed = zstd(b"; nothing to see here, move along\n" * 2_000_000)
    assert len(packed) < 100_000
    assert "16 MiB of comments" in refused(written(tmp_path / "log.swf", packed)).message


def test_a_table_without_end_of_its_first_line(tmp_path):
    assert (
        "line 1"
        in refused(written(tmp_path / "a.csv", "a," * 2**24), mapping=_mapping(tmp_path)).message
    )


def test_negative_submit_time(tmp_path):
    path = written(tmp_path / "log.swf", row(1) + row(2, submit=-5) + row(3))
    error = refused(path)
    assert "line 2: field 2 (submit time) is '-5', less than 0" in error.message
    skipped = read(path, on_error="skip")
    assert skipped.job_id.tolist() == [1, 3]
    assert skipped.skipped == {"negative": 1}


def test_other_negative_times_are_unknown_and_counted(tmp_path):
    trace = read(written(tmp_path / "log.swf", row(1, run=-1) + row(2, run=-77) + row(3)))
    assert trace.run_s.tolist() == [-1, -1, 10]
    assert trace.mended == {"negative run_s": 1}
    assert unusable(trace)["no run time"].tolist() == [True, True, False]


def test_times_that_run_backwards_are_kept(tmp_path):
    trace = read(written(tmp_path / "log.swf", row(1, submit=50) + row(2, submit=20)))
    assert trace.submit_s.tolist() == [50, 20]
    assert trace.log_order().tolist() == [1, 0]


def test_one_id_twice(tmp_path):
    path = written(tmp_path / "log.swf", "; Note: x\n" + GOOD + row(3, submit=99))
    error = refused(path)
    assert "line 7: job 3 has a row already: line 4" in error.message
    assert (error.facts["line"], error.facts["earlier"]) == (7, 4)
    skipped = read(path, on_error="skip")
    assert skipped.job_id.tolist() == [1, 2, 3, 4, 5]
    assert skipped.submit_s.tolist() == [10, 20, 30, 40, 50], "the earlier row stays"
    assert skipped.skipped == {"duplicate job id": 1}


def test_a_job_of_two_million_processors_is_kept(tmp_path):
    trace = read(written(tmp_path / "log.swf", row(1, size=2_000_000) + row(2)))
    assert trace.processors.tolist() == [2_000_000, 1]
    assert unusable(trace, 1024)[TOO_LARGE].tolist() == [True, False]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"submit": 2**63}, 2),
        ({"submit": "9" * 5000}, 2),
        ({"run": TIME_MAX + 1}, 4),
        ({"run": "-" + "9" * 30}, 4),
        ({"size": COUNT_MAX + 1}, 5),
    ],
)
def test_numbers_too_large(fields, place, tmp_path):
    path = written(tmp_path / "log.swf", row(1) + row(2, **fields))
    error = refused(path)
    assert error.message.startswith(f"{path}, line 2: field {place} ")
    assert len(error.message) < 400
    assert read(path, on_error="skip").skipped == {"number too large": 1}


@pytest.mark.parametrize("word", ["abc", "1_0", "٣", "0x10", "1e3", "nan", "True", "1.5", "--1"])
def test_no_whole_number(word, tmp_path):
    path = written(tmp_path / "log.swf", row(1) + row(2, run=word))
    error = refused(path)
    assert f"line 2: field 4 (run time) is {word!r}, not a whole number" in error.message
    assert read(path, on_error="skip").skipped == {"not a number": 1}


@pytest.mark.parametrize("extra", ["", " 1 2"])
def test_wrong_number_of_fields_in_every_row(extra, tmp_path):
    cut = "\n".join(line[:-3] + extra for line in GOOD.splitlines()) + "\n"
    assert "fields instead of 18" in refused(written(tmp_path / "log.swf", cut)).message


def test_a_nul_byte(tmp_path):
    path = written(tmp_path / "log.swf", row(1) + row(2).replace(" 10 ", " 1\x000 ") + row(3))
    assert "line 2: the line has a NUL byte" in refused(path).message
    assert read(path, on_error="skip").job_id.tolist() == [1, 3]


def test_every_bad_row_is_counted_by_reason(tmp_path):
    bad = ["x\n", row(9, run="?"), row(9, submit=-2), row(9, submit=2**62), row(2)]
    trace = read(written(tmp_path / "log.swf", GOOD + "".join(bad)), on_error="skip")
    assert trace.job_id.tolist() == [1, 2, 3, 4, 5]
    assert trace.rows == 10
    assert trace.skipped == {
        "wrong number of fields": 1,
        "not a number": 1,
        "negative": 1,
        "number too large": 1,
        "duplicate job id": 1,
    }


def _mapping(tmp_path):
    return written(tmp_path / "map.toml", MAP)


@pytest.mark.parametrize(
    ("line", "said", "reason"),
    [
        ("4,7,8", "3 fields instead of 4", "wrong number of fields"),
        ("4,7,8,1,1", "5 fields instead of 4", "wrong number of fields"),
        ("4,soon,8,1", "column 'submit' (submit) is 'soon': not a time", "not a time"),
        ("4,,8,1", "column 'submit' (submit) is '': no submit time", "no submit time"),
        ("4,-3,8,1", "column 'submit' (submit) is '-3': negative", "negative"),
        ("4,7,8,many", "column 'cpus' (processors) is 'many': not a number", "not a number"),
        ("4,7,1e99,1", "column 'run' (run) is '1e99': number too large", "number too large"),
        ("4,7,inf,1", "column 'run' (run) is 'inf': not a time", "not a time"),
        ("4,7,\0,1", "the row has a NUL byte", "NUL byte"),
        ("3,7,8,1", "job 3 has a row already: line 4", "duplicate job id"),
    ],
)
def test_a_bad_row_of_a_table(line, said, reason, tmp_path):
    path = written(tmp_path / "a.csv", f"{PLAIN}{line}\n5,9,9,9\n")
    error = refused(path, mapping=_mapping(tmp_path))
    assert error.message == f"{path}, line 5: {said}"
    assert error.facts["line"] == 5
    skipped = read(path, mapping=_mapping(tmp_path), on_error="skip")
    assert skipped.job_id.tolist() == [1, 2, 3, 5]
    assert skipped.skipped == {reason: 1}
    assert skipped.rows == 5


def test_a_table_that_is_not_utf_8(tmp_path):
    path = written(tmp_path / "a.csv", PLAIN.encode() + b"\xff,1,1,1\n")
    assert "line 5: the row is not UTF-8 text" in (
        refused(path, mapping=_mapping(tmp_path)).message
    )
    skipped = read(path, mapping=_mapping(tmp_path), on_error="skip")
    assert skipped.skipped == {"not UTF-8": 1}


def test_lines_are_right_behind_quoted_line_breaks(tmp_path):
    path = written(tmp_path / "a.csv", 'id,submit,run,cpus\n"a\nb",0,1,1\n\nc,1,1,x\n')
    assert "line 5: column 'cpus'" in refused(path, mapping=_mapping(tmp_path)).message


def test_a_quote_that_never_ends(tmp_path):
    path = written(tmp_path / "a.csv", PLAIN + '"' + "1,1,1,1\n" * 2_500_000)
    assert "line 5: longer than 16 MiB" in refused(path, mapping=_mapping(tmp_path)).message


def test_parquet_cut_short(tmp_path):
    path = written(tmp_path / "a.parquet", b"PAR1" + b"\1" * 500)
    assert "no whole Parquet file" in refused(path).message


def test_parquet_in_another_wrapping(tmp_path):
    path = written(tmp_path / "a.parquet.gz", gzip.compress(b"PAR1" + bytes(50)))
    assert "Unpack it first" in refused(path).hint


def test_a_format_that_is_none(tmp_path):
    path = written(tmp_path / "log", GOOD)
    with pytest.raises(InvalidInput, match="is no format"):
        read(path, format="swff")
    assert len(read(path, format="swf")) == 5
    assert "no Parquet file" in refused(path, format="parquet").message


def test_progress_tells_the_bytes_of_the_file(tmp_path):
    path = written(tmp_path / "log.swf", gzip.compress((DATA / "small.swf").read_bytes()))
    told = []
    read(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
