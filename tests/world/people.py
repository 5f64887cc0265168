"""The people of a world: they submit, ask again when no answer came, cancel, and operate sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.hub.facility import SCRIPT
from tests.world.errors import LawBroken
from tests.world.grounds import Plan
from tests.world.network import Wire

from meyrin.agent.config import Rules
from meyrin.client.api import Client
from meyrin.domain.errors import Conflict, InvalidInput, MeyrinError, Refused
from meyrin.domain.job import ArraySpec, Dependency, DependencyKind, JobRequest, Resources
from meyrin.hub.calls import service as calls
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import service as sites

if TYPE_CHECKING:
    import random

    from tests.world.simulation import World
    from tests.world.sites import Site

_ROOT = Actor(person="root", name="root", admin=True)


@dataclass
class Wish:
    """One thing that a person wants run, and what came of asking."""

    request: JobRequest
    key: str
    by: str
    job: int | None = None
    asked: int = 0
    refused: bool = False
    wants_file: bool = False

    @property
    def open(self) -> bool:
        return self.job is None and not self.refused


class People:
    """`ada` and `bob` and the operators; what jobs will do is planned here, by their names."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plans: dict[str, Plan] = {}
        chance = world.chance.of("people")
        self.clients = {
            name: Client(
                "http://hub.test",
                world.facility.people[name].secret,
                transport=Wire(world.network, name),
                pause=world.pause,
                chance=chance.random,
                tries=2,
            )
            for name in ("ada", "bob")
        }
        self.wishes = [self._wish(chance, n) for n in range(world.settings.requests)]
        self.input = world.folder / "input.txt"
        self.input.write_bytes(b"some input\n")

    # --- wishing

    def _wish(self, chance: random.Random, number: int) -> Wish:
        name = f"job{number}"
        leaves = ("result.txt",) if chance.random() < 0.15 else ()
        self.plans[name] = Plan(
            runs_s=chance.choice((0, 1, 30, 300, 5_000)),
            exit_code=chance.choice((0, 0, 0, 1)),
            prints=b"hello\n" * chance.choice((0, 1, 3)),
            leaves=leaves,
            may_run_again=(requeue := chance.random() < 0.5),
        )
        wanted: dict[str, Any] = {}
        if chance.random() < 0.2:
            size = chance.randint(2, 5)
            wanted["array"] = ArraySpec(tuple(range(size)), chance.choice((0, 1, 2)))
        if chance.random() < 0.1:
            wanted["held"] = True
        if chance.random() < 0.05:
            wanted["deadline_s"] = self.world.now_ms // 1000 + chance.choice((700, 20_000))
        if chance.random() < 0.05:
            wanted["begin_s"] = self.world.now_ms // 1000 + 600
        request = JobRequest(
            script=SCRIPT,
            name=name,
            project="lab",
            resources=_resources(chance),
            walltime_s=chance.choice((None, 60, 600, 3_600)),
            requeue=requeue,
            nice=chance.choice((0, 0, 0, 100)),
            output_files=leaves,
            **wanted,
        )
        by = chance.choice(tuple(self.clients))
        return Wish(request, f"wish-{number:04}", by, wants_file=chance.random() < 0.15)

    # --- acting

    def act(self) -> None:
        """A person or an operator does something."""
        chance = self.world.chance.of("people/acts")
        if self.world.chance.happens("operators"):
            self._operate(chance)
            return
        open_ones = [wish for wish in self.wishes if wish.open]
        known = [wish for wish in self.wishes if wish.job is not None]
        if known and self.world.chance.happens("cancels"):
            self._try("cancel", chance.choice(known))
        elif known and chance.random() < 0.1:
            self._try(chance.choice(("look", "release")), chance.choice(known))
        elif open_ones:
            self._try("submit", chance.choice(open_ones[:3]))

    def act_all(self) -> None:
        """All that is wished for is asked for, and what is held is let go."""
        for wish in self.wishes:
            if wish.open:
                self._try("submit", wish)
            elif wish.request.held and wish.job is not None:
                self._try("release", wish)

    def satisfied(self) -> bool:
        return not any(wish.open for wish in self.wishes)

    def give_up(self) -> bool:
        """Cancel what can never start; whether there was any."""
        waiting = [j for j in self.world.laws.jobs.values() if j.state in ("submitted", "admitted")]
        for job in waiting:
            self.clients["ada"].cancel(job.id)
        return bool(waiting)

    def _try(self, verb: str, wish: Wish) -> None:
        world = self.world
        try:
            getattr(self, f"_{verb}")(wish)
        except (Refused, InvalidInput, Conflict) as error:
            world.tell(f"{wish.by}: {wish.request.name}: {error.message}")
            wish.refused = wish.refused or verb == "submit"
        except MeyrinError as error:
            world.tell(f"{wish.by}: {wish.request.name}: {error.code}")

    def _submit(self, wish: Wish) -> None:
        wish.asked += 1
        client = self.clients[wish.by]
        request = wish.request
        if wish.wants_file:
            from dataclasses import replace

            request = replace(request, inputs=(client.upload(self.input),))
        if wish.asked == 1:
            request = self._depends(request)
        wish.request = request
        accepted = client.submit(request, wish.key)
        if wish.job is not None and accepted.job != wish.job:
            raise LawBroken("one key, one job", f"{wish.key}: {wish.job}, then {accepted.job}")
        wish.job = accepted.job
        self.world.tell(f"{wish.by}: {request.name} is job {accepted.job}")

    def _depends(self, request: JobRequest) -> JobRequest:
        from dataclasses import replace

        chance = self.world.chance.of("people/dependencies")
        known = [wish.job for wish in self.wishes if wish.job is not None]
        if not known or chance.random() > 0.15:
            return request
        kind = chance.choice((DependencyKind.AFTER_OK, DependencyKind.AFTER_ANY))
        return replace(request, dependencies=(Dependency(kind, chance.choice(known)),))

    def _cancel(self, wish: Wish) -> None:
        self.clients[wish.by].cancel(str(wish.job))

    def _look(self, wish: Wish) -> None:
        self.clients[wish.by].explain(str(wish.job))
        self.clients[wish.by].job(str(wish.job))

    def _release(self, wish: Wish) -> None:
        self.clients[wish.by].release(str(wish.job))

    # --- operating

    def _operate(self, chance: random.Random) -> None:
        """Something that an operator or an administrator does, at a hub that does not die."""
        world = self.world
        site = chance.choice(world.sites)
        what = chance.choice(("drain", "resume", "end offer", "lend", "close", "award", "extend"))
        world.tell(f"operator: {what} at {site.name}")
        stack, world.hub_stack = world.hub_stack, []
        try:
            with world.facility.write() as step:
                self._do(step, what, site, chance)
        except MeyrinError as error:
            world.tell(f"operator: {error.message}")
        finally:
            world.hub_stack = stack

    def _do(self, step: Any, what: str, site: Site, chance: random.Random) -> None:
        project = self.world.facility.projects["lab"]
        if what == "drain":
            sites.drain(step, _ROOT, site.name, "wet floor")
        elif what == "resume":
            sites.resume(step, _ROOT, site.name)
        elif what == "end offer":
            for offer in sites.offers_of(step, sites.site_by_name(step, site.name)):
                sites.end_offer(step, site.name, offer.id)
        elif what == "lend":
            self._lend(step, site)
        elif what == "award":
            self._award(step, chance.choice((1, 50)))
        else:
            page, _ = calls.allocations_page(step, _ROOT, None, "", 50)
            live = [a for a, _, _ in page if a.over_s > step.now_s and a.project_id == project]
            if live and what == "close":
                calls.close(step, chance.choice(live).id, "the world goes on")
            elif live:
                calls.extend(step, chance.choice(live).id, "more", amount_s=3_600)

    def _lend(self, step: Any, site: Site) -> None:
        from meyrin.domain.site import OwnerShare

        there = {o.partition for o in sites.offers_of(step, sites.site_by_name(step, site.name))}
        for partition in site.partitions:
            if partition.name not in there:
                owners = (OwnerShare(f"{site.name}-owner", 3), OwnerShare("ministry", 1))
                sites.lend(step, site.name, partition.name, owners, start_s=step.now_s)

    def _award(self, step: Any, hours: int) -> None:
        for kind in ("core", "gh200"):
            calls.award(
                step,
                self.world.facility.projects["lab"],
                kind,
                hours * 3600,
                start_s=step.now_s - 7 * 86_400,
                end_s=step.now_s + 365 * 86_400,
                reason="for the world",
            )

    def change_rules(self, site: Site) -> None:
        """The operator edits the agent's file, well or badly; mostly it is read as it runs."""
        chance = self.world.chance.of("rules")
        rules = chance.choice(
            (Rules(), Rules(drained="maintenance"), Rules(max_walltime_s=300), Rules())
        )
        wrong = chance.choice(("", "", "", "no TOML", "[rulez]", '[limits]\nmode = "all"'))
        site.edit(rules, wrong, second_look_every_h=chance.choice((1, 24)))
        said = f"wrong: {wrong}" if wrong else f"{rules.model_dump(exclude_defaults=True)}"
        self.world.tell(f"{site.name}: rules are {' '.join(said.split())}")
        if site.process is not None and chance.random() < 0.4:
            site.process.die()

    def open_up(self) -> None:
        """Everything is lent, nothing is drained, there are hours for all."""
        for site in self.world.sites:
            with self.world.facility.write() as step:
                sites.resume(step, _ROOT, site.name)
                self._lend(step, site)
        with self.world.facility.write() as step:
            self._award(step, 100_000)
        for wish in self.wishes:
            wish.refused = False

    # --- what came of it

    def read_output(self) -> None:
        """What every run printed is at the hub, each byte once."""
        for job in self.world.laws.jobs.values():
            runs = [
                run
                for attempt in self.world.laws.of_job[job.id]
                for run in self.world.truth_of(attempt)
            ]
            if not runs or runs[-1].attempt != job.attempt:
                continue
            found = self.clients["ada"].output(str(job.id) if job.task is None else
                                               f"{job.family}_{job.task}")  # fmt: skip
            wanted = b"".join(run.printed for run in runs if run.attempt == job.attempt)
            if found != wanted:
                raise LawBroken("every byte once", f"job {job.id}: {found!r}, not {wanted!r}")


def _resources(chance: random.Random) -> Resources:
    shape = chance.choice(("core", "cores", "nodes", "accelerators", "exclusive", "core"))
    if shape == "core":
        return Resources(tasks=1, memory_mb=100)
    if shape == "cores":
        return Resources(tasks=chance.randint(1, 6), cores_per_task=chance.choice((1, 2)))
    if shape == "nodes":
        return Resources(nodes_min=2, nodes_max=2, tasks_per_node=2)
    if shape == "accelerators":
        return Resources(tasks=1, accelerators=chance.randint(1, 4), accelerator_type="gh200")
    return Resources(nodes_min=1, nodes_max=1, exclusive=True)
