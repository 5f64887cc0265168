"""The k-th smallest of some values, without sorting them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.late import late


@late
def smallest(values: NDArray[np.int64], size: int, rank: int) -> int:
    """The `rank`-th smallest, from 1, of the first `size` values (Hoare 1961, CACM 4(7), FIND).

    Puts the values in another order.
    """
    low, high, wanted = 0, size - 1, rank - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return int(values[wanted])
