"""A gate's plan: what is claimed, how it is tested and what follows, fixed before the weights are
opened.

People write it as TOML; its *form* is canonical JSON, and the SHA-256 of that is the plan's digest,
which owner and reviewer sign and which each run carries among its fingerprints. Nothing that
could change a verdict is decided anywhere else.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.sim.toml_file import LARGEST, Table, check, read_toml
from meyrin.suites.facts import canonical

FORMAT = 1
MOST_LEVEL = 0.05
UNSCORED_BUDGET = 0.02  # of a capability claim's samples; more is no evidence

Kind: TypeAlias = Literal["safety", "capability"]
Rule: TypeAlias = Literal["rate", "zero", "mean", "compare"]
Direction: TypeAlias = Literal["at_least", "at_most"]
Action: TypeAlias = Literal["stop", "hold", "shrink", "release", "double"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,99}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(min_length=1, max_length=500)]
Share = Annotated[float, Field(gt=0, lt=1)]
Millis = Annotated[int, Field(ge=0, le=2**53)]


class Signer(Table):
    """Somebody whose signature counts."""

    name: Name = Field(description="how decisions call them")
    key: Digest = Field(description="Ed25519 public key, 64 hexadecimal digits")


class Exclusion(Table):
    """A sample that is left out, said before anything was run."""

    id: Annotated[str, Field(min_length=1, max_length=300)] = Field(description="the sample's id")
    reason: Words = Field(description="why it can't count")


class Claim(Table):
    """One claim about the model, and the test that decides it."""

    name: Name = Field(description="short, one of its kind within the plan")
    says: Words = Field(description="the claim in a sentence")
    kind: Kind = Field(description="safety: unscored counts as failed; capability: as unknown")
    suite: Name = Field(description="the suite that is run")
    version: Annotated[str, Field(min_length=1, max_length=40)] = Field(
        description="its version, exactly"
    )
    seed: Annotated[int, Field(ge=0, le=2**53)] = Field(
        description="the run's seed: who could choose it afterwards would choose the luckiest"
    )
    data: str = Field(
        default="",
        description="digest of the suite's data, where it is known",
        pattern="^([0-9a-f]{64})?$",
    )
    task: str = Field(
        default="", max_length=100, description="which of the suite's tasks; empty: all of them"
    )
    metric: Name = Field(description="which of the suite's scores")
    rule: Rule = Field(
        default="rate",
        description="rate of ones, no event at all, mean score, or comparison with a reference",
    )
    direction: Direction = Field(default="at_least", description="on which side of the bar")
    bar: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(
        description="the bar; for a comparison, the difference that is to be exceeded"
    )
    alternative: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(
        description="the truth at which the test is to pass with the stated power"
    )
    power: Share = Field(default=0.95, description="how often it passes then, at the least")
    cluster: Words = Field(description="what makes samples resemble each other: the cluster key")
    clusters: Annotated[int, Field(ge=1, le=10**6)] = Field(description="how many clusters")
    samples: Annotated[int, Field(ge=1, le=10**7)] = Field(
        description="how many samples count, exclusions left out, epochs multiplied"
    )
    icc: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.2, description="resemblance within clusters that the power is stated for"
    )
    lowest: float = Field(default=0.0, description="the lowest score there is")
    highest: float = Field(default=1.0, description="the highest score there is")
    exclude: Annotated[tuple[Exclusion, ...], Field(strict=False)] = Field(
        default=(), description="samples left out"
    )
    reference: str = Field(
        default="",
        description="weights' digest of the model compared with",
        pattern="^([0-9a-f]{64})?$",
    )
    isolation: Annotated[int, Field(ge=0, le=3)] = Field(
        default=2, description="the isolation that a run must have been measured to have"
    )

    @model_validator(mode="after")
    def _fits(self) -> Claim:
        up = self.direction == "at_least"
        if self.rule in {"rate", "zero"} and not 0 < self.bar < 1:
            raise ValueError(f"claim {self.name}: a rate's bar lies between 0 and 1")
        beyond = self.alternative > self.bar if up else self.alternative < self.bar
        if not beyond:
            raise ValueError(
                f"claim {self.name}: the alternative lies on the claimed side of the bar"
            )
        if self.rule in {"rate", "zero"} and not 0 <= self.alternative <= 1:
            raise ValueError(f"claim {self.name}: the alternative is a rate between 0 and 1")
        if self.clusters > self.samples:
            raise ValueError(f"claim {self.name}: there are more clusters than samples")
        if not self.lowest < self.highest:
            raise ValueError(f"claim {self.name}: lowest is below highest")
        if self.rule == "mean" and not self.lowest < self.bar < self.highest:
            raise ValueError(f"claim {self.name}: the bar lies between lowest and highest")
        if self.rule == "compare" and abs(self.bar) >= self.highest - self.lowest:
            raise ValueError(f"claim {self.name}: no difference can exceed the range of the score")
        if (self.rule == "compare") != bool(self.reference):
            raise ValueError(f"claim {self.name}: a comparison, and nothing else, has a reference")
        return self


class Tranche(Table):
    """What becomes of the next tranche. Only a pass may give hours."""

    on_pass: Literal["release", "double", "hold"] = Field(
        default="release", description="after a pass"
    )
    on_fail: Literal["stop", "hold", "shrink"] = Field(default="stop", description="after a fail")
    on_not_enough: Literal["hold", "shrink", "stop"] = Field(
        default="hold", description="after not enough evidence, or any problem"
    )
    shrink_percent: Annotated[int, Field(ge=1, le=99)] = Field(
        default=50, description="how much of the tranche stays when it is shrunk"
    )


class Plan(Table):
    """The whole plan."""

    gate: Name = Field(description="which gate it is for")
    family: Name = Field(description="the models that share one ledger of attempts")
    says: Words = Field(description="what the gate is for")
    model: str = Field(
        default="", description="weights' digest, where it is known", pattern="^([0-9a-f]{64})?$"
    )
    level: Annotated[float, Field(gt=0, le=MOST_LEVEL)] = Field(
        default=MOST_LEVEL, description="false passes in all tries together, at the most"
    )
    tries: Annotated[int, Field(ge=1, le=5)] = Field(
        default=5, description="attempts that share the level"
    )
    made_ms: Millis = Field(default=0, description="when it was written")
    expires_ms: Annotated[int, Field(gt=0, le=2**53)] = Field(
        description="from when on nothing passes by it; in a file, expires = 2027-12-31"
    )
    owner: Signer = Field(description="who asks")
    reviewer: Signer = Field(description="who looked at it")
    claim: Annotated[tuple[Claim, ...], Field(strict=False, min_length=1, max_length=50)] = Field(
        description="what is claimed"
    )
    needed: Annotated[int, Field(ge=0, le=50)] = Field(
        default=0, description="how many capability claims must pass; 0: every one"
    )
    tranche: Tranche = Field(default_factory=Tranche, description="what follows")

    @model_validator(mode="before")
    @classmethod
    def _expires(cls, told: Any) -> Any:
        """People write `expires`, a day or a moment; without a zone it is in UTC."""
        if not isinstance(told, dict) or not isinstance(told.get("expires"), date):
            return told
        when = told["expires"]
        if not isinstance(when, datetime):
            when = datetime.combine(when, time(23, 59, 59), UTC)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        rest = {key: value for key, value in told.items() if key != "expires"}
        return {**rest, "expires_ms": int(when.timestamp() * 1000)}

    @model_validator(mode="after")
    def _fits(self) -> Plan:
        names = [each.name for each in self.claim]
        if len(set(names)) < len(names):
            raise ValueError("two claims have the same name")
        if self.owner.key == self.reviewer.key or self.owner.name == self.reviewer.name:
            raise ValueError("owner and reviewer are two, with two keys")
        if self.made_ms >= self.expires_ms:
            raise ValueError("it expires before it is made")
        if self.needed > sum(each.kind == "capability" for each in self.claim):
            raise ValueError("more capability claims are needed than there are")
        return self

    @property
    def form(self) -> bytes:
        """The plan in canonical JSON."""
        return canonical({"plan": FORMAT, **self.model_dump(mode="json")})

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.form).hexdigest()

    @property
    def level_ppm(self) -> int:
        """What all tries together may spend, in millionths."""
        return round(self.level * 1_000_000)

    @property
    def spend_ppm(self) -> int:
        """What one try spends, in millionths."""
        return self.level_ppm // self.tries


def read_plan(path: Path) -> Plan:
    """A plan that somebody wrote as TOML."""
    plan, _ = read_toml(path, Plan)
    return plan


def from_data(told: Any, source: str = "plan") -> Plan:
    """A plan from parsed JSON; InvalidInput names each wrong field."""
    if not isinstance(told, dict):
        raise InvalidInput(f"{source} is no plan", hint="`meyrin gate plan make` writes one")
    body = dict(told)
    if body.pop("plan", None) != FORMAT:
        raise InvalidInput(
            f"{source} is no plan of format {FORMAT}", hint="`meyrin gate plan make` writes one"
        )
    return check(body, Plan, source)


def read_json(path: Path) -> Any:
    """What a JSON file holds; NotFound or InvalidInput where that can't be had."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput(f"{path} is larger than {LARGEST:,} bytes", field=str(path))
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", field=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", field=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no JSON file", field=str(path)) from error
