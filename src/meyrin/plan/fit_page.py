"""The page, the table and the pictures of a fit beside its log."""

from __future__ import annotations

import csv
import io
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from meyrin.plan.fit_check import FAR, Check, Measure, rows
from meyrin.plan.fitted import WEEK_H
from meyrin.sim.figure import BLUE, ORANGE, as_svg, styled
from meyrin.sim.folder import as_json, page

FIT, TABLE, PAGE = "fit.json", "fit.csv", "fit.html"
NAMES = (FIT, TABLE, PAGE)
CURVES = ("run time", "work", "gap between submissions", "work a day", "wait under EASY")
SHOWN = ("mean", "50 %", "90 %", "99 %")  # the table has more
LOG, DRAWN = "log", "drawn"
AT = np.arange(0.5, 100, 0.5)
HOUR_S = 3600


def files(found: Check, again: str) -> dict[str, bytes]:
    """What is written: the fit itself, the table, the page. `again` is the command that did it."""
    return {
        FIT: as_json(found.fit.model_dump(mode="json")),
        TABLE: _csv(rows(found)),
        PAGE: page(
            f"A fit to {found.fit.source}",
            verdict(found),
            [("How far apart", _distances(found)), ("The log beside what is drawn", _shown(found))],
            [_curve(found.measure(name)) for name in CURVES] + [_week(found)],
            _foot(found, again),
        ),
    }


def verdict(found: Check) -> str:
    """In two or three sentences whether the drawn jobs can stand for the log's."""
    waits = found.measure("wait under EASY")
    log, drawn = float(waits.log.mean()), [float(each.mean()) for each in waits.drawn]
    least, most = min(drawn), max(drawn)
    if least <= log <= most:
        says = "which is within what the draws give"
    elif log < least:
        says = "so a study with drawn jobs overstates waiting"
    else:
        says = "so a study with drawn jobs understates waiting"
    far = [each.name for each in found.measures if each.distance[1] > FAR]
    apart = f" Far apart (over {FAR:g}) are: {', '.join(far)}." if far else ""
    return (
        f"Under EASY on {found.fit.machine:,} accelerators the log's jobs wait"
        f" {log / HOUR_S:.2f} h on average, jobs drawn from the fit {least / HOUR_S:.2f} to"
        f" {most / HOUR_S:.2f} h over {len(found.seeds)} seeds, {says}.{apart}"
        " People who see a long queue submit less; a fit knows nothing of that."
    )


def _csv(table: list[dict[str, Any]]) -> bytes:
    into = io.StringIO()
    writer = csv.DictWriter(into, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return into.getvalue().encode()


def _shown(found: Check) -> list[list[str]]:
    shown = [["", "log", "drawn: least", "mean", "most"]]
    for row in rows(found):
        if row["statistic"] not in SHOWN:
            continue
        unit = f", {row['unit']}" if row["unit"] else ""
        values = (row[name] for name in ("log", "drawn_least", "drawn_mean", "drawn_most"))
        shown.append([f"{row['measure']}{unit}, {row['statistic']}", *map(_number, values)])
    return shown


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _distances(found: Check) -> list[list[str]]:
    shown = [["Kolmogorov-Smirnov distance, 0 to 1", "least", "most"]]
    for each in found.measures:
        least, most = each.distance
        shown.append([each.name, f"{least:.3f}", f"{most:.3f}"])
    return shown


def _curve(measure: Measure) -> tuple[str, str]:
    """Quantiles of the log as a line over the band of the draws'."""
    curves = np.array([np.percentile(each, AT) for each in measure.drawn])
    table = pd.DataFrame({
        "percent": AT,
        "log": np.percentile(measure.log, AT),
        "least": curves.min(axis=0),
        "most": curves.max(axis=0),
    })  # fmt: skip
    what = f"{measure.name}, {measure.unit}" if measure.unit else measure.name
    scale = alt.Scale(type="symlog", constant=60)
    legend = alt.Scale(domain=[LOG, DRAWN], range=[BLUE, ORANGE])
    x = alt.X("percent:Q", title="per cent of them are below").scale(domain=[0, 100])
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.35).encode(
        x=x, y=alt.Y("least:Q", title=what, scale=scale), y2="most:Q",
        color=alt.Color("who:N", scale=legend, title=None),
    ).transform_calculate(who=f"'{DRAWN}'")  # fmt: skip
    line = base.mark_line(strokeWidth=2).encode(
        x=x, y=alt.Y("log:Q", scale=scale),
        color=alt.Color("who:N", scale=legend, title=None),
    ).transform_calculate(who=f"'{LOG}'")  # fmt: skip
    chart = (band + line).properties(width=620, height=220, title=what)
    return f"{what}: quantiles of the log and of the draws", as_svg(styled(chart))


def _week(found: Check) -> tuple[str, str]:
    parts = [np.bincount(found.week.log, minlength=WEEK_H) / len(found.week.log)]
    drawn = np.concatenate(found.week.drawn)
    parts.append(np.bincount(drawn, minlength=WEEK_H) / len(drawn))
    table = pd.concat([
        pd.DataFrame({"hour": np.arange(WEEK_H), "share": part, "who": who})
        for part, who in zip(parts, (LOG, DRAWN), strict=True)
    ])  # fmt: skip
    title = "jobs by hour of the week, counted from the log's first hour"
    chart = (
        alt.Chart(table)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("hour:Q", title="hour").scale(domain=[0, WEEK_H]),
            y=alt.Y("share:Q", title="share of jobs").axis(format=".1%"),
            color=alt.Color("who:N", title=None).scale(domain=[LOG, DRAWN], range=[BLUE, ORANGE]),
        )
        .properties(width=620, height=180, title=title)
    )
    return title, as_svg(styled(chart))


def _foot(found: Check, again: str) -> list[str]:
    foot = [
        f"log: {found.fit.source}, {found.fit.jobs:,} jobs, SHA-256 {found.fit.sha256}",
        f"seeds: {', '.join(map(str, found.seeds))}",
        f"all statistics: {TABLE}; the fit itself: {FIT}",
        f"command: {again}",
    ]
    if found.left_out:
        foot.append(f"played: all but the last {found.left_out:,} jobs of the log")
    return foot
