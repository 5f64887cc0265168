from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import (
    NodeShape,
    Unit,
    charge_s,
    charged_per_second,
    convert,
    parse_memory_mb,
    parse_walltime_s,
    per_node,
    show_count,
    show_duration,
    show_hours,
)

NODE = NodeShape(32, 131072, 4)
NODES = st.builds(
    NodeShape, st.integers(1, 256), st.integers(1, 2**21), st.sampled_from([0, 1, 2, 4, 8])
)
UNITS = st.sampled_from(Unit)


@pytest.mark.parametrize(
    ("amount", "unit"), [(40_000, Unit.CORE), (1_250, Unit.NODE), (5_000, Unit.ACCELERATOR)]
)
@pytest.mark.parametrize(
    ("target", "expected"), [(Unit.CORE, 40_000), (Unit.NODE, 1_250), (Unit.ACCELERATOR, 5_000)]
)
def test_the_worked_example(amount, unit, target, expected):
    assert convert(amount, unit, target, NODE) == expected


def test_what_is_no_whole_number_is_refused():
    with pytest.raises(InvalidInput, match="no whole number"):
        convert(1, Unit.CORE, Unit.NODE, NODE)


def test_a_node_without_accelerators_charges_cores():
    bare = NodeShape(32, 1024)
    assert per_node(Unit.ACCELERATOR, bare) == 32
    assert convert(64, Unit.CORE, Unit.ACCELERATOR, bare) == 64


@given(st.integers(0, 10**15), UNITS, UNITS, NODES)
def test_conversion_is_exact_both_ways(amount, source, target, node):
    try:
        there = convert(amount, source, target, node)
    except InvalidInput:
        assert amount * per_node(target, node) % per_node(source, node)
        return
    assert convert(there, target, source, node) == amount


@given(st.integers(0, 10**9), UNITS, NODES)
def test_whole_nodes_always_convert(nodes_s, target, node):
    amount = convert(nodes_s, Unit.NODE, target, node)
    assert amount == nodes_s * per_node(target, node)
    assert convert(amount, target, Unit.NODE, node) == nodes_s


@pytest.mark.parametrize(
    ("asked", "nodes", "whole", "rate"),
    [
        (NodeShape(8, 1024, 1), 1, False, 1),
        (NodeShape(16, 1024, 1), 1, False, 2),
        (NodeShape(1, 131072, 0), 1, False, 4),
        (NodeShape(1, 1, 0), 1, False, Fraction(1, 8)),
        (NodeShape(1, 1, 0), 3, True, 12),
    ],
)
def test_the_largest_share_counts(asked, nodes, whole, rate):
    assert charged_per_second(asked, nodes, NODE, whole) == rate


@given(st.data(), NODES, st.integers(1, 50), st.booleans())
def test_nobody_pays_more_than_the_nodes(data, node, nodes, whole):
    asked = NodeShape(
        data.draw(st.integers(1, node.cores)),
        data.draw(st.integers(1, node.memory_mb)),
        data.draw(st.integers(0, node.accelerators)),
    )
    rate = charged_per_second(asked, nodes, node, whole)
    assert asked.accelerators * nodes <= rate <= nodes * per_node(Unit.ACCELERATOR, node)
    assert asked.fits_in(node)


@given(st.fractions(min_value=0, max_value=1000), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_begun_second_counts_once(rate, first_s, second_s):
    charged = charge_s(rate, first_s)
    assert charged == ceil(rate * first_s)
    # cut in two a job pays at most one second more, never less
    assert 0 <= charged + charge_s(rate, second_s) - charge_s(rate, first_s + second_s) <= 1


@pytest.mark.parametrize(
    ("text", "memory_mb"),
    [
        ("16G", 16384), ("16GB", 16384), ("16GiB", 16384), ("500", 500), ("500M", 500), ("0", 0),
        ("1T", 1048576), ("1024K", 1), ("1025K", 2), ("1K", 1), ("1.5g", 1536), (" 2 G ", 2048),
        ("0.1G", 103),
    ],
)  # fmt: skip
def test_memory_sizes(text, memory_mb):
    assert parse_memory_mb(text) == memory_mb


@pytest.mark.parametrize(
    "text",
    ["", "G", "-1", "1P", "1e3", "1,5G", "16 GG", "1\n2", "٣G", "1" * 5000, "1." + "1" * 5000],
)
def test_what_is_no_memory_size_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_memory_mb(text)


@given(st.integers(0, 10**6), st.sampled_from("KMGT"))
def test_memory_is_never_rounded_down(number, unit):
    factor = {"K": Fraction(1, 1024), "M": 1, "G": 1024, "T": 1024**2}[unit]
    assert parse_memory_mb(f"{number}{unit}") == ceil(number * factor)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800), ("30:15", 1815), ("2:30:00", 9000), ("02:30:00", 9000), ("1-0", 86400),
        ("1-12", 129600), ("1-12:30", 131400), ("1-12:30:15", 131415), ("0", 0), ("0:01", 1),
        ("UNLIMITED", None), ("infinite", None), ("-1", None), (" 10 ", 600), ("90:00", 5400),
    ],
)  # fmt: skip
def test_wall_times(text, seconds):
    assert parse_walltime_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "abc", "1:2:3:4", "1-", "-2", "1-2-3", "1.5", "1h", ":30", "1:", "1-1:1:1:1", "٣",
     "1" * 5000, "1-" + "1" * 5000],
)  # fmt: skip
def test_what_is_no_wall_time_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_walltime_s(text)


@given(st.integers(0, 10**9))
def test_a_duration_reads_back(seconds):
    assert parse_walltime_s(show_duration(seconds)) == seconds


def test_shown_for_people():
    assert show_duration(90061) == "1-01:01:01"
    assert show_duration(-61) == "-00:01:01"
    assert show_hours(3600 * 40_000) == "40,000.000"
    assert [show_hours(s) for s in (0, 1, 2, -1)] == ["0.000", "0.0003", "0.001", "-0.0003"]
    assert [show_count(n, "core") for n in (0, 1, 2000)] == ["0 cores", "1 core", "2,000 cores"]
