"""The settings file while the agent runs: read again when it changes, or when SIGHUP says so.

What may change while jobs run is taken at once: the site's rules and offers, limits that follow
allocations, Slurm's accounts and partitions, how often things are asked. Other keys (where the hub
and Slurm are and how they are reached, where the journal is) wait for the next start, and that is
said. A
file that is wrong, or that names what the site does not have, leaves everything as it was. What is
in force is noted beside the journal, for `--check`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from meyrin.agent import config as settings
from meyrin.agent.config import AgentConfig, SlurmConfig
from meyrin.agent.credential import keep
from meyrin.domain.errors import InvalidInput, MeyrinError, Unreachable

log = structlog.get_logger("meyrin.agent")
LIVE = ("rules", "offer", "queue_every_s", "renew_credential_h", "limits")
LIVE_SLURM = (
    "accounts", "default_account", "partitions", "poll_min_s", "poll_max_s", "doubt_s",
    "accounting_wait_s", "second_look_days", "second_look_every_h", "submits_at_once",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InForce:
    """Which file a running agent goes by: its digest and when it was read; what is wrong with
    the one that is there now, and which of its keys wait for a new start."""

    path: str
    digest: str
    since_ms: int
    trouble: str = ""
    waits: tuple[str, ...] = ()


class Watched:
    """`trouble` is what is wrong with the file now; empty when it is in force. `note` is where
    to say what is in force, by the clock `clock_ms`."""

    def __init__(
        self, path: Path, note: Path | None = None, clock_ms: Callable[[], int] = lambda: 0
    ) -> None:
        self.path = path
        self.trouble = ""
        self._note, self._clock_ms = note, clock_ms
        self._seen = self._mark()
        self._asked = threading.Event()
        self._tell(InForce(str(path.absolute()), digest(path), clock_ms()))

    def wake(self) -> None:
        """Look at the file now, changed or not. Safe in a signal handler."""
        self._asked.set()

    def wait(self, seconds: float) -> None:
        self._asked.wait(seconds)

    def look(
        self, present: AgentConfig, wrong: Callable[[AgentConfig], str] = lambda _: ""
    ) -> AgentConfig | None:
        """The settings to go on with, if they are new. `wrong` says what they name that is not
        there; empty when all is."""
        asked, mark = self._asked.is_set(), self._mark()
        self._asked.clear()
        if mark == self._seen and not asked:
            return None
        try:
            now = digest(self.path)
            found = settings.load(self.path)
            new = taken(present, found)
            said = wrong(new) if new != present else ""
            if said:
                raise InvalidInput(f"{self.path}: {said}", field="config")
        except Unreachable:
            if asked:
                self.wake()
            raise  # what can't be checked now is looked at again
        except (MeyrinError, OSError) as error:
            self._seen = mark
            self._refused(error)
            return None
        self._seen = mark
        later = waiting(new, found)
        self.trouble = need_a_new_start(later, present.dir) if later else ""
        if later:
            log.warning("agent.settings_wait", keys=later, words=self.trouble)
        self._tell(InForce(str(self.path.absolute()), now, self._clock_ms(), waits=later))
        if new == present:
            return None
        log.info("agent.settings_read", path=str(self.path))
        return new

    def _refused(self, error: Exception) -> None:
        self.trouble = "its settings can't be taken any more; those before hold (see its log)"
        hint = getattr(error, "hint", "") or ""
        log.error("agent.settings_refused", error=str(error), hint=hint)
        words = "; ".join(filter(None, (getattr(error, "message", str(error)), hint)))
        self._tell(InForce(**{**asdict(self.in_force), "trouble": words}))

    def _tell(self, now: InForce) -> None:
        self.in_force = now
        if self._note is not None:
            try:
                keep(self._note, json.dumps(asdict(now)) + "\n")
            except OSError as error:
                log.warning("agent.settings_not_noted", error=str(error))

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def taken(present: AgentConfig, found: AgentConfig) -> AgentConfig:
    """The settings to go on with: of `found` what may change now, else as at present."""
    live = {name: getattr(found, name) for name in LIVE}
    if present.batch == "slurm" and found.batch == "slurm":
        slurm = {name: getattr(found.slurm, name) for name in LIVE_SLURM}
        live |= {"partition": found.partition, "slurm": present.slurm.model_copy(update=slurm)}
        live["grace_s"] = found.grace_s  # of jobs that are handed over from now on
    return present.model_copy(update=live)


def waiting(now: AgentConfig, found: AgentConfig) -> tuple[str, ...]:
    """The keys of the file that wait for a new start."""
    later = {
        name
        for name in AgentConfig.model_fields
        if name != "slurm" and getattr(now, name) != getattr(found, name)
    }
    later |= {
        f"slurm.{name}"
        for name in SlurmConfig.model_fields
        if getattr(now.slurm, name) != getattr(found.slurm, name)
    }
    return tuple(sorted(later))


def need_a_new_start(keys: Sequence[str], folder: Path) -> str:
    """What an operator reads of keys that a running agent does not take."""
    these = "this key" if len(keys) == 1 else "these keys"
    return (
        f"{', '.join(keys)}: a running agent does not take {these}, as jobs are under way by the"
        f" ones before. Stop it (kill $(cat {folder / 'agent.lock'})) and start it anew: jobs go on"
    )


def digest(path: Path) -> str:
    """The file as it is now; empty when it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def in_force(note: Path) -> InForce | None:
    """What a running agent noted; None when there is nothing that can be read."""
    try:
        body = json.loads(note.read_text(encoding="utf-8"))
        return InForce(**{**body, "waits": tuple(body["waits"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
