"""The agent's settings: one TOML file that the site's operator owns, read once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    ValidationError,
    field_validator,
    model_validator,
)

from meyrin.agent import quiet
from meyrin.agent.wrong import explained, line_of
from meyrin.client.place import check_url, expanded
from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import Partition, check_name

LowerCase = Annotated[str, AfterValidator(str.lower)]
"""A name that may be written with capitals, and that is known without: a partition of ours, and
an account or a trackable resource, which Slurm itself keeps so."""


def _each_once(named: object) -> object:
    """One name in two spellings would silently be the last of them."""
    first: dict[str, str] = {}
    for name in named if isinstance(named, dict) else ():
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                f"{other} and {name} are one name, for capitals do not count here; leave one out"
            )
    return named


_Once = BeforeValidator(_each_once)
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)  # that can be told and written


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong in a field, as pydantic takes it: it knows the field's place."""
    try:
        yield
    except InvalidInput as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


class Rules(BaseModel):
    """The site's own rules. They are asked here, at the site, whatever the hub decided.

    They are read again when the file changes or the agent gets SIGHUP; what runs goes on. So are
    `[[offer]]` (a proposal: what is lent is changed at the hub), `[limits]`, `queue_every_s`,
    `renew_credential_h` and, with Slurm, `grace_s`, `[[partition]]` and all of `[slurm]` but how
    it is reached. A file that is wrong changes nothing, and of keys that need a new start the
    agent says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    drained: str = ""
    """Why no new job starts here; empty lets them start."""
    allowed_projects: tuple[str, ...] | None = None
    """Projects that may run here; absent means all."""
    partitions_shown: tuple[LowerCase, ...] | None = None
    """Partitions that the hub hears of; absent means all."""
    max_walltime_s: int | None = Field(default=None, ge=1)
    """The longest job, in seconds."""
    max_accelerators: int | None = Field(default=None, ge=0)
    """The most accelerators that one job may have."""
    max_jobs_at_once: int | None = Field(default=None, ge=0)
    """The most of Meyrin's jobs in the batch system at once, waiting or running."""
    max_accelerators_at_once: int | None = Field(default=None, ge=0)
    """The most accelerators of these jobs together."""
    quiet_hours: tuple[str, ...] = ()
    """When no new job starts, such as "Mon-Fri 08:00-18:00" or "22:00-06:00"."""
    time_zone: str = "UTC"
    """The clock of the quiet hours, such as "Europe/Zurich"."""
    veto: Path | None = None
    """A program that sees each job as JSON on standard input: exit 0 lets it in, exit 1 with a
    reason on standard output does not."""
    veto_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds until a veto that gives no answer counts as broken."""

    @field_validator("quiet_hours")
    @classmethod
    def _readable(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        with _told():
            quiet.check(words, "UTC")
        return words

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        with _told():
            quiet.check((), name)
        return name


class Offer(BaseModel):
    """What the site proposes to lend; an administrator of the hub agrees to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: LowerCase
    """Which partition."""
    owners: dict[str, int] = Field(min_length=1, max_length=200)
    """Who paid for it, with the weights of their parts, such as { uni = 3, state = 1 }."""
    start: date | None = Field(default=None, ge=_FIRST_DAY, le=_LAST_DAY)
    """The first day (UTC), such as 2027-01-01; absent: now."""
    until: date | None = Field(default=None, ge=_FIRST_DAY, le=_LAST_DAY)
    """The first day that is not lent any more; absent: on and on."""

    def meets(self, other: Offer) -> bool:
        """Whether both are for some same day."""
        last = min(self.until or _LAST_DAY, other.until or _LAST_DAY)
        return max(self.start or _FIRST_DAY, other.start or _FIRST_DAY) < last

    @model_validator(mode="after")
    def _names(self) -> Self:
        with _told():
            check_name("partition", self.partition)
            for owner in self.owners:
                check_name("owner", owner)
        for owner, weight in self.owners.items():
            if not 1 <= weight <= 10**12:
                raise ValueError(f"the weight of {owner} is {weight}; a whole number from 1 on")
        return self


class SlurmPartition(BaseModel):
    """How a partition of ours is asked of Slurm, where its name alone does not say it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str
    """Slurm's name of it."""
    gres: str | None = None
    """An accelerator in Slurm's words, such as `gpu:h100`; absent: `gpu:` and its type."""
    features: str | None = None
    """A constraint that chooses the nodes (sbatch's --constraint)."""
    qos: str | None = None
    """The QoS that jobs run under."""
    reservation: str | None = None
    """The reservation that jobs run in."""


class SlurmConfig(BaseModel):
    """How the agent speaks to Slurm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Literal["command", "rest"] = "command"
    """`command`: Slurm's commands; `rest`: slurmrestd."""
    conf: Path | None = None
    """slurm.conf, where the commands do not find it by themselves (SLURM_CONF)."""
    bin: Path | None = None
    """The folder of Slurm's commands; absent: as PATH has them."""
    accounts: dict[str, LowerCase] = {}
    """Slurm's account of each project, such as { lab = "astro" }."""
    default_account: LowerCase | None = None
    """The account of all other projects; absent: the one that Slurm takes by itself."""
    partitions: Annotated[dict[LowerCase, SlurmPartition], _Once] = {}
    """How our partitions are asked of Slurm, by our names of them, which are Slurm's where there
    is no [[partition]]; one that is not named here is asked by its name."""
    poll_min_s: float = Field(default=2.0, ge=0.2, le=600)
    """Seconds between two looks at the queue while something changes there."""
    poll_max_s: float = Field(default=30.0, ge=0.2, le=3600)
    """Seconds between two looks while nothing does."""
    doubt_s: float | None = Field(default=None, ge=0, le=3600)
    """Seconds that a doubtful submission is left alone before it is looked up; absent: three
    times the controller's own message time-out."""
    accounting_wait_s: float = Field(default=60.0, ge=0, le=86_400)
    """Seconds to wait for accounting after an end before the wrapper's own measure is told."""
    second_look_days: int = Field(default=35, ge=0, le=400)
    """Days for which accounting is asked again about each job that ended, so that late and
    corrected records are charged right: the longest month, and four days to close it. 0: never."""
    second_look_every_h: int = Field(default=24, ge=1, le=168)
    """Hours between two such questions about a job, after the first two (10 minutes, 1 hour)."""
    command_timeout_s: float = Field(default=60.0, ge=1, le=600)
    """Seconds until a command that does not end counts as no answer."""
    submits_at_once: int = Field(default=2, ge=1, le=16)
    """How many submissions run at the same time."""
    push: bool = True
    """Whether nodes may tell the agent of starts and ends at once, by a UDP datagram; it finds
    out by itself whether they reach it."""
    push_port: int = Field(default=0, ge=0, le=65_535)
    """The port for that, where a firewall wants to know it; 0: any free one."""
    push_address: IPvAnyAddress | None = None
    """This machine's address as nodes see it; absent: the one that nodes are reached from."""
    rest_url: str = ""
    """slurmrestd: `http://HOST:PORT`, or `unix:/path/to/socket`."""
    rest_user: str | None = None
    """The log-in that the token is of; absent: the one that the agent runs under."""
    rest_token_file: Path | None = None
    """A file with a JSON Web Token for slurmrestd, read anew at each use, so it may be renewed."""
    rest_token_command: tuple[str, ...] = ()
    """A command that prints such a token, such as ["scontrol", "token", "lifespan=3600"]; run
    again before the token expires. What it prints is kept in memory only."""
    rest_version: str | None = None
    """The version of its data, such as `v0.0.40`; absent: the newest that both sides know."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.poll_min_s > self.poll_max_s:
            raise ValueError(
                f"poll_min_s is {self.poll_min_s:g}, more than poll_max_s, {self.poll_max_s:g}"
            )
        return self


class LimitsConfig(BaseModel):
    """Whether the site's own accounts and limits follow projects and their balances."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["off", "report", "apply"] = "off"
    """`report` compares and tells the hub; `apply` also mends, which needs an operator of Slurm's
    accounting or a coordinator of the parent account."""
    every_s: int = Field(default=300, ge=10, le=86_400)
    """Seconds between two passes, 10 at least."""
    parent: LowerCase = "meyrin"
    """The account that all of ours stand below; nothing else is touched."""
    prefix: LowerCase = "m_"
    """What comes before a project's name in its account's, where `slurm.accounts` names none."""
    people: dict[str, str] = {}
    """The log-in here of each person who may use the accounts, such as { ada = "lovelace" }."""
    tres: Annotated[dict[LowerCase, LowerCase], _Once] = {}
    """Slurm's word of a charged type, where it is not `gres/gpu:TYPE` (`core` is `cpu`)."""
    most_removed_percent: int = Field(default=10, ge=0, le=100)
    """How much of what is there one pass may take away (log-ins removed, accounts closed, limits
    that leave less than a minute, or less than a tenth of what they left), but always one thing;
    0 takes nothing away."""
    tolerance_percent: int = Field(default=5, ge=0, le=50)
    """How far a limit may be off, in hundredths of what is left, before it is set anew."""


class AgentConfig(BaseModel):
    """What an agent needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: str
    """The hub's address, such as https://hub.example."""
    credential_file: Path
    """A file, readable by this log-in only, with the credential that the enrolment printed."""
    dir: Path
    """Where the agent keeps its journal and the jobs' folders."""
    batch: str = "local"
    """The batch system: `local` runs jobs on this machine, `slurm` hands them to Slurm."""
    share_files: bool = False
    """Whether people and jobs see the same folders: a job then runs where it was submitted."""
    grace_s: int = Field(default=30, ge=0, le=3600)
    """Seconds between TERM and KILL."""
    renew_credential_h: int = Field(default=24, ge=0, le=24 * 60)
    """Hours after which the agent draws itself a new credential; 0: never."""
    queue_every_s: int = Field(default=60, ge=0, le=3600)
    """Seconds between two snapshots of the site's whole queue, told to the hub in pseudonyms so
    that starts can be forecast; 0 shares nothing, and the hub forgets what it had."""
    rules: Rules = Rules()
    """The site's own rules."""
    offer: tuple[Offer, ...] = Field(default=(), max_length=1000)
    """What the site proposes to lend, as [[offer]] tables."""
    evidence_key: Path | None = None
    """The key that the site signs evidence with, best in a place that jobs can't read, such as a
    disk of the agent's machine alone; absent: `site.key` in `dir`, made at the first run."""
    partition: tuple[Partition, ...] = ()
    """What there is to give, as [[partition]] tables; with `slurm`, absent: as Slurm says."""
    slurm: SlurmConfig = SlurmConfig()
    """How to speak to Slurm."""
    limits: LimitsConfig = LimitsConfig()
    """Whether Slurm's accounts and limits follow projects and balances."""

    @property
    def evidence_key_file(self) -> Path:
        return self.evidence_key or self.dir / "site.key"

    @property
    def credential(self) -> str:
        """The secret; InvalidInput when the file is missing or open to others."""
        path = self.credential_file
        try:
            mode = path.stat().st_mode
            if mode & 0o077:
                raise InvalidInput(
                    f"{path} can be read by others (mode {mode & 0o777:o})",
                    hint=f"run: chmod 600 {path}",
                    field="credential_file",
                )
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidInput(
                f"the credential file {path} can't be read: {error.strerror}",
                hint="`meyrin site token NAME` gives a new one",
                field="credential_file",
            ) from error
        if not secret:
            raise InvalidInput(
                f"the credential file {path} is empty",
                hint="`meyrin site token NAME` gives a new one",
                field="credential_file",
            )
        return secret


def load(path: Path) -> AgentConfig:
    """Read the file; paths in it are relative to it, or begin with ~.

    Raises InvalidInput naming the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", field="config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "mend the line that it names; `meyrin agent --config FILE --check` looks again"
        raise InvalidInput(f"{path} is no TOML: {error}", hint=hint, field="config") from error
    try:
        # as JSON, for strict means there what it does in TOML: lists, and paths as strings
        config = AgentConfig.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise explained(path, text, error, AgentConfig) from error
    except InvalidInput as error:
        message = f"{path}: {error.message}"
        raise InvalidInput(message, hint=error.hint, **error.facts) from error
    check_url(config.hub, f"{path}, line {line_of(text, ('hub',))}: hub")
    _check_offers(path, text, config.offer)
    base = path.resolve().parent
    how = config.slurm
    named = {"rest_token_file": how.rest_token_file, "conf": how.conf, "bin": how.bin}
    slurm = how.model_copy(update={name: _placed(base, file) for name, file in named.items()})
    rules = config.rules.model_copy(update={"veto": _placed(base, config.rules.veto)})
    files = {
        "dir": _placed(base, config.dir),
        "credential_file": _placed(base, config.credential_file),
        "evidence_key": _placed(base, config.evidence_key),
    }
    return config.model_copy(update={**files, "slurm": slurm, "rules": rules})


def _check_offers(path: Path, text: str, offers: Sequence[Offer]) -> None:
    for (first, one), (second, other) in combinations(enumerate(offers), 2):
        if one.partition == other.partition and one.meets(other):
            lines = [line_of(text, ("offer", at, "partition")) for at in (first, second)]
            raise InvalidInput(
                f"{path}, line {lines[1]}: offer.{second}.partition: {other.partition} is proposed"
                f" for the same time already, in line {lines[0]}",
                hint="one [[offer]] for all owners of a partition; `until` of one may be the"
                " `start` of the next",
                field=f"offer.{second}.partition",
            )


def _placed(base: Path, file: Path | None) -> Path | None:
    """A path of the settings: from their folder, or from a home folder where it begins with ~."""
    return None if file is None else base / expanded(file)
