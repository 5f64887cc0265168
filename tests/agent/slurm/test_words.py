"""Values that no cluster can have reached are unknown, whatever way they come."""

from __future__ import annotations

import json

import pytest

from meyrin.agent.slurm import rest_values, words
from meyrin.agent.slurm.command import FIELD, CommandTransport, Done
from meyrin.wire.agents import UsageBody


@pytest.mark.parametrize(
    ("read", "sane", "known", "senseless"),
    [
        (words.number, "1234", 1234, ["18446744073709551614", str(2**62), "-5", "1.50K", ""]),
        (words.duration_ms, "1-00:00:01.5", 86_401_500, ["213503982334-14:25:51", "9" * 30 + ":0"]),
        (words.memory_kb, "1.50G", 1_572_864, ["18446744073709551612K", "9" * 25]),
        (rest_values.number, 4_294_967_293, 4_294_967_293, [2**64 - 1, 2**64 - 2, 2**63, -1]),
    ],
)
def test_what_no_cluster_can_have_reached_is_unknown(read, sane, known, senseless):
    assert read(sane) == known
    assert [read(each) for each in senseless] == [None] * len(senseless)


def test_what_steps_say_together_is_told_or_unknown():
    step = {"time": {"total": {"seconds": 3, "microseconds": 5000}}}
    absurd = {"time": {"total": {"seconds": 2**61, "microseconds": 0}}}
    assert rest_values.cpu_ms([step, step]) == 6010
    assert rest_values.cpu_ms([step, absurd]) is None
    assert UsageBody(elapsed_s=1, cpu_ms=rest_values.cpu_ms([step, absurd])).cpu_ms is None


@pytest.mark.parametrize(("state", "began"), [
    ("PENDING", False), ("REQUEUE_HOLD", False), ("REQUEUED", True), ("RUNNING", True),
])  # fmt: skip
def test_what_was_queued_again_has_not_begun_whatever_nodes_its_record_has(state, began):
    """A killed controller leaves the record of a requeued job with the nodes of the run before."""
    line = FIELD.join([
        "19", "mtb1", state, "0:0", "2026-11-30T06:09:12", "2026-11-30T06:09:14", "Unknown", "3",
        "1", "1", "cpu=1,node=1", "00:00:00", "", "0", "n1", "gpu", "astro", "None", "meyrin-a",
    ])  # fmt: skip
    by = CommandTransport(lambda *_: Done(0, line + "\n", ""), user="mtb1")
    (row,) = by.accounting(["meyrin-a"], 0, ["19"])
    assert (row.start_s is not None) is began


def test_what_slurmrestd_says_senselessly_is_unknown_and_stops_nothing():
    """Its doubles may be `NaN` and `Infinity`, which JSON of Python reads as such."""
    said = json.loads('[NaN, Infinity, -Infinity, {"set": true, "number": NaN}, true, "NaN"]')
    assert [rest_values.number(each) for each in said] == [None] * 6
    odd = ["cpu", None, {"count": 3}, {"type": "cpu", "count": 2}, {"type": "mem"}]
    assert rest_values.tres(odd) == "cpu=2"
