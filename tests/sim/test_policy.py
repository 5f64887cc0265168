"""Policy files: Slurm's names and units become the engine's rules; nothing wrong gets through."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from tests.components import ROOT
from tests.sim.trace.samples import written

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.engine.rules import Rules
from meyrin.sim.policy import KINDS, load, slurm_time

EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path) -> None:
    assert load(str(path)).kind in KINDS


def test_names_of_the_plain_policies() -> None:
    backfill = {name: load(name).rules.backfill for name in ("fcfs", "easy", "easy-sjf")}
    assert backfill == {"fcfs": "none", "easy": "easy", "easy-sjf": "easy-sjf"}
    assert load("fair-share").rules == Rules(order="dominant-share", backfill="easy")


def test_defaults_are_slurms() -> None:
    """Those of the engine's rules, which cite slurm.conf(5)."""
    assert load("slurm").rules == Rules(order="multifactor", backfill="slurm")


def test_slurms_names_and_units(tmp_path: Path) -> None:
    text = """
        kind = "slurm"
        name = "ours"
        packing = "spread"
        [slurm]
        PriorityWeightAge = 1
        PriorityWeightFairshare = 2
        PriorityWeightJobSize = 3
        PriorityWeightPartition = 4
        PriorityWeightQOS = 5
        PriorityMaxAge = "1-0"
        PriorityFavorSmall = true
        PriorityFlags = "NO_FAIR_TREE"
        PriorityDecayHalfLife = 0
        PriorityCalcPeriod = 10
        FairShareDampeningFactor = 6
        default_queue_depth = 7
        sched_interval = 8
        bf_interval = 9
        bf_resolution = 11
        bf_window = 12
        bf_max_job_test = 13
        bf_max_job_start = 14
        bf_max_job_user = 15
    """
    policy = load(str(written(tmp_path / "ours.toml", text)))
    assert (policy.label, policy.plain, len(policy.sha256)) == ("ours", False, 64)
    assert asdict(policy.rules) == {
        "order": "multifactor", "backfill": "slurm", "preemption": "off", "packing": "spread",
        "fair_share": "classic",
        "priority_weight_age": 1, "priority_weight_fair_share": 2, "priority_weight_job_size": 3,
        "priority_weight_partition": 4, "priority_weight_qos": 5, "priority_max_age": 86400,
        "priority_favor_small": True, "priority_decay_half_life": 0, "priority_calc_period": 600,
        "fair_share_dampening_factor": 6, "default_queue_depth": 7, "sched_interval": 8,
        "bf_interval": 9, "bf_resolution": 11, "bf_window": 720, "bf_max_job_test": 13,
        "bf_max_job_start": 14, "bf_max_job_user": 15,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(5, 300), ("5", 300), ("5:30", 330), ("2:00:01", 7201), ("7-0", 604800), ("1-2:03:04", 93784)],
)
def test_times_as_slurm_writes_them(written: object, seconds: int) -> None:
    assert slurm_time(written) == seconds


@pytest.mark.parametrize("written", [-1, True, 1.5, "", "x", "1:2:3:4", "1-", None])
def test_what_is_no_time(written: object) -> None:
    with pytest.raises(ValueError, match="allowed: minutes"):
        slurm_time(written)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "kind is missing; allowed: fcfs, easy, conservative"),
        ('kind = "eazy"', "kind is 'eazy'; allowed: fcfs, easy"),
        ('kind = "easy"\nkid = 1', "kid is no key of this file; did you mean kind?"),
        ('kind = "easy"\npacking = true', "packing is true; allowed: packed, spread"),
        ('kind = "slurm"\n[slurm]\nbf_window = 0', "slurm.bf_window is 0; allowed: a whole number"),
        ('kind = "slurm"\n[slurm]\nbf_window = "9"', "slurm.bf_window is '9'; allowed"),
        ('kind = "slurm"\n[slurm]\nbf_windo = 9', "did you mean bf_window?"),
        ('kind = "slurm"\n[slurm]\nPriorityMaxAge = 0', "PriorityMaxAge is 0 s; allowed: from 1 s"),
        ('kind = "slurm"\n[slurm]\nPriorityMaxAge = "a"', "allowed: minutes as a whole number"),
        ('kind = "slurm"\n[slurm]\nPriorityFlags = "MAX_TRES"', "allowed: FAIR_TREE, NO_FAIR_TREE"),
        ('kind = "slurm"\n[slurm]\nFairShareDampeningFactor = 2', 'PriorityFlags = "NO_FAIR_TREE"'),
        ('kind = "easy"\n[slurm]\nbf_window = 9', 'goes with kind = "slurm"'),
        ('kind = "easy"\nbackfill = "none"', 'goes with kind = "fair-share"'),
        ("kind = ", "is no TOML file: Invalid value (at end of document)"),
    ],
)
def test_each_error_names_file_key_value_and_what_is_allowed(
    text: str, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "wrong.toml", text)
    with pytest.raises(InvalidInput) as caught:
        load(str(path))
    assert str(path) in caught.value.message
    assert words in caught.value.message


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no policy 'esay'"):
        load("esay")
    with pytest.raises(NotFound, match="no file"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(InvalidInput, match="byte 0 is no UTF-8"):
        load(str(written(tmp_path / "binary.toml", b"\xff\x00")))
    with pytest.raises(InvalidInput, match="can't be read"):
        load(str(tmp_path))
