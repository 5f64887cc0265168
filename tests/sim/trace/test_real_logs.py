"""Every file of the shared traces, against the statistics of its SOURCE.md."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.sim.trace.samples import SHARED, TRACES, needs_traces

from meyrin.domain.errors import InvalidInput
from meyrin.sim.describe import describe
from meyrin.sim.trace.model import unusable
from meyrin.sim.trace.read import read

pytestmark = needs_traces

SWF = (
    "kth-sp2-1996",
    "ctc-sp2-1996",
    "hpc2n-2002",
    "sdsc-blue-2000",
    "nasa-ipsc-1993",
    "lcg-grid-2005",
    "metacentrum-zewura-2013",
    "lublin-256",
)


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, pattern
    return float(found[1].replace(",", ""))


@pytest.mark.parametrize("folder", SWF)
def test_swf(folder):
    """Records, usable jobs, users, machine, run times, sizes, waits and limits as published."""
    source = (TRACES / folder / "SOURCE.md").read_text()
    (file,) = (TRACES / folder).glob("*.swf.zst")
    trace = read(file)
    told = describe(trace)
    assert trace.rows == len(trace) == told["rows"] == number(r"([\d,]+) records", source)
    assert told["usable"] == number(r"([\d,]+) usable", source)
    assert told["users"]["count"] == number(r"([\d,]+) users", source)
    if folder != "metacentrum-zewura-2013":  # its file has no header
        assert told["machine"] == number(r"days; [\d,]+ users; ([\d,]+) processors", source)
    assert told["run_s"]["mean"] == pytest.approx(number(r"run mean ([\d.]+)", source), abs=0.06)
    assert told["run_s"]["p50"] == pytest.approx(
        number(r"run mean [\d.]+ s, median ([\d.]+)", source), abs=1
    )
    assert told["sizes"]["mean"] == pytest.approx(number(r"procs mean ([\d.]+)", source), abs=0.006)
    assert told["sizes"]["max"] == number(r"procs mean [\d.]+, median \d+, max (\d+)", source)
    if "wait not recorded" not in source:
        assert told["waits"]["wait_s"]["mean"] == pytest.approx(
            number(r"wait recorded: mean ([\d.]+)", source), abs=0.06
        )
        slowdown = number(r"bounded slowdown \(tau 10\) ([\d.]+)", source)
        assert told["waits"]["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=0.006)
    if "estimate/run median n/a" in source:
        assert told["limits"] == {"known": 0}
    else:
        half = number(r"estimate/run median ([\d.]+)", source)
        assert told["limits"]["over_estimation_p50"] == pytest.approx(half, abs=0.006)
        past = number(r"ran past their estimate (\d\.\d+)", source)
        assert told["limits"]["over_limit_share"] == pytest.approx(past, abs=6e-5)


def test_zewura_columns():
    trace = read(TRACES / "metacentrum-zewura-2013" / "wagap-2013.swf.zst")
    assert trace.mended == {"negative run_s": 2}
    assert trace.names["request"][1] == "1:ppn=64:x86_64:cl_zewura#excl"
    assert trace.nodes[0] == 1
    assert trace.memory_mb[0] == 64 * 1024


def test_lcg_sites():
    trace = read(TRACES / "lcg-grid-2005" / "LCG-2005-1.swf.zst")
    assert len(trace.names["partition"]) == 170
    assert trace.label("partition", 21) == "rhul.ac.uk"


def test_philly():
    trace = read(TRACES / "philly-2017" / "philly.csv.zst")
    assert len(trace) == trace.rows == 82_247
    assert len(trace.names["queue"]) == 15
    hours = (trace.accelerators * trace.run_s.astype(float)).sum() / 3600
    assert hours == pytest.approx(978_078, abs=1)
    assert np.median(trace.run_s) == 1144
    assert trace.accelerators.max() == 128
    assert (trace.accelerators == 1).mean() == pytest.approx(0.93, abs=0.005)


@pytest.mark.parametrize("name", ["default", "gpushare100", "gpuspec33"])
def test_openb(name):
    trace = read(TRACES / "openb-gpu-2023" / f"openb_pod_list_{name}.csv.zst")
    assert len(trace) == trace.rows == 8_152
    if name != "default":
        return
    assert (trace.accelerators > 0).sum() == 7_064
    milli = trace.more["accelerator_milli"]
    assert ((milli > 0) & (milli < 1000)).sum() == 3_078
    assert (trace.accelerators > 1).sum() == 75
    assert (trace.wait_s < 0).sum() == 897, "never scheduled"
    assert np.median(trace.wait_s[trace.wait_s >= 0]) == 2
    assert round(trace.wait_s[trace.wait_s >= 0].mean()) == 61
    counts = {trace.label("queue", n): int((trace.queue == n).sum()) for n in (1, 2, 3, 4)}
    assert counts == {"LS": 4647, "BE": 3398, "Burstable": 100, "Guaranteed": 7}


def test_dlrm():
    (file,) = (TRACES / "dlrm-gpu-2025").glob("*.csv.zst")
    trace = read(file)
    assert len(trace) == trace.rows == 23_871
    assert len(trace.names["group"]) == 156
    roles = {trace.label("queue", n): int((trace.queue == n).sum()) for n in (1, 2)}
    assert roles == {"HN": 7_386, "CN": 16_485}
    assert (trace.accelerators[trace.queue == trace.queue[0]] == 1).all()


@pytest.mark.parametrize(("name", "count"), [("month", 68_648), ("week", 6_295)])
def test_lisa(name, count):
    trace = read(TRACES / "lisa-surf-2022" / f"surf_{name}_tasks.parquet")
    assert len(trace) == trace.rows == count
    assert (trace.processors == 16).all()
    if name == "month":
        assert np.median(trace.run_s) == 69
        assert round(trace.run_s.mean()) == 4524


NO_JOBS = [
    "azure-llm-inference-2023/*.csv.zst",
    "helios-earth-2020/vc*.csv.zst",
    "helios-earth-2020/*.csv",
    "acme-llm-2023/*.csv",
    "spot-gpu-2026/*.csv.zst",
    "genai-serving-2026/*.tar.gz",
    "openb-gpu-2023/openb_node*.csv.zst",
    "openb-gpu-2023/openb_pod_list_multigpu50.csv.zst",
    "lisa-surf-2022/*fragments.parquet",
]


@pytest.mark.parametrize("pattern", NO_JOBS)
def test_files_without_jobs_say_what_they_are(pattern):
    files = sorted(TRACES.glob(pattern))
    assert files
    for file in files:
        with pytest.raises(InvalidInput, match=r"holds no jobs but [a-z]+ "):
            read(file)


def test_no_file_is_forgotten():
    """Each data file of the shared traces is named by a test above, or has a machine in it."""
    tested = {file for pattern in NO_JOBS for file in TRACES.glob(pattern)}
    tested |= {*TRACES.glob("*/*.swf.zst"), *TRACES.glob("*/surf_*_tasks.parquet")}
    tested |= {*TRACES.glob("philly-2017/*.zst"), *TRACES.glob("openb*/openb_pod_list_*.zst")}
    tested |= {*TRACES.glob("dlrm*/*.zst"), *TRACES.glob("metacentrum*/*.tsv")}
    left = {file for file in TRACES.glob("*/*") if file.name != "SOURCE.md"} - tested
    assert not left


@pytest.mark.parametrize(
    ("name", "count"), [("kth-tie-free.swf.gz", 28_467), ("lublin256-tie-free.swf.gz", 10_000)]
)
def test_golden_logs(name, count):
    trace = read(SHARED / "golden" / name)
    assert len(trace) == count
    assert not any(rows.any() for rows in unusable(trace, trace.processors_total).values())
    assert trace.epoch_s is None, "a start at 0 stands for an unknown one"
