"""The network between parties and hubs: it loses, delays, repeats and reorders what is said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from tests.world.errors import Died

if TYPE_CHECKING:
    from tests.world.hubs import Replica
    from tests.world.simulation import World


@dataclass(frozen=True, slots=True)
class Letter:
    """A request under way, that its sender no longer waits for."""

    number: int
    sender: str
    request: httpx2.Request


class Network:
    """Who can be reached, and what is still under way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.under_way: list[Letter] = []
        self.count = 0

    def send(self, sender: str, request: httpx2.Request) -> httpx2.Response:
        """One call, as its sender sees it."""
        world = self.world
        replica = self._some_hub()
        if replica is None:
            world.tell(f"{sender}: {_line(request)}: no hub listens")
            raise httpx2.ConnectError("connection refused", request=request)
        if world.chance.happens("lost"):
            world.tell(f"{sender}: {_line(request)}: lost")
            raise self._gave_up(request)
        if world.chance.happens("late"):
            self._keep(sender, request)
            raise self._gave_up(request)
        if world.chance.happens("twice"):
            self._keep(sender, request)
        answer = self._deliver(sender, request, replica)
        if answer is None:
            raise httpx2.ReadError("connection reset", request=request)
        if world.chance.happens("unanswered"):
            world.tell(f"{sender}: the answer is lost")
            raise self._gave_up(request)
        return answer

    def deliver_one(self) -> None:
        """Something that is under way arrives; nobody waits for its answer."""
        replica = self._some_hub()
        if not self.under_way or replica is None:
            return
        chance = self.world.chance.of("network")
        letter = self.under_way.pop(chance.randrange(len(self.under_way)))
        self.world.tell(f"network: letter {letter.number} of {letter.sender} arrives")
        self._deliver(letter.sender, letter.request, replica)

    def _some_hub(self) -> Replica | None:
        up = [each for each in self.world.hubs if not each.dead]
        return self.world.chance.of("network").choice(up) if up else None

    def _gave_up(self, request: httpx2.Request) -> httpx2.ReadTimeout:
        self.world.pass_ms(self.world.chance.of("network").choice((100, 5_000, 60_000)))
        return httpx2.ReadTimeout("no answer in time", request=request)

    def _keep(self, sender: str, request: httpx2.Request) -> None:
        self.count += 1
        self.under_way.append(Letter(self.count, sender, request))
        self.world.tell(f"{sender}: {_line(request)}: letter {self.count}, to arrive later")

    def _deliver(
        self, sender: str, request: httpx2.Request, replica: Replica
    ) -> httpx2.Response | None:
        """The hub's answer; None when the hub died over it."""
        world = self.world
        try:
            watch = world.laws.before_request(request)
            status, headers, body = replica.call(request)
            world.laws.after_request(watch, status, body)
        except Died as died:
            if died.party is not replica:
                raise
            world.tell(f"{sender}: {_line(request)}: {replica.name} died over it")
            return None
        world.tell(f"{sender}: {_line(request)}: {status}{_gist(request, status, body)}")
        return httpx2.Response(status, headers=headers, content=body, request=request)


class Wire(httpx2.BaseTransport):
    """How one party (or one process of it) reaches the hubs."""

    def __init__(self, network: Network, sender: str, boundary: Any = None) -> None:
        self._network = network
        self._sender = sender
        self._boundary = boundary

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        name = request.url.path.rpartition("/")[2]
        if self._boundary is not None:
            self._boundary(f"hub.{name}")
        answer = self._network.send(self._sender, request)
        if self._boundary is not None:
            self._boundary(f"hub.{name}, answered")
        return answer


def _line(request: httpx2.Request) -> str:
    return f"{request.method} {request.url.path.removeprefix('/api/v1')}"


def _gist(request: httpx2.Request, status: int, body: bytes) -> str:
    """A few words on what was said, for whoever reads the trace."""
    if status >= 400:
        return f" {json.loads(body)['error']['code']}"
    path = request.url.path
    if path.endswith("/lease"):
        said = json.loads(body)
        work = " ".join(f"{w['job']}:{w['attempt'][-4:]}" for w in said["work"])
        cancels = " ".join(each[-4:] for each in said["cancel"])
        return (f" work {work}" if work else "") + (f" end {cancels}" if cancels else "")
    if path.endswith("/reports"):
        told = " ".join(
            f"{r['attempt'][-4:]}={r['end'] or r['phase']}"
            for r in json.loads(request.content)["reports"]
        )
        stale = " ".join(each[-4:] for each in json.loads(body)["stale"])
        return f" {told}" + (f" stale {stale}" if stale else "")
    if path.endswith("/jobs"):
        return " " + " ".join(str(each["job"]) for each in json.loads(body)["jobs"])
    return ""
