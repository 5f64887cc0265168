"""Small steps of the kernel of a federation: sizes and times at a site, chance, hours, order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meyrin.engine.compiled import lean
from meyrin.engine.federation.state import HOUR_S, Ints, World

SHIFT_30, SHIFT_27, SHIFT_31, SHIFT_11 = (np.uint64(bits) for bits in (30, 27, 31, 11))
STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
TO_UNIT = 2.0**-53


@lean
def need(w: World, job: int, site: int) -> Any:
    """Accelerators that the job takes there: whole nodes where the site gives nothing less."""
    size = w.jobs.size[job] + 0
    if w.sites.whole[site]:
        node = w.sites.node[site]
        return (size + node - 1) // node * node
    return np.int64(size)


@lean
def length(w: World, job: int, site: int, seconds: int) -> Any:
    """So many seconds at home, at this site's speed, rounded up."""
    mine, there = w.sites.speed[w.jobs.home[job]], w.sites.speed[site]
    if mine == there:
        return seconds
    return (seconds * mine + there - 1) // there


@lean
def plan_end(w: World, job: int, site: int, wanted: int, now: int) -> Any:
    """When the attempt will end, by itself or by a failure; says which in `failing`."""
    st = w.state
    runs = length(w, job, site, st.left[job])
    st.failing[job] = 0
    if w.terms.rate > 0:
        unit = draw(w.terms.seed, w.jobs.number[job], st.restarts[job])
        after = -math.log(unit) / (w.terms.rate * wanted)
        if after < runs:
            st.failing[job] = 1
            return now + max(1, int(after))
    return now + runs


@lean
def draw(seed: int, number: int, attempt: int) -> float:
    """A number over 0, at most 1, of its own for a job's attempt (SplitMix64's finish; Steele,
    Lea and Flood, OOPSLA 2014): the same whatever else happens, so that options share chance."""
    value = np.uint64(seed) * STEP + np.uint64(number)
    value = _mixed(value)
    value = _mixed(value + STEP * np.uint64(attempt + 1))
    return (np.float64(value >> SHIFT_11) + 1.0) * TO_UNIT


@lean
def _mixed(value: np.uint64) -> Any:
    value = (value ^ (value >> SHIFT_30)) * FIRST
    value = (value ^ (value >> SHIFT_27)) * SECOND
    return value ^ (value >> SHIFT_31)


@lean
def from_checkpoint(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """After an attempt that did not end by itself: what was saved, what was lost."""
    st, terms = w.state, w.terms
    ran = now - st.begun[job]
    mine, there = w.sites.speed[w.jobs.home[job]], w.sites.speed[site]
    restart = terms.restart_s if st.restarts[job] else 0
    useful = max(0, ran - restart)
    saved = useful
    if terms.checkpoint_s > 0:
        saved = useful // terms.checkpoint_s * terms.checkpoint_s
    done = saved * there // mine if mine != there else saved
    base = st.left[job] - restart
    done = min(done, base - 1)
    st.left[job] = base - done + terms.restart_s
    st.believed[job] = max(st.believed[job] - restart - done, base - done) + terms.restart_s
    lost = (ran - saved) * wanted
    st.lost[job] += lost
    st.restarts[job] += 1
    hour = (now - 1) // HOUR_S
    if hour < st.wasted.shape[1]:
        st.wasted[site, hour] += lost
    st.begun[job] = -1
    st.ends[job] = -1


@lean
def log_hours(table: Ints, site: int, begin: int, end: int, count: int, last: int) -> None:
    """Add accelerator-seconds to the hours in which they fall, up to the end of the run."""
    end = min(end, last)
    while begin < end:
        hour = begin // HOUR_S
        until = min(end, (hour + 1) * HOUR_S)
        table[site, hour] += (until - begin) * count
        begin = until
