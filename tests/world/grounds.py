"""What truly happens at a site: which payload began, ended, and how. The laws compare with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meyrin.agent.batch import BatchSystem
from meyrin.domain.errors import Unreachable
from meyrin.testing.batch import FakeBatch

if TYPE_CHECKING:
    from tests.world.sites import Process, Site


@dataclass(frozen=True, slots=True)
class Plan:
    """What the payload of a job does when it runs."""

    runs_s: int
    exit_code: int = 0
    prints: bytes = b""
    leaves: tuple[str, ...] = ()
    may_run_again: bool = False


@dataclass(slots=True)
class Run:
    """One time that the payload of an attempt began."""

    attempt: str
    partition: str
    nodes: int
    cores: int
    accelerators: int
    begin_ms: int
    end_ms: int | None = None
    exit_code: int | None = None
    how: str = ""
    elapsed_s: int = 0
    printed: bytes = b""


@dataclass
class Truth:
    """Every run at a site, by attempt, in order. `said` are the seconds that the site's accounting
    had for an attempt before it was corrected, `energy_j` what it has now."""

    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    energy_j: dict[str, int] = field(default_factory=dict)

    def of(self, attempt: str) -> list[Run]:
        return self.runs.get(attempt, [])

    def going_on(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs if run.end_ms is None]


class Ground(ABC):
    """A batch system as the world drives it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.world = site.world
        self.truth = Truth()

    @abstractmethod
    def batch(self, process: Process) -> BatchSystem:
        """The batch system as one start of the agent sees it."""

    @abstractmethod
    def act(self) -> None:
        """Something happens there."""

    def fault(self) -> None:  # noqa: B027 - a ground may have none
        """Something goes wrong there, as this world has it."""

    def heal(self) -> None:  # noqa: B027
        """From now on nothing goes wrong."""

    @abstractmethod
    def settle(self) -> None:
        """Everything that can go on does."""


class Doubtful:
    """A batch system whose controller may be away, or whose answers are lost."""

    def __init__(self, ground: StoryGround) -> None:
        self._ground = ground

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ground.story, name)
        if not callable(found) or name in {"output", "partitions"}:
            return found

        def call(*arguments: Any) -> Any:
            ground = self._ground
            if ground.away():
                raise Unreachable("the batch system does not answer")
            answer = found(*arguments)
            if ground.world.chance.happens("batch_unanswered"):
                ground.world.tell(f"{ground.site.name}: the answer to {name} is lost")
                raise Unreachable("the batch system's answer is lost")
            return answer

        return call


class StoryGround(Ground):
    """The shipped `FakeBatch`, which starts again whatever it is handed again: only the agent's
    care keeps a payload from running twice."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.clock = self.world.clock_of(site.name)
        self.story = FakeBatch(site.folder, site.partitions, self.clock, forgetful=True)
        self.away_until_ms = 0

    def batch(self, process: Process) -> BatchSystem:  # noqa: ARG002 - one for all starts
        return Doubtful(self)  # type: ignore[return-value]

    def away(self) -> bool:
        return self.world.now_ms < self.away_until_ms

    def fault(self) -> None:
        if self.world.chance.happens("batch_away"):
            for_ms = self.world.chance.of("batch_away").choice((3_000, 30_000, 300_000))
            self.away_until_ms = self.world.now_ms + for_ms
            self.world.tell(f"{self.site.name}: the controller is away for {for_ms // 1000} s")

    def heal(self) -> None:
        self.away_until_ms = 0

    def act(self) -> None:
        chance = self.world.chance.of(f"{self.site.name}/ground")
        waiting, running = self.story.waiting(), self.story.running()
        if waiting and (not running or chance.random() < 0.5):
            self._begin(chance.choice(waiting))
        elif running:
            self._end(chance.choice(running))

    def settle(self) -> None:
        for attempt in self.story.running():
            self._end(attempt)
        for attempt in self.story.waiting():
            self._begin(attempt)

    def _begin(self, attempt: str) -> None:
        start = self.story.start_of(attempt)
        self.story.begin(attempt)
        run = Run(
            attempt,
            start.partition,
            start.nodes,
            start.asked.cores,
            start.asked.accelerators,
            self.clock(),
        )
        self.truth.runs[attempt].append(run)
        self.world.tell(f"{self.site.name}: {attempt[-4:]} of job {start.job} begins")
        self.world.laws.began(self.site, run)
        run.printed = self.world.plan_of(start.name).prints
        self.story.say(attempt, run.printed)

    def _end(self, attempt: str) -> None:
        start = self.story.start_of(attempt)
        plan = self.world.plan_of(start.name)
        for name in plan.leaves:
            path = f"{start.workdir}/{name}"
            with open(path, "ab") as file:  # noqa: PTH123 - a hot path
                file.write(b"42\n")
        self.story.end(attempt, plan.exit_code)
        told = self.story.look_up((attempt,))[attempt]
        run = self.truth.runs[attempt][-1]
        run.end_ms, run.exit_code = self.clock(), plan.exit_code
        run.how = str(told.end)
        run.elapsed_s = told.usage.elapsed_s if told.usage else 0
        self.world.tell(f"{self.site.name}: {attempt[-4:]} ends: {run.how} {run.exit_code}")


def fits(running: Iterable[Run], nodes: int, cores: int, accelerators: int) -> str:
    """What does not fit on so many nodes together; empty when all does."""
    runs = list(running)
    if sum(run.nodes * run.cores for run in runs) > nodes * cores:
        return "cores"
    if sum(run.nodes * run.accelerators for run in runs) > nodes * accelerators:
        return "accelerators"
    return ""
