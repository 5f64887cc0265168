"""How long a step that failed waits before it tries again, and whether that is worth a line.

Waits double from a quarter of a second to half a minute and are shaken, so that many agents do not
come back to a hub at once. Words come at the first failure and then each time the failure has
lasted twice as long: a day without a hub is a dozen lines a step.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

FIRST_S = 0.25
LONGEST_S = 30.0
MANY = 20  # news at once that are worth a call of their own


@dataclass(slots=True)
class _Bad:
    times: int = 0
    waited_s: float = 0.0
    say_at_s: float = 0.0


class Patience:
    """Of all steps of one agent, each by its name; may be used by several threads."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._bad: dict[str, _Bad] = {}
        self._lock = threading.Lock()

    def failed(self, step: str) -> tuple[float, bool]:
        """How long to wait, and whether to say it."""
        with self._lock:
            bad = self._bad.setdefault(step, _Bad())
            wait_s = min(FIRST_S * 2**bad.times, LONGEST_S) * (0.5 + 0.5 * self._chance())
            said = bad.waited_s >= bad.say_at_s
            if said:
                bad.say_at_s = max(2 * bad.waited_s, 1.0)
            bad.times = min(bad.times + 1, 20)
            bad.waited_s += wait_s
            return wait_s, said

    def worked(self, step: str) -> bool:
        """Whether it had failed before."""
        with self._lock:
            return self._bad.pop(step, None) is not None


def gather_s(least_s: float, took_s: float) -> float:
    """How long to wait for more news before the next batch: as long as the last one took, so that
    on a busy machine half of the time at most goes into batches; ten times the least at most."""
    return min(10 * least_s, max(least_s, took_s))
