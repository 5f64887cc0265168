"""Items of the capability suite: every question is drawn from the seed, its answer computed.

A cluster is the pair of numbers, asked in several wordings: who knows one mostly knows the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from meyrin.suites.item import Item

TOP = 20  # numbers are below this
SUMS = ("what is {a} plus {b} ?", "add {a} and {b}", "the sum of {a} and {b} is")
ORDERS = ("which is larger , {a} or {b} ?", "the larger of {a} and {b} is")
SUCCESSORS = ("what comes after {a} ?", "the number after {a} is")


def _drawn(
    name: str,
    words: tuple[str, ...],
    pairs: list[tuple[int, int]],
    answer: Callable[[int, int], int],
    seed: int,
    count: int,
) -> Iterator[Item]:
    """`count` items at most: pairs in an order that the seed decides, each in every wording."""
    random.Random(f"{name}/{seed}").shuffle(pairs)  # noqa: S311 - drawn again anywhere
    made = 0
    for a, b in pairs:
        for wording, text in enumerate(words):
            if made == count:
                return
            made += 1
            asked = text.format(a=a, b=b)
            key = f"{name}-{a}-{b}"
            yield Item(f"{key}-{wording}", asked, str(answer(a, b)), key)


def sums(seed: int, count: int) -> Iterator[Item]:
    pairs = [(a, b) for a in range(TOP) for b in range(TOP)]
    return _drawn("sum", SUMS, pairs, lambda a, b: a + b, seed, count)


def orders(seed: int, count: int) -> Iterator[Item]:
    pairs = [(a, b) for a in range(TOP) for b in range(TOP) if a != b]
    return _drawn("order", ORDERS, pairs, max, seed, count)


def successors(seed: int, count: int) -> Iterator[Item]:
    pairs = [(a, 0) for a in range(2 * TOP - 2)]
    return _drawn("successor", SUCCESSORS, pairs, lambda a, _: a + 1, seed, count)
