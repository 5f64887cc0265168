"""The picture of `meyrin trace describe`: sizes, run times, load by week, arrivals.

Drawn from a description, so from a few hundred numbers and never from one mark a job. Blue and
orange are told apart by every kind of colour vision; the map of arrivals goes by lightness alone.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from meyrin.domain.errors import InvalidInput
from meyrin.sim.describe import WEEK_S, area
from meyrin.sim.figure import BLUE, GREY, ORANGE, as_png, as_svg, styled
from meyrin.sim.trace.model import Trace, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH, HEIGHT = 400, 220
WIDE = 2 * WIDTH + 66
RUN_EDGES = (10, 60, 600, 3600, 6 * 3600, 86400, WEEK_S)
RUN_WORDS = (
    "under 10 s",
    "10 s to 1 min",
    "1 to 10 min",
    "10 min to 1 h",
    "1 to 6 h",
    "6 h to 1 day",
    "1 to 7 days",
    "over 7 days",
)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OF_JOBS, OF_LOAD = "share of jobs", "share of load"


def save_picture(trace: Trace, told: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a description as SVG or PNG, by the name's ending.

    Raises `InvalidInput` for another ending, or a trace without a usable job.
    """
    kind = path.suffix.lower()
    check_ending(path)
    if not told["usable"]:
        raise InvalidInput(
            f"{told['trace']} has no usable job to draw", hint="Leave --picture out."
        )
    chart = picture(trace, told)
    path.write_bytes(as_png(chart) if kind == ".png" else as_svg(chart).encode())


def check_ending(path: Path) -> None:
    """Raise `InvalidInput` unless a picture may be called so."""
    if path.suffix.lower() not in {".svg", ".png"}:
        raise InvalidInput(
            f"--picture is {str(path)!r}", hint="Name a file that ends in .svg or .png."
        )


def picture(trace: Trace, told: Mapping[str, Any]) -> Any:
    """The chart with its panels; `told` is `describe(trace)`."""
    upper = alt.hconcat(_sizes(told), _run_times(trace), spacing=66, bounds="flush")
    upper = upper.resolve_scale(xOffset="independent")  # bars are as wide as their own panel says
    rows = [upper]
    if told["load"]["mean_busy"] is not None:
        rows.append(_weeks(told))
    if told["arrivals"] is not None:
        rows.append(_arrivals(told))
    name = told["computer"] or PurePath(told["trace"]).name
    chart = alt.vconcat(*rows, spacing=30).properties(
        title=alt.TitleParams(name, subtitle=_subtitle(told), offset=16)
    )
    return _styled(chart)


def _subtitle(told: Mapping[str, Any]) -> str:
    words = [f"{told['usable']:,} usable jobs of {told['rows']:,} rows"]
    if told["machine"]:
        words.append(f"{told['machine']:,} {told['unit']}")
    span = told["span"]
    words.append(f"{span['days']:,.1f} days")
    if span["first_submit"]:
        words.append(f"{span['first_submit'][:10]} to {span['last_submit'][:10]}")
    return ", ".join(words)


def _sizes(told: Mapping[str, Any]) -> Any:
    rows = [
        (each["size"], kind, value)
        for each in told["sizes"]["classes"]
        for kind, value in (
            (OF_JOBS, each["jobs"] / told["usable"]),
            (OF_LOAD, each["load_share"]),
        )
    ]
    order = [each["size"] for each in told["sizes"]["classes"]]
    return _pairs(rows, order, f"{told['unit']} of the job", "Sizes")


def _run_times(trace: Trace) -> Any:
    usable = ~np.logical_or.reduce(list(unusable(trace).values()))
    jobs = trace.select(usable)
    place = np.searchsorted(np.array(RUN_EDGES), jobs.run_s, side="right")
    many = np.bincount(place, minlength=len(RUN_WORDS)) / len(jobs)
    load = np.bincount(place, weights=area(jobs), minlength=len(RUN_WORDS))
    rows = [
        (words, kind, float(value))
        for words, count, work in zip(RUN_WORDS, many, load / load.sum(), strict=True)
        for kind, value in ((OF_JOBS, count), (OF_LOAD, work))
    ]
    return _pairs(rows, list(RUN_WORDS), "run time", "Run times")


def _pairs(rows: list[tuple[str, str, float]], order: list[str], axis: str, title: str) -> Any:
    """Two bars for each class: of the jobs, and of the load."""
    return (
        alt.Chart(pd.DataFrame(rows, columns=["class", "kind", "share"]))
        .mark_bar()
        .encode(
            x=alt.X("class:N", sort=order, title=axis).axis(
                labelAngle=-40 if max(map(len, order)) > 3 or len(order) > 12 else 0
            ),
            xOffset=alt.XOffset("kind:N", sort=[OF_JOBS, OF_LOAD]),
            y=alt.Y("share:Q", title=None).axis(format="%", tickCount=5),
            color=alt.Color("kind:N", title=None, sort=[OF_JOBS, OF_LOAD])
            .scale(domain=[OF_JOBS, OF_LOAD], range=[BLUE, ORANGE])
            .legend(orient="top"),
        )
        .properties(width=WIDTH, height=HEIGHT, title=title)
    )


def _weeks(told: Mapping[str, Any]) -> Any:
    """What the jobs submitted in each week bring, against the machine where it is known."""
    known = told["machine"] is not None
    weeks = [week for week in told["load"]["weeks"] if week["mean_busy"] is not None]
    dated = weeks[0]["start"] is not None
    rows = pd.DataFrame(
        {
            "start": [_day(week) for week in weeks] if dated else [w["week"] - 1 for w in weeks],
            "load": [week["offered"] if known else week["mean_busy"] for week in weeks],
        }
    )
    last = rows["start"].iloc[-1]
    rows["end"] = [*rows["start"].iloc[1:], last + (pd.Timedelta(days=7) if dated else 1)]
    step = pd.Timedelta(days=7) if dated else 1
    rows["end"] = np.minimum(rows["end"], rows["start"] + step)
    axis = alt.Axis(grid=False) if dated else alt.Axis(grid=False, tickMinStep=1, format="d")
    bars = (
        alt.Chart(rows)
        .mark_rect(color=BLUE, stroke="white", strokeWidth=1 if len(rows) < 150 else 0)
        .encode(
            x=alt.X("start:T" if dated else "start:Q", axis=axis)
            .title(None if dated else "weeks since the first submission")
            .scale(nice=False),
            x2="end",
            y=alt.Y("load:Q", title="of the machine" if known else f"busy {told['unit']}").axis(
                format="%" if known else ",~f", tickCount=6
            ),
            y2=alt.datum(0),
        )
    )
    layers = [bars]
    if known:
        rule = alt.Chart(pd.DataFrame({"all": [1.0]})).mark_rule(color="#1a1a1a", strokeDash=[5, 4])
        layers.append(rule.encode(y="all:Q"))
    words = "Load offered by week of submission"
    return alt.layer(*layers).properties(width=WIDE, height=170, title=words)


def _day(week: Mapping[str, Any]) -> pd.Timestamp:
    return pd.Timestamp(week["start"][:10])


def _arrivals(told: Mapping[str, Any]) -> Any:
    arrivals = told["arrivals"]
    rows = pd.DataFrame(
        [
            (DAYS[day], hour, count)
            for day, hours in enumerate(arrivals["by_weekday_and_hour"])
            for hour, count in enumerate(hours)
        ],
        columns=["day", "hour", "jobs"],
    )
    return (
        alt.Chart(rows)
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("hour:O", title="hour of the day").axis(labelAngle=0),
            y=alt.Y("day:O", sort=list(DAYS), title=None),
            color=alt.Color("jobs:Q", title="jobs")
            .scale(scheme="blues", domainMin=0)
            .legend(orient="right", gradientLength=130, tickCount=4),
        )
        .properties(
            width=WIDE,
            height=170,
            title=f"Submissions by weekday and hour ({arrivals['time_zone']})",
        )
    )


def _styled(chart: Any) -> Any:
    return (
        styled(chart)
        .configure_title(
            anchor="start", frame="group", fontSize=15, subtitleColor=GREY, subtitleFontSize=12
        )
        .configure_legend(labelFontSize=11, titleFontSize=11, titleFontWeight="normal")
        .resolve_scale(color="independent")
    )
