"""Progress of transfers on standard error: only where somebody looks, only when it takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from meyrin.cli.terminal import amount, clean, is_terminal

if TYPE_CHECKING:
    from meyrin.client.transfer import Progress

QUIET_S = 2.0
EVERY_S = 0.2
ERASE = "\r\033[K"


class ProgressLine:
    """A callback for transfers that draws one line, from two seconds on."""

    def __init__(self, clock: Callable[[], float], wanted: bool | None = None) -> None:
        self._clock = clock
        self._wanted = is_terminal(sys.stderr) if wanted is None else wanted
        self._begun = clock()
        self._drawn: float | None = None

    def __call__(self, told: Progress) -> None:
        now = self._clock()
        if not self._wanted or now - self._begun < QUIET_S:
            return
        if self._drawn is not None and now - self._drawn < EVERY_S and told.done < told.total:
            return
        self._drawn = now
        share = 100 * told.done // told.total if told.total else 100
        text = f"{told.step} {clean(told.name)}: {amount(told.done)} of {amount(told.total)}"
        sys.stderr.write(f"{ERASE}{text} ({share} %)")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._drawn is not None:
            sys.stderr.write(ERASE)
            sys.stderr.flush()
            self._drawn = None
