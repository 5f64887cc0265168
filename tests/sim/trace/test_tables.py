"""Tables: dumps of sacct, logs of GPU clusters by their mappings, and mappings of one's own."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from tests.sim.trace.samples import DATA, written

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import mapping
from meyrin.sim.trace.read import formats, read


def unix(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())


# --- sacct


@pytest.fixture(scope="module")
def sacct():
    return read(DATA / "sacct.txt")


def test_sacct_jobs(sacct):
    assert sacct.format == "sacct"
    assert sacct.job_id.tolist() == [1000, 1002, 1003, 1004, 1005], "the raw id of array tasks"
    assert sacct.skipped == {"job step": 2}
    assert sacct.rows == 7
    assert sacct.submit_s[0] == unix("2026-01-05T08:00:00+00:00")
    assert sacct.epoch_s == 0


def test_sacct_times(sacct):
    assert sacct.wait_s.tolist() == [600, 10, -1, 30, 30]
    assert sacct.run_s.tolist() == [86400 + 2 * 3600 + 184, 3600, 0, -1, 12], "1004 still runs"
    assert sacct.limit_s.tolist() == [2 * 86400, 3600, 3600, -1, 600]


def test_sacct_sizes(sacct):
    assert sacct.processors.tolist() == [8, 128, 128, 4, 4]
    assert sacct.nodes.tolist() == [1, 2, -1, 1, 1]
    assert sacct.accelerators.tolist() == [2, 0, 0, 1, 4], "kinds of gres are summed"
    assert sacct.memory_mb.tolist() == [16384, 8192, 4096, 8000, 8000]


def test_sacct_people_and_ends(sacct):
    assert [sacct.label("user", n) for n in sacct.user] == ["ana", "bo", "bo", "cy", "cy"]
    assert sacct.label("group", sacct.group[1]) == "化学"
    assert sacct.names["partition"] == {1: "gpu", 2: "cpu"}
    assert sacct.names["queue"] == {1: "normal", 2: "high"}
    assert sacct.status.tolist() == [1, 0, 5, -1, 0]


def test_sacct_with_raw_columns_and_a_bar_at_the_end(tmp_path):
    text = (
        "JobID|Submit|Start|ElapsedRaw|TimelimitRaw|NCPUS|\n"
        "12_3|2026-01-05T08:00:00|2026-01-05T08:00:07|99|30|16|\n"
        "12_4|2026-01-05T08:00:00|2026-01-05T08:00:09|98|30|16|\n"
    )
    trace = read(written(tmp_path / "dump.txt", text))
    assert trace.job_id.tolist() == [1, 2]
    assert [trace.label("job", n) for n in trace.job_id] == ["12_3", "12_4"]
    assert (trace.wait_s.tolist(), trace.run_s.tolist()) == ([7, 9], [99, 98])
    assert (trace.limit_s.tolist(), trace.processors.tolist()) == ([1800, 1800], [16, 16])
    assert (trace.accelerators == -1).all()


def test_sacct_without_what_is_needed(tmp_path):
    path = written(tmp_path / "dump.txt", "JobID|Submit|State\n1|2026-01-05T08:00:00|FAILED\n")
    with pytest.raises(InvalidInput, match="without ElapsedRaw, AllocCPUS") as caught:
        read(path)
    assert "--parsable2" in caught.value.hint


def test_a_bad_time_of_sacct_has_its_line(tmp_path):
    text = (DATA / "sacct.txt").read_text().replace("01:00:00|01:00:00|128", "1:xx|01:00:00|128")
    path = written(tmp_path / "dump.txt", text)
    with pytest.raises(InvalidInput, match=r"line 5: column 'Elapsed' \(run\) is '1:xx'"):
        read(path)
    assert read(path, on_error="skip").job_id.tolist() == [1000, 1003, 1004, 1005]


# --- logs of GPU clusters


def test_acme():
    trace = read(DATA / "acme.csv")
    assert (trace.format, trace.pool_unit) == ("acme", "accelerators")
    assert trace.submit_s[0] == unix("2023-03-01T00:18:22+08:00")
    assert (trace.wait_s.tolist(), trace.run_s.tolist()) == ([32, 13], [117, 2693])
    assert trace.sizes().tolist() == trace.accelerators.tolist() == [8, 128]
    assert (trace.nodes.tolist(), trace.processors.tolist()) == ([1, 16], [128, 2048])
    assert trace.names["queue"] == {1: "Other", 2: "Pretrain"}
    assert trace.status.tolist() == [0, 1]


def test_acme_of_kalos_has_words_for_ids_and_more_columns(tmp_path):
    head, first, _ = (DATA / "acme.csv").read_text().splitlines()
    text = f"{head},fail_time\n{first.replace('5778432', 'dlctk696')},\n"
    trace = read(written(tmp_path / "trace_kalos.csv", text))
    assert trace.job_id.tolist() == [1]
    assert trace.names["job"][1] == "dlctk696"
    assert dict(trace.names["job"]) == {1: "dlctk696"}
    with pytest.raises(KeyError):
        trace.names["job"][2]


def test_helios():
    trace = read(DATA / "helios.csv")
    assert trace.format == "helios"
    assert trace.submit_s[0] == unix("2020-06-09T18:41:01+00:00")
    assert trace.accelerators.tolist() == [1, 4, 0]
    assert trace.wait_s.tolist() == [0, 3, 0]
    assert trace.status.tolist() == [1, 5, 0]
    assert trace.names["queue"] == {1: "vcOne", 2: "vcTwo"}


def test_philly(tmp_path):
    text = "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.4,2,132,11cb48\n"
    trace = read(written(tmp_path / "philly.csv", text))
    assert trace.submit_s.tolist() == [unix("2017-10-09T07:01:55+00:00")]
    assert trace.run_s.tolist() == [66]
    assert trace.accelerators.tolist() == [2]
    assert trace.processors.tolist() == [-1]


def test_openb_parts_of_an_accelerator(tmp_path):
    text = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
        "creation_time,deletion_time,scheduled_time\n"
        "a,6500,12288,1,460,V100M32|V100M16,LS,Succeeded,100,400,130\n"
        "b,4000,1024,8,1000,,BE,Failed,110,900,111\n"
        "c,4000,1024,0,0,,BE,Pending,120,300,\n"
    )
    trace = read(written(tmp_path / "pods.csv", text))
    assert trace.more["accelerator_milli"].tolist() == [460, 8000, 0]
    assert trace.accelerators.tolist() == [1, 8, 0]
    assert trace.processors.tolist() == [7, 4, 4]
    assert trace.wait_s.tolist() == [30, 1, -1]
    assert trace.run_s.tolist() == [270, 789, -1]
    assert trace.names["request"] == {1: "V100M32|V100M16"}
    assert trace.status.tolist() == [1, 0, -1]


def test_dlrm_cells_that_are_empty(tmp_path):
    columns = (
        "instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,rdma_request,"
        "rdma_limit,memory_request,memory_limit,disk_request,disk_limit,max_instance_per_node,"
        "creation_time,scheduled_time,deletion_time\n"
    )
    rows = (
        "i0,HN,app_0,12,12,1,1,25,25,120.0,120.0,640.0,800.0,8,,,500\n"
        "i1,CN,app_0,64,64,0,0,1,1,320.0,320.0,340.0,400.0,-1,70.0,75.0,\n"
    )
    trace = read(written(tmp_path / "dlrm.csv", columns + rows))
    assert trace.submit_s.tolist() == [0, 70]
    assert trace.run_s.tolist() == [500, -1]
    assert trace.memory_mb.tolist() == [120 * 1024, 320 * 1024]
    assert len(trace.notes) == 2


def test_spot_gpu_jobs(tmp_path):
    text = (
        "job_name,organization,gpu_model,cpu_request,gpu_request,worker_num,submit_time,duration,"
        "job_type\nj1,o1,A10,4.0,0.5,3,10.0,60.0,HP\n"
    )
    trace = read(written(tmp_path / "job_info_df.csv", text))
    assert trace.more["accelerator_milli"].tolist() == [1500]
    assert (trace.accelerators.tolist(), trace.processors.tolist()) == ([2], [12])


def test_opendc_tasks(tmp_path):
    frame = pd.DataFrame(
        {
            "id": [7, 9],
            "submission_time": [1664575200999, 1664575201000],
            "duration": [1499, 400],
            "cpu_count": [16, 1],
            "cpu_capacity": [33600.0, 1.0],
            "mem_capacity": [100000, 512],
        }
    )
    frame.to_parquet(tmp_path / "tasks.parquet")
    trace = read(tmp_path / "tasks.parquet")
    assert trace.job_id.tolist() == [7, 9]
    assert trace.submit_s.tolist() == [1664575200, 1664575201], "moments are rounded down"
    assert trace.run_s.tolist() == [1, 1], "what ran at all ran for a second"
    assert trace.memory_mb.tolist() == [95368, 489]


def test_a_file_without_jobs_says_what_it_is(tmp_path):
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
    path = written(tmp_path / "azure.csv", text)
    with pytest.raises(InvalidInput, match="holds no jobs but requests to a language model"):
        read(path)


def test_a_table_that_nobody_knows(tmp_path):
    path = written(tmp_path / "a.csv", "alpha,beta\n1,2\n")
    with pytest.raises(InvalidInput, match="no log that Meyrin knows: its columns are alpha, beta"):
        read(path)


# --- mappings of one's own


def test_own_mapping():
    """Quotes, line breaks in fields, a zone of one's own, minutes, and memory per node."""
    trace = read(DATA / "own.csv", mapping=DATA / "own.toml")
    assert trace.format == "our centre"
    assert [trace.label("job", n) for n in trace.job_id] == ["train; big", "two\nlines"]
    assert trace.submit_s[0] == unix("2026-01-05T09:00:00+01:00")
    assert trace.wait_s.tolist() == [1800, 0]
    assert trace.run_s.tolist() == [5430, 30]
    assert trace.limit_s.tolist() == [7200, -1]
    assert trace.memory_mb.tolist() == [8192, 512]
    assert trace.names["user"] == {1: "Zoë", 2: "李雷"}
    assert trace.processors_total == 96


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({'delimiter = ";"': 'delimiter = ";;"'}, "delimiter"),
        ({"Europe/Zurich": "Europe/Nowhere"}, "time_zone"),
        ({'unit = "min"': 'unit = "months"'}, "limit has unit 'months'"),
        ({"processors = ": "procesors = "}, "procesors"),
        ({"submit = ": "queue = "}, "where `submit` is"),
        ({'processors = "cores"': ""}, "`processors` or `accelerators`"),
        ({"start = ": "# ", "end = ": "# "}, "where `run` is"),
        ({"[columns]": "[columns"}, "no TOML file"),
    ],
)
def test_a_mapping_is_checked_before_anything_is_read(change, said, tmp_path):
    text = (DATA / "own.toml").read_text()
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises(InvalidInput, match=r"map\.toml") as caught:
        read(DATA / "own.csv", mapping=written(tmp_path / "map.toml", text))
    assert said in caught.value.message


def test_a_column_that_the_file_lacks(tmp_path):
    text = (DATA / "own.toml").read_text().replace('"cores"', '"kernels"')
    with pytest.raises(InvalidInput, match="has no column 'kernels'"):
        read(DATA / "own.csv", mapping=written(tmp_path / "map.toml", text))


def test_a_column_that_is_there_twice(tmp_path):
    text = (DATA / "own.csv").read_text().replace("minutes;cores", "cores;cores")
    own = (DATA / "own.toml").read_text().replace('column = "minutes"', 'column = "cores"')
    with pytest.raises(InvalidInput, match="has two columns 'cores'"):
        read(written(tmp_path / "a.csv", text), mapping=written(tmp_path / "map.toml", own))


def test_winter_and_summer(tmp_path):
    """An hour that comes twice is its second time, one that is left out is behind the gap."""
    own = (DATA / "own.toml").read_text()
    row = "a;x;{0};{0};{0};1;1;1;1\n"
    moments = ("25.10.2026 02:30:00", "29.03.2026 02:30:00")
    head = (DATA / "own.csv").read_text().splitlines()[0]
    rows = "".join(row.format(each).replace("a;", f"a{n};", 1) for n, each in enumerate(moments))
    trace = read(
        written(tmp_path / "a.csv", f"{head}\n{rows}"),
        mapping=written(tmp_path / "map.toml", own),
    )
    assert trace.submit_s.tolist() == [
        unix("2026-10-25T02:30:00+01:00"),
        unix("2026-03-29T03:00:00+02:00"),
    ]


def test_ids_before(tmp_path):
    text = "id,submit,run,cpus,after\na,0,5,1,\nb,1,5,1,a\nc,2,5,1,zz\n"
    own = (
        '[columns]\njob = "id"\nsubmit = "submit"\nrun = "run"\nprocessors = "cpus"\n'
        'after = "after"\n'
    )
    trace = read(written(tmp_path / "a.csv", text), mapping=written(tmp_path / "map.toml", own))
    assert trace.after.tolist() == [-1, 1, -1]


def test_parquet_with_real_types(tmp_path):
    frame = pd.DataFrame(
        {
            "id": ["x", "y"],
            "at": pd.to_datetime(["2026-01-01T00:00:00.7Z", "2026-01-01T00:01:00.0Z"]),
            "took": np.array([1.5, np.nan]),
            "limit": pd.to_timedelta([90, None], unit="min"),
            "cpus": np.array([3, 4], dtype=np.int16),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    own = (
        '[columns]\njob = "id"\nrun = { column = "took", unit = "h" }\nprocessors = "cpus"\n'
        'submit = { column = "at", format = "iso" }\nlimit = "limit"\n'
    )
    trace = read(tmp_path / "a.parquet", mapping=written(tmp_path / "map.toml", own))
    assert trace.submit_s.tolist() == [unix("2026-01-01T00:00:00+00:00"), trace.submit_s[0] + 60]
    assert trace.run_s.tolist() == trace.limit_s.tolist() == [5400, -1]
    frame.loc[1, "cpus"] = -9
    frame["took"] = ["1", "?"]
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match=r"a.parquet, row 2: column 'took' \(run\) is '\?'"):
        read(tmp_path / "a.parquet", mapping=tmp_path / "map.toml")


def test_every_shipped_mapping_is_a_format_and_fits_its_own_columns():
    shipped = mapping.shipped()
    assert set(shipped) <= set(formats())
    for one in shipped.values():
        assert one.match, f"{one.name} can never be recognised"
        assert mapping.known(one.match) is one
