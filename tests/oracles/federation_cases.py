"""Small random federations, full of ties, in which every feature has something to do."""

from __future__ import annotations

from typing import Any

import numpy as np


def case(seed: int, most: int = 60) -> dict[str, Any]:
    """Arguments of `Federation`, all of them given. Times are short, so that much coincides."""
    rng = np.random.default_rng(seed)
    places = int(rng.integers(1, 5))
    jobs = int(rng.integers(most // 12, most))
    node = rng.choice([1, 2, 4], places)
    count = node * rng.integers(1, 7, places)
    whole = rng.random(places) < 0.4
    groups = int(rng.integers(1, 4))
    span = int(rng.choice([20, 100, 400, 2000]))
    run = rng.integers(1, int(rng.choice([5, 40, 300])), jobs)
    size = np.where(
        rng.random(jobs) < 0.6,
        rng.integers(1, 4, jobs),
        rng.integers(1, int(count.max()) + 1, jobs),
    )
    ready = np.sort(rng.integers(0, span, jobs))
    given: dict[str, Any] = {
        "ready": ready,
        "size": size,
        "run": run,
        "limit": run + rng.integers(0, 60, jobs) * rng.integers(0, 2, jobs),
        "home": rng.integers(0, places, jobs),
        "rank": np.arange(jobs),
        "number": rng.permutation(10 * jobs)[:jobs],
        "away": ready + rng.integers(0, 40, jobs) * int(rng.random() < 0.5),
        "group": rng.integers(0, groups, jobs),
        "low": np.zeros(jobs, np.bool_),
        "count": count,
        "node": node,
        "whole": whole,
        "backfill": rng.random(places) < 0.8,
        "speed": rng.choice([2, 3, 5], places) if rng.random() < 0.5 else np.ones(places, int),
        "most": np.full((places, groups), 2**40),
        "gaps": [],
        "rate": 0.0,
        "repair_s": 0,
        "checkpoint_s": int(rng.choice([0, 3, 10])),
        "restart_s": int(rng.choice([0, 2])),
        "seed": seed,
        "end_s": int(rng.choice([span, 100 * span + 5000])),
    }
    if rng.random() < 0.4:
        given["rank"] = rng.permutation(jobs)
    if rng.random() < 0.4:
        given["low"] = rng.random(jobs) < 0.4
    if rng.random() < 0.5:
        given["most"] = np.maximum(1, (count[:, None] * rng.random((places, groups))).astype(int))
    if rng.random() < 0.4:
        given["rate"], given["repair_s"] = float(rng.choice([1e-3, 1e-2])), int(rng.integers(0, 50))
    for _ in range(int(rng.integers(0, 3))):
        begin, site = int(rng.integers(0, span)), int(rng.integers(0, places))
        until = begin + int(rng.integers(1, 100))
        given["gaps"].append((begin, until, site, int(rng.integers(0, count[site] + 1))))
    given["allowed"] = _allowed(rng, given)
    return given


def _allowed(rng: np.random.Generator, given: dict[str, Any]) -> np.ndarray:
    """Home, some of the others or none, wherever the job fits at all."""
    places = len(given["count"])
    mask = np.int64(1) << given["home"]
    if rng.random() < 0.75:
        mask |= rng.integers(0, 2**places, len(mask)) * (rng.random(len(mask)) < 0.8)
    for site in range(places):
        node = given["node"][site] if given["whole"][site] else 1
        taken = -(-given["size"] // node) * node
        fits = taken <= np.minimum(given["count"][site], given["most"][site, given["group"]])
        mask = np.where(fits, mask, mask & ~(np.int64(1) << site))
    return mask
