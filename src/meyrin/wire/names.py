"""Short names on the wire, held to the domain's one rule, so that its words tell what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from meyrin.domain.site import check_name

_SHAPE = Field(json_schema_extra={"pattern": "^[a-z0-9][a-z0-9_.-]{0,62}$"})


def _of(noun: str) -> Callable[[str], str]:
    def check(name: str) -> str:
        check_name(noun, name)
        return name

    return check


ProjectName = Annotated[str, AfterValidator(_of("project")), _SHAPE]
ModeName = Annotated[str, AfterValidator(_of("mode")), _SHAPE]
Owner = Annotated[str, AfterValidator(_of("owner")), _SHAPE]
