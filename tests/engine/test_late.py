"""Functions that run as written, and as machine code once there is much to do."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import numpy as np
import pytest
from tests.components import ROOT
from tests.engine.states_of_the_world import NOW, make_policy, make_state

from meyrin.engine import late, room
from meyrin.engine.explain import explain
from meyrin.engine.placement import decide

SWITCH = """
import sys
import numpy as np
from meyrin.engine import late, rank

values = np.array([3, 1, 2])
found = [rank.smallest(values.copy(), 3, 2)]
late.expect(late.SMALL)
with late.held(print):
    late.expect(late.SMALL + 1)
plain = "numba" not in sys.modules
late.expect(late.SMALL + 1)
found.append(rank.smallest(values.copy(), 3, 2))
late.load()
print(found, plain, len(rank.smallest.run.signatures))
"""


def test_much_to_do_loads_machine_code_and_little_does_not():
    done = subprocess.run(
        [sys.executable, "-c", SWITCH], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[2, 2] True 1"


def test_only_a_large_decision_waits_while_the_code_is_made() -> None:
    large = threading.Thread(target=late.expect, args=(late.LARGE + 1,))
    made = threading.Event()
    with late.held(made.wait):
        late.expect(late.LARGE)
        large.start()
        large.join(0.2)
        assert large.is_alive()
        made.set()
    large.join(60)
    assert not large.is_alive()


def test_both_ways_decide_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    late.load()
    worlds = [(make_state(rng), make_policy(rng)) for rng in map(random.Random, range(30))]

    def answers():
        return [
            (
                decide(state, policy, NOW),
                [explain(job, state, policy, NOW) for job in state.waiting],
            )
            for state, policy in worlds
        ]

    compiled = answers()
    for one in late._all:
        monkeypatch.setattr(one, "run", one.plain)
    assert answers() == compiled


def test_a_room_is_the_same_after_either(monkeypatch: pytest.MonkeyPatch) -> None:
    late.load()
    compiled = [worked(seed) for seed in range(20)]
    for one in late._all:
        monkeypatch.setattr(one, "run", one.plain)
    assert [worked(seed) for seed in range(20)] == compiled


def worked(seed: int) -> list[object]:
    """What a room of nine nodes answers to 30 acts, and what is free in it at the end."""
    rng = random.Random(seed)
    made = room.new(np.array([[4, 16, 1000]] * 9, np.int64), 0, 4)
    nodes, chosen = np.arange(9, dtype=np.int32), np.zeros(9, np.int32)
    said: list[object] = []
    for _ in range(30):
        made = room.ensured(made, 40)
        count, lasts = rng.randint(1, 9), rng.choice([1, 60, room.NEVER])
        asked = np.array([rng.randint(0, 2), rng.randint(1, 8), rng.randint(1, 500)], np.int64)
        at = rng.randint(0, 100)
        match rng.randrange(4):
            case 0:
                room.squeeze(made, nodes, asked, count, at, at + 50, chosen)
            case 1:
                said.append(int(room.longest(made, nodes, asked, count, at)))
            case 2:
                said.append(int(room.count_with_room(made, nodes, asked, lasts, at)))
            case _:
                begin = int(room.earliest(made, nodes, asked, count, lasts, at, True, chosen))
                said.append((begin, chosen[:count].tolist()))
                if begin >= 0:
                    room.take(made, chosen, count, asked, begin, min(begin + lasts, room.NEVER))
    room.compact(made, 50)
    segments = []
    for node in range(9):
        at = node
        while at >= 0:
            segments.append((int(made.time[at]), made.free[at].tolist()))
            at = int(made.next[at])
    return [said, segments]
