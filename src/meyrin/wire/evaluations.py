"""Gates on the wire: keys that count, plans, runs and decisions. A plan and a decision travel in
the form that `meyrin.suites.gate` reads and writes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from meyrin.wire.jobs import Body

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class NewKey(Body):
    """Whose signature of evidence counts: a site's by its name, or a hub's."""

    name: Name
    role: Annotated[str, Field(pattern=r"^(site|hub)$")] = "site"
    public: Digest


class KeyView(Body):
    name: str
    role: str
    public: str
    since_ms: int
    ended_ms: int | None
    """Replaced: what a hub received before still counts."""
    revoked_ms: int | None = None
    """In wrong hands: nothing that it signed counts."""


class KeyList(Body):
    keys: list[KeyView]
    next: str


class NewPlan(Body):
    """A plan with both signatures, as `meyrin gate plan sign` leaves it."""

    project: str
    signed: dict[str, Any]


class PlanView(Body):
    """A plan counts from `since_ms` on: the latest of its signatures and the hub's receipt."""

    digest: str
    project: str
    gate: str
    family: str
    says: str
    registered_ms: int
    since_ms: int
    expires_ms: int
    level_ppm: int
    spend_ppm: int
    signed: dict[str, Any]


class PlanList(Body):
    plans: list[PlanView]
    next: str


class NewRun(Body):
    """An uploaded bundle of evidence, by its SHA-256."""

    project: str
    bundle: Digest


class ScoreView(Body):
    """The mean of one score in one task over all samples. Where it is yes or no, `estimate` is of
    the rate in a typical cluster, with its 90 % interval; runs of before say none."""

    task: str
    metric: str
    samples: int
    clusters: int
    unscored: int
    mean: float
    low: float | None
    high: float | None
    estimate: float | None = None


class RunView(Body):
    digest: str
    project: str
    family: str
    root: str
    bundle: str
    registered_ms: int
    run: dict[str, Any]
    scores: list[ScoreView]
    signers: list[dict[str, str]]


class RunList(Body):
    runs: list[RunView]
    next: str


class NewDecision(Body):
    """Decide by this plan on these runs. The same question again gets the same answer."""

    project: str
    plan: Digest
    runs: Annotated[list[Digest], Field(max_length=20)]


class DecisionView(Body):
    """`decision` replays with its plan and its runs: `meyrin gate replay`."""

    digest: str
    project: str
    decided_ms: int
    runs: list[str]
    decision: dict[str, Any]


class DecisionList(Body):
    decisions: list[DecisionView]
    next: str
