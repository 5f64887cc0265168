"""Classes of positive numbers: a number of them to each doubling, so the wider the larger."""

from __future__ import annotations

from meyrin.engine.compiled import inner


@inner
def class_of(number: int, digits: int) -> int:
    """The class that tells so many binary digits behind the first apart: 2^digits to a doubling.

    From 1 on for a positive number, 0 for 0; ascending, and exact below 2^(digits + 1).
    """
    shift = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number >> step >> digits:
            number >>= step
            shift += step
    return (shift << digits) + number
