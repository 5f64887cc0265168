"""How a machine joins a hub: look around, take the enrolment, propose settings, check, go live.

Each step may be done again: what an interrupted try left is found and gone on with. The enrolment
is used only once everything here that can be looked at was found good.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meyrin.agent import check, propose
from meyrin.agent import config as settings
from meyrin.agent.batch import BatchSystem
from meyrin.agent.check import Finding
from meyrin.agent.config import AgentConfig
from meyrin.agent.credential import digest_of, draw, keep, read_secret
from meyrin.agent.hub import Hub
from meyrin.agent.main import batch_system, transport
from meyrin.agent.propose import Found
from meyrin.agent.slurm import ask, kinds
from meyrin.agent.slurm.transport import ClusterFacts
from meyrin.client.connection import Connection
from meyrin.client.place import expanded
from meyrin.domain.errors import Failed, InvalidInput, NotFound, NotLoggedIn, Refused, Unreachable
from meyrin.domain.site import Partition, check_name
from meyrin.wire.agents import JoinReply

ENROLMENT = "MEYRIN_ENROLMENT"
_UNUSED = "nothing was changed and the enrolment is still good: run the same command again"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent of a site lives on this machine."""

    site: str
    hub: str
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def credential(self) -> Path:
        return self.folder / "credential"

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"


def place(site: str, hub: str, folder: Path) -> Place:
    check_name("site", site)
    folder = expanded(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failed(
            f"the folder {folder} can't be made: {error.strerror}", hint="choose one with --dir"
        ) from error
    return Place(site, hub.rstrip("/"), folder)


# --- what there is


def find_slurm(conf: Path | None, bin_folder: Path | None) -> Found:
    """The cluster that this machine belongs to."""
    where = str(bin_folder) if bin_folder else None
    if shutil.which("sbatch", path=where) is None:
        raise NotFound(
            f"no Slurm is found here: there is no sbatch {f'in {where}' if where else 'on PATH'}",
            hint="run this on a login node, or say --slurm-bin; --local lends this machine itself",
        )
    how = settings.SlurmConfig(conf=conf, bin=bin_folder, command_timeout_s=90)
    nowhere = Path("/nonexistent")
    wanted = AgentConfig(hub="", credential_file=nowhere, dir=nowhere, batch="slurm", slurm=how)
    by = transport(wanted)
    try:
        facts = by.describe()
    except Unreachable as error:
        raise Unreachable(
            f"Slurm's controller does not answer: {error.message}",
            hint=f"see `scontrol ping`; {_UNUSED}",
        ) from error
    finally:
        by.close()
    finding = check.no_account(facts)
    if finding is not None:
        raise Refused(finding.words, hint=f"{finding.hint}; {_UNUSED}")
    places = ask.discovered(facts)
    if not places:
        raise Refused(f"cluster {facts.cluster} has no partition with nodes", hint=_UNUSED)
    default = {one.name for one in facts.partitions if one.default}
    first = sorted(places.values(), key=lambda one: one.slurm not in default)
    return Found(
        tuple(one.partition for one in first),
        facts,
        conf,
        bin_folder,
        {one.partition.name: check.names_of(ask.nodes_of(one, facts)) for one in first},
    )


# --- the credential


def check_enrolment(at: Place, environ: Mapping[str, str]) -> None:
    """Raises InvalidInput where there is nothing to be known by: no enrolment, and no credential
    of an earlier try."""
    if not environ.get(ENROLMENT, "").strip() and not read_secret(at.credential):
        raise InvalidInput(
            f"{ENROLMENT} is not set",
            hint="run the whole line that `meyrin site enrol` printed, or ask for a new one",
            field=ENROLMENT,
        )


def take_enrolment(at: Place, environ: Mapping[str, str], now_ms: int) -> str:
    """Be known to the hub; returns the site's title. Goes on where an earlier try stopped."""
    check_enrolment(at, environ)
    secret = read_secret(at.credential)
    if secret:
        known = _known(at, secret)
        if known is not None:
            return known
    enrolment = environ.get(ENROLMENT, "").strip()
    if not enrolment:
        raise NotLoggedIn(
            f"the hub does not take the credential in {at.credential} (any more)",
            hint=check.NEW_ONE,
        )
    connection = Connection(at.hub, "")
    try:
        skew = check.skew_finding(connection.clock_ms(), now_ms)
        if skew is not None and skew.bad:
            raise Failed(skew.words, hint=f"{skew.hint}; {_UNUSED}")
        reply = _exchange(at, Hub(connection, ""), enrolment, secret)
    except Unreachable as error:
        raise Unreachable(
            error.message, hint=f"can this machine reach {at.hub}? {_UNUSED}", address=at.hub
        ) from error
    finally:
        connection.close()
    return reply.title


def _exchange(at: Place, hub: Hub, enrolment: str, secret: str) -> JoinReply:
    """The enrolment for our secret: the one that an earlier try drew, unless its time is over."""
    if secret:
        try:
            return hub.join(enrolment, digest_of(secret), at.site)
        except InvalidInput:
            pass  # it was used before and revoked since
    secret = draw()
    keep(at.credential, secret + "\n")
    return hub.join(enrolment, digest_of(secret), at.site)


def _known(at: Place, secret: str) -> str | None:
    """The title of our site, if the hub knows this secret."""
    connection = Connection(at.hub, secret)
    try:
        reply = Hub(connection, "").who()
    except NotLoggedIn:
        return None
    finally:
        connection.close()
    if reply.site != at.site:
        raise Failed(f"{at.folder} belongs to {reply.site}", hint="choose another with --dir")
    return reply.title


# --- settings


def write_settings(at: Place, found: Found, time_zone: str) -> bool:
    """Propose a settings file, unless there is one. Whether it is new."""
    if at.config.exists():
        return False
    text = propose.settings(found, hub=at.hub, site=at.site, time_zone=time_zone)
    keep(at.config, text)
    settings.load(at.config)  # what we propose can be read
    return True


def local_time_zone(link: Path = Path("/etc/localtime")) -> str:
    """The machine's time zone by name; UTC when that can't be told."""
    name = str(link.resolve()).rpartition("zoneinfo/")[2]
    return name if name and not name.startswith("/") else "UTC"


def findings(config: AgentConfig, now_ms: int, *, joined: bool = True) -> Iterator[Finding]:
    """Everything that can be told without running a job; what is not lent before a site has
    `joined` is no wonder."""
    facts = None
    if config.batch == "slurm":
        by = transport(config)
        try:
            facts = by.describe()
        except Unreachable as error:
            hint = error.hint or "see `scontrol ping`"
            yield Finding(True, f"Slurm can't be asked: {error.message}", hint)
            return
        finally:
            by.close()
        if (no := check.no_account(facts)) is not None:
            yield no
    before = kinds.names_at(config.dir / "slurm")
    partitions = _partitions(config, facts, before)
    yield from check.site_findings(config, partitions, facts, before)
    yield from check.veto_findings(config, partitions)
    yield from check.people_findings(config)
    yield from check.push_findings(config)
    connection = Connection(config.hub, config.credential)
    try:
        who = Hub(connection, "").who
        yield from check.hub_findings(config, connection, who, now_ms, joined=joined)
    finally:
        connection.close()


def _partitions(
    config: AgentConfig, facts: ClusterFacts | None, before: Mapping[ask.Mark, str]
) -> tuple[Partition, ...]:
    if config.partition or facts is None:
        return config.partition
    return tuple(one.partition for one in ask.all_of(config, facts, before).values())


def open_batch(config: AgentConfig) -> BatchSystem:
    config.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return batch_system(config)


# --- live


def start_agent(at: Place) -> subprocess.Popen[bytes]:
    """The agent in the background: it goes on when this terminal is closed."""
    environ = {name: value for name, value in os.environ.items() if name != ENROLMENT}
    with at.log.open("ab") as out:
        at.log.chmod(0o600)
        return subprocess.Popen(
            [sys.executable, "-m", "meyrin", "agent", "--config", str(at.config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environ,
            cwd=at.folder,
            start_new_session=True,
        )


def wait_until_heard(
    at: Place,
    agent: subprocess.Popen[bytes],
    before: str,
    until_s: float,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> tuple[str, ...]:
    """Until the hub has heard this start of the agent; returns what is lent."""
    connection = Connection(at.hub, read_secret(at.credential), tries=1)
    try:
        while clock() < until_s:
            if agent.poll() is not None:
                raise Failed(
                    f"the agent ended with exit code {agent.returncode}",
                    hint=f"its last words: {last_words(at.log)}",
                )
            try:
                reply = Hub(connection, "").who()
                if reply.answers and reply.incarnation != before:
                    return tuple(reply.lent)
            except Unreachable:
                pass
            except NotLoggedIn:
                connection.use(read_secret(at.credential))  # it was renewed meanwhile
            pause(0.2)
    finally:
        connection.close()
    raise Failed(
        "the hub has not heard the agent yet; it runs and goes on trying", hint=f"see {at.log}"
    )


def incarnation(at: Place) -> str:
    """The start of the agent that the hub hears now."""
    connection = Connection(at.hub, read_secret(at.credential))
    try:
        return Hub(connection, "").who().incarnation
    finally:
        connection.close()


def last_words(path: Path, most: int = 600) -> str:
    try:
        return path.read_text("utf-8", "replace")[-most:].strip() or "none"
    except OSError:
        return "none"
