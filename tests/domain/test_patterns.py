"""File name patterns, with the examples of sbatch(1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.patterns import NODE, expand_pattern


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("slurm-%j.out", "slurm-128.out"),
        ("job%4j.out", "job0128.out"),
        ("%A_%a.txt", "120_7.txt"),
        ("%3a-%5A", "007-00120"),
        ("%x-%u@%N", "train-ada@n01"),
        ("%9x", "train"),
        ("%n%t", "00"),
        ("%2t", "00"),
        ("%J %s", "128 batch"),
        ("%b", "7"),
        ("100%%", "100%"),
        ("%%j", "%j"),
        ("%z %", "%z %"),
        (r"\%j", "%j"),
        (r"a\b%j", "ab%j"),
        (r"a\\%j", r"a\%j"),
        ("%99j", "0000000128"),
        ("", ""),
    ],
)
def test_symbols(pattern, wanted):
    found = expand_pattern(
        pattern, job=128, array_job=120, task=7, name="train", node="n01.site.org", user="ada"
    )
    assert found == wanted


def test_outside_an_array():
    assert expand_pattern("%A_%a", job=5) == "5_4294967294"


def test_a_node_that_is_filled_in_later_is_told_from_a_percent_sign():
    found = expand_pattern("%N-%%N-%x", job=1, name="100%N", node=NODE)
    assert found == f"{NODE}-%N-100%N"


@given(st.text(st.characters(exclude_characters="%\\")))
def test_names_without_symbols_stay(pattern):
    assert expand_pattern(pattern, job=1) == pattern
