"""The figures of a report: each from the table of its name, and from nothing else.

Colours are those of M. Okabe and K. Ito (Color Universal Design, 2008) and the scale cividis
(J. R. Nuñez, C. R. Anderton, R. S. Renslow, 2018), which people with any colour vision tell apart;
no figure needs colour alone. Each is drawn twice, for a desk and for a phone, with letters of the
same size. Maps and planes are in `plane`, days in `day`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from meyrin.plan.report.day import draw_demand, draw_power
from meyrin.plan.report.gather import Study
from meyrin.plan.report.paint import (
    BLUE,
    DESK,
    HOURS,
    ORANGE,
    PHONE,
    SKY,
    TODAY,
    Room,
    hour_axis,
    in_lines,
    kept,
    span,
)
from meyrin.plan.report.plane import draw_map, draw_pareto
from meyrin.plan.report.words import MINUS, SAME_H, hours, quantity_name
from meyrin.plan.scenario import AS_IS
from meyrin.sim.figure import GREY, styled

PADDING = {  # fonts differ in width
    DESK: {"left": 40, "right": 24, "top": 14, "bottom": 14},
    PHONE: {"left": 20, "right": 14, "top": 10, "bottom": 10},
}
FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
RULES = {"recorded": "job sizes as recorded", "grown": "job sizes grown with the machine"}
MOST = 12  # bars of a tornado; rows of a bar chart


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: the table of its name, a heading, what it shows in one sentence, who draws it."""

    name: str
    heading: str
    says: str
    draw: Callable[[Study, pd.DataFrame, Room], Any]


def drawn(study: Study, tables: Mapping[str, pd.DataFrame]) -> list[tuple[Figure, Any, Any]]:
    """All figures that this study has something for, in the page's order, for desk and phone."""
    return [
        (each, *(_looks(each.draw(study, tables[each.name], room), room) for room in (DESK, PHONE)))
        for each in FIGURES
        if len(tables[each.name])
        and (each.name != "years" or tables["years"]["year"].nunique() > 1)
    ]


def _looks(chart: Any, room: Room) -> Any:
    quiet = {"labelFontSize": 13, "titleFontSize": 13, "gridColor": "#e6e6e6", "titlePadding": 16}
    narrow: dict[str, Any] = {}
    if room is PHONE:
        narrow = {"columns": 1, "offset": 10}
    return (
        styled(chart)
        .configure(font=FONT, background="white", padding=PADDING[room])
        .configure_view(stroke=None)
        .configure_axis(
            **quiet,
            titleFontWeight="normal",
            labelColor="#333333",
            titleColor="#333333",
            domainColor="#999999",
            tickColor="#999999",
        )
        .configure_legend(
            orient="top", labelFontSize=13, titleFontSize=13, titleFontWeight="normal",
            labelLimit=420, titleLimit=420, columnPadding=30, **narrow,
        )
        .configure_header(labelFontSize=13, labelFontWeight="bold", titleFontSize=13)
    )  # fmt: skip


def _named(values: list[str], room: Room) -> Any:
    """A discrete axis in this order, labels whole where there is room."""
    return {
        "sort": values,
        "title": None,
        "axis": alt.Axis(
            labelLimit=room.labels, labelPadding=10, ticks=False,
            labelExpr=in_lines(values, room.labels // 7),
        ),
    }  # fmt: skip


# --- options


def _options(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    """Change of the mean wait by each option with its interval, and in words at the right. What
    is far beyond all others ends in an arrow, or none of them could be told apart."""
    rows = table[table["option"] != AS_IS].assign(
        rule=table["size_rule"].map(RULES),
        words=[
            _changed(change) for change in table["wait_mean_h_change"][table["option"] != AS_IS]
        ],
    )
    inside = rows[rows["wait_mean_h_change"].abs() <= kept(rows["wait_mean_h_change"])]
    low, high = _window(inside)
    names = {"low": "wait_mean_h_change_low", "high": "wait_mean_h_change_high"}
    rows = rows.assign(**{end: rows[name].clip(low, high) for end, name in names.items()})
    order = list(dict.fromkeys(rows["option"]))
    colour = alt.Color("rule:N", title=None, sort=list(RULES.values())).scale(
        domain=list(RULES.values()), range=[BLUE, ORANGE]
    )
    place = {
        "y": alt.Y("option:N", **_named(order, room)),
        "yOffset": alt.YOffset("rule:N", sort=list(RULES.values())),
        "color": colour,
    }
    scale = alt.Scale(domain=[low, high], nice=False)
    axis = hour_axis(low, high, room.ticks)
    x = alt.X("low:Q", title="change of the mean wait", scale=scale, axis=axis)
    bars = alt.Chart(rows).mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", **place)
    dots = alt.Chart(inside).mark_point(filled=True, size=80, opacity=1).encode(
        x="wait_mean_h_change:Q",
        shape=alt.Shape("rule:N", title=None, sort=list(RULES.values())).scale(
            domain=list(RULES.values())
        ),
        **place,
    )  # fmt: skip
    layers = [_zero(), bars, dots]
    for shape, end, over in (
        ("triangle-left", low, rows[names["low"]].combine(rows["wait_mean_h_change"], min) < low),
        (
            "triangle-right",
            high,
            rows[names["high"]].combine(rows["wait_mean_h_change"], max) > high,
        ),
    ):
        arrows = alt.Chart(rows[over].assign(end=end)).mark_point(
            filled=True, size=90, opacity=1, shape=shape
        )
        layers.append(arrows.encode(x="end:Q", **place))
    words = (
        alt.Chart(rows)
        .mark_text(align="left", dx=8, fontSize=12)
        .encode(x=alt.value(room.plot), text="words:N", **place)
    )
    return alt.layer(*layers, words).properties(width=room.plot, height=alt.Step(17))


def _window(rows: pd.DataFrame) -> tuple[float, float]:
    """What to show: all changes, and intervals as far as they don't squeeze them."""
    low, high = span(rows["wait_mean_h_change"])
    wide = high - low
    ends = (rows["wait_mean_h_change_low"].min(), rows["wait_mean_h_change_high"].max())
    return span([low, high, max(low - wide, ends[0]), min(high + wide, ends[1])])


def _changed(change: float) -> str:
    if abs(change) < SAME_H:
        return "no change"
    return f"{'+' if change > 0 else MINUS}{hours(abs(change))}"


def _zero() -> Any:
    return alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=GREY).encode(x="x:Q")


def _waterfall(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    rows = table.assign(
        number=range(len(table)),
        name=[_step_name(row) for row in table.itertuples()],
        what=[_what(row) for row in table.itertuples()],
        low=table[["wait_mean_before_h", "wait_mean_after_h"]].min(axis="columns"),
        high=table[["wait_mean_before_h", "wait_mean_after_h"]].max(axis="columns"),
        words=[_step_words(row) for row in table.itertuples()],
    )
    order = list(rows["name"])
    kinds = ["wait", "shorter", "longer"]
    base = alt.Chart(rows).encode(
        x=alt.X("name:N", sort=order, title=None).axis(
            labelAngle=0, labelLimit=130, labelExpr="split(datum.value, '|')"
        )
    )
    most = 1.12 * float(rows["high"].max()) or 1.0
    each = max(74, min(104, room.wide // len(rows)))
    bars = base.mark_bar(size=round(0.56 * each)).encode(
        y=alt.Y("low:Q", title="mean wait", axis=hour_axis(0.0, most, 7)).scale(
            domain=[0.0, most], nice=False
        ),
        y2="high:Q",
        color=alt.Color("what:N", title=None).scale(domain=kinds, range=[GREY, BLUE, ORANGE]),
    )
    words = base.mark_text(dy=-9, fontSize=13, color="#111111").encode(y="high:Q", text="words:N")
    return (bars + words).properties(width=each * len(rows), height=300)


def _step_name(row: Any) -> str:
    if row.kind == "step":
        return str(row.option)
    return "today" if row.kind == "today" else "then"


def _what(row: Any) -> str:
    if row.kind != "step":
        return "wait"
    return "longer" if row.change_h > 0 else "shorter"


def _step_words(row: Any) -> str:
    if row.kind != "step":
        return hours(row.wait_mean_after_h)
    return _changed(row.change_h)


# --- for whom


def _by(dimension: str) -> Callable[[Study, pd.DataFrame, Room], Any]:
    """Mean wait of each slice, as things are and with the focus: two marks and what is between."""

    def draw(study: Study, table: pd.DataFrame, room: Room) -> Any:
        rows = table[table["size_rule"] == study.rule]
        rows = rows[rows["wait_mean_h"].notna()]
        order = list(dict.fromkeys(rows[dimension]))
        if dimension in ("country", "site"):
            now = rows[rows["option"] == AS_IS].sort_values("wait_mean_h", ascending=False)
            order = list(now[dimension])[: 2 * MOST]
            rows = rows[rows[dimension].isin(order)]
        names = {AS_IS: TODAY, study.focus: study.focus}
        rows = rows.assign(case=rows["option"].map(names))
        wide = rows.pivot_table(index=dimension, columns="option", values="wait_mean_h")
        y = alt.Y(f"{dimension}:N", **_named(order, room))
        most = 1.04 * float(rows["wait_mean_h"].max()) or 1.0
        between = (
            alt.Chart(wide.reset_index().rename(columns={AS_IS: "before", study.focus: "after"}))
            .mark_rule(color="#bbbbbb", strokeWidth=3)
            .encode(y=y, x="before:Q", x2="after:Q")
        )
        dots = (
            alt.Chart(rows)
            .mark_point(filled=True, size=90, opacity=1)
            .encode(
                y=y,
                x=alt.X(
                    "wait_mean_h:Q", title="mean wait", axis=hour_axis(0.0, most, room.ticks)
                ).scale(domain=[0.0, most], nice=False),
                color=alt.Color("case:N", title=None, sort=[TODAY, study.focus]).scale(
                    domain=[TODAY, study.focus], range=[ORANGE, BLUE]
                ),
                shape=alt.Shape("case:N", title=None, sort=[TODAY, study.focus]).scale(
                    domain=[TODAY, study.focus]
                ),
            )
        )
        return (between + dots).properties(width=room.plot, height=alt.Step(24))

    return draw


def _lorenz(study: Study, table: pd.DataFrame, room: Room) -> Any:
    start = pd.DataFrame(
        [
            {"option": option, "given_share": 0.0, "served_share": 0.0}
            for option in dict.fromkeys(table["option"])
        ]
    )
    rows = pd.concat([start, table], ignore_index=True)
    ginis = table.groupby("option")["gini"].first().to_dict()
    case = {
        name: f"{TODAY if name == AS_IS else name} (Gini {value:.2f})"
        for name, value in ginis.items()
    }
    rows = rows.assign(case=rows["option"].map(case))
    order = [case[name] for name in (AS_IS, study.focus) if name in case]
    percent = alt.Axis(format="%", tickCount=5)
    diagonal = (
        alt.Chart(pd.DataFrame({"x": [0.0, 1.0]}))
        .mark_line(color=GREY, strokeDash=[4, 3])
        .encode(x="x:Q", y="x:Q")
    )
    curves = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(filled=True, size=45))
        .encode(
            x=alt.X("given_share:Q", title=["share of what countries gave,", "worst served first"])
            .scale(domain=[0, 1])
            .axis(percent),
            y=alt.Y("served_share:Q", title="share of the work done")
            .scale(domain=[0, 1])
            .axis(percent),
            color=alt.Color("case:N", title=None, sort=order).scale(
                domain=order, range=[ORANGE, BLUE][: len(order)]
            ),
            strokeDash=alt.StrokeDash("case:N", title=None, sort=order).scale(domain=order),
        )
    )  # fmt: skip
    side = room.wide - (140 if room is DESK else 60)
    return (diagonal + curves).properties(width=side, height=round(0.9 * side))


def _years(study: Study, table: pd.DataFrame, room: Room) -> Any:
    rows = table[table["option"].isin([AS_IS, study.focus])]
    rows = rows.assign(case=[TODAY if one == AS_IS else one for one in rows["option"]])
    return (
        alt.Chart(rows)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=70), strokeWidth=2)
        .encode(
            x=alt.X("year:O", title=None).axis(labelAngle=0),
            y=alt.Y("wait_mean_h:Q", title="mean wait").axis(labelExpr=HOURS),
            color=alt.Color("case:N", title=None, sort=[TODAY, study.focus]).scale(
                domain=[TODAY, study.focus], range=[ORANGE, BLUE]
            ),
        )
        .properties(width=room.plot, height=260)
    )


# --- how sure


def _tornado(title: str | list[str], *, waits: bool) -> Callable[[Study, pd.DataFrame, Room], Any]:
    def draw(_study: Study, table: pd.DataFrame, room: Room) -> Any:
        rows = table[table["swing"] > 0].head(MOST)
        if rows.empty:
            rows = table.head(MOST)
        names = [_quantity(row) for row in rows.itertuples()]
        middle = float(table["change"].iloc[0])
        parts = []
        for end, column in (("low end", "change_at_low"), ("high end", "change_at_high")):
            parts.append(
                pd.DataFrame({"name": names, "end": end, "change": rows[column].to_numpy()})
            )
        both = pd.concat(parts).assign(middle=middle)
        low, high = float(both["change"].min()), float(both["change"].max())
        aside = 0.05 * (high - low or abs(middle) or 1.0)
        low, high = min(low, middle) - aside, max(high, middle) + aside
        axis = hour_axis(low, high, room.ticks - 1) if waits else alt.Axis(tickCount=room.ticks - 1)
        bars = (
            alt.Chart(both)
            .mark_bar(height=18)
            .encode(
                y=alt.Y("name:N", sort=names, title=None, axis=_parted(names, room)),
                x=alt.X("middle:Q", title=title, axis=axis).scale(
                    domain=[low, high], nice=False
                ),
                x2="change:Q",
                color=alt.Color("end:N", title="the number is at its").scale(
                    domain=["low end", "high end"], range=[SKY, ORANGE]
                ),
            )
        )  # fmt: skip
        line = alt.Chart(pd.DataFrame({"x": [middle]})).mark_rule(color="#222222").encode(x="x:Q")
        return (bars + line).properties(
            width=room.plot - (60 if room is DESK else 20),
            height=alt.Step(40 if room is DESK else 74),
        )

    return draw


def _parted(names: list[str], room: Room) -> Any:
    """A number's name, and its range below."""
    letters, most = (42, 300) if room is DESK else (22, 160)
    lines = in_lines(names, letters, "|")
    return alt.Axis(labelLimit=most, labelPadding=8, ticks=False, labelExpr=lines)


def _quantity(row: Any) -> str:
    return f"{quantity_name(row.quantity)}|{row.low:,.4g} to {row.high:,.4g} {row.unit}"


FIGURES = (
    Figure("waterfall", "From today's wait to the new one",
           "The mean wait today, what each step takes off it, and what is left.", _waterfall),
    Figure("options", "What each option changes",
           "Change of the mean wait against today; the line is the 95 % interval. An arrow: it goes"
           " on beyond the figure.", _options),
    Figure("map", "Where it is",
           "Sites by size, coloured by the carbon of their grid; a cross marks a new one.",
           draw_map),
    Figure("pareto", "Cost against wait",
           "Each option's cost (written off, upkeep and energy) and the wait that 90 % of jobs stay"
           " below; the dashed line joins those that no other option beats in both. A triangle: far"
           " above, at the wait that is written there. Names that had no room are in the numbers.",
           draw_pareto),
    Figure("sites", "Waits by site",
           "Mean wait of the people of each site, today and then.", _by("site")),
    Figure("countries", "Waits by country",
           "Mean wait of each country's people, today and then.", _by("country")),
    Figure("groups", "Waits by group of people",
           "Mean wait of each group, today and then.", _by("group")),
    Figure("kinds", "Waits by part of the demand",
           "Mean wait of each part of what is asked for, today and then.", _by("kind")),
    Figure("sizes", "Waits by size of job",
           "Mean wait by the accelerators that a job needs, today and then.", _by("size")),
    Figure("lorenz", "Who gets back what they gave",
           "Work done for countries against what they gave. On the diagonal everybody gets back"
           " in proportion; the further below, the less even.", _lorenz),
    Figure("demand", "What is asked for, hour by hour",
           "Accelerator-hours asked for in each hour of an average day, by part of the demand.",
           draw_demand),
    Figure("power", "Power, hour by hour",
           "Mean power of all sites in each hour of the day; below, the power of jobs that wait"
           " when the grid asks, and when it is used after all.", draw_power),
    Figure("years", "Year by year", "Mean wait in each year, today's rules and then.", _years),
    Figure("tornado-wait", "What would change the answer: wait",
           "The change of the mean wait if one number is at the low or high end of its range.",
           _tornado("change of the mean wait", waits=True)),
    Figure("tornado-cost", "What would change the answer: cost",
           "The change of the cost of a useful accelerator-hour, likewise.",
           _tornado(["change of the cost,", "EUR per useful accelerator-hour"], waits=False)),
)  # fmt: skip
