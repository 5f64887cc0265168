"""Small steps of the kernel of a federation: sizes and times at a site, chance, hours, order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meyrin.engine.compiled import inner
from meyrin.engine.federation.state import HOUR_S, World

SHIFT_30, SHIFT_27, SHIFT_31, SHIFT_11 = (np.uint64(bits) for bits in (30, 27, 31, 11))
STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
TO_UNIT = 2.0**-53


@inner
def need(w: World, job: int, site: int) -> Any:
    """Accelerators that the job takes there: whole nodes where the site gives nothing less."""
    size = np.int64(w.jobs[job].size)
    mine = w.sites[site]
    return (size + mine.node - 1) // mine.node * mine.node if mine.whole else size


@inner
def length(w: World, job: int, site: int, seconds: int) -> Any:
    """So many seconds at home, at this site's speed, rounded up."""
    mine, there = w.sites[w.jobs[job].home].speed, w.sites[site].speed
    if mine == there:
        return seconds
    return (seconds * mine + there - 1) // there


@inner
def plan_end(w: World, job: int, site: int, wanted: int, now: int) -> Any:
    """When the attempt will end, by itself or by a failure; says which in `failing`."""
    mine = w.state.job[job]
    runs = length(w, job, site, mine.left)
    mine.failing = 0
    if w.terms.rate > 0:
        unit = draw(w.terms.seed, w.jobs[job].number, mine.restarts)
        after = -math.log(unit) / (w.terms.rate * wanted)
        if after < runs:
            mine.failing = 1
            return now + max(1, int(after))
    return now + runs


@inner
def draw(seed: int, number: int, attempt: int) -> float:
    """A number over 0, at most 1, of its own for a job's attempt (SplitMix64's finish; Steele,
    Lea and Flood, OOPSLA 2014): the same whatever else happens, so that options share chance."""
    value = np.uint64(seed) * STEP + np.uint64(number)
    value = _mixed(value)
    value = _mixed(value + STEP * np.uint64(attempt + 1))
    return (np.float64(value >> SHIFT_11) + 1.0) * TO_UNIT


@inner
def _mixed(value: np.uint64) -> Any:
    value = (value ^ (value >> SHIFT_30)) * FIRST
    value = (value ^ (value >> SHIFT_27)) * SECOND
    return value ^ (value >> SHIFT_31)


@inner
def from_checkpoint(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """After an attempt that did not end by itself: what was saved, what was lost."""
    mine, terms = w.state.job[job], w.terms
    ran = now - mine.begun
    home, there = w.sites[w.jobs[job].home].speed, w.sites[site].speed
    restart = terms.restart_s if mine.restarts else 0
    useful = max(0, ran - restart)
    saved = useful
    if terms.checkpoint_s > 0:
        saved = useful // terms.checkpoint_s * terms.checkpoint_s
    done = saved * there // home if home != there else saved
    base = mine.left - restart
    done = min(done, base - 1)
    mine.left = base - done + terms.restart_s
    mine.believed = max(mine.believed - restart - done, base - done) + terms.restart_s
    lost = (ran - saved) * wanted
    mine.lost += lost
    mine.restarts += 1
    hours, hour = w.state.hours, (now - 1) // HOUR_S
    if hour < hours.shape[1]:
        hours[site, hour].wasted += lost
    mine.begun = -1
    mine.ends = -1


@inner
def log_hours(w: World, site: int, begin: int, end: int, used: int, closed: int) -> None:
    """Add accelerator-seconds to the hours in which they fall, up to the end of the run."""
    end = min(end, w.terms.end_s)
    while begin < end:
        hour = begin // HOUR_S
        until = min(end, (hour + 1) * HOUR_S)
        w.state.hours[site, hour].used += (until - begin) * used
        w.state.hours[site, hour].closed += (until - begin) * closed
        begin = until
