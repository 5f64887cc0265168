"""What `describe` says, against numbers worked out by hand on a log of six rows."""

from __future__ import annotations

import json

import pytest
from tests.sim.trace.samples import DATA, row, written

from meyrin.domain.errors import InvalidInput
from meyrin.sim.describe import describe
from meyrin.sim.describe_picture import save_picture
from meyrin.sim.trace.read import read


@pytest.fixture(scope="module")
def told():
    return describe(read(DATA / "small.swf"))


def test_it_is_data(told):
    assert json.loads(json.dumps(told)) == told


def test_counts(told):
    assert (told["rows"], told["jobs"], told["usable"]) == (6, 6, 4)
    assert told["unusable"] == {"no size": 1, "no run time": 1}
    assert told["announced"] == 6
    assert told["backwards"] == 1
    assert told["status"] == {"unknown": 1, "failed": 1, "completed": 3, "cancelled": 1}


def test_span(told):
    assert told["span"]["first_submit_s"] == 0
    assert told["span"]["last_submit_s"] == 604_901
    assert told["span"]["last_end_s"] == 604_960
    assert told["span"]["first_submit"] == "2023-11-14T23:13:20+01:00"


def test_sizes_and_run_times(told):
    assert told["sizes"]["known"] == 4
    assert (told["sizes"]["min"], told["sizes"]["p50"], told["sizes"]["max"]) == (1, 4, 64)
    assert told["sizes"]["mean"] == 19.25
    assert [each["size"] for each in told["sizes"]["classes"]] == ["1", "3-4", "5-8", "33-64"]
    work = 4 * 100 + 8 * 50 + 64 * 3600 + 60
    assert told["sizes"]["classes"][3] == {
        "size": "33-64",
        "jobs": 1,
        "load_share": round(64 * 3600 / work, 5),
    }
    assert told["run_s"]["mean"] == (100 + 50 + 3600 + 60) / 4


def test_limits_and_waits(told):
    limits = told["limits"]
    assert limits["known"] == 4
    assert limits["over_estimation_p50"] == 1.5, "of 200/100, 40/50, 7200/3600 and 60/60"
    assert (limits["over_limit"], limits["over_limit_share"]) == (1, 0.25)
    assert limits["exact_share"] == 0.25
    waits = told["waits"]
    assert waits["known"] == 4
    assert waits["wait_s"]["mean"] == 2.0
    slowdowns = [105 / 100, 50 / 50, 3603 / 3600, 60 / 60]
    assert waits["mean_bounded_slowdown"] == round(sum(slowdowns) / 4, 3)
    assert waits["at_once_share"] == 1.0


def test_load_by_week(told):
    load = told["load"]
    work = 4 * 100 + 8 * 50 + 64 * 3600 + 60
    assert load["load_h"] == round(work / 3600, 3)
    assert load["offered"] == round(work / 604_900 / 64, 5)
    first, second = load["weeks"]
    assert (first["jobs"], second["jobs"]) == (3, 1)
    assert first["offered"] == round((work - 60) / 604_800 / 64, 5)
    assert second["days"] == round(101 / 86_400, 3)
    assert second["offered"] is None, "a hundred seconds are no week"


def test_weeks_without_a_job_are_there(tmp_path):
    week = 7 * 86_400
    text = row(1, 0) + row(2, 3 * week) + row(3, 3 * week + 90_000)
    weeks = describe(read(written(tmp_path / "a.swf", text)))["load"]["weeks"]
    assert [each["jobs"] for each in weeks] == [1, 0, 0, 2]


def test_a_log_of_an_hour_says_nothing_of_load(tmp_path):
    head = "; MaxProcs: 2\n"
    told = describe(read(written(tmp_path / "a.swf", head + row(1) + row(2, submit=3600))))
    assert told["load"]["offered"] is told["load"]["mean_busy"] is None
    assert told["load"]["load_h"] == round(20 / 3600, 3)


def test_a_hole_of_centuries_is_no_list_of_weeks(tmp_path):
    text = row(1, 0) + row(2, 2**41)
    told = describe(read(written(tmp_path / "a.swf", text)))
    assert len(told["load"]["weeks"]) == 2


def test_people(told):
    assert told["users"]["count"] == 3
    top = told["users"]["top"]
    assert [(one["name"], one["jobs"]) for one in top] == [("3", 1), ("1", 2), ("2", 1)]
    assert told["queues"]["top"][0]["name"] == "batch größer"
    assert told["partitions"]["count"] == 1


def test_arrivals_in_local_time(told):
    arrivals = told["arrivals"]
    assert arrivals["time_zone"] == "Europe/Zurich"
    assert sum(arrivals["by_hour"]) == sum(arrivals["by_weekday"]) == 6
    assert arrivals["by_hour"][23] == 6, "23:13 on two Tuesdays"
    assert arrivals["by_weekday"][1] == 6


def test_an_offset_and_an_unknown_zone(tmp_path):
    head = "; UnixStartTime: 1700000000\n; TimeZoneString: Nowhere/Land\n; TimeZone: -28800\n"
    told = describe(read(written(tmp_path / "a.swf", head + row(1))))
    assert told["span"]["first_submit"] == "2023-11-14T14:13:20-08:00"


def test_a_log_without_a_date_and_machine(tmp_path):
    told = describe(read(written(tmp_path / "a.swf", row(1) + row(2, submit=200_000))))
    assert told["arrivals"] is None
    assert told["span"]["first_submit"] is None
    assert told["machine"] is None
    assert told["load"]["offered"] is None
    assert told["load"]["weeks"][0]["mean_busy"] == round(20 / 200_001, 3)


def test_a_log_without_a_usable_job(tmp_path):
    trace = read(written(tmp_path / "a.swf", row(1, run=0)))
    told = describe(trace)
    assert told["usable"] == 0
    assert told["load"] is None
    assert told["sizes"] == {"known": 0, "classes": []}
    with pytest.raises(InvalidInput, match="no usable job to draw"):
        save_picture(trace, told, tmp_path / "a.svg")


@pytest.mark.parametrize("name", ["small.swf", "sacct.txt", "acme.csv"])
@pytest.mark.parametrize("ending", ["svg", "png"])
def test_picture(name, ending, tmp_path):
    trace = read(DATA / name)
    path = tmp_path / f"a.{ending}"
    save_picture(trace, describe(trace), path)
    data = path.read_bytes()
    if ending == "png":
        assert data.startswith(b"\x89PNG\r\n")
        return
    text = data.decode()
    for words in ("Sizes", "Run times", "Mon", "10 min to 1"):
        assert words in text, words
    assert ("Load offered by week" in text) == (name == "small.swf"), "the others are of a morning"
    if name == "small.swf":
        assert "Tröpfchen" in text
        assert "4 usable jobs of 6 rows" in text


def test_a_picture_of_another_kind(tmp_path):
    trace = read(DATA / "small.swf")
    with pytest.raises(InvalidInput, match=r"a\.pdf"):
        save_picture(trace, describe(trace), tmp_path / "a.pdf")
