"""Values of options, one by one; the accepted and refused ones were compared with Slurm 22.05."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.client.sbatch import Script, parse
from meyrin.client.sbatch.lists import parse_array
from meyrin.client.sbatch.moments import parse_moment
from meyrin.domain.errors import BadDirective, InvalidInput
from meyrin.domain.job import MAX_ARRAY, ArraySpec, Resources
from meyrin.domain.units import parse_walltime_s, show_duration

SCRIPT = Script("#!/bin/sh\n", name="job.sh")
NOW_S = 1800446400  # Wednesday 2027-01-20T12:00:00Z
REFUSED = """
--time=abc --time=1:2:3:4 --time=1.5 --time=60s --time=5m --time= --time=0 --time=infinite
--time=-1 --time=٣ --nodes=0 --nodes=2-1 --nodes=0-2 --nodes=2,4 --nodes=1-10:3 --nodes=-2
--nodes=2- --ntasks=0 --ntasks=-3 --ntasks=2k --ntasks=a -c0 -c2.5 -n99999999 --mem=16GBB
--mem=-1 --mem=1P --mem=MaxMemPerNode --mem= --ntasks-per-node=0 --gpus= --gpus=a100:x
--gpus=:2 --gpus=-1 --gpus=a100:2,v100:1 --gpus=gpu:2 --gpus-per-task=1 --gres=nic:1 --gres=gpu:
--gres=gpu=2 --gres=gpu:2K --gres=gpu:1,gpu:2 --gres= --array= --array=5-1 --array=1-10:0
--array=a --array=1-3%2,5 --array=1-5%0 --array=-1 --array=1--3 --array=1,,2 --array=5000000
--array=0-9999999999 --array=0-100000 --signal= --signal=FOO --signal=USR1@70000
--signal=R:TERM@5 --signal=RB:USR1 --signal=@10 --signal=10@ --signal=64 --open-mode=x
--open-mode= --kill-on-invalid-dep=Y --kill-on-invalid-dep= --nice=-20 --nice=a
--nice=2147483646 --exclusive=user --exclusive=foo --requeue=expedite --constraint=a|b
--constraint=[a&b] --constraint=a*2 --constraint= --partition=a,,b --clusters= --account=
--job-name= --output= --dependency= --dependency=afterok --dependency=afterok:
--dependency=afterok:0 --dependency=afterok:a --dependency=after:5+3 --dependency=expand:5
--dependency=afterburstbuffer:5 --dependency=aftercorr:5 --dependency=afterok:1,afterany:2?x:3
--dependency=singleton:4 --deadline=now --deadline=2020-01-01 --mail-type=ALL --export=A,NONE
--export= --export='A --export==1 --mem-per-gpu=1G --threads-per-core=2 --wait-all-nodes=1
--output-files=/etc/passwd --output-files=../x --wait=no --wrap=
--output-files= --idempotency-key= --idempotency-key=seven77
"""


def request(*argv, environ=None):
    return parse(SCRIPT, [*argv, "job.sh"], environ or {}, cwd="/w", host="h", now_s=NOW_S).request


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("word", REFUSED.split())
def test_refused_with_option_value_and_way_out(word):
    with pytest.raises(BadDirective) as caught:
        request(word)
    facts = caught.value.facts
    assert facts["source"] == "command line"
    assert facts["line"] is None
    if word.startswith("--"):
        assert facts["option"] == word.partition("=")[0]
        assert facts["value"] == word.partition("=")[2]
        assert word in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("--time=5", "walltime_s", 300),
        ("--time=1:90", "walltime_s", 150),
        ("--time=1-2:3:4", "walltime_s", 93784),
        ("--nice", "nice", 100),
        ("--nice=+5", "nice", 5),
        ("--open-mode=A", "append_output", True),
        ("--open-mode=truncate", "append_output", False),
        ("--hol", "held", True),
        ("--clusters=a,b,a", "sites", ("a", "b")),
        ("--constraint=a&b&a", "features", ("a", "b")),
        ("--gpu-bind=none", "nice", 0),
        ("--profile=None", "nice", 0),
        ("--begin=now", "begin_s", NOW_S),
        ("--begin=now-1hour", "begin_s", NOW_S - 3600),
        ("--comment=", "comment", ""),
    ],
)
def test_read(word, field, value):
    assert getattr(request(word), field) == value


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("-N 3", Resources(nodes_min=3, nodes_max=3)),
        ("-N3-1k", Resources(nodes_min=3, nodes_max=1024)),
        ("--mem=1.5G", Resources(memory_mb=1536)),
        ("--mem=16GB", Resources(memory_mb=16384)),
        ("--mem=16g", Resources(memory_mb=16384)),
        ("--mem=1023K", Resources(memory_mb=1)),
        ("--gpus=0", Resources()),
        ("--gres=none", Resources()),
        ("--gres=gpu:1 --gres=none", Resources()),
        ("--gpus=a100", Resources(accelerators=1, accelerator_type="a100")),
        (
            "--gres=gres:gpu:a100:2",
            Resources(accelerators=2, accelerators_per="node", accelerator_type="a100"),
        ),
        (
            "--gres=gpu:2 --gpus-per-node=a30:2",
            Resources(accelerators=2, accelerators_per="node", accelerator_type="a30"),
        ),
        (
            "--gres=gpu:A30:2 --gpus-per-node=a30:2",
            Resources(accelerators=2, accelerators_per="node", accelerator_type="a30"),
        ),
        (
            "--gpus-per-node=4 --gpus-per-task=2",
            Resources(accelerators=2, accelerators_per="task", tasks_per_node=2),
        ),
        (
            "-N2 --gpus-per-task=1",
            Resources(accelerators=1, accelerators_per="task", nodes_min=2, nodes_max=2, tasks=2),
        ),
        ("--exclusive=exclusive", Resources(exclusive=True)),
        (
            "--gpus=8 --gpus-per-node=4 -N1-4",
            Resources(accelerators=4, accelerators_per="node", nodes_min=2, nodes_max=2),
        ),
    ],
)
def test_resources(words, wanted):
    assert request(*words.split()).resources == wanted


@pytest.mark.parametrize(
    "words",
    [
        "--gpus=3 --gpus-per-node=2",
        "--nodes=2 --gpus=1",
        "--gpus=8 --gpus-per-node=2 -N2",
        "--gpus=8 --gpus-per-task=3",
        "--gpus=8 --gpus-per-task=2 -n3",
        "--gres=gpu:2 --gpus-per-node=3",
        "--gres=gpu:a100:2 --gpus=h100:2",
        "--gpus-per-node=4 --gpus-per-task=3",
        "--mem=1G --mem-per-cpu=1G",
        "--begin=tomorrow --deadline=now+1hour",
    ],
)
def test_clashes_name_both(words):
    first, second = words.split()[:2]
    with pytest.raises(BadDirective) as caught:
        request(*words.split())
    assert first.partition("=")[0] in caught.value.message
    assert second.partition("=")[0] in caught.value.message or len(words.split()) == 3


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("16:00", "2027-01-20T16:00:00"),
        ("11:59", "2027-01-21T11:59:00"),
        ("12:00", "2027-01-21T12:00:00"),
        ("4:30 pm", "2027-01-20T16:30:00"),
        ("12:30am", "2027-01-21T00:30:00"),
        ("12:30PM", "2027-01-20T12:30:00"),
        ("midnight", "2027-01-21T00:00:00"),
        ("noon", "2027-01-21T12:00:00"),
        ("fika", "2027-01-20T15:00:00"),
        ("teatime", "2027-01-20T16:00:00"),
        ("today", "2027-01-20T00:00:00"),
        ("tomorrow 10:00", "2027-01-21T10:00:00"),
        ("10:00 tomorrow", "2027-01-21T10:00:00"),
        ("noon tomorrow", "2027-01-21T12:00:00"),
        ("now + 5 minutes", "2027-01-20T12:05:00"),
        ("now+60", "2027-01-20T12:01:00"),
        ("now+1WEEK", "2027-01-27T12:00:00"),
        ("2030-01-20", "2030-01-20T00:00:00"),
        ("2030-01-20T12:34", "2030-01-20T12:34:00"),
        ("2030-01-20-12:34:56", "2030-01-20T12:34:56"),
        ("012030", "2030-01-20T00:00:00"),
        ("01/20/30-12:00", "2030-01-20T12:00:00"),
        ("01.20.30", "2030-01-20T00:00:00"),
        ("01/20", "2028-01-20T00:00:00"),
        ("12/31", "2027-12-31T00:00:00"),
        ("0120", "2028-01-20T00:00:00"),
        ("2028-02-29", "2028-02-29T00:00:00"),
    ],
)
def test_moments(text, moment):
    found = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(parse_moment(text, NOW_S)))
    assert found == moment


@pytest.mark.parametrize(
    "text",
    ["", "abc", "4PM", "0415PM", "25:00", "24:00", "1:5", "16:", "01:05:99", "16:00pm", "uct",
     "now+5min", "now+1hour+2minutes", "now+999999999weeks", "2030-13-01", "2030-1-5",
     "2030-02-30", "2027-02-29",
     "0231", "midnight noon", "today tomorrow", "noon 10:00", "2030-01-20 2030-01-21", "10:00 x"],
)  # fmt: skip
def test_no_moments(text):
    with pytest.raises(InvalidInput) as caught:
        parse_moment(text, NOW_S)
    assert caught.value.hint


def test_moments_follow_the_callers_clock(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    assert parse_moment("2027-01-20T12:00", 0) == 1800442800
    assert parse_moment("2027-07-20T12:00", 0) == 1816077600
    before_the_night = 1806145200  # 2027-03-27T12:00, the clock is put forward at 2 a.m.
    assert parse_moment("noon tomorrow", before_the_night) - before_the_night == 23 * 3600


@given(
    st.sets(st.integers(0, 4_000_000), min_size=1, max_size=60).map(sorted).map(tuple),
    st.integers(0, 1000),
)
def test_arrays_in_any_order(indices, limit):
    spec = ArraySpec(indices, limit)
    text = ",".join(map(str, reversed(indices)))
    assert parse_array(text + (f"%{limit}" if limit else "")) == spec


@given(st.integers(0, 5000), st.integers(0, 3000), st.integers(1, 50))
def test_ranges_are_ranges(first, width, step):
    spec = parse_array(f"{first}-{first + width}:{step}")
    assert spec.indices == tuple(range(first, first + width + 1, step))


def test_the_largest_array():
    assert len(parse_array(f"1-{MAX_ARRAY}").indices) == MAX_ARRAY


@given(st.integers(1, 10**8))
def test_wall_times_round_trip(seconds):
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest % 3600 // 60}:{rest % 60}"
    assert request(f"--time={days}-{clock}").walltime_s == seconds
    assert parse_walltime_s(show_duration(seconds)) == seconds


@given(st.integers(0, 2**20), st.sampled_from("KMGT"), st.sampled_from(["", "B", "b"]))
def test_memory_sizes(number, unit, byte):
    found = request(f"--mem={number}{unit.lower()}{byte}").resources.memory_mb
    assert found == -(-number * {"K": 1, "M": 2**10, "G": 2**20, "T": 2**30}[unit] // 2**10)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    for option in ("time", "mem", "array", "nodes", "gres", "gpus", "begin", "signal", "export",
                   "dependency", "constraint", "job-name", "nice", "comment"):  # fmt: skip
        with suppress(BadDirective):
            request(f"--{option}={text}")
