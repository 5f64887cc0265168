"""The OpenID provider: its addresses, its keys, and what it says of a person.

Discovery and keys are asked for when needed and kept for an hour; an unknown key is looked up
anew, at most once a minute. Nothing of the provider's tokens is kept: an ID token is checked
(OpenID Connect Core 1.0, 3.1.3.7) and becomes a session or a token of this hub.

A provider that hangs must not hold the hub: few wait for it at once, the others are told to come
back, and for a while after it failed it is not asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from meyrin.domain.errors import InvalidInput, NotLoggedIn, Unreachable
from meyrin.hub.identity.service import name_from

if TYPE_CHECKING:
    import httpx2

SCOPES = "openid profile email groups"
_KEEP_S = 3600
_LOOK_AGAIN_S = 60
_LEEWAY_S = 60
_PATIENCE_S = 10.0
_AFTER_FAILURE_S = 10
_WAIT_AT_ONCE = 10  # a quarter of the requests that the hub answers at once
_OLDEST_S = 600  # an ID token that is handed in later than this was not made for this log-in
_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
_AGAIN = "log in again"
_IN_A_MOMENT = "try again in a moment; `meyrin login` on the hub's machine makes a link"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says: the subject is its own, the rest may be missing.

    `login_name` has letters that ours have, or is empty. `domain` is the organisation's: of a
    verified mail address, or of the scoped name (eppn); None where it says nothing of either.
    """

    issuer: str
    subject: str
    login_name: str
    display_name: str
    domain: str | None


class _Kept(Generic[T]):
    """What the provider was asked for, until it is too old; one caller asks, others wait for it.

    After a failure nobody asks for `_AFTER_FAILURE_S`.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None
        self._failed_s = float("-inf")

    def young(self, oldest_s: float) -> T | None:
        kept = self._kept
        return None if kept is None or self._clock_s() - kept[0] > oldest_s else kept[1]

    def ask(self, oldest_s: float, fetch: Callable[[], T]) -> T:
        with self._lock:
            found = self.young(oldest_s)
            if found is not None:  # whoever was waited for has it
                return found
            if 0 <= self._clock_s() - self._failed_s < _AFTER_FAILURE_S:
                raise Unreachable("the OpenID provider failed a moment ago", hint=_IN_A_MOMENT)
            try:
                found = fetch()
            except Unreachable:
                self._failed_s = self._clock_s()
                raise
            self._kept = (self._clock_s(), found)
            return found


class Provider:
    """One OpenID provider, as this hub and its command line are known to it."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        cli_client_id: str,
        secret: str,
        clock_s: Callable[[], float],
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.issuer = issuer.rstrip("/")
        self.client_id = client_id
        self.cli_client_id = cli_client_id
        self._secret = secret
        self._clock_s = clock_s
        self._transport = transport
        self._waiting = threading.BoundedSemaphore(_WAIT_AT_ONCE)
        self._known: _Kept[Mapping[str, Any]] = _Kept(clock_s)
        self._keys: _Kept[Any] = _Kept(clock_s)
        _check_address(self.issuer, "openid_issuer")

    def authorisation_url(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to log in: code flow with PKCE (RFC 7636, S256)."""
        with self._client(redirect) as client:
            url, _ = client.create_authorization_url(
                self._address("authorization_endpoint"),
                state=state,
                nonce=nonce,
                code_verifier=verifier,
            )
        return str(url)

    def claims_for_code(self, redirect: str, code: str, nonce: str, verifier: str) -> Claims:
        """Turn the code that came back into claims. NotLoggedIn when the provider says no."""
        from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 - seldom

        address = self._address("token_endpoint")
        try:
            with self._room(), self._client(redirect) as client, _naming(self.issuer):
                token = client.fetch_token(address, code=code, code_verifier=verifier)
        except OAuthError as error:
            raise NotLoggedIn(f"the provider says no: {error.error}", hint=_AGAIN) from error
        return self._claims(str(token.get("id_token", "")), self.client_id, nonce)

    def claims_of_cli(self, id_token: str) -> Claims:
        """What an ID token says that the command line was given (device flow, RFC 8628)."""
        return self._claims(id_token, self.cli_client_id, None)

    # --- inside

    def _client(self, redirect: str) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client  # noqa: PLC0415

        return OAuth2Client(
            self.client_id,
            self._secret or None,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=SCOPES,
            redirect_uri=redirect,
            code_challenge_method="S256",
            timeout=_PATIENCE_S,
            transport=self._transport,
        )

    def _address(self, name: str) -> str:
        address = str(self._metadata().get(name, ""))
        _check_address(address, name)
        return address

    @contextmanager
    def _room(self) -> Iterator[None]:
        """To wait for the provider in; Unreachable when too many do."""
        if not self._waiting.acquire(blocking=False):
            raise Unreachable("too many wait for the OpenID provider", hint=_IN_A_MOMENT)
        try:
            yield
        finally:
            self._waiting.release()

    def _kept(self, kept: _Kept[T], oldest_s: float, fetch: Callable[[], T]) -> T:
        found = kept.young(oldest_s)
        if found is not None:
            return found
        with self._room():
            return kept.ask(oldest_s, fetch)

    def _metadata(self) -> Mapping[str, Any]:
        return self._kept(self._known, _KEEP_S, self._ask_metadata)

    def _ask_metadata(self) -> Mapping[str, Any]:
        found = self._get(f"{self.issuer}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != self.issuer:
            raise Unreachable(
                f"{self.issuer} calls itself {str(found.get('issuer'))[:200]!r}",
                hint="set openid_issuer to the provider's own name for itself",
            )
        return found

    def _get(self, address: str) -> dict[str, Any]:
        import httpx2  # noqa: PLC0415 - a hub without a provider has no need of it

        with (
            _naming(self.issuer),
            httpx2.Client(timeout=_PATIENCE_S, transport=self._transport) as client,
        ):
            answer = client.get(address)
            answer.raise_for_status()
            found = answer.json()
        if not isinstance(found, dict):
            raise Unreachable(f"{address} did not answer with an object")
        return found

    def _key_set(self, *, anew: bool) -> Any:
        address = self._address("jwks_uri")
        oldest_s = _LOOK_AGAIN_S if anew else _KEEP_S
        return self._kept(self._keys, oldest_s, lambda: _read_keys(address, self._get(address)))

    def _decode(self, id_token: str, *, anew: bool) -> Any:
        """The token, if one of the provider's keys signed it; ValueError for anything else."""
        from joserfc import jwt  # noqa: PLC0415

        keys = self._key_set(anew=anew)
        try:
            return jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
        except (KeyError, TypeError) as error:  # joserfc, of a header that it does not expect
            raise ValueError("a header of another kind") from error

    def _claims(self, id_token: str, audience: str, nonce: str | None) -> Claims:
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            try:
                token = self._decode(id_token, anew=False)
            except (JoseError, ValueError):  # perhaps signed with a key that is newer than ours
                token = self._decode(id_token, anew=True)
            wanted: dict[str, Any] = {
                "iss": {"essential": True, "value": str(self._metadata()["issuer"])},
                "aud": {"essential": True, "value": audience},
                "sub": {"essential": True},
                "exp": {"essential": True},
                "iat": {"essential": True},
            }
            if nonce is not None:
                wanted["nonce"] = {"essential": True, "value": nonce}
            now_s = int(self._clock_s())
            jwt.JWTClaimsRegistry(now=now_s, leeway=_LEEWAY_S, **wanted).validate(token.claims)
        except (JoseError, ValueError) as error:
            raise NotLoggedIn(
                "the provider's word about you can't be trusted: "
                f"{type(error).__name__.removesuffix('Error')}",
                hint=_AGAIN,
            ) from error
        return _read(self.issuer, token.claims, now_s, audience)


def _read_keys(address: str, said: Mapping[str, Any]) -> Any:
    """The keys that sign; those that can't be read are of no concern (RFC 7517, 5)."""
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import JWKRegistry, KeySet  # noqa: PLC0415

    listed = said.get("keys")
    if not isinstance(listed, list):
        raise Unreachable(f"{address} did not answer with a list of keys")
    keys = []
    for one in listed:
        try:
            if one.get("use", "sig") == "sig":
                keys.append(JWKRegistry.import_key(one))
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return KeySet(keys)


def _read(issuer: str, said: Mapping[str, Any], now_s: int, audience: str) -> Claims:
    if not now_s - int(said["iat"]) <= _OLDEST_S:
        raise NotLoggedIn("the provider's word about you is too old", hint=_AGAIN)
    if isinstance(said["aud"], list) and len(said["aud"]) > 1 and said.get("azp") != audience:
        raise NotLoggedIn("the provider's word about you is for another", hint=_AGAIN)
    subject = str(said["sub"])
    if not 1 <= len(subject) <= 255 or not subject.isprintable():
        raise NotLoggedIn("the provider's name for you can't be read", hint=_AGAIN)
    said = {name: value for name, value in said.items() if value is not None}  # null is unsaid
    mail = str(said.get("email", "")) if said.get("email_verified") is True else ""
    scoped = str(said.get("eppn", "")) or mail
    names = [str(said.get("preferred_username", "")), scoped.partition("@")[0], subject]
    shown = str(said.get("name", "")) or next(filter(None, names))
    domain = scoped.rpartition("@")[2].lower() if {"eppn", "email"} & said.keys() else None
    # one with letters of ours, or everybody with a name in another alphabet would share one
    name = next((one for one in names if name_from(one, "")), "")
    return Claims(issuer, subject, name, shown, domain)


def _check_address(address: str, field: str) -> None:
    """A provider is reached by https, or on this machine."""
    try:
        parts = urlsplit(address)
        here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
        good = bool(parts.hostname) and parts.port != 0 and (parts.scheme == "https" or here)
    except ValueError:  # brackets that are not closed, or a port that is no number
        good = False
    if not good:
        raise InvalidInput(
            f"{field} can't be {address[:200]!r}",
            hint="write an address that begins with https://",
            field=field,
            value=address[:200],
        )


@contextmanager
def _naming(issuer: str) -> Iterator[None]:
    """What goes wrong on the way to the provider, as Unreachable."""
    import httpx2  # noqa: PLC0415

    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise Unreachable(
            f"the OpenID provider {issuer} does not answer as it should",
            hint=_IN_A_MOMENT,
        ) from error


def read_secret(path: str) -> str:
    """The hub's secret at the provider; InvalidInput when the file can't be read or is open."""
    if not path:
        return ""
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise InvalidInput(
                f"{path} can be read by others", hint=f"run: chmod 600 {path}",
                field="openid_secret_file",
            )  # fmt: skip
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidInput(
            f"the secret file {path} can't be read: {error.strerror}", field="openid_secret_file"
        ) from error
