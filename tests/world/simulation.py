"""A whole world in one thread: hubs, agents and batch systems, on a clock that only it moves.

One seed makes one world. It is lived through step by step, each chosen by chance; after each,
every law is looked at. Then all faults end, everything that is under way arrives, and every job
must come to its end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.hub import facility
from tests.hub.facility import Facility
from tests.world import hubs
from tests.world.errors import Died, LawBroken
from tests.world.grounds import Plan, Run, StoryGround
from tests.world.hubs import ENGINES, Replica
from tests.world.laws import Attempt, Laws
from tests.world.network import Network
from tests.world.people import People
from tests.world.settings import Chance, Settings
from tests.world.sites import DEADLY, Process, Site
from tests.world.slurm_ground import SlurmGround

from meyrin.agent import loop
from meyrin.agent.config import Rules
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.domain.errors import MeyrinError
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import service as sites

_DAY_MS = 86_400_000
_WEEK_S = 7 * 86_400  # clocks are set back, and what is lent stays lent
_DEEPEST = 2  # how far parties may cut in on each other
_CALM_ROUNDS = 40
NAMES = ("alps", "belle", "cern")


class Office(Facility):
    """What administrators and operators do, at a hub that does not die."""

    def listen(self, database: Database) -> None:
        """Nobody counts its statements."""


class World:
    """One world. `run` lives it; `trace` tells what happened, a line for each thing."""

    def __init__(self, settings: Settings, url: str, folder: Path) -> None:
        self.settings = settings
        self.url = url
        self.folder = folder
        self.chance = Chance(settings)
        self.now_ms = facility.NOW_MS
        self.offsets_ms: dict[str, int] = {}
        self.trace: list[str] = []
        self.step_number = 0
        self.depth = 0
        self.calm = False
        self.hub_disk_full = False
        self.hub_fuse: int | None = None
        self.hub_stack: list[Replica] = []
        self.hubs: list[Replica] = []
        self.hub_starts = 0
        self.sites: list[Site] = []
        self.entropy = facility._entropy(settings.seed)
        self.network = Network(self)
        self.blobs_url = (folder / "blobs").as_uri()
        self.facility = self._prepare()
        self.laws = Laws(self)
        self.people = People(self)

    # --- time and words

    def clock_of(self, party: str) -> Callable[[], int]:
        self.offsets_ms.setdefault(party, 0)
        return lambda: self.now_ms + self.offsets_ms[party]

    def pass_ms(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    def pause(self, seconds: float) -> None:
        self.pass_ms(int(seconds * 1000))

    def tell(self, words: str) -> None:
        at_s = (self.now_ms - facility.NOW_MS) / 1000
        self.trace.append(f"{self.step_number:4} {at_s:10.3f} {'  ' * self.depth}{words}")

    # --- what there is

    def _prepare(self) -> Facility:
        ENGINES.world = None
        quiet = hubs.WorldDatabase(
            self.url,
            lambda: None,
            clock_ms=self.clock_of("hub"),
            entropy=self.entropy,
            bell=Bell(),
        )
        settings = HubSettings(dir=self.folder, db_url=self.url, blobs_url=self.blobs_url)
        made = Office(quiet, facility.Clock(), self.folder, settings, Blobs(self.blobs_url))
        made.person("root", admin=True)
        made.person("ada")
        made.person("bob")
        made.project("lab", "ada", "bob")
        return made

    def begin(self) -> None:
        """Sites and hubs come up."""
        chance = self.chance.of("facility")
        for name in NAMES[: self.settings.sites]:
            partitions = _partitions(chance)
            secret = _enrol(self.facility, name, partitions)
            self._site(name, secret, partitions)
        hours = chance.choice((1, 10, 1000))
        for charged in ("core", "gh200"):
            self.facility.award("lab", charged, hours=hours)
        ENGINES.world = self
        for _ in range(self.settings.hubs):
            self.start_hub()
        for site in self.sites:
            site.start()

    def _site(self, name: str, secret: str, partitions: tuple[Partition, ...]) -> None:
        site = Site(self, name, secret, partitions)
        self.sites.append(site)
        kinds = self.settings.slurm
        slurm = site.slurm = kinds[len(self.sites) - 1]
        site.ground = SlurmGround(site) if slurm else StoryGround(site)

    def start_hub(self) -> None:
        self.hub_starts += 1
        replica = Replica(self, f"hub-{self.hub_starts}", self.blobs_url)
        self.hubs = [each for each in self.hubs if not each.dead] + [replica]
        self.tell(f"{replica.name} starts")

    def partition(self, site: str, name: str) -> Partition:
        found = next(each for each in self.sites if each.name == site)
        return next(each for each in found.partitions if each.name == name)

    def truth_of(self, attempt: Attempt) -> list[Run]:
        for site in self.sites:
            if site.name == attempt.site:
                return site.ground.truth.of(attempt.id)
        return []

    def said_of(self, attempt: Attempt) -> set[int]:
        """What accounting said of it before it was corrected."""
        found = [s.ground.truth.said.get(attempt.id) for s in self.sites if s.name == attempt.site]
        return (found[0] if found else None) or set()

    def energy_of(self, attempt: Attempt) -> int | None:
        found = [s.ground.truth.energy_j for s in self.sites if s.name == attempt.site]
        return found[0].get(attempt.id) if found else None

    def plan_of(self, name: str) -> Plan:
        return self.people.plans[name]

    # --- parties die, and others cut in

    def hub_statement(self) -> None:
        """A hub is about to run a statement: it may die here, in the middle of a transaction."""
        if not self.hub_stack:
            return
        replica = self.hub_stack[-1]
        if self.hub_fuse is not None:
            self.hub_fuse -= 1
            if self.hub_fuse < 0:
                self.hub_fuse = None
                replica.dead = True
                self.tell(f"{replica.name} dies in a transaction")
        if replica.dead:
            raise Died(replica)

    def between(self, party: Replica | Process) -> None:
        """Between two lines of `party`: others may act, and it may be dead after that."""
        if not self.calm and self.depth < _DEEPEST and self.chance.happens("gaps"):
            self.depth += 1
            stack, self.hub_stack = self.hub_stack, []
            try:
                self.tell("meanwhile")
                self.act()
            finally:
                self.hub_stack = stack
                self.depth -= 1
        if party.dead:
            raise Died(party)

    # --- living

    def run(self) -> None:
        """Live through all of it. Raises LawBroken, or the bug that a party met."""
        with _no_waiting(self):
            self.begin()
            for _ in range(self.settings.steps):
                self.step_number += 1
                self.pass_ms(self._some_time_ms())
                self.act()
                self.laws.check()
            self.rest()

    def _some_time_ms(self) -> int:
        chance = self.chance.of("time")
        return int(chance.choice((1, 50, 1_000, 1_000, 5_000, 5_000, 20_000, 90_000)))

    def act(self) -> None:
        """One thing, by chance."""
        chance = self.chance.of("acts")
        kinds = ("agent", "agent", "agent", "agent", "hub", "hub", "ground", "person", "network")
        kind = chance.choice((*kinds, "fault", "up"))
        if kind == "agent":
            self._agent_acts(chance.choice(self.sites))
        elif kind == "hub":
            self._hub_works()
        elif kind == "ground":
            site = chance.choice(self.sites)
            site.ground.fault()
            site.ground.act()
        elif kind == "person":
            self.people.act()
        elif kind == "network":
            self.network.deliver_one()
        elif kind == "fault":
            self._fault()
        else:
            self._comes_back()

    def _agent_acts(self, site: Site) -> None:
        process = site.process
        if process is None:
            return
        able = process.able()
        if able:
            step = self.chance.of(f"{site.name}/steps").choice(able)
            self.tell(f"{process.name} {step}")
            process.act(step)

    def _hub_works(self) -> None:
        up = [each for each in self.hubs if not each.dead]
        if not up:
            return
        replica = self.chance.of("work").choice(up)
        if replica in self.hub_stack:
            return
        try:
            placed = replica.work_once()
        except Died as died:
            if died.party is not replica:
                raise
        except MeyrinError as error:
            self.tell(f"{replica.name} waits: {error.message}")
        else:
            if placed:
                self.tell(f"{replica.name} places {placed}")

    def _fault(self) -> None:
        """Each fault of this world has its chance."""
        happens = self.chance.happens
        chance = self.chance.of("faults")
        for site in self.sites:
            if site.process is not None and happens("agent_kills"):
                if chance.random() < 0.3:
                    self.tell(f"{site.process.name} dies")
                    site.process.die()
                else:
                    site.process.fuse = chance.choice((chance.randint(0, 12), *DEADLY))
            if happens("agent_disk_full"):
                site.disk_full = not site.disk_full
                self.tell(f"{site.name}: the disk is {'full' if site.disk_full else 'roomy'}")
            if happens("rules"):
                self.people.change_rules(site)
        up = [each for each in self.hubs if not each.dead]
        if up and happens("hub_kills"):
            replica = chance.choice(up)
            replica.dead = True
            self.tell(f"{replica.name} dies")
        if happens("hub_kills_inside"):
            self.hub_fuse = chance.randint(0, 25)
        if happens("hub_disk_full"):
            self.hub_disk_full = not self.hub_disk_full
            self.tell(f"the hub's disk is {'full' if self.hub_disk_full else 'roomy'}")
        if happens("clock_jumps"):
            party = chance.choice(sorted(self.offsets_ms))
            far = (-3_600_000, -90_000, 45_000, 86_400_000)
            # Slurm's nodes and the agent's machine share a clock, which is wrong by minutes at most
            slurm = any(s.name == party and isinstance(s.ground, SlurmGround) for s in self.sites)
            self.offsets_ms[party] += chance.choice(far[1:3] if slurm else far)
            self.tell(f"the clock of {party} is now {self.offsets_ms[party] // 1000:+} s off")

    def _comes_back(self) -> None:
        """What is down comes up again."""
        chance = self.chance.of("back")
        self.hubs = [each for each in self.hubs if not each.dead or each in self.hub_stack]
        if len([each for each in self.hubs if not each.dead]) < self.settings.hubs:
            self.start_hub()
        down = [site for site in self.sites if site.process is None]
        if down:
            chance.choice(down).start()
        if self.hub_disk_full and chance.random() < 0.5:
            self.hub_disk_full = False
            self.tell("the hub's disk is roomy")
        for site in self.sites:
            if site.disk_full and chance.random() < 0.5:
                site.disk_full = False
                self.tell(f"{site.name}: the disk is roomy")

    # --- the end

    def rest(self) -> None:
        """All faults end; what is under way arrives; everything comes to its end."""
        self.tell("calm")
        self.calm = True
        self.chance.calm = True
        self.hub_disk_full = False
        self.hub_fuse = None
        for site in self.sites:
            site.disk_full = False
            site.edit(Rules())
            site.ground.heal()
            if site.process is not None:
                site.process.die()
        self.people.open_up()
        for number in range(_CALM_ROUNDS):
            self._calm_round()
            if self._quiet() and self.people.satisfied():
                break
            if number > _CALM_ROUNDS // 2:  # what every site refuses waits for ever
                self.people.give_up()
        while self.network.under_way:
            self.network.deliver_one()
            self.laws.check()
        self._calm_round()
        for _ in range(3):  # accounting is asked once more of everything
            self.pass_ms(2 * _DAY_MS)
            self._calm_round()
        self.laws.at_rest()
        self._told()

    def _calm_round(self) -> None:
        self.step_number += 1
        self.pass_ms(11_000)
        if not [each for each in self.hubs if not each.dead]:
            self.start_hub()
        self.people.act_all()
        for _ in range(3):
            self._hub_works()
        for site in self.sites:
            if site.process is None:
                site.start()
            for step in (*(site.process.able() if site.process else ()), "recover"):
                if site.process is not None:
                    site.process.act(step)
                    self.laws.check()
        for site in self.sites:
            site.ground.settle()
            self.laws.check()
        if self.network.under_way:
            self.network.deliver_one()
            self.laws.check()

    def _quiet(self) -> bool:
        """Whether nobody has anything left to do or say."""
        over = all(job.state in _OVER for job in self.laws.jobs.values())
        told = all(site.process and not site.process.has_to_tell() for site in self.sites)
        return over and told

    def _told(self) -> None:
        """What was printed is at the hub, every byte once; nothing is left at the sites."""
        for site in self.sites:
            assert site.process is not None
            if site.process.has_to_tell():
                raise LawBroken("all is told", f"{site.process.name} still has something")
        self.people.read_output()

    def close(self) -> None:
        """Give back files and connections."""
        ENGINES.world = None
        self.laws.close()
        for site in self.sites:
            if site.process is not None:
                site.process.die()
        for replica in self.hubs:
            replica.dead = True


_OVER = ("completed", "failed", "cancelled", "expired")


def _partitions(chance: Any) -> tuple[Partition, ...]:
    kinds = (
        Partition("cpu", 4, 8, 32_000, max_walltime_s=86_400, default_walltime_s=600),
        Partition("gpu", 2, 16, 64_000, 4, "gh200", max_walltime_s=7_200, default_walltime_s=600),
        Partition("whole", 3, 4, 8_000, max_walltime_s=3_600, whole_node=True),
    )
    return tuple(chance.sample(kinds, chance.choice((1, 2))))


def _enrol(made: Facility, name: str, partitions: tuple[Partition, ...]) -> str:
    with made.write() as step:
        _, secret = sites.enrol(step, name)
        for partition in partitions:
            owners = (OwnerShare(f"{name}-owner", 1), OwnerShare("ministry", 2))
            sites.lend(step, name, partition.name, owners, start_s=step.now_s - _WEEK_S)
    return secret


@contextmanager
def _no_waiting(world: World) -> Iterator[None]:
    """The agent's own pauses take no time, and a full disk has no room for a job's folder."""
    gather_s, start_of = SlurmBatch.gather_s, loop.start_of

    def start_of_or_full(config: Any, *rest: Any) -> Any:
        for site in world.sites:
            if site.folder == config.dir and site.disk_full:
                raise OSError(errno.ENOSPC, "No space left on device")
        return start_of(config, *rest)

    SlurmBatch.gather_s = 0.0
    loop.start_of = start_of_or_full
    try:
        with hubs.no_threads():
            yield
    finally:
        SlurmBatch.gather_s, loop.start_of = gather_s, start_of
