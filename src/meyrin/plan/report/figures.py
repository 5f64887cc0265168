"""The figures of a report: each from the table of its name, and from nothing else.

Colours are those of M. Okabe and K. Ito (Color Universal Design, 2008) and the scale cividis
(J. R. Nuñez, C. R. Anderton, R. S. Renslow, 2018), which people with any colour vision tell apart;
no figure needs colour alone. Sizes of type are for a figure that is drawn 620 points wide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import altair as alt
import pandas as pd

from meyrin.plan.report.day import draw_demand, draw_power
from meyrin.plan.report.gather import Study
from meyrin.plan.report.paint import BLUE, ORANGE, SKY, TODAY, WIDTH
from meyrin.plan.report.words import MINUS, SAME_H, hours, quantity_name
from meyrin.plan.scenario import AS_IS
from meyrin.sim.figure import GREY, styled

ROOM = {"left": 40, "right": 24, "top": 14, "bottom": 14}  # fonts differ in width
FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
LABELS = 170  # points for the labels left of a plot
WINDOW = ((-24.0, 40.0), (34.0, 71.0))  # longitudes and latitudes of the map
RULES = {"recorded": "job sizes as recorded", "grown": "job sizes grown with the machine"}
MOST = 12  # bars of a tornado; rows of a bar chart
HOURS = (
    "datum.value == 0 ? '0' : abs(datum.value) < 1/60 ? format(datum.value * 3600, '.2~g') + ' s'"
    " : abs(datum.value) < 1 ? format(datum.value * 60, '.2~g') + ' min'"
    " : abs(datum.value) < 240 ? format(datum.value, '.3~g') + ' h'"
    " : format(datum.value / 24, '.3~g') + ' d'"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: the table of its name, a heading, what it shows in one sentence, who draws it."""

    name: str
    heading: str
    says: str
    draw: Callable[[Study, pd.DataFrame], Any]


def drawn(study: Study, tables: Mapping[str, pd.DataFrame]) -> list[tuple[Figure, Any]]:
    """All figures that this study has something for, in the page's order."""
    return [
        (each, _looks(each.draw(study, tables[each.name])))
        for each in FIGURES
        if len(tables[each.name])
        and (each.name != "years" or tables["years"]["year"].nunique() > 1)
    ]


def _looks(chart: Any) -> Any:
    quiet = {"labelFontSize": 13, "titleFontSize": 13, "gridColor": "#e6e6e6", "titlePadding": 16}
    return (
        styled(chart)
        .configure(font=FONT, background="white", padding=ROOM)
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
            labelLimit=420, titleLimit=420, columnPadding=30,
        )
        .configure_header(labelFontSize=13, labelFontWeight="bold", titleFontSize=13)
    )  # fmt: skip


def _named(values: list[str]) -> Any:
    """A discrete axis with whole labels, in this order."""
    return {
        "sort": values,
        "title": None,
        "axis": alt.Axis(labelLimit=LABELS, labelPadding=10, ticks=False),
    }


# --- map


def _map(_study: Study, table: pd.DataFrame) -> Any:
    inside = table[
        table["longitude_deg"].between(*WINDOW[0]) & table["latitude_deg"].between(*WINDOW[1])
    ]
    view = {"type": "mercator", "center": [10, 55.5], "scale": 520, "translate": [290, 280]}
    land = (
        alt.Chart(alt.InlineData(values=europe()["features"]))
        .mark_geoshape(fill="#eeeeee", stroke="#ffffff", strokeWidth=1, clip=True)
        .project(**view)
    )
    places = inside.assign(
        kind=["today" if one == AS_IS else "in an option" for one in inside["option"]]
    )
    at = {"longitude": "longitude_deg:Q", "latitude": "latitude_deg:Q"}
    circles = (
        alt.Chart(places)
        .mark_circle(opacity=0.85, stroke="#222222", strokeWidth=0.8)
        .encode(
            **at,
            size=alt.Size("h100_equivalents:Q", title="H100-equivalents")
            .scale(type="sqrt", range=[30, 800])
            .legend(format="~s", values=_sizes(places["h100_equivalents"])),
            color=alt.Color("carbon_g_per_kwh:Q", title="carbon of the grid, g/kWh")
            .scale(scheme="cividis", reverse=True)
            .legend(gradientLength=200),
        )
        .project(**view)
    )
    new = (
        alt.Chart(places[places["kind"] != "today"])
        .mark_point(shape="cross", size=90, color=ORANGE, filled=True)
        .encode(**at)
        .project(**view)
    )
    names = (
        alt.Chart(_apart(places))
        .mark_text(fontSize=12, align="left", dx=13, dy=-7, color="#111111")
        .encode(**at, text="title:N")
        .project(**view)
    )
    return (land + circles + new + names).properties(width=580, height=560)


def _sizes(worth: pd.Series) -> list[float]:
    """Three round sizes for the legend."""
    most = max(float(worth.max()), 1.0) if len(worth) else 1.0
    power = 10.0 ** math.floor(math.log10(most))
    steps = [power * step for step in (0.1, 0.2, 0.5, 1, 2, 5) if power * step <= most]
    return steps[-4::2] if len(steps) > 3 else steps


def _apart(places: pd.DataFrame) -> pd.DataFrame:
    """Places to name: the largest first, none that would be written over another's name."""
    kept: list[tuple[float, float, int]] = []
    rows = []
    for row in places.sort_values("h100_equivalents", ascending=False).itertuples():
        here = float(row.longitude_deg), float(row.latitude_deg), len(str(row.title))
        if all(_clear(here, other) for other in kept):
            kept.append(here)
            rows.append(row.Index)
    return places.loc[rows]


def _clear(a: tuple[float, float, int], b: tuple[float, float, int]) -> bool:
    """Whether two names, written to the right of their places, keep clear of each other."""
    first, second = sorted((a, b))
    return abs(a[1] - b[1]) > 1.0 or second[0] - first[0] > 0.75 * first[2]


def europe() -> dict[str, Any]:
    """Outlines of countries as GeoJSON, with their source."""
    text = resources.files("meyrin.plan.report").joinpath("europe.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


# --- options


def _options(_study: Study, table: pd.DataFrame) -> Any:
    """Change of the mean wait by each option with its interval, a panel for each size rule."""
    rows = table[table["option"] != AS_IS].assign(
        rule=table["size_rule"].map(RULES),
        better=table["wait_mean_h_change"] < 0,
    )
    order = list(dict.fromkeys(rows["option"]))
    base = alt.Chart(rows).encode(y=alt.Y("option:N", **_named(order)))
    colour = alt.Color("rule:N", title=None, sort=list(RULES.values())).scale(
        domain=list(RULES.values()), range=[BLUE, ORANGE]
    )
    offset = alt.YOffset("rule:N", sort=list(RULES.values()))
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("wait_mean_h_change_low:Q", title="change of the mean wait").axis(
            labelExpr=HOURS, tickCount=6
        ),
        x2="wait_mean_h_change_high:Q",
        color=colour,
        yOffset=offset,
    )
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="wait_mean_h_change:Q", color=colour, yOffset=offset,
        shape=alt.Shape("rule:N", title=None, sort=list(RULES.values())).scale(
            domain=list(RULES.values())
        ),
    )  # fmt: skip
    return (_zero() + bars + dots).properties(width=WIDTH, height=alt.Step(17))


def _zero() -> Any:
    return alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=GREY).encode(x="x:Q")


def _waterfall(_study: Study, table: pd.DataFrame) -> Any:
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
    bars = base.mark_bar(size=58).encode(
        y=alt.Y("low:Q", title="mean wait").axis(labelExpr=HOURS, tickCount=6),
        y2="high:Q",
        color=alt.Color("what:N", title=None).scale(domain=kinds, range=[GREY, BLUE, ORANGE]),
    )
    words = base.mark_text(dy=-9, fontSize=13, color="#111111").encode(y="high:Q", text="words:N")
    return (bars + words).properties(width=max(420, 104 * len(rows)), height=300)


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
    if abs(row.change_h) < SAME_H:
        return "no change"
    sign = "+" if row.change_h > 0 else MINUS
    return f"{sign}{hours(abs(row.change_h))}"


def _pareto(_study: Study, table: pd.DataFrame) -> Any:
    front = table[table["best"]].sort_values("cost_meur")
    x = alt.X("cost_meur:Q", title="cost of the run: written off, upkeep and energy, MEUR")
    y = alt.Y("wait_p90_h:Q", title="90 % of jobs wait at most")
    line = (
        alt.Chart(front)
        .mark_line(color=GREY, strokeDash=[4, 3])
        .encode(x=x.scale(zero=False, padding=30).axis(tickCount=4), y=y.axis(labelExpr=HOURS))
    )
    dots = (
        alt.Chart(table)
        .mark_point(filled=True, size=130, opacity=1, stroke="#222222", strokeWidth=0.8)
        .encode(
            x="cost_meur:Q",
            y="wait_p90_h:Q",
            color=alt.Color("carbon_g_per_acch:Q", title="g CO2 per useful accelerator-hour")
            .scale(scheme="cividis", reverse=True)
            .legend(gradientLength=180),
        )
    )
    names = (
        alt.Chart(_readable(table))
        .mark_text(align="left", dx=10, fontSize=12, color="#111111")
        .encode(x="cost_meur:Q", y="wait_p90_h:Q", text="option:N")
    )
    return (line + dots + names).properties(width=520, height=380)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Options to name: those of the front first, none that would be written over another."""
    wide = max(float(table["cost_meur"].max() - table["cost_meur"].min()), 1e-9)
    high = max(float(table["wait_p90_h"].max() - table["wait_p90_h"].min()), 1e-9)
    kept: list[tuple[float, float, int]] = []
    rows = []
    for row in table.sort_values(["best", "wait_p90_h"], ascending=[False, True]).itertuples():
        x = 460 * (row.cost_meur - table["cost_meur"].min()) / wide
        y = 360 * (row.wait_p90_h - table["wait_p90_h"].min()) / high
        here = x, y, len(str(row.option))
        first = [
            abs(y - b) > 13 or x > a + 7 * n + 10 or a > x + 7 * len(str(row.option)) + 10
            for a, b, n in kept
        ]
        if all(first):
            kept.append(here)
            rows.append(row.Index)
    return table.loc[rows]


# --- for whom


def _by(dimension: str) -> Callable[[Study, pd.DataFrame], Any]:
    """Mean wait of each slice, as things are and with the focus: two marks and what is between."""

    def draw(study: Study, table: pd.DataFrame) -> Any:
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
        y = alt.Y(f"{dimension}:N", **_named(order))
        span = (
            alt.Chart(wide.reset_index().rename(columns={AS_IS: "before", study.focus: "after"}))
            .mark_rule(color="#bbbbbb", strokeWidth=3)
            .encode(y=y, x="before:Q", x2="after:Q")
        )
        dots = (
            alt.Chart(rows)
            .mark_point(filled=True, size=90, opacity=1)
            .encode(
                y=y,
                x=alt.X("wait_mean_h:Q", title="mean wait").axis(labelExpr=HOURS, tickCount=6),
                color=alt.Color("case:N", title=None, sort=[TODAY, study.focus]).scale(
                    domain=[TODAY, study.focus], range=[ORANGE, BLUE]
                ),
                shape=alt.Shape("case:N", title=None, sort=[TODAY, study.focus]).scale(
                    domain=[TODAY, study.focus]
                ),
            )
        )
        return (span + dots).properties(width=WIDTH, height=alt.Step(24))

    return draw


def _lorenz(study: Study, table: pd.DataFrame) -> Any:
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
            x=alt.X("given_share:Q", title="share of what countries gave, worst served first")
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
    return (diagonal + curves).properties(width=420, height=380)


def _years(study: Study, table: pd.DataFrame) -> Any:
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
        .properties(width=WIDTH, height=260)
    )


# --- how sure


def _tornado(title: str, *, waits: bool) -> Callable[[Study, pd.DataFrame], Any]:
    def draw(_study: Study, table: pd.DataFrame) -> Any:
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
        axis = _sparse(labelExpr=HOURS) if waits else _sparse()
        bars = (
            alt.Chart(both)
            .mark_bar(height=18)
            .encode(
                y=alt.Y("name:N", sort=names, title=None, axis=_two_lines()),
                x=alt.X("middle:Q", title=title, axis=axis).scale(zero=False),
                x2="change:Q",
                color=alt.Color("end:N", title="the number is at its").scale(
                    domain=["low end", "high end"], range=[SKY, ORANGE]
                ),
            )
        )  # fmt: skip
        line = alt.Chart(pd.DataFrame({"x": [middle]})).mark_rule(color="#222222").encode(x="x:Q")
        return (bars + line).properties(width=330, height=alt.Step(40))

    return draw


def _sparse(**more: Any) -> Any:
    """Few ticks, none of whose labels touch: close values have long ones."""
    return alt.Axis(tickCount=4, labelOverlap="greedy", labelSeparation=10, **more)


def _two_lines() -> Any:
    return alt.Axis(
        labelLimit=300, labelPadding=8, ticks=False, labelExpr="split(datum.label, '|')"
    )


def _quantity(row: Any) -> str:
    return f"{quantity_name(row.quantity)}|{row.low:,.4g} to {row.high:,.4g} {row.unit}"


FIGURES = (
    Figure("waterfall", "From today's wait to the new one",
           "The mean wait today, what each step takes off it, and what is left.", _waterfall),
    Figure("options", "What each option changes",
           "Change of the mean wait against today; the line is the 95 % interval.", _options),
    Figure("map", "Where it is",
           "Sites by size, coloured by the carbon of their grid; a cross marks a new one.", _map),
    Figure("pareto", "Cost against wait",
           "Each option's cost and the wait that 90 % of jobs stay below; the dashed line joins"
           " those that no other option beats in both.", _pareto),
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
           _tornado("change of the cost, EUR per useful accelerator-hour", waits=False)),
)  # fmt: skip
