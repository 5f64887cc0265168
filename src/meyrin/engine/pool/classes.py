"""Classes of positive numbers, the finer the smaller the number: so many to each doubling."""

from __future__ import annotations

from meyrin.engine.compiled import inner


@inner
def class_of(number: int) -> int:
    """The power of two at or below a positive number; 0 for 0."""
    power = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number >> step:
            number >>= step
            power += step
    return power


@inner
def fine_class(number: int, digits: int) -> int:
    """The class that tells so many binary digits behind the first apart: 2^digits to a doubling.

    From 1 on for a positive number, 0 for 0; ascending, and exact below 2^(digits + 1).
    """
    shift = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number >> step >> digits:
            number >>= step
            shift += step
    return (shift << digits) + number
