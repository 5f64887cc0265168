"""Log-in by an OpenID provider from a command line: a code to type in any browser (RFC 8628).

The provider's refresh token is kept beside the hub's own token in `client.json`. Providers that
rotate it take a second use of an old one as theft and end the log-in, so two processes that both
find the token old must not both refresh: the file is locked, and read again under the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meyrin.client.connection import body, naming_surroundings, read
from meyrin.client.place import Kept, is_here, locked, read_kept, save
from meyrin.domain.errors import (
    Conflict,
    MeyrinError,
    NotAllowed,
    NotFound,
    NotLoggedIn,
    Unreachable,
)
from meyrin.wire.identity import IdTokenBody, LoginWays, OpenIdWay, TokenSecret

if TYPE_CHECKING:
    import httpx2

    from meyrin.client.connection import Connection

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
RENEW_BEFORE_S = 600
_PATIENCE_S = 15.0
_SLOWER_S = 5  # what `slow_down` asks for (RFC 8628, 3.5)
_BUSY = {"slow_down", "temporarily_unavailable", "server_error"}  # say nothing of the log-in


@dataclass(frozen=True, slots=True)
class Code:
    """What a person does in a browser: open `address` (or `short`) and confirm `code`."""

    code: str
    address: str
    short: str
    expires_s: int


def ways(hub: Connection) -> OpenIdWay | None:
    """How one logs in at a hub; None where there is no provider."""
    answer = hub.call("GET", "/login-ways", repeatable=True)
    return read(LoginWays, answer.content).openid


def log_in(
    hub: Connection,
    way: OpenIdWay,
    tell: Callable[[Code], None],
    pause: Callable[[float], None],
    transport: httpx2.BaseTransport | None = None,
) -> Kept:
    """Ask for a code, wait until a person has confirmed it, and get the hub's token for it.

    Raises NotAllowed when they said no, or the hub does not let them in; NotLoggedIn when the
    code expired.
    """
    with _provider(way.issuer, way.client_id, transport) as (client, known):
        asked = client.request(
            "POST",
            known["device_authorization_endpoint"],
            data={"client_id": way.client_id, "scope": way.scopes, "prompt": "consent"},
            withhold_token=True,
        )
        asked.raise_for_status()
        given: dict[str, Any] = asked.json()
        given.setdefault("verification_uri", given.get("verification_url"))  # so says Google
        for name in ("device_code", "user_code", "verification_uri", "expires_in"):
            if not given.get(name):
                raise Unreachable(
                    f"the OpenID provider {way.issuer} gave a code without its {name}",
                    hint="ask the hub's administrator",
                )
        short = str(given["verification_uri"])
        tell(
            Code(
                str(given["user_code"]),
                str(given.get("verification_uri_complete", short)),
                short,
                int(given["expires_in"]),
            )
        )
        token = _wait(client, known["token_endpoint"], given, pause)
    return _hub_token(hub, way, token)


def _wait(
    client: Any, address: str, given: dict[str, Any], pause: Callable[[float], None]
) -> dict[str, Any]:
    import httpx2  # noqa: PLC0415 - `meyrin --help` must not pay for it
    from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 - seldom

    silent: httpx2.HTTPError | None = None
    every_s = int(given.get("interval", 5))
    left_s = int(given["expires_in"])
    while left_s > 0:
        pause(every_s)
        left_s -= every_s
        try:
            return dict(
                client.fetch_token(address, grant_type=DEVICE, device_code=given["device_code"])
            )
        except httpx2.HTTPError as error:  # a person still types: one lost answer ends nothing
            silent = error
            every_s += _SLOWER_S
        except OAuthError as error:
            silent = None
            if error.error in _BUSY:
                every_s += _SLOWER_S
            elif error.error == "access_denied":
                raise NotAllowed("the log-in was refused in the browser") from error
            elif error.error != "authorization_pending":
                left_s = 0
    if silent is not None:
        raise silent
    raise NotLoggedIn("the code expired before anybody confirmed it", hint="log in again")


def renewed(path: Path, hub: Connection, now_s: int, transport: Any = None) -> Kept:
    """What `client.json` holds, with a fresh token when its own was about to expire.

    Only one of several processes asks the provider; the others wait and read what it got. Where
    that brings none, its own token is taken as long as it counts. After that: NotLoggedIn when the
    provider does not know the log-in any more. Conflict where the file is another hub's now.
    """
    kept = _kept(path, hub)
    if not _is_old(kept, now_s):
        return kept
    with locked(path):
        kept = _kept(path, hub)
        if not _is_old(kept, now_s):
            return kept
        assert kept.openid is not None
        try:
            fresh = _refreshed(path, hub, kept, transport)
        except MeyrinError:
            if int(kept.openid["expires_ms"]) <= now_s * 1000:
                raise
            return kept
        save(path, kept.url, fresh.token, fresh.openid)
    return fresh


def _kept(path: Path, hub: Connection) -> Kept:
    """What the file holds for this hub: its secrets go to no other."""
    kept = read_kept(path)
    if kept.url != hub.url:
        raise Conflict(f"{path} now knows the hub {kept.url}", hint=f"log in to {hub.url} again")
    return kept


def _is_old(kept: Kept, now_s: int) -> bool:
    return (
        kept.openid is not None and int(kept.openid["expires_ms"]) < (now_s + RENEW_BEFORE_S) * 1000
    )


def _refreshed(path: Path, hub: Connection, kept: Kept, transport: Any) -> Kept:
    from authlib.integrations.base_client import OAuthError  # noqa: PLC0415

    assert kept.openid is not None
    said = kept.openid
    way = OpenIdWay(issuer=said["issuer"], client_id=said["client_id"], scopes=said["scopes"])
    try:
        with _provider(way.issuer, way.client_id, transport) as (client, known):
            token = dict(
                client.fetch_token(
                    known["token_endpoint"],
                    grant_type="refresh_token",
                    refresh_token=said["refresh_token"],
                )
            )
    except OAuthError as error:
        if error.error in _BUSY:
            raise Unreachable(
                f"the OpenID provider {way.issuer} gives no token now ({error.error})",
                hint="try again in a moment",
            ) from error
        raise NotLoggedIn(
            f"your log-in at {way.issuer} has ended ({error.error})",
            hint=f"run: meyrin login --code --hub {kept.url}",
        ) from error
    token.setdefault("refresh_token", said["refresh_token"])
    # the provider takes the old one no more: kept before the hub is asked, which may be away
    save(path, kept.url, kept.token, {**said, "refresh_token": str(token["refresh_token"])})
    return _hub_token(hub, way, token)


def _hub_token(hub: Connection, way: OpenIdWay, token: dict[str, Any]) -> Kept:
    """The hub's own token for the provider's word. The provider's access token is dropped."""
    said = IdTokenBody(id_token=str(token.get("id_token", "-")))
    answer = hub.call("POST", "/tokens/openid", repeatable=True, **body(said))
    made = read(TokenSecret, answer.content)
    if "refresh_token" not in token or made.token.expires_ms is None:
        return Kept(hub.url, made.secret, None)
    openid = {
        **way.model_dump(),
        "refresh_token": str(token["refresh_token"]),
        "expires_ms": made.token.expires_ms,
    }
    return Kept(hub.url, made.secret, openid)


@contextmanager
def _provider(issuer: str, client_id: str, transport: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """A client of the provider and the addresses that it told."""
    import httpx2  # noqa: PLC0415 - `meyrin --help` must not pay for it
    from authlib.integrations.httpx_client import OAuth2Client  # noqa: PLC0415

    _check(issuer)
    with naming_surroundings(issuer):
        client = OAuth2Client(
            client_id,
            token_endpoint_auth_method="none",  # noqa: S106 - a public client has no secret
            timeout=_PATIENCE_S,
            transport=transport,
        )
    try:
        with client:
            told = client.request(
                "GET", f"{issuer}/.well-known/openid-configuration", withhold_token=True
            )
            told.raise_for_status()
            known = told.json()
            for name in ("device_authorization_endpoint", "token_endpoint"):
                if name not in known:
                    raise NotFound(f"{issuer} offers no log-in by a code ({name} is missing)")
                _check(str(known[name]))
            yield client, known
    except (httpx2.HTTPError, ValueError) as error:  # no JSON, or no address in it
        raise Unreachable(
            f"the OpenID provider {issuer} does not answer as it should",
            hint="try again in a moment",
        ) from error


def _check(address: str) -> None:
    """Secrets go by https only, or stay on this machine."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(address)
    here = parts.scheme == "http" and is_here(address)
    if parts.scheme != "https" and not here:
        raise NotAllowed(
            f"the hub names the OpenID provider {address[:200]!r}, which is not reached by https",
            hint="ask the hub's administrator",
        )
