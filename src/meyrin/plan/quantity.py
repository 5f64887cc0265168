"""A number with its unit and its source: the only form in which a study takes numbers.

    power = { value = 12.1, unit = "MW", source = "epoch" }
    price = { value = 97.4, low = 80, high = 120, unit = "EUR/MWh", source = "eurostat" }
    accelerators = { unknown = true, low = 500, high = 4000, unit = "accelerators", source = "..." }

What nobody knows is said to be unknown and has a range: the study runs on its middle (the
geometric one where the range spans more than twofold) and on both ends, so that not knowing has
a price. Each kind of quantity is a class with the units that fit it.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from meyrin.sim.toml_file import Table

FORM = '{ value = NUMBER, unit = "UNIT", source = "WHO SAYS SO" }'


class Quantity(Table):
    """A number. ValueError, as validators raise it, for one that is neither known nor a range."""

    model_config = ConfigDict(json_schema_extra={"x-words": f"a table {FORM}"})

    value: float | None = Field(default=None, description="the number, where it is known")
    unknown: bool = Field(default=False, description="nobody says it: low and high bound it")
    low: float | None = Field(default=None, description="it may be as low as this")
    high: float | None = Field(default=None, description="it may be as high as this")
    source: str = Field(
        min_length=1,
        description="a name under [source], an address, or `assumption: ` and why",
        json_schema_extra={
            "x-words": "a name under [source], an address, or `assumption: ` and why"
        },
    )
    note: str = Field(default="", description="what a reader should know")

    UNITS: ClassVar[dict[str, float]] = {}
    """How many of the base unit each unit is."""
    LEAST: ClassVar[float] = 0.0
    MOST: ClassVar[float] = math.inf

    @model_validator(mode="after")
    def _whole(self) -> Quantity:
        if self.unknown and self.value is not None:
            raise ValueError("unknown = true and a value: leave one of them out")
        if self.unknown and (self.low is None or self.high is None):
            raise ValueError("an unknown number needs low and high, so that it can be priced")
        if not self.unknown and self.value is None:
            raise ValueError("no value; if nobody says it, write unknown = true with low and high")
        given = [one for one in (self.low, self.value, self.high) if one is not None]
        if not all(math.isfinite(one) for one in given):
            raise ValueError("a number must be finite")
        if given != sorted(given):
            raise ValueError("low, value and high must rise")
        least, most = self.in_unit(self.LEAST), self.in_unit(self.MOST)
        if given[0] < least or given[-1] > most:
            upwards = f"of {least:g} {self._unit} or more"
            between = f"from {least:g} to {most:g} {self._unit}"
            which = upwards if math.isinf(most) else between
            raise ValueError(f"a number {which} is expected")
        return self

    @property
    def _unit(self) -> str:
        unit: str = getattr(self, "unit")  # noqa: B009 - each kind has its own units
        return unit

    def in_unit(self, base: float) -> float:
        """A number of the base unit in this quantity's own unit."""
        return base / self.UNITS[self._unit]

    def at(self, end: Literal["value", "low", "high"] = "value") -> float:
        """The number in the base unit, or an end of its range (the number where it has none)."""
        chosen = getattr(self, end)
        if chosen is None:
            chosen = self._middle() if self.value is None else self.value
        return float(chosen) * self.UNITS[self._unit]

    def _middle(self) -> float:
        assert self.low is not None
        assert self.high is not None
        if self.low > 0 and self.high > 2 * self.low:
            return math.sqrt(self.low * self.high)
        return (self.low + self.high) / 2

    @property
    def ranged(self) -> bool:
        """Whether a study can vary it."""
        return self.low is not None or self.high is not None


class Accelerators(Quantity):
    """Base: one accelerator."""

    unit: Literal["accelerators"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"accelerators": 1}
    MOST: ClassVar[float] = 10**7


class PerNode(Quantity):
    """Base: accelerators in one node."""

    unit: Literal["accelerators/node"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"accelerators/node": 1}
    LEAST: ClassVar[float] = 1
    MOST: ClassVar[float] = 1024


class Power(Quantity):
    """Base: watt."""

    unit: Literal["kW", "MW", "GW"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"kW": 1e3, "MW": 1e6, "GW": 1e9}


class PowerEach(Quantity):
    """Base: watt for each accelerator."""

    unit: Literal["W/accelerator", "kW/accelerator"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"W/accelerator": 1, "kW/accelerator": 1e3}


class PowerPrice(Quantity):
    """Base: millicents for one kWh, which is EUR/MWh times 100."""

    unit: Literal["EUR/MWh", "EUR/kWh", "cent/kWh"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"EUR/MWh": 100, "EUR/kWh": 1e5, "cent/kWh": 1e3}
    LEAST: ClassVar[float] = -1e5


class Carbon(Quantity):
    """Base: mg of CO2 for one kWh."""

    unit: Literal["gCO2/kWh", "kgCO2/MWh", "tCO2/GWh"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"gCO2/kWh": 1e3, "kgCO2/MWh": 1e3, "tCO2/GWh": 1e3}


class Temperature(Quantity):
    """Base: degree Celsius, or a difference of so many."""

    unit: Literal["degC"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"degC": 1}
    LEAST: ClassVar[float] = -60
    MOST: ClassVar[float] = 60


class Ratio(Quantity):
    """Base: one."""

    unit: Literal["1", "%"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"1": 1, "%": 0.01}


class PueSlope(Quantity):
    """Base: PUE for each degree."""

    unit: Literal["1/degC"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"1/degC": 1}


class Span(Quantity):
    """Base: second."""

    unit: Literal["s", "min", "h", "d", "a"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {
        "s": 1,
        "min": 60,
        "h": 3600,
        "d": 86400,
        "a": 365 * 86400,
    }


class FailureRate(Quantity):
    """Base: failures of one accelerator in one day."""

    unit: Literal["1/(accelerator.d)"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"1/(accelerator.d)": 1}
    MOST: ClassVar[float] = 1


class MoneyEach(Quantity):
    """Base: millicent for each accelerator."""

    unit: Literal["EUR/accelerator", "kEUR/accelerator"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"EUR/accelerator": 1e5, "kEUR/accelerator": 1e8}


class Money(Quantity):
    """Base: millicent."""

    unit: Literal["EUR", "kEUR", "MEUR", "GEUR"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"EUR": 1e5, "kEUR": 1e8, "MEUR": 1e11, "GEUR": 1e14}


class Yearly(Quantity):
    """Base: share of the price in one year."""

    unit: Literal["%/a", "1/a"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"%/a": 0.01, "1/a": 1}


class Speed(Quantity):
    """Base: H100-equivalents for each accelerator."""

    unit: Literal["H100e/accelerator"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"H100e/accelerator": 1}
    LEAST: ClassVar[float] = 0.001
    MOST: ClassVar[float] = 1000


class Angle(Quantity):
    """Base: degree."""

    unit: Literal["deg"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"deg": 1}
    LEAST: ClassVar[float] = -180
    MOST: ClassVar[float] = 180


class DataEach(Quantity):
    """Base: megabyte for each accelerator-hour of a job."""

    unit: Literal["GB/accelerator-h", "MB/accelerator-h"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"GB/accelerator-h": 1e3, "MB/accelerator-h": 1}


class Bandwidth(Quantity):
    """Base: megabyte a second."""

    unit: Literal["Mbit/s", "Gbit/s", "Tbit/s"] = Field(description="unit")
    UNITS: ClassVar[dict[str, float]] = {"Mbit/s": 0.125, "Gbit/s": 125.0, "Tbit/s": 125e3}
    LEAST: ClassVar[float] = 0.001
