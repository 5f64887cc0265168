"""Figures of a day by hour: what is asked for, and the power of all sites."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from meyrin.plan.report.gather import Study
from meyrin.plan.report.paint import BLUE, GREEN, ORANGE, PURPLE, SKY, TODAY, Room
from meyrin.plan.scenario import AS_IS


def draw_demand(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    """Work asked for in each hour, by part of the demand."""
    return (
        alt.Chart(table)
        .mark_area(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("hour_utc:Q", title="hour of the day, UTC")
            .scale(domain=[-0.5, 23.5], nice=False)
            .axis(values=list(range(0, 24, 3 if room.ticks > 3 else 6))),
            y=alt.Y("asked_acch_per_day:Q", title=["accelerator-hours", "asked for in the hour"]),
            color=alt.Color("kind:N", title=None).scale(range=[BLUE, ORANGE, GREEN, PURPLE, SKY]),
        )
        .properties(width=room.wide - 60, height=260)
    )


def draw_power(_study: Study, table: pd.DataFrame, room: Room) -> Any:
    """Power by hour for each case; under it what was held back and used later."""
    names = {name: TODAY if name == AS_IS else name for name in dict.fromkeys(table["option"])}
    rows = table.assign(case=table["option"].map(names))
    order = list(names.values())
    colours = [ORANGE, BLUE, GREEN][: len(order)]
    x = (
        alt.X("hour_utc:Q", title="hour of the day, UTC")
        .scale(domain=[-0.5, 23.5], nice=False)
        .axis(values=list(range(0, 24, 3 if room.ticks > 3 else 6)))
    )
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=alt.Y("power_mw:Q", title="power of all sites, MW").scale(zero=False),
            color=alt.Color("case:N", title=None, sort=order).scale(domain=order, range=colours),
            strokeDash=alt.StrokeDash("case:N", legend=None, sort=order).scale(domain=order),
        )
        .properties(width=room.wide - 60, height=200)
    )
    moved = rows[rows["held_back_mw"] + rows["used_later_mw"] > 0]
    if moved.empty:
        return lines
    ends = {"held_back_mw": "held back", "used_later_mw": "used later"}
    long = moved.melt(["hour_utc"], list(ends), "what", "mw").assign(
        what=lambda one: one["what"].map(ends)
    )
    long.loc[long["what"] == "held back", "mw"] *= -1
    bars = (
        alt.Chart(long)
        .mark_bar(size=9 if room.ticks > 3 else 6)
        .encode(
            x=x,
            y=alt.Y("mw:Q", title="moved, MW"),
            color=alt.Color("what:N", title=None).scale(
                domain=list(ends.values()), range=[PURPLE, SKY]
            ),
        )
        .properties(width=room.wide - 60, height=130)
    )
    return alt.vconcat(lines, bars).resolve_scale(color="independent")
