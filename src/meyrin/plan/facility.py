"""The facility file: sites, their accelerators, power, prices and owners, as data with sources.

Never decides anything and holds no default for a fact: what a study needs must stand in the file.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from meyrin.domain.errors import InvalidInput
from meyrin.plan import countries
from meyrin.plan import quantity as q
from meyrin.sim.toml_file import Table, read_toml

ADDRESS = re.compile(r"https?://\S+\.\S+")
ASSUMED = re.compile(r"assumption: \S.*")

SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_. +/()-]{1,64}$")]
Country = Annotated[
    str, AfterValidator(countries.checked), Field(json_schema_extra={"x-words": "a code: FI"})
]


class Source(Table):
    """Where numbers come from: said once, named by them."""

    title: str = Field(min_length=1, description="what it is called")
    address: str = Field(default="", description="where it is")
    date: dt.date | None = Field(default=None, description="when it was read or published")
    licence: str = Field(default="", description="under which terms")


class Accelerator(Table):
    """A kind of accelerator."""

    name: Word = Field(description="how sites call it")
    speed: q.Speed = Field(description="H100-equivalents by dense BF16, or by your own measure")
    draw: q.PowerEach = Field(description="power at full load, host and network in, cooling not")
    price: q.MoneyEach = Field(description="installed, with its part of host and network")


class Climate(Table):
    """From temperature to PUE, and from a yearly mean to an hour."""

    pue_base: q.Ratio = Field(description="PUE at and below pue_from")
    pue_from: q.Temperature = Field(
        description="outdoor temperature above which cooling costs more"
    )
    pue_slope: q.PueSlope = Field(description="PUE more for each degree above it")
    season: q.Temperature = Field(description="July over the yearly mean; January as much below")
    day: q.Temperature = Field(description="15 h local over the mean of the day")
    idle: q.Ratio = Field(description="power of an idle accelerator over its power at full load")


class Money(Table):
    """How what was paid once becomes a cost by the hour."""

    life: q.Span = Field(description="years over which accelerators are written off")
    upkeep: q.Yearly = Field(description="staff and maintenance, of the price of the accelerators")
    building: q.Money = Field(description="building and power plant for one MW at the meter")
    building_life: q.Span = Field(description="years over which the building is written off")


class Owner(Table):
    """Who paid for which part of a site."""

    owner: Word = Field(description="its name")
    share: q.Ratio = Field(description="of the site's accelerator-seconds")
    countries: Annotated[tuple[Country, ...], Field(strict=False)] = Field(
        default=(), description="whose people use this part; empty: all countries of the demand"
    )


class Closure(Table):
    """Accelerators out of service for a time that is known before: maintenance."""

    begin: dt.date = Field(description="first day")
    end: dt.date = Field(description="the day after the last")
    accelerators: q.Accelerators | None = Field(default=None, description="absent: all")

    @model_validator(mode="after")
    def _in_order(self) -> Closure:
        if self.end <= self.begin:
            raise ValueError(f"end {self.end} is not after begin {self.begin}; swap or mend them")
        return self


class Site(Table):
    """One site with one kind of accelerator."""

    name: SiteName = Field(description="lower-case, as a hub calls it")
    title: str = Field(default="", description="as people call it")
    city: str = Field(default="", description="where it is")
    country: Country = Field(description="ISO 3166-1 alpha-2")
    latitude: q.Angle | None = Field(default=None, description="north is positive")
    longitude: q.Angle | None = Field(default=None, description="east is positive")
    operator: str = Field(default="", description="who runs it")
    status: Literal["operational", "deployment", "contracted", "selected", "bid", "option"] = Field(
        default="operational", description="how real it is"
    )
    shared: bool = Field(default=True, description="takes jobs from people of other sites")
    opened: dt.date | None = Field(default=None, description="first day; absent: it runs already")
    closed: dt.date | None = Field(default=None, description="the day after its last; absent: none")
    ramp: q.Span | None = Field(default=None, description="from first to full service, in steps")
    accelerator: Word = Field(description="a name under [[accelerator]]")
    accelerators: q.Accelerators = Field(description="how many")
    node: q.PerNode = Field(description="accelerators of a node")
    whole_nodes: bool | None = Field(
        default=None, description="a job takes whole nodes here; absent: as the scenario's rules"
    )
    power: q.Power | None = Field(
        default=None, description="at the meter at full load; absent: from the accelerator's draw"
    )
    price: q.PowerPrice = Field(description="electricity, yearly mean")
    carbon: q.Carbon = Field(description="of the grid, yearly mean")
    temperature: q.Temperature = Field(description="outdoor, yearly mean")
    link: q.Bandwidth | None = Field(default=None, description="to the research network")
    owners: Annotated[tuple[Owner, ...], Field(strict=False)] = Field(
        default=(), description="who paid; absent: its own country"
    )
    maintenance: Annotated[tuple[Closure, ...], Field(strict=False)] = Field(
        default=(), description="known closures"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Site:
        if self.closed and self.opened and self.closed <= self.opened:
            raise ValueError(f"closed {self.closed} is not after opened {self.opened}")
        shares = sum(owner.share.at() for owner in self.owners)
        if self.owners and not math.isclose(shares, 1, abs_tol=0.005):
            raise ValueError(f"owners' shares add up to {shares:.3g}; they must make 1 (100 %)")
        return self


class FacilityFile(Table):
    """A facility. ValueError, as validators raise it, for what does not fit together."""

    name: str = Field(min_length=1, max_length=120, description="how reports call it")
    source: dict[str, Source] = Field(default_factory=dict, description="where numbers come from")
    accelerator: Annotated[tuple[Accelerator, ...], Field(strict=False, min_length=1)] = Field(
        description="kinds"
    )
    climate: Climate = Field(description="temperature and PUE")
    money: Money = Field(description="from prices to costs by the hour")
    site: Annotated[tuple[Site, ...], Field(strict=False, min_length=1)] = Field(
        description="sites"
    )
    carbon_shape: str = Field(
        default="", description="CSV month,hour_utc and a column of ratios for each country"
    )
    price_shape: str = Field(default="", description="the same for prices")


def load_facility(path: Path) -> tuple[FacilityFile, str]:
    """The file and its text. NotFound or InvalidInput with file, line and way out."""
    facility, text = read_toml(path, FacilityFile, lines=True)
    kinds = [kind.name for kind in facility.accelerator]
    complaints: list[Complaint] = list(unsourced(facility, facility.source))
    complaints += list(repeated("accelerator", kinds))
    complaints += list(repeated("site", [site.name for site in facility.site]))
    for at, site in enumerate(facility.site):
        complaints += list(site_complaints(site, ("site", at), kinds))
    refuse(complaints, path, text)
    return facility, text


Loc = tuple[int | str, ...]
Complaint = tuple[Loc, str]


def site_complaints(site: Site, loc: Loc, kinds: list[str]) -> Iterator[Complaint]:
    """What a site says that does not fit the rest of the file."""
    if site.accelerator not in kinds:
        known = ", ".join(kinds)
        yield (
            (*loc, "accelerator"),
            f"{site.accelerator!r} is no kind of accelerator here; known: {known}",
        )
    for field, most in (("latitude", 90), ("longitude", 180)):
        angle = getattr(site, field)
        if angle is not None and max(abs(angle.at(e)) for e in ("value", "low", "high")) > most:
            yield (
                (*loc, field),
                f"{angle.at():g} deg is nowhere; from -{most} to {most} is expected",
            )
    for end in ("value", "low", "high"):
        number = site.accelerators.at(end)
        if number < 1 or (site.accelerators.value is not None and number != int(number)):
            yield (
                (*loc, "accelerators"),
                f"{number:g} accelerators; a whole number from 1 is expected",
            )
            return


def repeated(kind: str, names: list[str]) -> Iterator[Complaint]:
    """Names that are there twice."""
    for at, name in enumerate(names):
        if name in names[:at]:
            yield (kind, at, "name"), f"{name!r} is there twice; give one of them another name"


def unsourced(table: BaseModel, sources: dict[str, Source], loc: Loc = ()) -> Iterator[Complaint]:
    """Every quantity below whose source is nothing that a reader could look up."""
    for where, number in quantities(table, loc):
        words = number.source
        if words in sources or ADDRESS.fullmatch(words) or ASSUMED.fullmatch(words):
            continue
        known = ", ".join(sources) or "none yet"
        given = f"source {words!r} is neither a name under [source] ({known}), an address"
        way = "nor `assumption: ` with a reason; say where the number comes from"
        yield (*where, "source"), f"{given}, {way}"


def quantities(table: BaseModel, loc: Loc = ()) -> Iterator[tuple[Loc, q.Quantity]]:
    """Every quantity below, with its place."""
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        place = (*loc, field.alias or name)
        if isinstance(value, q.Quantity):
            yield place, value
        elif isinstance(value, BaseModel):
            yield from quantities(value, place)
        elif isinstance(value, tuple):
            for at, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from quantities(one, (*place, at))


def refuse(complaints: list[Complaint], path: Path, text: str) -> None:
    """InvalidInput with a line for each complaint, if there is any."""
    from meyrin.sim.toml_file import key_in_words  # noqa: PLC0415
    from meyrin.sim.toml_lines import Places  # noqa: PLC0415

    if not complaints:
        return
    places = Places(text)
    lines = [
        f"{path}:{places.line(loc)}: {key_in_words(loc)}: {words}" for loc, words in complaints
    ]
    raise InvalidInput(
        "\n".join(lines),
        hint="nothing was run; mend these lines first",
        file=str(path),
        line=places.line(complaints[0][0]),
    )
