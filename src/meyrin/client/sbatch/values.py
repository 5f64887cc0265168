"""What a setting is, the draft that settings are read into, and how a bad one is told.

A setting is one option given once, with where it came from. Readers change the draft; they
raise InvalidInput with a way out, and `misread` turns that into a BadDirective with the option,
the value and the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meyrin.domain.errors import BadDirective, InvalidInput

SCRIPT = "script"
COMMAND_LINE = "command line"
ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Setting:
    """`name` without dashes; `value` is None for an option given without one."""

    name: str
    value: str | None
    source: str
    line: int | None = None

    @property
    def shown(self) -> str:
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"

    @property
    def place(self) -> str:
        if self.line is not None:
            return f"line {self.line}"
        return self.source.removeprefix(ENVIRONMENT + " ")

    @property
    def from_environment(self) -> bool:
        return self.source.startswith(ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when somebody submits; handed in, never asked for."""

    environ: Mapping[str, str]
    cwd: str
    host: str
    now_s: int


@dataclass(slots=True)
class Draft:
    """A request in the making. `given` holds the last setting of each option."""

    around: Circumstances
    request: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    gpus: dict[str, tuple[str | None, int]] = field(default_factory=dict)
    export: str = "ALL"
    wrap: str | None = None
    given: dict[str, Setting] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def misread(setting: Setting, message: str, hint: str = "") -> BadDirective:
    """The error for one setting, naming place, option and value."""
    return BadDirective(
        f"{setting.place}: {setting.shown}: {message}",
        hint=hint,
        option=f"--{setting.name}",
        value=setting.value,
        line=setting.line,
        source=setting.source,
    )


def no_option(
    word: str, message: str, hint: str, source: str, line: int | None = None
) -> BadDirective:
    """The error for a word that isn't an option at all."""
    place = f"line {line}" if line is not None else source
    return BadDirective(
        f"{place}: {message}", hint=hint, option=word, value=None, line=line, source=source
    )


def whole(text: str, least: int, hint: str) -> int:
    """A plain whole number of at least `least`, else InvalidInput."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) < least:
        raise InvalidInput(f"{text!r} is no whole number of {least} or more", hint=hint)
    return int(text)


def listed(text: str, what: str) -> tuple[str, ...]:
    """A comma list without empty members; repeated ones count once."""
    names = text.split(",")
    if not all(name.strip() for name in names):
        raise InvalidInput(f"a list of {what} with an empty name", hint=f"write {what} as a,b")
    return tuple(dict.fromkeys(name.strip() for name in names))
