"""A policy of a replay: one of the plain names, or a TOML file, checked, as the engine's rules.

Never guesses: a wrong key, type or number is an error that names file, key, value and what is
allowed. The Slurm-like policy takes Slurm's own parameter names with Slurm's units and defaults
(slurm.conf(5)); what the engine doesn't model is no key, so that nothing is silently left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from meyrin.domain.errors import NotFound
from meyrin.engine.rules import Rules
from meyrin.sim.toml_file import Table, check, digest, read_toml

Kind = Literal["fcfs", "easy", "conservative", "easy-sjf", "slurm", "fair-share"]
KINDS: dict[str, str] = {
    "fcfs": "first come, first served: nobody passes anybody",
    "easy": "the first waiting job keeps a reservation, others may pass if they don't delay it"
    " (Lifka 1995)",
    "conservative": "every waiting job keeps a reservation, compressed at each end"
    " (Mu'alem and Feitelson 2001)",
    "easy-sjf": "easy, with the shortest limits tried first",
    "slurm": "Slurm's multifactor priority and its backfill (slurm.conf(5))",
    "fair-share": "whoever has the smallest dominant share goes first (Ghodsi and others 2011)",
}
PLAIN = ("fcfs", "easy", "conservative", "easy-sjf")  # what a pool's own kernel plays

_TIME = re.compile(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,2}))?(?::(\d{1,2}))?")


def slurm_time(written: object) -> object:
    """Seconds of a time as slurm.conf takes it: minutes, `min:s`, `h:min:s`, `days-h[:min[:s]]`.

    Raises ValueError, as validators do.
    """
    if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
        return 60 * written
    found = _TIME.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        raise ValueError(f"allowed: {SLURM_TIME}")
    days, *rest = (None if part is None else int(part) for part in found.groups())
    first, second, third = rest
    assert first is not None
    if days is not None:
        return 86400 * days + 3600 * first + 60 * (second or 0) + (third or 0)
    if third is not None:
        return 3600 * first + 60 * (second or 0) + third
    return 60 * first + (second or 0)


SLURM_TIME = 'minutes as a whole number, or a text like "30:00" or "7-0" (days-hours)'
SlurmTime = Annotated[
    int,
    BeforeValidator(slurm_time),
    WithJsonSchema({"type": ["integer", "string"], "x-words": SLURM_TIME, "x-unit": "s"}),
]
MOST = 2**32 - 1
Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Minutes = Annotated[int, Field(ge=1, le=MOST // 60)]
DAY = 86400


class Slurm(Table):
    """Slurm's parameters, by Slurm's names."""

    weight_age: Count = Field(default=0, alias="PriorityWeightAge",
        description="weight of the time spent waiting")  # fmt: skip
    weight_fair_share: Count = Field(default=0, alias="PriorityWeightFairshare",
        description="weight of the fair-share factor")  # fmt: skip
    weight_job_size: Count = Field(default=0, alias="PriorityWeightJobSize",
        description="weight of the size of the job")  # fmt: skip
    weight_partition: Count = Field(default=0, alias="PriorityWeightPartition",
        description="weight of the partition's own factor")  # fmt: skip
    weight_qos: Count = Field(default=0, alias="PriorityWeightQOS",
        description="weight of the class's own factor")  # fmt: skip
    max_age: SlurmTime = Field(default=7 * DAY, alias="PriorityMaxAge",
        description="age at which the age factor is 1")  # fmt: skip
    flags: Literal["FAIR_TREE", "NO_FAIR_TREE"] = Field(default="FAIR_TREE", alias="PriorityFlags",
        description="what the fair-share factor is: a rank, or a formula")  # fmt: skip
    favor_small: bool = Field(default=False, alias="PriorityFavorSmall",
        description="small jobs get the larger size factor")  # fmt: skip
    half_life: SlurmTime = Field(default=7 * DAY, alias="PriorityDecayHalfLife",
        description="after this long, use counts half; 0: it never fades")  # fmt: skip
    calc_period: SlurmTime = Field(default=300, alias="PriorityCalcPeriod",
        description="how often use and priorities are worked out")  # fmt: skip
    dampening: Positive = Field(default=1, alias="FairShareDampeningFactor",
        description="with NO_FAIR_TREE: larger numbers make the factor milder")  # fmt: skip
    default_queue_depth: Count = Field(default=100,
        description="jobs that one main pass looks at; 0: all")  # fmt: skip
    sched_interval: Positive = Field(default=60,
        description="seconds until a pass that was cut short is made in full")  # fmt: skip
    bf_interval: Positive = Field(default=30,
        description="seconds between passes of backfill")  # fmt: skip
    bf_resolution: Positive = Field(default=60,
        description="seconds to which ends are rounded up")  # fmt: skip
    bf_window: Minutes = Field(default=1440,
        description="minutes that backfill looks ahead")  # fmt: skip
    bf_max_job_test: Positive = Field(default=500,
        description="jobs that one pass of backfill looks at")  # fmt: skip
    bf_max_job_start: Count = Field(default=0,
        description="jobs that one pass of backfill starts; 0: no limit")  # fmt: skip
    bf_max_job_user: Count = Field(default=0,
        description="jobs of one person that a pass looks at; 0: no limit")  # fmt: skip

    @model_validator(mode="after")
    def _periods(self) -> Slurm:
        for name, value in (
            ("PriorityMaxAge", self.max_age),
            ("PriorityCalcPeriod", self.calc_period),
        ):
            if not 1 <= value <= MOST:
                raise ValueError(f"{name} is {value} s; allowed: from 1 s to {MOST} s")
        if "dampening" in self.model_fields_set and self.flags != "NO_FAIR_TREE":
            raise ValueError(
                'FairShareDampeningFactor goes with PriorityFlags = "NO_FAIR_TREE";'
                " Fair Tree ranks, and dampens nothing"
            )
        if self.half_life > MOST:
            raise ValueError(
                f"PriorityDecayHalfLife is {self.half_life} s; allowed: from 0 s to {MOST} s"
            )
        return self


class PolicyFile(Table):
    """One policy as a TOML file has it."""

    kind: Kind = Field(description="whose rules")
    name: str = Field(default="", max_length=80, description="how tables and pictures call it")
    backfill: Literal["none", "easy", "easy-sjf", "conservative"] = Field(
        default="easy", description="with `fair-share`: who may pass"
    )
    packing: Literal["packed", "spread"] = Field(
        default="packed", description="on which nodes: those with the least free, or with the most"
    )
    preemption: Literal["off", "requeue", "cancel"] = Field(
        default="off", description="what a job of a higher class does to running ones (PreemptMode)"
    )
    slurm: Slurm = Field(default_factory=Slurm, description="with `slurm` only")

    @model_validator(mode="after")
    def _fitting(self) -> PolicyFile:
        if "slurm" in self.model_fields_set and self.kind != "slurm":
            raise ValueError(f'the table slurm goes with kind = "slurm", not with "{self.kind}"')
        if "backfill" in self.model_fields_set and self.kind != "fair-share":
            raise ValueError(f'backfill goes with kind = "fair-share", not with "{self.kind}"')
        return self

    def rules(self) -> Rules:
        """The same as numbers and switches of the engine."""
        common: dict[str, Any] = {"packing": self.packing, "preemption": self.preemption}
        if self.kind == "slurm":
            return Rules(order="multifactor", backfill="slurm", **common, **_numbers(self.slurm))
        if self.kind == "fair-share":
            return Rules(order="dominant-share", backfill=self.backfill, **common)
        return Rules(backfill="none" if self.kind == "fcfs" else self.kind, **common)


def _numbers(slurm: Slurm) -> dict[str, Any]:
    return {
        "priority_weight_age": slurm.weight_age,
        "priority_weight_fair_share": slurm.weight_fair_share,
        "priority_weight_job_size": slurm.weight_job_size,
        "priority_weight_partition": slurm.weight_partition,
        "priority_weight_qos": slurm.weight_qos,
        "priority_max_age": slurm.max_age,
        "priority_favor_small": slurm.favor_small,
        "priority_decay_half_life": slurm.half_life,
        "priority_calc_period": slurm.calc_period,
        "fair_share": "fair-tree" if slurm.flags == "FAIR_TREE" else "classic",
        "fair_share_dampening_factor": slurm.dampening,
        "default_queue_depth": slurm.default_queue_depth,
        "sched_interval": slurm.sched_interval,
        "bf_interval": slurm.bf_interval,
        "bf_resolution": slurm.bf_resolution,
        "bf_window": 60 * slurm.bf_window,
        "bf_max_job_test": slurm.bf_max_job_test,
        "bf_max_job_start": slurm.bf_max_job_start,
        "bf_max_job_user": slurm.bf_max_job_user,
    }


@dataclass(frozen=True, slots=True)
class Policy:
    """What a replay goes by. `asked` is what the person wrote, `text` the whole as TOML."""

    asked: str
    label: str
    kind: str
    file: PolicyFile
    text: str

    @property
    def rules(self) -> Rules:
        """The same as numbers and switches of the engine."""
        return self.file.rules()

    @property
    def sha256(self) -> str:
        return digest(self.text)

    @property
    def plain(self) -> bool:
        """Whether the four plain rules say it all, on a pool of equal processors."""
        return self.kind in PLAIN


def load(asked: str) -> Policy:
    """A plain name or a TOML file as a policy. NotFound or InvalidInput say what is wrong."""
    if asked in KINDS:
        text = f'kind = "{asked}"\n'
        file = check({"kind": asked}, PolicyFile, asked)
        return Policy(asked, asked, asked, file, text)
    path = Path(asked)
    if path.suffix != ".toml" and not path.exists():
        raise NotFound(
            f"there is no policy {asked!r}, and no file of that name",
            hint=f"allowed: {', '.join(KINDS)}, or a TOML file",
            field="--policy",
            value=asked,
        )
    file, text = read_toml(path, PolicyFile)
    return Policy(asked, file.name or path.stem, file.kind, file, text)


def values(policy: Policy) -> dict[str, str]:
    """Every key that counts for this kind of policy, with its value as the file would have it."""
    dumped = policy.file.model_dump(by_alias=True)
    slurm = dumped.pop("slurm")
    dumped.pop("name")
    if policy.kind != "fair-share":
        dumped.pop("backfill")
    if policy.kind == "slurm":
        if policy.file.slurm.flags == "FAIR_TREE":
            slurm.pop("FairShareDampeningFactor")
        dumped |= {f"slurm.{key}": value for key, value in slurm.items()}
    timed = {f"slurm.{name}" for name in _TIMES}
    return {key: f"{_text(value)} s" if key in timed else _text(value)
            for key, value in dumped.items()}  # fmt: skip


_TIMES = ("PriorityMaxAge", "PriorityDecayHalfLife", "PriorityCalcPeriod")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
