"""`meyrin replay`: what it prints, writes, counts and refuses."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.components import ROOT
from tests.sim.trace.samples import SHARED, needs_traces, row, written

from meyrin.cli import until
from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.sim.run import Standing

GOLDEN = SHARED / "golden"
KEYS = [
    "trace", "policy", "processors", "jobs", "skipped", "first_submit_s", "makespan_s",
    "mean_wait_s", "p50_wait_s", "p90_wait_s", "p99_wait_s", "mean_bounded_slowdown",
    "utilisation", "engine_s", "jobs_per_s", "peak_rss_mb",
]  # fmt: skip
POLICIES = ("fcfs", "easy", "conservative", "easy-sjf")
EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.toml"))
Capture = pytest.CaptureFixture[str]


def meyrin(*argv: object) -> int:
    return run([str(one) for one in argv], Session(environ={}))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Four processors. Job 2 is large, job 3 may pass it, job 4 may not; the rest can't run."""
    rows = [
        row(1, 0, 10, 3), row(2, 1, 10, 4), row(3, 2, 5, 1), row(4, 3, 15, 1),
        row(5, 4, 0, 1), row(6, 4, 10, -1), row(7, 4, 10, 2_000_000),
    ]  # fmt: skip
    return written(tmp_path / "log.swf", "; MaxProcs: 4\n" + "".join(rows))


def starts(path: Path) -> dict[str, int]:
    with path.open(newline="") as file:
        return {line["job_id"]: int(line["start_s"]) for line in csv.DictReader(file)}


def test_a_log_from_standard_input(log: Path) -> None:
    command = [sys.executable, "-m", "meyrin", "replay", "-", "--policy", "fcfs", "--json"]
    packed = gzip.compress(log.read_bytes())
    done = subprocess.run(command, input=packed, capture_output=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["jobs"] == 4


def test_numbers_have_no_noise_and_pictures_the_logs_own_unit(tmp_path: Path) -> None:
    rows = "".join(
        f"2017-10-03 10:00:{n:02},{10 + n * 7},1,{7 + n},{vc}\n" for n, vc in enumerate("abc" * 5)
    )
    log = written(tmp_path / "philly.csv", "timestamp,duration,num_gpus,gpu_time,cluster\n" + rows)
    out = tmp_path / "out"
    assert meyrin("replay", log, "--processors", 2, "--out", out) == 0
    told = json.loads((out / "summary.json").read_text())
    assert all(value == round(value, 6) for value in told.values() if isinstance(value, float))
    drawn = "".join(path.read_text() for path in out.glob("*.svg"))
    assert "2 accelerators" in drawn
    assert "processors" not in drawn


def test_the_object_of_json(log: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "starts.csv"
    assert meyrin("replay", log, "--policy", "fcfs", "--starts", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == KEYS
    assert told["trace"] == str(log)
    assert (told["policy"], told["processors"], told["jobs"]) == ("fcfs", 4, 4)
    assert told["skipped"] == {"no size": 1, "no run time": 1, "larger than the machine": 1}
    # by hand: starts 0, 10, 20, 20; waits 0, 9, 18, 17; the run ends at 35
    assert out.read_text() == (
        "job_id,submit_s,start_s,end_s\n1,0,0,10\n2,1,10,20\n3,2,20,25\n4,3,20,35\n"
    )
    assert (told["first_submit_s"], told["makespan_s"]) == (0, 35)
    assert told["mean_wait_s"] == 11
    assert told["p50_wait_s"] == 13  # between 9 and 17
    assert told["p90_wait_s"] == pytest.approx(17.7)
    assert told["mean_bounded_slowdown"] == pytest.approx((1 + 1.9 + 2.3 + 32 / 15) / 4)
    assert told["utilisation"] == pytest.approx((30 + 40 + 5 + 15) / (4 * 35))
    assert isinstance(told["peak_rss_mb"], int)
    assert told["peak_rss_mb"] > 10
    assert told["engine_s"] > 0


def test_backfill_passes_only_who_delays_nobody(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "starts.csv"
    assert meyrin("replay", log, "--policy", "easy", "--starts", out) == 0
    # the row's limit is 20: job 3 might run into job 2's reservation at 20, job 1's limit
    assert starts(out) == {"1": 0, "2": 10, "3": 20, "4": 20}


def test_a_trace_keeps_its_order_of_rows(tmp_path: Path) -> None:
    rows = [row(3, 50, 10, 1), row(1, 0, 10, 1), row(2, 20, 10, 1)]
    log, out = written(tmp_path / "log.swf", "".join(rows)), tmp_path / "starts.csv"
    assert meyrin("replay", log, "--processors", 1, "--starts", out) == 0
    assert list(starts(out).items()) == [("3", 50), ("1", 0), ("2", 20)]


def test_a_job_ends_at_its_limit_unless_told_otherwise(tmp_path: Path) -> None:
    log, out = written(tmp_path / "log.swf", row(1, 0, 90, 1)), tmp_path / "starts.csv"
    for more, end in (([], 20), (["--no-kill"], 90)):
        assert meyrin("replay", log, "--processors", 1, "--starts", out, *more) == 0
        assert out.read_text().splitlines()[1] == f"1,0,0,{end}"


def test_the_size_of_the_machine_must_be_known(tmp_path: Path, capsys: Capture) -> None:
    log = written(tmp_path / "log.swf", row())
    assert meyrin("replay", log) == 2
    said = capsys.readouterr().err
    assert "doesn't say how many processors" in said
    assert "--processors N" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "Missing argument 'TRACE'"),
        (("LOG", "--policy", "esay"), "allowed: fcfs, easy, conservative"),
        (("LOG", "--processors", "0"), "0 is not in the range"),
        (("LOG", "--processors", "4", "--cluster", "x.toml"), "leave one out"),
        (("LOG", "--compare", "easy", "fcfs", "--policy", "easy"), "drop --policy"),
        (("LOG", "--compare", "easy", "fcfs", "--starts", "x.csv"), "--out DIR"),
        (("LOG", "--force"), "--force goes with --out"),
        (("LOG", "--starts", "missing/x.csv"), "no files can be made"),
        (("LOG", "--cluster", "missing.toml"), "there is no file missing.toml"),
        (("missing.swf",), "there is no file missing.swf"),
    ],
)
def test_refused_before_anything_is_done(
    argv: tuple[str, ...], words: str, log: Path, tmp_path: Path,
    capsys: Capture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert meyrin("replay", *(str(log) if one == "LOG" else one for one in argv)) in {2, 5}
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "log.swf"),
        (b"\x00\xff\xfe\x01" * 500, "log.swf"),
        (b"; MaxProcs: 4\n", "no job"),
        (row(1, 0, 0, 1).encode(), "no job that can be replayed; skipped: 1 no run time"),
        ((row(1) + row(2, -5)).encode(), "line 2"),
        ((row(1) + row(1, 9)).encode(), "line 2"),
        ((row(1) + "2 1 0 10").encode(), "line 2"),
        (b"\x28\xb5\x2f\xfd garbage", "log.swf"),
    ],
    ids=["empty", "binary", "header", "unusable", "negative", "twice", "cut", "bad-zstd"],
)
def test_bad_traces_get_words_and_data(
    content: bytes, words: str, tmp_path: Path, capsys: Capture
) -> None:
    log = written(tmp_path / "log.swf", content)
    assert meyrin("replay", log, "--processors", 4, "--json") == 2
    told = capsys.readouterr()
    assert words in told.err
    assert words in json.loads(told.out)["error"]["message"]


def test_bad_rows_are_counted_if_so_asked(tmp_path: Path, capsys: Capture) -> None:
    rows = row(1) + row(2, -5) + row(1, 9) + row(3, 2, 10, 2_000_000) + row(4, 1)
    log = written(tmp_path / "log.swf", rows)
    assert meyrin("replay", log, "--processors", 4, "--on-error", "skip", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["jobs"] == 2
    assert sum(told["skipped"].values()) == 3
    assert told["skipped"]["larger than the machine"] == 1


def test_the_folder(log: Path, tmp_path: Path, capsys: Capture) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    assert meyrin("replay", log, "--out", out) == 0
    words = capsys.readouterr()
    assert "mean wait" in words.out
    assert str(out / "index.html") in words.err
    names = {path.name for path in out.iterdir()}
    pictures = {f"{name}.{kind}" for name in ("waits-by-size", "over-time")
                for kind in ("svg", "png")}  # fmt: skip
    assert names == pictures | {"jobs.parquet", "policy.toml", "summary.json", "index.html"}
    table = pq.read_table(out / "jobs.parquet").to_pydict()
    assert table["job_id"] == [1, 2, 3, 4]
    assert table["wait_s"] == [0, 9, 18, 17]
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == [*KEYS, "inputs"]
    assert len(summary["inputs"]["trace"]["sha256"]) == 64
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org/", "")  # nothing from elsewhere
    assert (out / "over-time.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_holds_something_is_left_alone(
    log: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert meyrin("replay", log, "--out", out) == 1
    assert "--force" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert meyrin("replay", log, "--out", out, "--force") == 0
    assert (out / "mine.txt").read_text() == "mine"
    assert (out / "summary.json").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_compare(log: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert meyrin("replay", log, "--compare", "fcfs", "easy-sjf", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["earlier"], told["later"], told["equal"]) == (0, 0, 4)
    assert list(told["a"]) == list(told["b"]) == KEYS
    assert [one["class"] for one in told["by"]["size"]] == ["1", "3-4"]
    assert [one["jobs"] for one in told["by"]["size"]] == [2, 2]
    assert told["by"]["size"][0]["a"]["mean_wait_s"] == 17.5
    names = {path.name for path in out.iterdir()}
    assert {"jobs-a.parquet", "policy-b.toml", "gains-by-size.png", "summary.json"} <= names
    assert meyrin("replay", log, "--compare", "fcfs", "easy") == 0
    assert "With easy, 0 jobs start earlier than with fcfs" in capsys.readouterr().out


def test_compare_two_policies_that_differ_in_fair_share_alone(
    tmp_path: Path, capsys: Capture
) -> None:
    """Four processors, all of them for each job. Group 1 has used less than group 2 when jobs 3
    and 4 wait, so Fair Tree has its person 1 go first; the older formula has person 4, of whom
    nothing has run."""
    rows = [  # submit, run, person, group
        (0, 450, 1, 1), (1, 800, 3, 2), (500, 60, 1, 1), (501, 60, 4, 2), (5000, 9, 2, 1),
    ]  # fmt: skip
    log = written(
        tmp_path / "log.swf",
        "; MaxProcs: 4\n"
        + "".join(
            f"{n} {submit} -1 {run} 4 -1 -1 4 {run} -1 1 {person} {group} -1 1 1 -1 -1\n"
            for n, (submit, run, person, group) in enumerate(rows, 1)
        ),
    )
    policies = [
        written(
            tmp_path / f"{flag}.toml",
            f'kind = "slurm"\nname = "{flag}"\n[slurm]\nPriorityWeightFairshare = 1000\n{line}',
        )
        for flag, line in (("ranked", ""), ("older", 'PriorityFlags = "NO_FAIR_TREE"\n'))
    ]
    assert meyrin("replay", log, "--compare", *policies, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["earlier"], told["later"], told["equal"]) == (1, 1, 3)
    found = []
    for policy in policies:
        kept = tmp_path / "starts.csv"
        assert meyrin("replay", log, "--policy", policy, "--starts", kept) == 0
        found.append(starts(kept))
    assert found[0] == {"1": 0, "2": 450, "3": 1250, "4": 1310, "5": 5000}
    assert found[1] == {"1": 0, "2": 450, "3": 1310, "4": 1250, "5": 5000}


def test_ctrl_c_keeps_what_had_started(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes during the first stretch of events, on a log that takes many."""
    from meyrin.sim import run as replays

    rows = "".join(row(n, n, 10, 1) for n in range(1, 2001))
    log, out = written(tmp_path / "log.swf", rows), tmp_path / "starts.csv"
    monkeypatch.setattr(replays, "FIRST_EVENTS", 100)
    tell = replays.Standing

    def standing(*known: Any) -> Standing:
        os.kill(os.getpid(), signal.SIGINT)
        return tell(*known)

    monkeypatch.setattr(replays, "Standing", standing)
    assert meyrin("replay", log, "--processors", 1, "--starts", out, "--json") == 130
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert list(told) == [*KEYS, "complete"]
    assert told["complete"] is False
    assert 0 < told["jobs"] < 2000
    assert len(starts(out)) == told["jobs"]
    assert "interrupted" in said.err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_it() -> None:
    with until.Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.came
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_progress_is_told_from_two_seconds_on(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meyrin.sim import run as replays

    monkeypatch.setattr(replays, "FIRST_EVENTS", 10)
    log = written(tmp_path / "log.swf", "".join(row(n, n, 10, 1) for n in range(1, 200)))
    now = iter(range(0, 10**6, 10))
    session = Session(environ={}, clock=lambda: float(next(now)))
    assert run(["replay", str(log), "--processors", "1", "--json"], session) == 0
    said = capsys.readouterr()
    assert " of 199 jobs started, " in said.err
    assert " left" in said.err
    assert json.loads(said.out)["jobs"] == 199


@pytest.mark.parametrize("policy", [*EXAMPLES, "slurm"], ids=lambda one: Path(one).stem)
def test_each_policy_explains_itself(policy: object, capsys: Capture) -> None:
    assert meyrin("replay", "--explain-policy", policy) == 0
    assert "kind" in capsys.readouterr().out
    assert meyrin("replay", "--explain-policy", policy, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rules"]["bf_interval"] == 30


@needs_traces
@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["kth", "lublin256"])
def test_the_golden_starts(name: str, policy: str, tmp_path: Path) -> None:
    """Two simulators that share no code, nor any with ours, agree on each start."""
    out = tmp_path / "starts.csv"
    log = GOLDEN / f"{name}-tie-free.swf.gz"
    assert meyrin("replay", log, "--policy", policy, "--starts", out) == 0
    golden = gzip.decompress((GOLDEN / f"{name}-{policy}.starts.csv.gz").read_bytes()).decode()
    assert out.read_text().splitlines()[1:] == golden.splitlines()[1:]


@needs_traces
@pytest.mark.slow
@pytest.mark.parametrize(
    ("processors", "mean"), [(640, 26_200), (768, 1_151), (896, 109), (1_024, 11)]
)
def test_more_accelerators_for_philly(processors: int, mean: float, capsys: Capture) -> None:
    """The what-if of research/simulators.md, to the digits that it gives."""
    log = SHARED / "traces" / "philly-2017" / "philly.csv.zst"
    assert meyrin("replay", log, "--processors", processors, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_wait_s"] == pytest.approx(mean, rel=0.05)
