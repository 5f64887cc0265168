"""Meyrin: many clusters, each under its own rules, as one research computing facility.

These are the public names; they are loaded when first used, so `import meyrin` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.notebook import Job, forecast, run, submit
    from meyrin.domain.errors import (
        BadDirective,
        Conflict,
        Failed,
        InvalidInput,
        MeyrinError,
        NotAllowed,
        NotFound,
        NotLoggedIn,
        Refused,
        StorageFull,
        Unreachable,
    )
    from meyrin.domain.job import (
        ArraySpec,
        Dependency,
        DependencyKind,
        InputFile,
        JobRequest,
        Resources,
    )
    from meyrin.domain.states import JobState

__version__ = "0.1.0"

__all__ = [
    "ArraySpec",
    "BadDirective",
    "Client",
    "Conflict",
    "Dependency",
    "DependencyKind",
    "Failed",
    "InputFile",
    "InvalidInput",
    "Job",
    "JobRequest",
    "JobState",
    "MeyrinError",
    "NotAllowed",
    "NotFound",
    "NotLoggedIn",
    "Refused",
    "Resources",
    "StorageFull",
    "Unreachable",
    "__version__",
    "forecast",
    "run",
    "submit",
]

_ROOMS = {
    "meyrin.client.api": ("Client",),
    "meyrin.client.notebook": ("Job", "forecast", "run", "submit"),
    "meyrin.domain.errors": (
        "BadDirective",
        "Conflict",
        "Failed",
        "InvalidInput",
        "MeyrinError",
        "NotAllowed",
        "NotFound",
        "NotLoggedIn",
        "Refused",
        "StorageFull",
        "Unreachable",
    ),
    "meyrin.domain.job": (
        "ArraySpec",
        "Dependency",
        "DependencyKind",
        "InputFile",
        "JobRequest",
        "Resources",
    ),
    "meyrin.domain.states": ("JobState",),
}
_PLACE = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f"module 'meyrin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
