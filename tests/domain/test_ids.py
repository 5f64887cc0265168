from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.ids import PREFIX, new_attempt_id, new_id

BYTES = st.binary(min_size=16, max_size=16)


@given(st.sampled_from(sorted(PREFIX)), BYTES)
def test_an_id_names_its_noun(noun, entropy):
    made = new_id(noun, lambda: entropy)
    prefix, _, digits = made.partition("_")
    assert prefix == PREFIX[noun]
    assert len(digits) == 16
    assert not set(digits) & set("ilouILOU ")


@given(BYTES, BYTES)
def test_ids_differ_where_their_80_bits_do(one, other):
    same = new_id("site", lambda: one) == new_id("site", lambda: other)
    assert same == (one[:10] == other[:10])


def test_prefixes_are_unique():
    assert len(set(PREFIX.values())) == len(PREFIX)


def test_an_unknown_noun_is_a_bug():
    with pytest.raises(KeyError):
        new_id("horse", lambda: bytes(16))


@given(BYTES)
def test_an_attempt_is_a_random_uuid(entropy):
    assert uuid.UUID(new_attempt_id(lambda: entropy)).version == 4
