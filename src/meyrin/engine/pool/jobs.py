"""The jobs of a pool as arrays, and the counters that every kernel of this room keeps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]

# Places in the array of counters.
NOW = 0  # the instant that was dealt with last
NEXT = 1  # the first job that has not arrived
FREE = 2  # processors
WAITING = 3  # jobs
HEAD = 4  # the first job in log order that waits, where WAITING > 0
STARTED = 5  # jobs
SHADOW = 6  # when the head job starts at the latest
SPARE = 7  # processors that it leaves free then
LISTED = 8  # whether the waiting jobs stand in the short list; else in the tree
COUNTERS = 9


class Jobs(NamedTuple):
    """One entry a job in log order; `start` is -1 until it is known."""

    submit: Times
    processors: Times
    duration: Times
    limit: Times
    start: Times
