"""A generator fitted to a log: it keeps what it says, draws from the seed alone, and the fit is
shown as it is, good or bad."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tomllib

import numpy as np
import pytest
from tests.components import ROOT

from meyrin.cli.main import run as main
from meyrin.cli.session import Session
from meyrin.domain.errors import InvalidInput
from meyrin.plan import fit_page
from meyrin.plan.fit_check import apart, check
from meyrin.plan.fitted import BURST_GAP_S, DAY_S, HOUR_S, WEEK_H, Fit, bursts, draw, fit
from meyrin.plan.outcome import ABOUT_FILE
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import contents_of, points, run_point
from meyrin.plan.workload import Log

SPAN_S, MACHINE = 70 * DAY_S, 64


def log_of(seed: int = 1, count: int = 4000) -> Log:
    """Bursts at working hours: long ones of small short jobs, short ones of large long jobs."""
    chance = np.random.default_rng(seed)
    submit, size, run, user = [], [], [], []
    while len(submit) < count:
        day, hour = chance.integers(0, 70), chance.integers(8, 18)
        at = day * DAY_S + hour * HOUR_S + chance.integers(0, HOUR_S)
        many = chance.random() < 0.2
        who = int(min(39, chance.geometric(0.15) - 1))
        for _ in range(chance.integers(10, 40) if many else 1):
            submit.append(at)
            size.append(1 if many else int(2 ** chance.integers(1, 5)))
            run.append(int(chance.lognormal(5 if many else 8.5, 0.8)) + 1)
            user.append(who)
            at += chance.integers(1, 60)
    order = np.argsort(submit, kind="stable")
    columns = [np.array(each, np.int64)[order] % 2**40 for each in (submit, size, run, user)]
    return Log(
        submit=columns[0], size=columns[1], run=columns[2], limit=columns[2] * 3,
        user=columns[3], users=40, span_s=SPAN_S, machine=MACHINE,
    )  # fmt: skip


def fitted(log: Log) -> Fit:
    return fit(
        log.submit, log.size, log.run, log.limit, log.user, log.span_s, log.machine,
        source="a log", sha256="",
    )  # fmt: skip


@pytest.fixture(scope="module")
def log() -> Log:
    return log_of()


@pytest.fixture(scope="module")
def made(log: Log) -> Fit:
    return fitted(log)


def drawn(made: Fit, seed: int = 1, work: float | None = None, grown: float = 1.0):
    work = made.jobs * made.work_each if work is None else work
    return draw(made, np.random.default_rng(seed), work, SPAN_S, grown)


def test_a_burst_ends_after_twenty_minutes_or_with_another_person():
    submit = np.array([0, BURST_GAP_S, 2 * BURST_GAP_S + 1, 2 * BURST_GAP_S + 2])
    assert bursts(submit, np.array([0, 0, 0, 0])).tolist() == [0, 0, 1, 1]
    assert bursts(submit, np.array([0, 0, 0, 1])).tolist() == [0, 0, 1, 2]


def test_the_same_seed_draws_the_same_jobs_and_another_seed_others(made):
    one, again, other = drawn(made), drawn(made), drawn(made, seed=2)
    assert all((one[name] == again[name]).all() for name in one)
    assert len(one["submit"]) != len(other["submit"]) or (one["run"] != other["run"]).any()


def test_a_fit_survives_its_file(made):
    again = Fit.model_validate_json(made.model_dump_json())
    assert again == made
    assert (drawn(again)["run"] == drawn(made)["run"]).all()


def test_what_is_drawn_is_legal_and_in_order(made):
    jobs = drawn(made)
    assert (np.diff(jobs["submit"]) >= 0).all()
    assert jobs["submit"].min() >= 0
    assert jobs["submit"].max() < SPAN_S
    assert (jobs["limit"] >= jobs["run"]).all()
    assert (jobs["run"] >= 1).all()
    assert set(np.unique(jobs["size"])) <= {1, 2, 4, 8, 16}


def test_it_draws_as_much_work_as_asked_and_more_work_is_more_people(made):
    whole = made.jobs * made.work_each
    for times in (1, 4):
        jobs = [drawn(made, seed, whole * times) for seed in range(4)]
        work = np.mean([float((each["size"] * each["run"]).sum()) for each in jobs])
        assert work == pytest.approx(whole * times, rel=0.1)
        assert np.mean([len(np.unique(each["user"])) for each in jobs]) > 25 * times


def test_grown_sizes_are_larger_and_fewer(made):
    as_recorded, grown = drawn(made), drawn(made, grown=4.0)
    assert grown["size"].max() == 4 * as_recorded["size"].max()
    assert len(grown["size"]) == pytest.approx(len(as_recorded["size"]) / 4, rel=0.02)


def test_sizes_run_times_hours_and_the_smallness_of_long_bursts_are_kept(log, made):
    jobs = drawn(made)
    assert apart(log.size, jobs["size"]) < 0.05
    assert apart(log.run, jobs["run"]) < 0.05
    hours = np.bincount(jobs["submit"] // HOUR_S % 24, minlength=24)
    assert hours[8:18].sum() > 0.95 * hours.sum()
    order = np.lexsort((jobs["submit"], jobs["user"]))
    burst = bursts(jobs["submit"][order], jobs["user"][order])
    long = np.bincount(burst)[burst] > 8
    assert (jobs["size"][order][long] == 1).mean() > 0.9


def test_distances_are_those_of_kolmogorov_and_smirnov():
    assert apart(np.array([1, 2, 3]), np.array([1, 2, 3])) == 0
    assert apart(np.array([1, 2]), np.array([3, 4])) == 1
    assert apart(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])) == 0.5


def test_the_page_says_where_it_does_not_fit(log, made):
    found = check(made, log, (1, 2))
    lonely = Log(**{
        **{name: getattr(log, name) for name in ("submit", "size", "run", "user", "users")},
        "limit": log.run, "span_s": log.span_s, "machine": log.machine,
    })  # fmt: skip
    wrong = check(made, lonely, (1, 2))
    assert found.measure("limit over run time").distance[1] < 0.1
    assert wrong.measure("limit over run time").distance[0] > 0.9
    assert "limit over run time" in fit_page.verdict(wrong)


def test_the_table_has_the_logs_own_numbers(log, made):
    table = fit_page.files(check(made, log, (1, 2)), "again")[fit_page.TABLE].decode()
    rows = {(row["measure"], row["statistic"]): row for row in csv.DictReader(io.StringIO(table))}
    assert float(rows["run time", "50 %"]["log"]) == np.percentile(log.run, 50)
    row = rows["wait under EASY", "mean"]
    assert float(row["drawn_least"]) <= float(row["drawn_mean"]) <= float(row["drawn_most"])


def swf(log: Log) -> str:
    lines = [f"; MaxProcs: {log.machine}"]
    columns = zip(log.submit, log.run, log.size, log.limit, log.user, strict=True)
    for number, (submit, run, size, limit, user) in enumerate(columns, 1):
        lines.append(
            f"{number} {submit} -1 {run} {size} -1 -1 {size} {limit} -1 1 {user} 1 -1 1 -1 -1 -1"
        )
    return "\n".join(lines) + "\n"


def meyrin(*argv: object) -> int:
    return main([str(one) for one in argv], Session(environ={}))


def test_the_command_writes_fit_table_and_page_once(tmp_path, log, capsys):
    (tmp_path / "log.swf").write_text(swf(log))
    out = tmp_path / "fit"
    asked = ("plan", "fit", tmp_path / "log.swf", "--out", out, "--seeds", "2", "--json")
    assert meyrin(*asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(each.name for each in out.iterdir()) == ["fit.csv", "fit.html", "fit.json"]
    assert told["jobs"] == len(log.submit)
    assert told["machine"] == MACHINE
    kept = Fit.model_validate_json((out / "fit.json").read_bytes())
    assert len(kept.week) == WEEK_H
    assert meyrin(*asked) == 1
    assert "write over them with --force" in capsys.readouterr().err
    assert meyrin(*asked, "--force") == 0


def test_a_log_that_is_too_short_is_refused(tmp_path, capsys):
    (tmp_path / "log.swf").write_text(swf(log_of(count=20)))
    assert meyrin("plan", "fit", tmp_path / "log.swf", "--out", tmp_path / "f") == 2
    assert "a fit needs 100" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_a_scenario_takes_a_fit_and_says_what_is_no_fit(tmp_path, made):
    folder = tmp_path / "study"
    shutil.copytree(ROOT / "examples" / "small", folder)
    scenario = folder / "scenario.toml"
    said = tomllib.loads(scenario.read_text())
    text = scenario.read_text() + PART
    scenario.write_text(text)
    (folder / "fit.json").write_text("{}")
    point = points(load_scenario(scenario))[0]
    with pytest.raises(InvalidInput, match="no fit: format"):
        run_point(point)
    (folder / "fit.json").write_text(made.model_dump_json())
    point = points(load_scenario(scenario))[0]
    files = run_point(point)
    assert files == run_point(point, contents_of(point))
    about = json.loads(files[ABOUT_FILE])
    assert about["counts"]["jobs"] > 0
    assert len(said["workload"]) + 1 == len(load_scenario(scenario).file.workload)


PART = """
[[workload]]
name = "more"
generator = "fitted"
fit = "fit.json"
load = { value = 0.05, unit = "1", source = "assumption: a test" }
"""
