"""A site: its agent, which dies and starts again, and the batch system under it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.world.errors import Died, LawBroken
from tests.world.network import Wire

from meyrin.agent import config as settings
from meyrin.agent.config import Rules
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Journal
from meyrin.agent.loop import Agent
from meyrin.agent.watched import Watched as Settings
from meyrin.client.connection import Connection
from meyrin.domain.errors import MeyrinError, StaleEpoch
from meyrin.domain.site import Partition

if TYPE_CHECKING:
    from tests.world.grounds import Ground
    from tests.world.simulation import World

# where a death hurts: the agent dies at the next of these, before or after it
DEADLY = (
    "hub.lease, answered",
    "journal.take, done",
    "batch.submit",
    "batch.submit, done",
    "journal.handed",
    "journal.note",
    "hub.reports",
    "hub.reports, answered",
    "journal.sent, done",
    "batch.cancel",
    "batch.forget, done",
    "hub.results, answered",
)
STEPS = ("lease", "watch", "send", "results", "recover", "stage", "settings")


class Site:
    """One site. `process` is the running start of its agent, None while it is down."""

    def __init__(
        self, world: World, name: str, secret: str, partitions: tuple[Partition, ...]
    ) -> None:
        self.world = world
        self.name = name
        self.secret = secret
        self.partitions = partitions
        self.folder: Path = world.folder / name
        self.folder.mkdir()
        self.file = self.folder / "agent.toml"
        self.rules = Rules()  # of the last file that was right
        self.edits = 0
        self.wrong = ""
        self.slurm = False  # set by the world
        self.disk_full = False
        self.starts = 0
        self.process: Process | None = None
        self.ground: Ground  # set by the world

    def start(self) -> None:
        """A new start of the agent, with what the journal knows and nothing else. A file that
        is wrong is mended first."""
        self.starts += 1
        if self.wrong or not self.edits:
            self.edit(self.rules)
        self.process = Process(self, f"{self.name}-{self.starts}")
        self.world.tell(f"{self.process.name} starts")

    def edit(self, rules: Rules, wrong: str = "", **slurm: int) -> None:
        """A new settings file in place of the one before; `wrong` spoils it."""
        lines = [
            'hub = "http://hub.test"',
            'credential_file = "credential"',
            'dir = "."',
            f'batch = "{"slurm" if self.slurm else "local"}"',
            "[rules]",
            *(f"{name} = {json.dumps(v)}" for name, v in rules.model_dump().items() if v),
        ]
        for part in self.partitions:
            said = {name: v for name, v in asdict(part).items() if v}
            lines += ["[[partition]]", *(f"{name} = {json.dumps(v)}" for name, v in said.items())]
        if self.slurm:
            slurm = {"submits_at_once": 1, **slurm}  # more would be threads
            lines += ["[slurm]", *(f"{name} = {v}" for name, v in slurm.items())]
        new = self.file.with_suffix(".new")
        new.write_text("\n".join([*lines, wrong, ""]))
        new.replace(self.file)
        self.edits += 1
        self.wrong = wrong
        if not wrong:
            self.rules = rules


class Later:
    """Keeps what a pool would run in a thread until the world lets it run."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        self.work.append((work, arguments))

    def shutdown(self, **_: Any) -> None:
        pass


class Watched:
    """A party of an agent: before and after each call to it the agent may die, or others act."""

    def __init__(self, party: Any, name: str, boundary: Callable[[str], None]) -> None:
        self._party = party
        self._name = name
        self._boundary = boundary

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._party, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._boundary(f"{self._name}.{name}")
            answer = found(*arguments, **named)
            self._boundary(f"{self._name}.{name}, done")
            return answer

        return call


class Process:
    """One start of an agent. With `fuse`, it dies at that many calls from now, or at the next
    call of that name."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.world = site.world
        self.name = name
        self.dead = False
        self.fuse: int | str | None = None
        self.said_hello = False
        self.busy: set[str] = set()
        self.own_steps: dict[str, Callable[[], object]] = {}  # of its batch system
        self.at_death: list[Callable[[], None]] = []
        self.journal = Journal(site.folder / "journal.sqlite")
        self.journal._db.execute("PRAGMA synchronous=OFF")  # processes die here, no machines
        chance = self.world.chance.of(f"{site.name}/pauses")
        wire = Wire(self.world.network, name, self.boundary)
        clock_ms = self.world.clock_of(site.name)
        connection = Connection(
            "http://hub.test",
            site.secret,
            transport=wire,
            pause=self.world.pause,
            chance=chance.random,
            tries=2,
        )
        self.agent = Agent(
            settings.load(site.file),
            Watched(site.ground.batch(self), "batch", self.boundary),
            Hub(connection, self.journal.name_start(site.name, clock_ms())),
            Watched(self.journal, "journal", self.boundary),
            clock_ms,
            watched=Settings(site.file),
        )
        self.agent._staged.shutdown()
        self.agent.results.begin = lambda work: work()
        self.later = Later()
        self.agent._staged = self.later  # type: ignore[assignment]

    def boundary(self, call: str) -> None:
        """Between two lines of the agent: it may die here, or something else happens first."""
        if isinstance(self.fuse, int):
            self.fuse -= 1
        if (self.fuse in (-1, call)) and not self.dead:
            self.world.tell(f"{self.name} dies at {call}")
            self.die()
        if self.dead:
            raise Died(self)
        if call.startswith("journal.") and not call.endswith("done"):
            pages = 1 if self.site.disk_full else 2**30
            self.journal._db.execute(f"PRAGMA max_page_count={pages}")
        self.world.between(self)
        if self.dead:
            raise Died(self)

    def die(self) -> None:
        self.dead = True
        if self.site.process is self:
            self.site.process = None
        self.journal._db.close()  # what was not committed is gone
        for close in self.at_death:
            close()

    def able(self) -> list[str]:
        """What it could do now that it is not in the middle of. What another of its threads may
        do meanwhile is left out while that one holds the lock on what is being handed over."""
        if self.dead or self.agent._handing.locked():
            return []
        if not self.said_hello:
            return [] if "hello" in self.busy else ["hello"]
        steps = [each for each in (*STEPS, *self.own_steps) if each not in self.busy]
        if not self.later.work and "stage" in steps:
            steps.remove("stage")
        return steps

    def act(self, step: str) -> None:
        """One step, as the agent's threads repeat it: what time can mend is waited out."""
        self.busy.add(step)
        try:
            self._do(step)
        except Died as died:
            if died.party is not self:
                raise
        except StaleEpoch as error:
            self.world.tell(f"{self.name} ends: {error.message}")
            self.die()
        except (OSError, MeyrinError) as error:
            self.world.tell(f"{self.name} waits: {type(error).__name__}: {error}")
        finally:
            self.busy.discard(step)

    def _do(self, step: str) -> None:
        agent = self.agent
        if step == "hello":
            agent.hello()
            self.said_hello = True
        elif step == "lease":
            agent.lease_once(0)
        elif step == "watch":
            agent.watch_once(0)
        elif step == "send":
            agent.send_once()
        elif step == "results":
            agent.results_once()
        elif step == "recover":
            agent.recover_once()
        elif step == "settings":
            self._read_settings()
        elif step in self.own_steps:
            self.own_steps[step]()
        elif self.later.work:
            work, arguments = self.later.work.pop(0)
            work(*arguments)

    def _read_settings(self) -> None:
        """A file is taken whole or not at all."""
        before, edits = self.agent.config.rules, self.site.edits
        self.agent.settings_once()
        wanted = before if self.site.wrong else self.site.rules
        if self.site.edits == edits and self.agent.config.rules != wanted:
            raise LawBroken("a file is taken whole or not at all", f"{self.name}: {wanted}")

    def has_to_tell(self) -> bool:
        """Whether the journal still holds anything."""
        return bool(self.journal.everything() or self.journal.unsent(1))


__all__ = ["STEPS", "Died", "LawBroken", "Process", "Site"]
