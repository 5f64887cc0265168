"""A log-in by an OpenID provider outlives answers that are lost and a hub that is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import httpx2
import pytest

from meyrin.client.api import Client
from meyrin.client.connection import Connection
from meyrin.client.device import RENEW_BEFORE_S, Code, log_in, renewed
from meyrin.client.errors import as_body
from meyrin.client.follow import Change, Stream
from meyrin.client.place import Kept, read_kept, save
from meyrin.client.streams import STREAMS
from meyrin.domain import errors
from meyrin.wire.identity import OpenIdWay, TokenSecret, TokenView

HUB = "https://hub.example"
ISSUER = "https://id.example"
WAY = OpenIdWay(issuer=ISSUER, client_id="meyrin", scopes="openid")
NOW_S = 1_000_000
KNOWN = {
    "device_authorization_endpoint": f"{ISSUER}/device",
    "token_endpoint": f"{ISSUER}/token",
}
LATER_MS = (NOW_S + 10 * RENEW_BEFORE_S) * 1000
CODE = {
    "device_code": "d",
    "user_code": "ABCD",
    "verification_uri": f"{ISSUER}/device",
    "expires_in": 600,
    "interval": 5,
}
GIVEN = {"access_token": "a", "token_type": "Bearer", "id_token": "i", "refresh_token": "first"}
PENDING = httpx2.Response(400, json={"error": "authorization_pending"})


def provider(
    answers: Iterable[httpx2.Response | Exception], code: dict[str, object]
) -> httpx2.MockTransport:
    """It gives `code`, and then one of `answers` whenever it is asked for tokens."""
    coming = iter(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/device":
            return httpx2.Response(200, json=code)
        if request.url.path != "/token":
            return httpx2.Response(200, json=KNOWN)
        told = next(coming)
        if isinstance(told, Exception):
            raise told
        return told

    return httpx2.MockTransport(answer)


class Rotating:
    """A provider that takes each refresh token once, and gives the next one for it."""

    def __init__(self) -> None:
        self.number = 0
        self.away = False

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            raise httpx2.ConnectError("refused")
        if request.url.path != "/token":
            return httpx2.Response(200, json=KNOWN)
        if parse_qs(request.content.decode())["refresh_token"] != [f"refresh-{self.number}"]:
            return httpx2.Response(400, json={"error": "invalid_grant"})
        self.number += 1
        return httpx2.Response(200, json=GIVEN | {"refresh_token": f"refresh-{self.number}"})


def made() -> httpx2.Response:
    view = TokenView(id="t", kind="api", name="n", created_ms=0, expires_ms=LATER_MS)
    secret = TokenSecret(token=view, secret="fresh")
    return httpx2.Response(201, json=secret.model_dump(mode="json"))


@contextmanager
def the_hub(*, away: bool = False) -> Iterator[Connection]:
    def answer(_: httpx2.Request) -> httpx2.Response:
        if away:
            raise httpx2.ConnectError("refused")
        return made()

    connection = Connection(HUB, "", transport=httpx2.MockTransport(answer), pause=lambda _: None)
    try:
        yield connection
    finally:
        connection.close()


def keep(path: Path, counts_s: int) -> None:
    """A log-in whose token counts for so many seconds more."""
    openid = WAY.model_dump() | {
        "refresh_token": "refresh-0",
        "expires_ms": (NOW_S + counts_s) * 1000,
    }
    save(path, HUB, "old", openid)


def test_a_hub_that_is_away_costs_no_log_in(tmp_path: Path) -> None:
    """The provider has taken the old refresh token by then, and takes it as stolen if it comes."""
    path, rotating = tmp_path / "client.json", Rotating()
    keep(path, counts_s=-1)
    with the_hub(away=True) as hub, pytest.raises(errors.Unreachable):
        renewed(path, hub, NOW_S, httpx2.MockTransport(rotating))
    with the_hub() as hub:
        assert renewed(path, hub, NOW_S, httpx2.MockTransport(rotating)).token == "fresh"
    kept = read_kept(path)
    assert kept.openid is not None
    assert (kept.token, kept.openid["refresh_token"]) == ("fresh", "refresh-2")


@pytest.mark.parametrize("which", ["hub", "provider"])
def test_a_token_that_still_counts_is_used_meanwhile(tmp_path: Path, which: str) -> None:
    path, rotating = tmp_path / "client.json", Rotating()
    rotating.away = which == "provider"
    transport = httpx2.MockTransport(rotating)
    with the_hub(away=which == "hub") as hub:
        keep(path, counts_s=1)
        assert renewed(path, hub, NOW_S, transport).token == "old"
        with pytest.raises(errors.Unreachable):
            renewed(path, hub, NOW_S + 1, transport)


def test_a_log_in_that_has_ended_says_how_to_log_in_again(tmp_path: Path) -> None:
    path, rotating = tmp_path / "client.json", Rotating()
    rotating.number = 7
    keep(path, counts_s=1)
    with the_hub() as hub:
        assert renewed(path, hub, NOW_S, httpx2.MockTransport(rotating)).token == "old"
        with pytest.raises(errors.NotLoggedIn, match="has ended") as caught:
            renewed(path, hub, NOW_S + 1, httpx2.MockTransport(rotating))
    assert caught.value.hint == f"run: meyrin login --code --hub {HUB}"


@pytest.mark.parametrize(
    "error", [errors.Failed("a bug"), errors.StorageFull("full"), errors.NotAllowed("not here")]
)
def test_a_hub_that_makes_no_token_takes_the_one_that_counts(
    tmp_path: Path, error: errors.MeyrinError
) -> None:
    path, rotating = tmp_path / "client.json", httpx2.MockTransport(Rotating())
    keep(path, counts_s=1)
    no = httpx2.MockTransport(lambda _: httpx2.Response(500, json=as_body(error)))
    with closing(Connection(HUB, "", transport=no, pause=lambda _: None)) as hub:
        assert renewed(path, hub, NOW_S, rotating).token == "old"
        with pytest.raises(type(error)):
            renewed(path, hub, NOW_S + 1, rotating)


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "temporarily_unavailable"), (400, "server_error"), (429, "slow_down")],
)
def test_a_provider_that_is_busy_has_ended_no_log_in(
    tmp_path: Path, status: int, word: str
) -> None:
    path, busy = tmp_path / "client.json", httpx2.Response(status, json={"error": word})
    keep(path, counts_s=-1)
    with the_hub() as hub, pytest.raises(errors.Unreachable, match=f"no token now .{word}"):
        renewed(path, hub, NOW_S, provider([busy], CODE))


class Guarded:
    """A hub that knows one token at a time: the last one that was made."""

    def __init__(self) -> None:
        self.token = "old"
        self.refusing = threading.Barrier(1)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/tokens/openid"):
            self.token = "fresh"
            return made()
        if request.headers["authorization"] != f"Bearer {self.token}":
            self.refusing.wait()
            error = errors.NotLoggedIn("this token has expired")
            return httpx2.Response(401, json=as_body(error))
        ended = json.dumps({"state": "completed"})
        kind = {"content-type": "text/event-stream"}
        return httpx2.Response(200, text=f"event: end\ndata: {ended}\n\n", headers=kind)


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, Guarded]]:
    """A client that began with a token of twelve hours, which has expired since."""
    provided, hub = httpx2.MockTransport(Rotating()), Guarded()
    monkeypatch.setattr(
        "meyrin.client.device.renewed", lambda *what: renewed(*what, transport=provided)
    )
    keep(tmp_path / "client.json", counts_s=10**10)
    around = {"MEYRIN_DIR": str(tmp_path)}
    transport = httpx2.MockTransport(hub)
    with Client.from_environment(around, transport=transport, pause=lambda _: None) as client:
        hub.token = "another"
        keep(tmp_path / "client.json", counts_s=-1)
        yield client, hub


def test_a_token_that_expires_under_a_command_is_renewed(waiting: tuple[Client, Guarded]) -> None:
    client, _ = waiting
    assert client.connection.call("POST", "/x", repeatable=False).status_code == 200
    assert client.connection.uses("fresh")


def test_streams_go_on_with_the_renewed_token(waiting: tuple[Client, Guarded]) -> None:
    """Both of a job are refused at once; whoever comes second finds a fresh token."""
    client, hub = waiting
    hub.refusing = threading.Barrier(2)

    def states(stream: Stream) -> list[str]:
        return [event.state for event in client.follow(1, stream) if isinstance(event, Change)]

    with ThreadPoolExecutor(2) as both:
        assert list(both.map(states, STREAMS)) == [["completed"], ["completed"]]


def test_a_token_that_can_not_be_renewed_is_refused_once(waiting: tuple[Client, Guarded]) -> None:
    client, hub = waiting
    client.connection.call("GET", "/x", repeatable=True)
    hub.token = "another"
    with pytest.raises(errors.NotLoggedIn, match="has expired"):
        client.connection.call("GET", "/x", repeatable=True)


def test_a_file_that_is_another_hubs_now_is_left_alone(
    waiting: tuple[Client, Guarded], tmp_path: Path
) -> None:
    client, _ = waiting
    save(tmp_path / "client.json", "https://other.example", "theirs")
    with pytest.raises(errors.Conflict, match=r"knows the hub https://other\.example"):
        client.connection.call("GET", "/x", repeatable=True)


def logged_in(
    answers: Iterable[httpx2.Response | Exception], code: dict[str, object]
) -> tuple[Kept, list[Code], list[float]]:
    """What came of a log-in, the codes that were told, and the pauses."""
    told: list[Code] = []
    pauses: list[float] = []
    with the_hub() as hub:
        kept = log_in(hub, WAY, told.append, pauses.append, provider(answers, code))
    return kept, told, pauses


@pytest.mark.parametrize(
    "lost",
    [
        httpx2.ReadTimeout("slow"),
        httpx2.Response(503, text="busy"),
        httpx2.Response(400, json={"error": "temporarily_unavailable"}),
    ],
    ids=["lost", "503", "unavailable"],
)
def test_one_lost_answer_ends_no_log_in(lost: httpx2.Response | Exception) -> None:
    answers = [PENDING, lost, httpx2.Response(200, json=GIVEN)]
    kept, _, pauses = logged_in(answers, CODE)
    assert kept.token == "fresh"
    assert pauses == [5, 5, 10], "slower after what was lost (RFC 8628, 3.5)"


def test_a_provider_that_stays_silent_is_said_to_be() -> None:
    with pytest.raises(errors.Unreachable, match="does not answer"):
        logged_in([httpx2.ReadTimeout("slow")] * 99, CODE)


def test_the_address_as_google_names_it() -> None:
    code = {"verification_url" if n == "verification_uri" else n: v for n, v in CODE.items()}
    _, (told,), _ = logged_in([httpx2.Response(200, json=GIVEN)], code)
    assert told.address == f"{ISSUER}/device"


@pytest.mark.parametrize("name", ["device_code", "user_code", "verification_uri", "expires_in"])
def test_what_the_provider_leaves_out_is_named(name: str) -> None:
    with pytest.raises(errors.Unreachable, match=name):
        logged_in([], {n: v for n, v in CODE.items() if n != name})
