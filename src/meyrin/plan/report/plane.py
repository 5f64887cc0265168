"""Figures of points with names: the map, and cost against wait."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import altair as alt
import pandas as pd

from meyrin.plan.report.gather import Study
from meyrin.plan.report.labels import Label, Mark, lay
from meyrin.plan.report.paint import ORANGE, TODAY, Room, hour_axis, kept
from meyrin.plan.report.words import hours
from meyrin.plan.scenario import AS_IS
from meyrin.sim.figure import GREY

WINDOW = ((-24.0, 40.0), (34.0, 71.0))  # longitudes and latitudes of the map
LARGEST, SMALLEST = 800, 30  # areas of circles
INK = "#111111"


def europe() -> dict[str, Any]:
    """Outlines of countries as GeoJSON, with their source."""
    text = resources.files("meyrin.plan.report").joinpath("europe.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


# --- map


@dataclass(frozen=True, slots=True)
class View:
    """A Mercator projection: `scale` points a radian, `centre` (degrees) in the middle."""

    centre: tuple[float, float]
    scale: float
    width: int
    height: int

    def to_points(self, longitude: float, latitude: float) -> tuple[float, float]:
        east = math.radians(longitude - self.centre[0])
        north = _north(latitude) - _north(self.centre[1])
        return self.width / 2 + self.scale * east, self.height / 2 - self.scale * north

    def to_degrees(self, x: float, y: float) -> tuple[float, float]:
        east = math.degrees((x - self.width / 2) / self.scale)
        north = _north(self.centre[1]) + (self.height / 2 - y) / self.scale
        return self.centre[0] + east, math.degrees(2 * math.atan(math.exp(north)) - math.pi / 2)


def _north(latitude: float) -> float:
    return math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))


def view_of(places: pd.DataFrame, width: int) -> View:
    """As near as lets all places be seen, with room for their names."""
    height = round(0.95 * width)
    east, west = places["longitude_deg"].max(), places["longitude_deg"].min()
    norths = [_north(float(each)) for each in (places["latitude_deg"].max(),
                                              places["latitude_deg"].min())]  # fmt: skip
    middle = math.degrees(2 * math.atan(math.exp(sum(norths) / 2)) - math.pi / 2)
    scale = min(
        0.7 * width / max(math.radians(east - west), 0.1),
        (height - 70) / max(norths[0] - norths[1], 0.1),
    )
    return View(((east + west) / 2, middle), scale, width, height)


def draw_map(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    places = table[
        table["longitude_deg"].between(*WINDOW[0]) & table["latitude_deg"].between(*WINDOW[1])
    ]
    places = places.sort_values("h100_equivalents", ascending=False)
    view = view_of(places, room.wide)
    how = {
        "type": "mercator",
        "center": list(view.centre),
        "scale": view.scale,
        "translate": [view.width / 2, view.height / 2],
    }
    most = max(float(places["h100_equivalents"].max()), 1.0)
    area = [SMALLEST + (LARGEST - SMALLEST) * math.sqrt(max(each, 0.0) / most)
            for each in places["h100_equivalents"]]  # fmt: skip
    at = {"longitude": "longitude_deg:Q", "latitude": "latitude_deg:Q"}
    land = alt.Chart(alt.InlineData(values=europe()["features"])).mark_geoshape(
        fill="#eeeeee", stroke="#ffffff", strokeWidth=1, clip=True
    )
    circles = (
        alt.Chart(places)
        .mark_circle(opacity=0.85, stroke="#222222", strokeWidth=0.8)
        .encode(
            **at,
            size=alt.Size("h100_equivalents:Q", title="H100-equivalents")
            .scale(type="sqrt", domain=[0, most], range=[SMALLEST, LARGEST])
            .legend(format="~s", values=_sizes(most)),
            color=alt.Color("carbon_g_per_kwh:Q", title="carbon of the grid, g/kWh")
            .scale(scheme="cividis", reverse=True)
            .legend(gradientLength=min(200, room.wide // 2), tickCount=3),
        )
    )
    new = (
        alt.Chart(places[places["option"] != AS_IS])
        .mark_point(shape="cross", size=90, color=ORANGE, filled=True)
        .encode(**at)
    )
    spots = [view.to_points(float(row.longitude_deg), float(row.latitude_deg))
             for row in places.itertuples()]  # fmt: skip
    marks = [
        Mark(x, y, math.sqrt(each / math.pi), str(title))
        for (x, y), each, title in zip(spots, area, places["title"], strict=True)
    ]
    names = _names(marks, lay(marks, view.width, view.height), view.to_degrees)
    drawn = [land, circles, new, *_written(names, geo=True)]
    charts = [each.project(**how) for each in drawn]
    return alt.layer(*charts).properties(width=view.width, height=view.height)


def _sizes(most: float) -> list[float]:
    """Two round sizes for the legend."""
    power = 10.0 ** math.floor(math.log10(most))
    steps = [power * step for step in (0.1, 0.2, 0.5, 1, 2, 5) if power * step <= most]
    return steps[-4::2] if len(steps) > 3 else steps


# --- names beside points


def _names(
    marks: Sequence[Mark],
    labels: Sequence[Label | None],
    back: Callable[[float, float], tuple[float, float]],
) -> pd.DataFrame:
    """Names with their places, and their lines, in the units of the axes."""
    columns = ["text", "align", "x", "y", "line_x", "line_y", "line_x2", "line_y2"]
    rows = []
    for mark, label in zip(marks, labels, strict=True):
        if label is not None:
            line = label.line or (math.nan,) * 4
            at = *back(label.x, label.y), *back(*line[:2]), *back(*line[2:])
            rows.append((mark.text, label.align, *at))
    return pd.DataFrame(rows, columns=columns)


def _written(names: pd.DataFrame, *, geo: bool) -> list[Any]:
    lined = names[names["line_x"].notna()]
    first, second = ("longitude", "latitude") if geo else ("x", "y")
    at = {first: "x:Q", second: "y:Q"}
    ends = {first: "line_x:Q", second: "line_y:Q", f"{first}2": "line_x2:Q",
            f"{second}2": "line_y2:Q"}  # fmt: skip
    lines = alt.Chart(lined).mark_rule(color="#777777", strokeWidth=0.8).encode(**ends)
    texts = [
        alt.Chart(mine)
        .mark_text(fontSize=12, align=align, baseline="middle", color=INK)
        .encode(**at, text="text:N")
        for align, mine in names.groupby("align")
    ]
    return [lines, *texts]


# --- cost against wait


@dataclass(frozen=True, slots=True)
class Plane:
    """A plot of `width` by `height` over these ranges."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int

    def to_points(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.width * (x - self.x[0]) / (self.x[1] - self.x[0]),
            self.height * (1 - (y - self.y[0]) / (self.y[1] - self.y[0])),
        )

    def to_units(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.x[0] + x / self.width * (self.x[1] - self.x[0]),
            self.y[0] + (1 - y / self.height) * (self.y[1] - self.y[0]),
        )


def draw_pareto(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    most = kept(table["wait_p90_h"])
    over = table["wait_p90_h"] > most
    cost = table["cost_meur"]
    aside = 0.08 * (float(cost.max() - cost.min()) or abs(float(cost.max())) or 1.0)
    plane = Plane(
        (float(cost.min()) - aside, float(cost.max()) + 2 * aside),
        (-0.04 * most, 1.12 * most or 1.0),
        room.wide - 60,
        round(0.75 * (room.wide - 60)) + 60,
    )
    named = table.assign(
        name=[_case(row, over=bool(far))
              for row, far in zip(table.itertuples(), over, strict=True)],
        shown_h=table["wait_p90_h"].where(~over, 1.06 * most),
    ).sort_values(["best", "wait_p90_h"], ascending=[False, True])  # fmt: skip
    x = _cost_axis(plane, room)
    y = alt.Y("shown_h:Q", title="90 % of jobs wait at most").scale(
        domain=list(plane.y), nice=False
    ).axis(hour_axis(0.0, plane.y[1], 6))  # fmt: skip
    line = (
        alt.Chart(named[named["best"]].sort_values("cost_meur"))
        .mark_line(color=GREY, strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    colour = (
        alt.Color("carbon_g_per_acch:Q", title="g CO2 per useful accelerator-hour")
        .scale(scheme="cividis", reverse=True)
        .legend(gradientLength=min(180, room.wide // 2), tickCount=3)
    )
    look: dict[str, Any] = {"filled": True, "opacity": 1, "stroke": "#222222", "strokeWidth": 0.8}
    far = named["wait_p90_h"] > most
    dots = alt.Chart(named[~far]).mark_point(size=130, **look).encode(x=x, y=y, color=colour)
    more = (
        alt.Chart(named[far])
        .mark_point(size=150, shape="triangle-up", **look)
        .encode(x=x, y=y, color=colour)
    )
    marks = [
        Mark(*plane.to_points(float(row.cost_meur), float(row.shown_h)), 7.0, str(row.name))
        for row in named.itertuples(index=False)
    ]
    names = _names(marks, lay(marks, plane.width, plane.height), plane.to_units)
    return alt.layer(line, dots, more, *_written(names, geo=False)).properties(
        width=plane.width, height=plane.height
    )


def _cost_axis(plane: Plane, room: Room) -> Any:
    each, unit = (1, "million") if plane.x[1] >= 1 else (1000, "thousand")
    shown = f"format(datum.value * {each}, ',.6~g')"
    return (
        alt.X("cost_meur:Q", title=f"cost of the run, {unit} euros")
        .scale(domain=list(plane.x), nice=False)
        .axis(tickCount=room.ticks, labelExpr=shown)
    )


def _case(row: Any, *, over: bool) -> str:
    name = TODAY if row.option == AS_IS else str(row.option)
    return f"{name}: {hours(row.wait_p90_h)}" if over else name
