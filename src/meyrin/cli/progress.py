"""Progress on standard error: only when it takes long, and drawn only where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from meyrin.cli.terminal import ERASE, amount, clean, is_terminal, say

if TYPE_CHECKING:
    from meyrin.client.transfer import Progress

QUIET_S = 2.0
EVERY_S = 0.2
LINE_S = 10.0  # between lines where nobody looks, if lines are wanted there


class Line:
    """One line that is drawn anew, from two seconds on.

    Where standard error is no terminal nothing is said, unless `lines` asks for a plain line now
    and then, for the log of a batch job.
    """

    def __init__(
        self, clock: Callable[[], float], wanted: bool | None = None, *, lines: bool = False
    ) -> None:
        self._clock = clock
        self._drawing = is_terminal(sys.stderr) if wanted is None else wanted
        self._every = EVERY_S if self._drawing else LINE_S if lines else float("inf")
        self._begun = clock()
        self._next = self._begun + QUIET_S if self._every < float("inf") else float("inf")
        self._drawn = False

    def tell(self, text: Callable[[], str], *, last: bool = False) -> None:
        """Say `text()` if it is time to; `last` draws the end of something that was drawn."""
        now = self._clock()
        if now < self._next and not (last and self._drawn):
            return
        self._next = now + self._every
        if self._drawing:
            self._drawn = True
            sys.stderr.write(f"{ERASE}{text()}")
        else:
            sys.stderr.write(f"{text()}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write(ERASE)
            sys.stderr.flush()
            self._drawn = False


class ProgressLine:
    """A callback for transfers that draws one line."""

    def __init__(self, clock: Callable[[], float], wanted: bool | None = None) -> None:
        self._line = Line(clock, wanted)

    def __call__(self, told: Progress) -> None:
        if told.step == "waiting":  # nothing else is told until it is over
            say(clean(f"another fetch of {told.name} is under way here; waiting for its end"))
            return
        self._line.tell(lambda: _transfer(told), last=told.done >= told.total)

    def close(self) -> None:
        """Take the line away."""
        self._line.close()


def _transfer(told: Progress) -> str:
    share = 100 * told.done // told.total if told.total else 100
    text = f"{told.step} {clean(told.name)}: {amount(told.done)} of {amount(told.total)}"
    return f"{text} ({share} %)"
