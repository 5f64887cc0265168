"""A mode file: who may ask, how much, for how long, which clock, which steps, which gates.

Never guesses: a wrong key, a limit that is no limit or a date without a time is an error that
names the file, the key, the value and what is allowed.
"""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.domain.site import check_name
from meyrin.domain.units import Unit
from meyrin.sim.toml_file import Table, read_toml

Kind = Literal["startup", "sme", "industry", "academic", "public"]
Purpose = Literal["try", "benchmark", "develop", "train", "science"]
StepKind = Literal["rule", "eligibility", "technical", "officer", "review", "panel"]
MOST_H = 10**10
Hours = Annotated[int, Field(ge=1, le=MOST_H)]
Months = Annotated[int, Field(ge=1, le=60)]
Percent = Annotated[int, Field(ge=1, le=99)]

KINDS: dict[str, str] = {
    "startup": "a start-up",
    "sme": "a small or medium enterprise",
    "industry": "a larger company",
    "academic": "a university or research institute",
    "public": "a public body",
}
PURPOSES: dict[str, str] = {
    "try": "try something out",
    "benchmark": "measure how well a program scales",
    "develop": "make a program ready",
    "train": "train or serve a model",
    "science": "answer a scientific question",
}


class Size(Table):
    """How much one may ask, in hours of `unit`."""

    unit: Unit = Field(strict=False, description="what the hours are of")
    least_h: Hours = Field(description="the smallest ask")
    most_h: Hours = Field(description="the largest ask")

    @model_validator(mode="after")
    def _in_order(self) -> Size:
        if self.least_h > self.most_h:
            raise ValueError(f"least_h is {self.least_h}, above most_h, which is {self.most_h}")
        return self


class Clock(Table):
    """By when an answer is promised, counted from the submission or from a cut-off."""

    promise: Annotated[int, Field(ge=1, le=1000)] = Field(description="how many")
    counts: Literal["seconds", "working-days", "weeks", "months"] = Field(description="of what")
    country: str = Field(
        pattern="^[A-Z]{2}$", description="whose public holidays count, as ISO 3166 has it"
    )
    time_zone: str = Field(description="whose time the cut-offs are in, such as Europe/Berlin")
    cutoffs: tuple[datetime, ...] = Field(
        default=(), strict=False, description="last moments, in local time, in rising order"
    )
    assumed: bool = Field(
        default=False, description="whether the dates of the cut-offs are assumed, not published"
    )

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("no time zone of this name; write one such as Europe/Rome") from error
        return name

    @field_validator("cutoffs")
    @classmethod
    def _rising(cls, dates: tuple[datetime, ...]) -> tuple[datetime, ...]:
        if any(date.tzinfo is not None for date in dates):
            raise ValueError("cut-offs are in local time: leave out the offset")
        if any(a >= b for a, b in itertools.pairwise(dates)):
            raise ValueError("each cut-off comes after the one before it")
        return dates


class Step(Table):
    """One step of a decision, in the order of the file."""

    kind: StepKind = Field(description="who or what decides")
    words: str = Field(default="", description="what is looked at, for the applicant")


class Extension(Table):
    """What may be asked for once an award runs."""

    months: Annotated[int, Field(ge=0, le=60)] = Field(default=0, description="how much longer")
    percent: Annotated[int, Field(ge=0, le=100)] = Field(default=0, description="how much more")
    times: Annotated[int, Field(ge=0, le=20)] = Field(default=0, description="how often")


class Gate(Table):
    """A part of the award that waits for evidence, in the order of the file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,99}$")] = Field(
        description="which gate: a plan's `gate`; its `family` is the project's name"
    )
    percent: Percent = Field(description="part of the award")
    claim: str = Field(min_length=1, max_length=200, description="what must be shown")
    reviewer: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        default="",
        description="public key of who has to sign the plan; left out, who decides an ask names it",
    )
    after_percent: Annotated[int, Field(ge=0, le=99)] = Field(
        default=0, description="part of the time before which it is not released"
    )


class Pace(Table):
    """When too little or too much use is told, in percent of what is expected by then."""

    after_percent: Percent = Field(
        default=10, description="part of the time before it is looked at"
    )
    low_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=50, description="less than this part of what is expected is too little"
    )
    high_percent: Annotated[int, Field(ge=100, le=1000)] = Field(
        default=150, description="more than this part of what is expected is too much"
    )


class Reclaim(Table):
    """A step by which hours that nobody used go back to those who gave them."""

    after_percent: Percent = Field(description="part of the time that has passed by then")
    used_percent: Percent = Field(description="less than this part of the hours was used")
    take_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        description="part of the unused hours that goes back"
    )
    notice_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=14, description="how long before it is announced"
    )


class Mode(Table):
    """One way to get hours."""

    name: str = Field(description="short, lower case")
    title: str = Field(description="as people say it")
    source: str = Field(description="where these rules stand")
    who: tuple[Kind, ...] = Field(strict=False, min_length=1, description="who may ask")
    purposes: tuple[Purpose, ...] = Field(strict=False, min_length=1, description="what for")
    months: tuple[Months, ...] = Field(strict=False, min_length=1, description="lengths to choose")
    order: Literal["first-in", "ranked"] = Field(description="first in first out, or by score")
    sites_most: Annotated[int, Field(ge=1, le=100)] = Field(
        default=100, description="at how many sites one award may be used"
    )
    pays: tuple[Kind, ...] = Field(default=(), strict=False, description="who pays for the hours")
    size: Size
    clock: Clock
    step: tuple[Step, ...] = Field(strict=False, min_length=1)
    extension: Extension = Extension()
    gate: tuple[Gate, ...] = Field(default=(), strict=False)
    pace: Pace = Pace()
    reclaim: tuple[Reclaim, ...] = Field(default=(), strict=False)

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        try:
            check_name("mode", name)
        except InvalidInput as error:
            raise ValueError(error.hint) from error
        return name

    @model_validator(mode="after")
    def _makes_sense(self) -> Mode:
        at_once = self.clock.counts == "seconds"
        if at_once != all(step.kind == "rule" for step in self.step):
            raise ValueError(
                "a promise in seconds needs steps of kind rule only, and such steps need it"
            )
        if sum(gate.percent for gate in self.gate) >= 100:
            raise ValueError("some of the award must be usable before any gate")
        if any(a.after_percent > b.after_percent for a, b in itertools.pairwise(self.gate)):
            raise ValueError("no gate's part comes before that of the gate before it")
        if at_once and not all(gate.reviewer for gate in self.gate):
            raise ValueError("who decides by rule names nobody: give each gate its reviewer's key")
        if any(a.after_percent >= b.after_percent for a, b in itertools.pairwise(self.reclaim)):
            raise ValueError("each reclaim comes after the one before it: raise after_percent")
        return self


def read_modes(folder: Path) -> tuple[Mode, ...]:
    """All modes of a folder's `*.toml` files, by name. Raises NotFound, InvalidInput."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="name a folder of mode files")
    found = [read_toml(path, Mode)[0] for path in sorted(folder.glob("*.toml"))]
    if not found:
        raise NotFound(f"{folder} has no mode files (*.toml)", hint="see examples/modes")
    _check_names(found)
    return tuple(sorted(found, key=lambda mode: mode.name))


def _check_names(modes: Iterable[Mode]) -> None:
    seen: set[str] = set()
    for mode in modes:
        if mode.name in seen:
            raise InvalidInput(f"two modes are called {mode.name}", field="name", value=mode.name)
        seen.add(mode.name)
