"""Names beside points, and what an axis shows: no name on another, no value that squeezes all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meyrin.plan.report.labels import LETTER, LINE, Mark, lay
from meyrin.plan.report.paint import hour_ticks, kept, span

SIDE = 500.0
spots = st.tuples(st.floats(20, SIDE - 20), st.floats(20, SIDE - 20))


def boxes(marks, labels):
    for mark, label in zip(marks, labels, strict=True):
        if label is not None:
            wide = LETTER * len(mark.text)
            left = label.x - {"left": 0.0, "center": wide / 2, "right": wide}[label.align]
            yield left, label.y - LINE / 2, left + wide, label.y + LINE / 2


@settings(max_examples=30, deadline=None)
@given(st.lists(spots, min_size=1, max_size=25))
def test_no_name_lies_on_another_on_a_point_or_outside(points):
    marks = [Mark(x, y, 6.0, "ten percent") for x, y in points]
    found = list(boxes(marks, lay(marks, SIDE, SIDE)))
    for at, (left, top, right, bottom) in enumerate(found):
        assert left >= 0
        assert top >= 0
        assert right <= SIDE
        assert bottom <= SIDE
        for other in found[:at]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
        for mark in marks:
            assert not (left < mark.x < right and top < mark.y < bottom)


def test_a_name_goes_beside_its_point_where_there_is_room():
    (label,) = lay([Mark(50, 50, 6, "alps")], SIDE, SIDE)
    assert label is not None
    assert (label.align, label.y, label.line) == ("left", 50, None)
    (label,) = lay([Mark(SIDE - 10, 50, 6, "alps")], SIDE, SIDE)
    assert label is not None
    assert label.align == "right"


def test_points_at_one_place_get_their_names_further_out():
    marks = [Mark(200, 200, 6, f"option {number}") for number in range(8)]
    labels = lay(marks, SIDE, SIDE)
    assert all(labels)
    assert any(label is not None and label.line for label in labels)


@pytest.mark.parametrize(
    ("values", "largest"),
    [
        ([], 0.0),
        ([0.0, 0.0], 0.0),
        ([-1.0, 1.2, 0.5], 1.2),
        ([-1.0, 1.2, 0.5, 40.0], 1.2),  # 40 h would squeeze the others
        ([-1.0, 2.0, 4.0, 8.0], 8.0),  # grows, but no value stands alone
        ([1.0] * 16 + [30.0, 50.0], 1.0),
        ([1.0, 30.0, 50.0], 50.0),  # two of three are no exception
        ([0.0, 0.0, 5.0], 5.0),
    ],
)
def test_a_few_values_far_from_all_others_are_cut_off(values, largest):
    assert kept(values) == largest


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 5, 6, [0, 1, 2, 3, 4, 5]),
        (-0.9, -0.4, 4, [-5 / 6, -4 / 6, -0.5]),
        (0, 0.2, 5, [0, 0.05 * 10 / 6, 2 * 0.05 * 10 / 6]),
        (0, 100, 3, [0, 48, 96]),
        (0, 10**6, 3, [0.0]),
    ],
)
def test_times_on_an_axis_are_round(low, high, most, ticks):
    assert hour_ticks(low, high, most) == pytest.approx(ticks)


def test_a_range_holds_zero_and_has_room_where_something_ends():
    assert span([1.0, 4.0]) == (0.0, 4.16)
    assert span([-1.0, 1.0]) == (-1.08, 1.08)
    assert span([0.0]) == (0.0, 0.04)
