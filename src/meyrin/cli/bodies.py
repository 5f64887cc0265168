"""What people typed, as the body of a call; and amounts of hours as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import HOUR_S

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")
Command = TypeVar("Command", bound=Callable[..., Any])


def read_body(model: type[Model], **given: object) -> Model:
    """The body that was typed; else InvalidInput with the first thing that is wrong."""
    try:
        return model.model_validate(given)
    except ValueError as error:
        raise InvalidInput(
            "the amounts or names can't be read", hint=str(error).splitlines()[-2].strip()
        ) from error


def hours_options(command: Command) -> Command:
    """`--hours` or `--seconds`; `typed_s` reads them."""
    command = click.option("--seconds", type=click.IntRange(1), help="Seconds instead.")(command)
    return click.option("--hours", type=click.IntRange(1), help="Hours of the type.")(command)


def typed_s(hours: int | None, seconds: int | None, *, needed: bool) -> int:
    """Seconds of what was typed, 0 for nothing; InvalidInput for both, or for a missing one."""
    if (hours is not None and seconds is not None) or (
        needed and hours is None and seconds is None
    ):
        raise InvalidInput("how much?", hint="give --hours or --seconds", field="--hours")
    return (seconds or 0) if hours is None else hours * HOUR_S
