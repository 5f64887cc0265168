"""The whole house in worlds full of faults: every law holds after every step, whatever the seed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.world.lives import replay_command
from tests.world.settings import draw

SEEDS = 50
ROOT = Path(__file__).resolve().parents[2]


def told(outcome, settings):
    """What a failed test says."""
    last = "\n".join(outcome.trace[-40:])
    return f"seed {outcome.seed}: {outcome.words}\n{last}\nagain: {replay_command(settings)}"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_every_law_holds_after_every_step(place, first):
    checks = 0
    for seed in range(first, first + 10):
        outcome = place.live(draw(seed))
        assert outcome.good, told(outcome, draw(seed))
        checks += outcome.checks
    assert checks > 300, "the laws were looked at"


@pytest.mark.parametrize("seed", [3, 4])
def test_on_postgres_too(postgres_place, seed):
    settings = draw(seed)
    outcome = postgres_place.live(settings)
    assert outcome.good, told(outcome, settings)


def test_a_seed_is_told_the_same_again_to_the_byte(place):
    settings = draw(4)
    first, again = place.live(settings), place.live(settings)
    assert first.trace == again.trace
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    asked = [sys.executable, "-m", "tests.world.many", "--seed=4"]
    elsewhere = subprocess.run(
        asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert tuple(elsewhere.stdout.splitlines()[:-1]) == first.trace
    assert first.digest in elsewhere.stdout


def test_nothing_sleeps_and_no_thread_is_made(place, monkeypatch):
    def never(*_arguments, **_named):
        raise AssertionError("a world waits for nobody")

    monkeypatch.setattr(time, "sleep", never)
    monkeypatch.setattr(threading.Thread, "start", never)
    assert place.live(draw(5)).good


def test_worlds_differ(place):
    """Seeds are not all the same world: their faults and their traces differ."""
    faults = {tuple(sorted(draw(seed).faults.items())) for seed in range(50)}
    assert len(faults) == 50
    assert place.live(draw(1)).digest != place.live(draw(2)).digest
