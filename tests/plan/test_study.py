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

from meyrin.plan import outcome
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import contents_of, points, run_point

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
