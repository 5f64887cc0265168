"""Pictures of outcomes: waits by size, queue and use over time, and who gains between two policies.

Each function makes an Altair chart from a few hundred numbers, never from one mark a job;
`sim.figure` gives it its looks and draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from meyrin.sim.classes import Classes
from meyrin.sim.figure import BLUE, GREY, ORANGE, styled
from meyrin.sim.outcome import QUANTILES, Floats, Outcome, quantile
from meyrin.sim.prepare import Ints

if TYPE_CHECKING:
    from meyrin.sim.compare import Comparison

BINS, BINS_COMPARED = 480, 120  # steps of time in a picture
WIDTH = 640
SHADES = ["#92c5de", "#2166ac", "#0b2545"]  # from the median to the worst hundredth
QUANTILE_WORDS = {50: "half wait at most", 90: "90 % wait at most", 99: "99 % wait at most"}
WAIT_TICKS = [0, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400]
# 3600 as people say it, in Vega's own expression language
DURATION = (
    "datum.value == 0 ? '0' : abs(datum.value) < 60 ? datum.value + ' s'"
    " : abs(datum.value) < 3600 ? format(datum.value / 60, '.3~g') + ' min'"
    " : abs(datum.value) < 86400 ? format(datum.value / 3600, '.3~g') + ' h'"
    " : format(datum.value / 86400, '.4~g') + ' d'"
)


# --- waits by class


def waits_by_size(outcome: Outcome, sizes: Classes) -> Any:
    """Median, 90 % and 99 % quantile of the wait for each size class."""
    rows = [
        {"size": label, "wait": value, "quantile": QUANTILE_WORDS[percent]}
        for label, percent, value in _quantiles(outcome, sizes)
    ]
    order = list(QUANTILE_WORDS.values())
    chart = _wait_lines(pd.DataFrame(rows), sizes, outcome.jobs.unit, "quantile", order, SHADES)
    return _styled(chart.properties(title=_title("Waits by size of job", outcome), width=WIDTH))


def waits_compared(comparison: Comparison, sizes: Classes) -> Any:
    """The same for two policies, one panel for each quantile."""
    names = comparison.labels
    unit = comparison.outcomes[0].jobs.unit
    colours = [BLUE, ORANGE]
    panels = []
    for percent in QUANTILES:
        rows = [
            {"size": label, "wait": value, "policy": name}
            for name, outcome in zip(names, comparison.outcomes, strict=True)
            for label, each, value in _quantiles(outcome, sizes)
            if each == percent
        ]
        chart = _wait_lines(pd.DataFrame(rows), sizes, unit, "policy", list(names), colours)
        words = alt.TitleParams(QUANTILE_WORDS[percent], fontSize=12)
        panels.append(chart.properties(title=words, width=WIDTH, height=170))
    title = alt.TitleParams("Waits by size of job", subtitle=_log(comparison))
    return _styled(alt.vconcat(*panels, spacing=20).properties(title=title))


def _quantiles(outcome: Outcome, sizes: Classes) -> list[tuple[str, int, float]]:
    done = outcome.begun
    wait, of = (outcome.start - outcome.jobs.submit)[done], sizes.of[done]
    found = []
    for number, label in enumerate(sizes.labels):
        mine = wait[of == number]
        if len(mine):
            found += [(label, percent, quantile(mine, percent)) for percent in QUANTILES]
    return found


def _wait_lines(
    rows: pd.DataFrame,
    sizes: Classes,
    unit: str,
    colour: str,
    order: list[str],
    colours: list[str],
) -> Any:
    highest = float(rows["wait"].max()) if len(rows) else 0.0
    ticks = [tick for tick in WAIT_TICKS if tick <= max(60.0, highest * 1.3)]
    return (
        alt.Chart(rows)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=55), strokeWidth=2)
        .encode(
            x=alt.X("size:N", sort=list(sizes.labels), title=f"{unit} of the job").axis(
                labelAngle=0 if len(sizes.labels) < 12 else -40
            ),
            y=alt.Y("wait:Q", title="wait")
            .scale(type="symlog", constant=30, domainMin=0)
            .axis(values=ticks, labelExpr=DURATION),
            color=alt.Color(f"{colour}:N", sort=order, title=None).scale(
                domain=order, range=colours
            ),
        )
    )


# --- over time


def mean_over_time(at: Floats, change: Floats, edges: Floats) -> Floats:
    """Mean height between neighbouring `edges`, float[edges - 1], of a quantity that steps by
    `change[i]` at `at[i]` (any order) from 0."""
    order = np.argsort(at, kind="stable")
    at, height = at[order], np.cumsum(change[order])
    area = np.concatenate(([0.0], np.cumsum(height[:-1] * np.diff(at))))
    # exact within the steps: the area is linear between them, level before and after
    after = np.maximum(edges - at[-1], 0.0) * height[-1]
    total: Floats = np.interp(edges, at, area) + after
    means: Floats = np.diff(total) / np.diff(edges)
    return means


def use_and_queue(outcome: Outcome) -> Any:
    """How much is in use and how many jobs wait over the whole replay, as means of short steps."""
    rows, words = _over_time([("", outcome)], BINS)
    in_use = (
        alt.Chart(rows)
        .mark_area(interpolate="step-after", color=BLUE, opacity=1)
        .encode(
            x=_time(words, shown=False), y=alt.Y("in_use:Q", title=f"{outcome.jobs.unit} in use")
        )
    )
    line = (
        alt.Chart(pd.DataFrame({"all": [outcome.processors]}))
        .mark_rule(color=GREY, strokeDash=[5, 4])
        .encode(y="all:Q")
    )
    queue = (
        alt.Chart(rows)
        .mark_area(interpolate="step-after", color=ORANGE, opacity=1)
        .encode(x=_time(words), y=alt.Y("waiting:Q", title="jobs that wait"))
    )
    panels = alt.vconcat(
        (in_use + line).properties(width=WIDTH, height=180),
        queue.properties(width=WIDTH, height=140),
        spacing=8,
    ).resolve_scale(x="shared")
    return _styled(panels.properties(title=_title("Use and queue over time", outcome)))


def use_compared(comparison: Comparison) -> Any:
    """Jobs that wait and processors in use over time, a line for each policy."""
    both = list(zip(comparison.labels, comparison.outcomes, strict=True))
    rows, axis = _over_time(both, BINS_COMPARED)
    order = list(comparison.labels)
    panels = []
    unit = comparison.outcomes[0].jobs.unit
    for value, title in (("waiting", "jobs that wait"), ("in_use", f"{unit} in use")):
        panels.append(
            alt.Chart(rows)
            .mark_line(interpolate="step-after", strokeWidth=1.2, opacity=0.85)
            .encode(
                x=_time(axis, shown=value == "in_use"),
                y=alt.Y(f"{value}:Q", title=title),
                color=alt.Color("policy:N", sort=order, title=None).scale(
                    domain=order, range=[BLUE, ORANGE]
                ),
            )
            .properties(width=WIDTH, height=170)
        )
    chart = alt.vconcat(*panels, spacing=8).resolve_scale(x="shared")
    words = alt.TitleParams("Queue and use over time", subtitle=_log(comparison))
    return _styled(chart.properties(title=words))


def _over_time(outcomes: Sequence[tuple[str, Outcome]], bins: int) -> tuple[pd.DataFrame, str]:
    """Columns policy, time, in_use, waiting; and the words for the axis of time."""
    spans = [
        (int(o.jobs.submit[o.begun].min()), int(o.end[o.begun].max()))
        for _, o in outcomes
        if o.begun.any()
    ]
    first = min((a for a, _ in spans), default=0)
    last = max((b for _, b in spans), default=1)
    edges = np.linspace(first, max(last, first + 1), bins + 1)
    unit, word = _time_unit(float(last - first))
    frames = []
    for label, outcome in outcomes:
        done = outcome.begun
        size = outcome.jobs.processors[done].astype(np.float64)
        submit, start, end = outcome.jobs.submit[done], outcome.start[done], outcome.end[done]
        ones = np.ones(len(submit))
        frames.append(
            pd.DataFrame(
                {
                    "policy": label,
                    "time": (edges[:-1] - first) / unit,
                    "in_use": _stepped(start, end, size, edges),
                    "waiting": _stepped(submit, start, ones, edges),
                }
            )
        )
    return pd.concat(frames), f"{word} since the first job"


def _stepped(begin: Ints, end: Ints, height: Floats, edges: Floats) -> Floats:
    if not len(begin):
        return np.zeros(len(edges) - 1)
    at = np.concatenate((begin, end)).astype(np.float64)
    return mean_over_time(at, np.concatenate((height, -height)), edges)


def _time_unit(span_s: float) -> tuple[float, str]:
    for unit, word in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if span_s >= 3 * unit:
            return unit, word
    return 1.0, "seconds"


def _time(words: str, *, shown: bool = True) -> Any:
    if not shown:
        return alt.X("time:Q").axis(labels=False, title=None, ticks=False).scale(nice=False)
    return alt.X("time:Q", title=words).scale(nice=False)


# --- who gains


def gains(comparison: Comparison, classes: Classes) -> Any:
    """Change of the mean wait for each class, from the first policy to the second."""
    changes = [(row.label, row.b["mean"] - row.a["mean"]) for row in comparison.rows(classes)]
    unit, word = _time_unit(max((abs(change) for _, change in changes), default=0.0))
    rows = pd.DataFrame([{"class": label, "change": change / unit} for label, change in changes])
    first, second = comparison.labels
    title = alt.TitleParams(
        f"Who waits less with {second} (blue), who waits longer (orange)",
        subtitle=f"{_log(comparison)}; against {first}",
    )
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("class:N", sort=list(classes.labels), title=classes.kind.replace("_", " ")),
            x=alt.X("change:Q", title=f"change of the mean wait in {word}").axis(tickCount=7),
            color=alt.condition("datum.change > 0", alt.value(ORANGE), alt.value(BLUE)),
        )
        .properties(title=title, width=WIDTH)
    )
    return _styled(chart)


def _log(comparison: Comparison) -> str:
    outcome = comparison.outcomes[0]
    return f"{PurePath(outcome.trace).name}, {_machine(outcome)}"


def _machine(outcome: Outcome) -> str:
    return f"{outcome.processors:,} {outcome.jobs.unit}"


def _title(words: str, outcome: Outcome) -> Any:
    under = f"{PurePath(outcome.trace).name}, {outcome.label}, {_machine(outcome)}"
    if not outcome.complete:
        under += ", interrupted: only jobs that had started"
    return alt.TitleParams(words, subtitle=under)


def _styled(chart: Any) -> Any:
    return (
        styled(chart)
        .configure_title(anchor="start", fontSize=16, subtitleColor=GREY, subtitleFontSize=12)
        .configure_legend(orient="top", labelFontSize=12)
    )
