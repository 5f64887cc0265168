"""The modes of a hub that names no folder: a starter by rule, and everything else by review."""

from __future__ import annotations

from pathlib import Path

from meyrin.hub.calls.modes.file import Mode, read_modes
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.sim.toml_file import check

_KINDS = ["startup", "sme", "industry", "academic", "public"]
_PURPOSES = ["try", "benchmark", "develop", "train", "science"]
_WORKING_DAYS = 10


def modes_of(settings: HubSettings) -> tuple[Mode, ...]:
    """The modes that people may ask for at this hub. Raises NotFound, InvalidInput."""
    if settings.modes_dir:
        return read_modes(Path(settings.modes_dir))
    clock = {"country": "LU", "time_zone": "Europe/Luxembourg"}
    starter_months = list(range(1, max(2, settings.starter_days // 30 + 1)))
    starter = {
        "name": "starter",
        "title": "Starter",
        "source": "the settings of this hub",
        "who": _KINDS,
        "purposes": _PURPOSES,
        "months": starter_months,
        "order": "first-in",
        "size": {"unit": "accelerator", "least_h": 1, "most_h": settings.starter_hours},
        "clock": {**clock, "promise": 60, "counts": "seconds"},
        "step": [{"kind": "rule", "words": "granted at once, once per person and project"}],
    }
    reviewed = {
        **starter,
        "name": "reviewed",
        "title": "Reviewed",
        "months": list(range(1, 13)),
        # from 1: who had the starter may need a little more
        "size": {"unit": "accelerator", "least_h": 1, "most_h": 10**7},
        "clock": {**clock, "promise": _WORKING_DAYS, "counts": "working-days"},
        "step": [{"kind": "officer", "words": "an officer decides, with a reason"}],
    }
    return tuple(check(mode, Mode, "the shipped modes") for mode in (reviewed, starter))
