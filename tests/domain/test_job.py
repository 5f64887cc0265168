from __future__ import annotations

import pytest

from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import (
    MAX_ARRAY,
    MAX_NAME,
    MAX_SCRIPT_BYTES,
    ArraySpec,
    Dependency,
    DependencyKind,
    InputFile,
    JobRequest,
    Resources,
)

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Resources(nodes_min=0), "nodes_min"),
        (lambda: Resources(nodes_max=-1), "nodes_max"),
        (lambda: Resources(nodes_min=3, nodes_max=2), "nodes_max"),
        (lambda: Resources(tasks=0), "tasks"),
        (lambda: Resources(tasks_per_node=0), "tasks_per_node"),
        (lambda: Resources(cores_per_task=0), "cores_per_task"),
        (lambda: Resources(cores_per_task=10_000_001), "cores_per_task"),
        (lambda: Resources(memory_mb=-1), "memory_mb"),
        (lambda: Resources(memory_mb=2**41), "memory_mb"),
        (lambda: Resources(accelerators=-1), "accelerators"),
        (lambda: ArraySpec(()), "array"),
        (lambda: ArraySpec(tuple(range(MAX_ARRAY + 1))), "array"),
        (lambda: ArraySpec((1, 1)), "array"),
        (lambda: ArraySpec((2, 1)), "array"),
        (lambda: ArraySpec((-1, 1)), "array"),
        (lambda: ArraySpec((1,), -1), "array limit"),
        (lambda: Dependency(DependencyKind.AFTER_OK), "dependency"),
        (lambda: Dependency(DependencyKind.SINGLETON, 3), "dependency"),
        (lambda: InputFile("a", "A" * 64, 1), "sha256"),
        (lambda: InputFile("a", DIGEST[1:], 1), "sha256"),
        (lambda: InputFile("a", DIGEST + "\n", 1), "sha256"),
        (lambda: InputFile("", DIGEST, 1), "input"),
        (lambda: InputFile("/etc/passwd", DIGEST, 1), "input"),
        (lambda: InputFile("a/../../b", DIGEST, 1), "input"),
        (lambda: InputFile("a\0b", DIGEST, 1), "input"),
        (lambda: JobRequest(""), "script"),
        (lambda: JobRequest("x" * (MAX_SCRIPT_BYTES + 1)), "script"),
        (lambda: JobRequest("é" * (MAX_SCRIPT_BYTES // 2 + 1)), "script"),
        (lambda: JobRequest("a\0b"), "script"),
        (lambda: JobRequest("x", name=""), "name"),
        (lambda: JobRequest("x", name="n" * (MAX_NAME + 1)), "name"),
        (lambda: JobRequest("x", walltime_s=0), "walltime_s"),
        (lambda: JobRequest("x", output_files=("../a",)), "output_files"),
        (lambda: JobRequest("x", output_files=("/a",)), "output_files"),
        (lambda: JobRequest("x", output_files=("",)), "output_files"),
        (lambda: JobRequest("x", environment=(("A=B", "c"),)), "environment"),
        (lambda: JobRequest("x", environment=(("", "c"),)), "environment"),
    ],
)
def test_a_bad_value_is_named(make, field):
    with pytest.raises(InvalidInput) as raised:
        make()
    assert raised.value.facts["field"] == field
    assert raised.value.hint


def test_good_values_at_the_limits():
    assert len(ArraySpec(tuple(range(MAX_ARRAY))).indices) == MAX_ARRAY
    JobRequest("x" * MAX_SCRIPT_BYTES, name="名" * MAX_NAME, walltime_s=10**9)
    JobRequest("x", name="Ж ñ 名前 🚀", output_files=("out/*.json",), environment=(("A", "=\n"),))
    Resources(nodes_min=2, nodes_max=2, tasks=10_000_000, memory_mb=0)
    InputFile("data/a..b.txt", DIGEST, 0)
    Dependency(DependencyKind.AFTER_ANY, 3, element=2)


def test_a_request_is_a_value():
    assert JobRequest("x") == JobRequest("x")
    assert len({Resources(), Resources(), Resources(tasks=1)}) == 2
