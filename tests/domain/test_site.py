from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import Partition, check_name
from meyrin.domain.units import NodeShape

GPU = Partition("gpu", 4, 32, 131072, 4, "h100")


@pytest.mark.parametrize("name", ["a", "leonardo", "gpu-h100.2_x", "0", "a" * 63])
def test_names(name):
    check_name("site", name)


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".a", "a b", "a/b", "é", "a" * 64, "a\n", "../etc", "a%"]
)
def test_bad_names_are_named(name):
    with pytest.raises(InvalidInput) as raised:
        check_name("site", name)
    assert raised.value.facts == {"field": "site", "value": name}
    assert raised.value.hint


@given(st.text(max_size=70))
def test_a_name_is_safe_as_path_and_in_html(name):
    try:
        check_name("site", name)
    except InvalidInput:
        return
    assert name.isascii()
    assert not set(name) & set("/\\<>&\"' \n\0")
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize(
    ("field", "value"), [("nodes", 0), ("cores_per_node", 0), ("memory_mb_per_node", -1)]
)
def test_a_partition_has_something(field, value):
    with pytest.raises(InvalidInput) as raised:
        replace(GPU, **{field: value})
    assert raised.value.facts["field"] == field


@pytest.mark.parametrize(
    "changes",
    [
        {"accelerator_type": None},
        {"accelerators_per_node": 0},
        {"accelerators_per_node": -1},
        {"accelerators_per_node": -1, "accelerator_type": None},
    ],
)
def test_accelerators_and_their_type_go_together(changes):
    with pytest.raises(InvalidInput):
        replace(GPU, **changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_walltime_s", 0),
        ("default_walltime_s", 0),
        ("max_nodes_per_job", 0),
        ("default_memory_mb_per_core", -5),
    ],
)
def test_a_limit_is_positive_or_absent(field, value):
    with pytest.raises(InvalidInput) as raised:
        replace(GPU, **{field: value})
    assert raised.value.facts["field"] == field


def test_what_is_charged():
    assert (GPU.charged_type, GPU.node) == ("h100", NodeShape(32, 131072, 4))
    assert Partition("cpu", 1, 8, 64).charged_type == "core"
    assert GPU.charge_rate(NodeShape(8, 1, 1), 2) == 2
    assert replace(GPU, whole_node=True).charge_rate(NodeShape(8, 1, 1), 2) == 8
