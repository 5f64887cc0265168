"""What one world is made of, drawn from its seed: sizes, and which faults happen in it and how
often. Each world has some faults and not others, for a fault that always happens hides others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# how often a step, a call or a transaction meets the fault, at most; a world draws its own part
FAULTS: dict[str, float] = {
    "lost": 0.15,  # a request that never arrives
    "unanswered": 0.2,  # it arrives, and its answer is lost
    "late": 0.2,  # it arrives later, among others, when its sender has given it up
    "twice": 0.3,  # it arrives, and once more later
    "agent_kills": 0.5,
    "hub_kills": 0.3,
    "hub_kills_inside": 0.4,  # in the middle of a transaction
    "batch_away": 0.15,  # the batch system's controller does not answer, for a while
    "batch_unanswered": 0.25,  # it does what it is told, and its answer is lost
    "amnesia": 0.4,  # after a submission: slurmctld is killed, the last seconds are gone
    "clock_jumps": 0.25,
    "agent_disk_full": 0.15,
    "hub_disk_full": 0.15,
    "gaps": 0.1,  # between two lines of one party something else happens
    "cancels": 0.2,
    "rules": 0.25,  # the operator changes the site's own rules
    "records": 0.6,  # accounting is silent for a while, or says otherwise of a job that ended
    "operators": 0.2,  # offers, drains, allocations
}


@dataclass(frozen=True)
class Settings:
    """A world. `faults` has the odds of those that happen in it, 0 for the others."""

    seed: int
    steps: int = 300
    requests: int = 12
    sites: int = 2
    hubs: int = 2
    slurm: tuple[bool, ...] = ()
    faults: dict[str, float] = field(default_factory=dict)

    def odds(self, fault: str) -> float:
        return self.faults.get(fault, 0.0)


def draw(
    seed: int,
    *,
    without: frozenset[str] = frozenset(),
    steps: int | None = None,
    requests: int | None = None,
    slurm: bool | None = None,
) -> Settings:
    """The world of this seed; `without` some of its faults, shorter or smaller where asked."""
    chance = random.Random(f"{seed}/settings")
    faults = {}
    for name, most in FAULTS.items():
        part = chance.choice((0.0, 0.2, 0.5, 1.0))
        faults[name] = 0.0 if name in without else most * part
    sites, hubs = chance.choice((1, 2, 2, 3)), chance.choice((1, 1, 2))
    kinds = tuple(chance.random() < 0.6 for _ in range(sites))
    drawn_steps, drawn_requests = chance.randint(150, 400), chance.randint(4, 14)
    return Settings(
        seed=seed,
        steps=drawn_steps if steps is None else min(steps, drawn_steps),
        requests=drawn_requests if requests is None else min(requests, drawn_requests),
        sites=sites,
        hubs=1 if "replicas" in without else hubs,
        slurm=kinds if slurm is None else (slurm,) * sites,
        faults=faults,
    )


class Chance:
    """One stream of chance for each purpose, so that leaving one out leaves the others alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.calm = False
        self._streams: dict[str, random.Random] = {}

    def of(self, purpose: str) -> random.Random:
        found = self._streams.get(purpose)
        if found is None:
            found = random.Random(f"{self._settings.seed}/{purpose}")
            self._streams[purpose] = found
        return found

    def happens(self, fault: str) -> bool:
        odds = self._settings.odds(fault)
        return not self.calm and odds > 0 and self.of(fault).random() < odds
