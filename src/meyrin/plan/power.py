"""Hour by hour at each site: PUE by temperature, price, carbon, and when the grid asks for less.

Temperature is the yearly mean with a season (coldest in mid-January) and a day (warmest at 15 h
local). Price and carbon are yearly means times a shape by month and hour (UTC), where the facility
names one; without it they are flat. The grid calls in the dearest hours; among equals, in those
nearest to the evening's peak (18:30 local).
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.plan.facility import FacilityFile
from meyrin.plan.world import Numbers, Place

Floats = NDArray[np.float64]
Shape = Mapping[str, Floats]
"""Ratios to the yearly mean, [month - 1, hour], by country."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A value for each hour of the run at one site."""

    pue: Floats
    price: Floats
    carbon: Floats
    signal: NDArray[np.bool_]


def read_shape(path: Path) -> Shape:
    """A shape file. InvalidInput with file and line for one that is no such table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(line for line in file if not line.startswith("#")))
    if not rows or rows[0][:2] != ["month", "hour_utc"]:
        raise InvalidInput(f"{path}:1: the columns are month,hour_utc and a country each")
    shape = {code: np.ones((12, 24)) for code in rows[0][2:]}
    if len(rows) != 1 + 12 * 24:
        raise InvalidInput(f"{path}: {len(rows) - 1} rows; 288 are expected, month by hour")
    for at, row in enumerate(rows[1:], 2):
        try:
            month, hour, *ratios = int(row[0]), int(row[1]), *map(float, row[2:])
            for code, ratio in zip(rows[0][2:], ratios, strict=True):
                shape[code][month - 1, hour] = ratio
        except (ValueError, IndexError) as error:
            raise InvalidInput(f"{path}:{at}: {error}; whole months, hours and ratios") from None
    return shape


def hours_of(
    place: Place,
    facility: FacilityFile,
    number: Numbers,
    begin: dt.date,
    count: int,
    shapes: tuple[Shape, Shape],
    called: float,
) -> Hours:
    """The hours of a site; `shapes` are carbon's and price's, `called` the part of them in which
    the grid asks for less."""
    start = dt.datetime.combine(begin, dt.time(), dt.UTC)
    at = np.datetime64(start.replace(tzinfo=None), "h") + np.arange(count)
    month = at.astype("datetime64[M]").astype(int) % 12
    hour = np.arange(count) % 24
    day = (at.astype("datetime64[D]") - at.astype("datetime64[Y]")).astype(int)
    climate = facility.climate
    local = (hour + (place.longitude or 0) / 15) % 24
    outdoor = (
        place.temperature
        - number(climate.season) * np.cos(2 * np.pi * (day - 15) / 365)
        + number(climate.day) * np.cos(2 * np.pi * (local - 15) / 24)
    )
    above = np.maximum(0.0, outdoor - number(climate.pue_from))
    carbon, price = (
        value * shape[place.country][month, hour]
        if place.country in shape
        else np.full(count, value)
        for value, shape in zip((place.carbon, place.price), shapes, strict=True)
    )
    return Hours(
        pue=number(climate.pue_base) + number(climate.pue_slope) * above,
        price=price,
        carbon=carbon,
        signal=_dearest(price, np.abs(local - 18.5), called),
    )


def _dearest(price: Floats, from_peak: Floats, called: float) -> NDArray[np.bool_]:
    """The part `called` of the hours with the highest price, among equals nearest to the peak."""
    signal = np.zeros(len(price), np.bool_)
    order = np.lexsort((np.arange(len(price)), from_peak, -price))
    signal[order[: round(len(price) * called)]] = True
    return signal
