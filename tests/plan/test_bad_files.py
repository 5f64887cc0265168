"""Files that can't be studied: each stops with file, line and a way out, before anything is run."""

from __future__ import annotations

import shutil

import pytest
from tests.components import ROOT

from meyrin.domain.errors import InvalidInput, MeyrinError, NotFound
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import points

SMALL = ROOT / "examples" / "small"

NORTH = 'accelerators = { value = 256, unit = "accelerators", source = "demo" }'
CASES = {
    "a bare number": ("facility.toml", NORTH, "accelerators = 256", ["{ value = NUMBER, unit ="]),
    "a missing unit": (
        "facility.toml",
        NORTH,
        'accelerators = { value = 256, source = "demo" }',
        ["accelerators.unit is missing", "allowed: accelerators"],
    ),
    "a unit that does not fit": (
        "facility.toml",
        NORTH,
        'accelerators = { value = 256, unit = "MW", source = "demo" }',
        ["accelerators.unit is 'MW'", "allowed: accelerators"],
    ),
    "an unsourced number": (
        "facility.toml",
        NORTH,
        'accelerators = { value = 256, unit = "accelerators" }',
        ["accelerators.source is missing", "`assumption: ` and why"],
    ),
    "a source that nobody can look up": (
        "facility.toml",
        NORTH,
        'accelerators = { value = 256, unit = "accelerators", source = "a colleague" }',
        ["'a colleague' is neither a name under [source] (demo)", "say where"],
    ),
    "an unknown number without a range": (
        "facility.toml",
        NORTH,
        'accelerators = { unknown = true, unit = "accelerators", source = "demo" }',
        ["needs low and high"],
    ),
    "a range the wrong way round": (
        "facility.toml",
        NORTH,
        'accelerators = { value = 256, low = 300, unit = "accelerators", source = "demo" }',
        ["low, value and high must rise"],
    ),
    "a country that does not exist": (
        "facility.toml",
        'country = "FI"',
        'country = "XX"',
        ["'XX' is no country in ISO 3166-1", "two capital letters"],
    ),
    "a country by another code": (
        "facility.toml",
        'country = "FI"',
        'country = "UK"',
        ["did you mean GB?"],
    ),
    "a day that does not exist": (
        "scenario.toml",
        "begin = 2026-03-02",
        "begin = 2026-02-30",
        ["no TOML file", "at line 5"],
    ),
    "a day in quotes": (
        "scenario.toml",
        "begin = 2026-03-02",
        'begin = "2026-03-02"',
        ["begin is '2026-03-02'; allowed: a day without quotes, as in 2026-11-02"],
    ),
    "a place that is nowhere": (
        "facility.toml",
        "latitude = { value = 64.2,",
        "latitude = { value = 164.2,",
        ["site[1].latitude: 164.2 deg is nowhere; from -90 to 90 is expected"],
    ),
    "maintenance that ends before it begins": (
        "facility.toml",
        "begin = 2026-03-20, end = 2026-03-21",
        "begin = 2026-03-20, end = 2026-03-19",
        ["end 2026-03-19 is not after begin 2026-03-20", "swap or mend"],
    ),
    "a site that opens after the end": (
        "scenario.toml",
        "opened = 2026-03-09",
        "opened = 2027-03-09",
        ["opens on 2027-03-09, after the end on 2026-03-30"],
    ),
    "a warm-up of the whole run": (
        "scenario.toml",
        "warm_up = { value = 3,",
        "warm_up = { value = 28,",
        ["nothing would be counted"],
    ),
    "an option on none": (
        "scenario.toml",
        'on = "packing"',
        'on = "parking"',
        ["'parking' is no option before this one", "as is, packing"],
    ),
    "an upgrade of no site": (
        "scenario.toml",
        'site = "north"',
        'site = "nord"',
        ["'nord' is no site", "north, south, west"],
    ),
    "a key that is none": (
        "scenario.toml",
        "promise =",
        "promisse =",
        ["promisse is no key of this file", "did you mean promise?"],
    ),
    "groups that are not all": (
        "scenario.toml",
        'name = "companies"\nshare = { value = 20,',
        'name = "companies"\nshare = { value = 30,',
        ["add up to 1.1; they must make 1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_stops_with_file_line_and_way_out(case, tmp_path):
    name, right, wrong, words = CASES[case]
    shutil.copytree(SMALL, tmp_path / "small")
    file = tmp_path / "small" / name
    text = file.read_text()
    assert text.count(right) >= 1
    at = text[: text.index(right)].count("\n") + 1 + right.count("\n")
    file.write_text(text.replace(right, wrong, 1))
    with pytest.raises(InvalidInput) as stopped:
        load_scenario(tmp_path / "small" / "scenario.toml")
    message = stopped.value.message
    near = [f"{file}:{line}:" for line in range(at - 12, at + 1)]
    assert any(place in message for place in near), message
    for word in words:
        assert word in message
    assert stopped.value.hint or "allowed" in message or case == "a day that does not exist"


def test_a_line_is_the_line_of_the_key_where_it_has_one(tmp_path):
    shutil.copytree(SMALL, tmp_path / "small")
    file = tmp_path / "small" / "facility.toml"
    lines = file.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("price = { value = 97"))
    lines[at] = 'price = { value = 97, unit = "EUR", source = "demo" }'
    file.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match=f"facility.toml:{at + 1}: site"):
        load_scenario(tmp_path / "small" / "scenario.toml")


def test_the_first_study_is_whole_and_a_bare_one_is_led_to_it(tmp_path):
    first = ROOT / "examples" / "first"
    assert len(points(load_scenario(first / "scenario.toml"))) == 3 * 2 * 4
    shutil.copytree(first, tmp_path / "mine")
    file = tmp_path / "mine" / "scenario.toml"
    begin, _, rest = file.read_text().partition("[failures]")
    file.write_text(
        begin.replace('value = 2, unit = "h", ', "value = 2, ")
        + '[failures]\n[transfer]\n[[group]]\nname = "all"\n[[demand]]\ncountry = "CH"\n'
        + '[[workload]]\nname = "work"\ngenerator = "batch"\n'
        + 'load = { value = 80, unit = "%", source = "assumption: busy" }\n'
        + rest[rest.index("[[option]]") :]
    )
    with pytest.raises(InvalidInput) as stopped:
        load_scenario(file)
    told = [line.partition(": ")[2] for line in stopped.value.message.splitlines()]
    assert told[0] == "promise.unit is missing; allowed: s, min, h, d, a"
    assert told[1].startswith("failures.rate is missing; allowed: a table { value = NUMBER")
    assert told[1].endswith("UNIT: 1/(accelerator.d)")
    assert told[-1].endswith("needs median, spread, largest, small, overstated")
    assert [line.partition(" is ")[0] for line in told] == [
        "promise.unit", "failures.rate", "failures.repair", "failures.checkpoint",
        "failures.restart", "transfer.data", "transfer.use", "group[1].share",
        "demand[1].weight", "workload[1]",
    ]  # fmt: skip


def test_a_file_that_is_not_there_is_named_with_its_line(tmp_path):
    shutil.copytree(SMALL, tmp_path / "small")
    file = tmp_path / "small" / "scenario.toml"
    text = file.read_text()
    file.write_text(text.replace('facility = "facility.toml"', 'facility = "ours.toml"'))
    with pytest.raises(NotFound, match=r"scenario.toml:4: facility: there is no file") as stopped:
        load_scenario(file)
    assert "relative to the scenario" in stopped.value.hint
    named = 'generator = "fitted"\nfit = "our/fit.json"\n'
    begin, end = text.index('generator = "batch"'), text.index("load = { value = 68")
    file.write_text(text[:begin] + named + text[end:])
    line = text[:begin].count("\n") + 2
    with pytest.raises(NotFound, match=rf"scenario.toml:{line}: workload\[1\].fit: there is no"):
        points(load_scenario(file))


def test_a_trace_that_is_not_there_names_the_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("MEYRIN_SHARED", str(tmp_path / "nothing"))
    scenario = load_scenario(ROOT / "examples" / "europe" / "scenario.toml")
    with pytest.raises(NotFound) as stopped:
        points(scenario)
    assert "MEYRIN_SHARED" in stopped.value.hint
    assert isinstance(stopped.value, MeyrinError)


def test_an_end_of_no_number_is_refused():
    scenario = load_scenario(SMALL / "scenario.toml")
    with pytest.raises(InvalidInput, match=r"site\.nowhere\.price=high is no end"):
        points(scenario, ends=(("site.nowhere.price", "high"),))
