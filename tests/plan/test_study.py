"""Points of a study: what they leave, and that the same point leaves the same bytes."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.components import ROOT

from meyrin.plan import federate, outcome, replay, study
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import contents_of, points, run_point
from meyrin.plan.workload import in_parts

SMALL = ROOT / "examples" / "small" / "scenario.toml"


@pytest.fixture(scope="module")
def scenario():
    return load_scenario(SMALL)


@pytest.fixture(scope="module")
def as_is(scenario):
    return run_point(points(scenario)[0])


def table(files: dict[str, bytes], name: str):
    return pq.read_table(io.BytesIO(files[name])).to_pandas()


def test_points_pair_options_by_seed_and_size_rule(scenario):
    found = points(scenario)
    assert {point.sizes for point in found} == {"recorded", "grown"}
    assert len({point.key for point in found}) == len(found)
    each = [point.at for point in found if point.option == "ten percent"]
    assert set(each) == {"north", "south", "west"}
    assert pickle.loads(pickle.dumps(found)) == found


def test_files_have_the_columns_that_outcome_promises(as_is):
    assert set(as_is) == {
        outcome.JOBS_FILE,
        outcome.HOURS_FILE,
        outcome.MEASURES_FILE,
        outcome.ABOUT_FILE,
    }
    assert list(table(as_is, outcome.JOBS_FILE).columns) == list(outcome.JOBS)
    hours = table(as_is, outcome.HOURS_FILE)
    assert list(hours.columns) == list(outcome.SITE_HOURS)
    about = json.loads(as_is[outcome.ABOUT_FILE])
    assert len(hours) == about["hours"] * len(about["sites"])


def test_a_point_run_elsewhere_leaves_the_same_bytes(scenario, as_is):
    point = points(scenario)[0]
    assert run_point(pickle.loads(pickle.dumps(point)), contents_of(point)) == as_is


def forget() -> None:
    for kept in (replay._PLAYED, federate._PARTS, study._KEPT, study._LOGS):
        kept.clear()


@pytest.mark.parametrize(
    ("option", "at", "end"),
    [
        ("as is", "", "site.south.price"),  # money alone: the jobs are not replayed
        ("ten percent", "south", ""),  # one site alone is replayed
        ("one queue", "", "transfer.data"),
        ("flexible", "", ""),
    ],
)
def test_what_is_remembered_gives_what_a_new_process_would(scenario, as_is, option, at, end):
    ends = ((end, "high"),) if end else ()
    found = points(scenario, ends=ends)
    point = next(one for one in found if (one.option, one.at) == (option, at))
    after = run_point(point)
    forget()
    assert run_point(point) == after
    if end == "site.south.price":
        assert after[outcome.JOBS_FILE] == as_is[outcome.JOBS_FILE]
        assert after[outcome.MEASURES_FILE] != as_is[outcome.MEASURES_FILE]


def test_long_jobs_are_asked_for_in_parts_one_after_the_other():
    jobs = {"submit": [5, 9], "run": [250, 100], "limit": [330, 400], "size": [2, 3]}
    found = in_parts({name: np.array(column) for name, column in jobs.items()}, 100)
    assert {name: column.tolist() for name, column in found.items()} == {
        "submit": [5, 105, 205, 9],
        "run": [100, 100, 50, 100],
        "limit": [100, 100, 100, 100],
        "size": [2, 2, 2, 3],
    }


def test_a_written_outcome_is_known_as_whole_by_its_key(scenario, as_is, tmp_path: Path):
    point = points(scenario)[0]
    assert not outcome.is_whole(tmp_path, point.key)
    outcome.write(tmp_path / "p", as_is)
    assert outcome.is_whole(tmp_path / "p", point.key)
    assert not outcome.is_whole(tmp_path / "p", "another")


def test_power_adds_up(as_is):
    hours = table(as_is, outcome.HOURS_FILE)
    assert (hours.used_s <= hours.installed_s).all()
    kwh = hours.energy_j / 3.6e6
    assert np.allclose(hours.energy_millicents, kwh * hours.price_millicents_per_kwh, atol=1)
    assert np.allclose(hours.carbon_mg, kwh * hours.carbon_mg_per_kwh, atol=1)
