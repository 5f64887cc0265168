"""Records: columns of one kind of thing as the fields of one array, as compiled kernels take them.

A kernel reads and writes `jobs[job].size` where `jobs` is an array of records.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]


def record(**fields: str) -> np.dtype[np.void]:
    """A kind of record, its fields aligned as the compiler of C would; the large first."""
    return np.dtype(list(fields.items()), align=True)


def packed(kind: np.dtype[np.void], what: str, columns: Mapping[str, npt.ArrayLike]) -> Records:
    """Columns as records. ValueError for columns of unequal length."""
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    lengths = [len(column) for column in arrays.values()]
    if len(set(lengths)) > 1:
        raise ValueError(f"{what}: columns of unequal length {lengths}")
    found = np.empty(lengths[0], kind)
    for name, column in arrays.items():
        found[name] = column
    return found
