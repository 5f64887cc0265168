"""One connection to one hub: sends calls, repeats those that are safe to repeat, names errors.

A call is *repeatable* when sending it twice does what sending it once does; the caller says so.
A call that never left (nobody listens) is repeated in any case. Waiting and chance come in as
arguments, so that tests neither sleep nor guess.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from meyrin.client.errors import from_reply
from meyrin.client.place import is_here
from meyrin.client.silence import Silence
from meyrin.domain.errors import Failed, InvalidInput, MeyrinError, StorageFull, Unreachable

if TYPE_CHECKING:
    import httpx2
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")
Piece = TypeVar("Piece")

CONNECT_S = 5.0
ANSWER_S = 60.0
TRIES = 5
PATIENCE = 14  # tries of whoever waits for a job, after the first: about a minute and a half
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
AGAIN = "run the same command again; nothing is done twice"
_LOOK_FIRST = "it may have been done: look before you repeat it"


class Connection:
    """What every verb of the SDK speaks through; may be used by several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
        tries: int = TRIES,
        on_silence: Callable[[], None] | None = None,
        renew: Callable[[], str] | None = None,
    ) -> None:
        """`on_silence` is called, in another thread, when a hub has not answered for seconds.

        `renew` gives the token that counts now, where the hub refuses the one in use.
        """
        import httpx2  # noqa: PLC0415 - `meyrin --help` must not pay for it

        parts = urlsplit(url)
        self.url = url
        self.pause = pause
        self._chance = chance
        self.tries = tries
        self._renew = renew
        self._silence = Silence(on_silence)
        with naming_surroundings(url):
            self._http = httpx2.Client(
                base_url=f"{url}/api/v1",
                headers=_bearer(token) | {"accept": "application/json"},
                timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
                transport=transport,
                # no certificates are loaded where none are used; no proxy stands on this machine
                verify=parts.scheme == "https",
                trust_env=not is_here(url),
            )

    def close(self) -> None:
        self._silence.close()
        self._http.close()

    def use(self, token: str) -> None:
        """Another token for all calls from now on."""
        self._http.headers.update(_bearer(token))

    def uses(self, token: str) -> bool:
        return _bearer(token).get("authorization") == self._http.headers.get("authorization")

    def clock_ms(self) -> int | None:
        """The hub's clock, to the second, from the date of an answer; None when it has none."""
        with self._naming(AGAIN):
            date = self._http.get("/agent/self").headers.get("date", "")
        try:
            return int(parsedate_to_datetime(date).timestamp() * 1000)
        except ValueError:
            return None

    def call(
        self, method: str, path: str, *, repeatable: bool, tries: int | None = None, **said: Any
    ) -> httpx2.Response:
        """The hub's answer; raises the error that it stands for.

        `said` is what `httpx2.Client.request` takes: json, params, content, headers.
        """
        number = 0
        doubtful = False  # an earlier try may have got through
        self._silence.waits()
        try:
            while True:
                number += 1
                try:
                    return self._once(method, path, repeatable, **said)
                except MeyrinError as error:
                    unsent = error.facts.get("sent") is False
                    out = number >= (tries or self.tries)
                    if out or not (repeatable or unsent) or not _worth_repeating(error):
                        if doubtful:  # "sent" speaks of the last try alone
                            error.facts = {k: v for k, v in error.facts.items() if k != "sent"}
                        raise
                    doubtful = doubtful or not unsent
                self.back_off(number)
        finally:
            self._silence.heard()

    def back_off(self, number: int) -> None:
        """Wait before try `number` + 1: doubling, cut at ten seconds, shaken by chance."""
        longest = min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
        self.pause(longest * (0.5 + 0.5 * self._chance()))

    def _once(self, method: str, path: str, repeatable: bool, **said: Any) -> httpx2.Response:
        with self._naming(AGAIN if repeatable else _LOOK_FIRST):
            response = self._http.request(method, path, **said)
            if self._renewed(response):  # nothing was done for who was nobody
                response = self._http.request(method, path, **said)
        if response.status_code >= 400:
            raise from_reply(response.status_code, response.content, self.url)
        self._refuse_redirect(response)
        return response

    @contextmanager
    def stream(self, method: str, path: str, **said: Any) -> Iterator[httpx2.Response]:
        """An answer that is read piece by piece; the caller repeats, since only it knows where."""
        self._silence.waits()
        try:
            with self._naming(AGAIN), self._http.stream(method, path, **said) as response:
                if self._renewed(response):
                    raise Unreachable("the token was renewed meanwhile", hint=AGAIN)
                if response.status_code >= 400:
                    raise from_reply(response.status_code, response.read(), self.url)
                self._refuse_redirect(response)
                self._silence.heard()
                yield response
        except MeyrinError as error:
            if not error.retry:  # nobody goes on trying
                self._silence.heard()
            raise

    def _renewed(self, refused: httpx2.Response) -> bool:
        """Whether another token than that of the refused call is in use now."""
        if self._renew is None or refused.status_code != 401:
            return False
        self.use(self._renew())
        before: str = refused.request.headers["authorization"]  # another thread may have renewed
        return before != self._http.headers["authorization"]

    def awaited(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Pieces of an answer that should come without pause, unlike those of a job's output."""
        self._silence.waits()
        for piece in pieces:
            self._silence.heard()
            yield piece
            self._silence.waits()
        self._silence.heard()

    def _refuse_redirect(self, response: httpx2.Response) -> None:
        """A token follows nobody to another address."""
        if 300 <= response.status_code < 400:
            there = response.headers.get("location", "another address")
            raise Unreachable(
                f"{self.url} sends us on to {there}",
                hint="use that address for the hub, if you trust it",
                address=self.url,
            )

    @contextmanager
    def _naming(self, hint: str) -> Iterator[None]:
        """Turn what went wrong on the way into Unreachable, with what to do."""
        import httpx2  # noqa: PLC0415

        if self._http.is_closed:
            raise InvalidInput("this client was closed", hint="make a new one, or close it later")
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(
                f"no hub answers at {self.url} ({str(error) or 'no answer in time'})",
                hint="start it with `meyrin up`, or check the address (MEYRIN_HUB, --hub, --dir)",
                address=self.url,
                sent=False,
            ) from error
        except httpx2.InvalidURL as error:
            raise InvalidInput(f"{self.url} can't be called: {error}") from error
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise Unreachable(
                f"the hub at {self.url} did not finish its answer "
                f"({str(error) or type(error).__name__})",
                hint=hint,
                address=self.url,
            ) from error
        except httpx2.DecodingError as error:
            raise Unreachable(f"{self.url} sent an answer that can't be unpacked") from error


@contextmanager
def naming_surroundings(address: str) -> Iterator[None]:
    """Turn a proxy or certificates of the environment that can't be used into InvalidInput."""
    import httpx2  # noqa: PLC0415

    try:
        yield
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        why = "a socks proxy is not spoken to" if isinstance(error, ImportError) else str(error)
        raise InvalidInput(
            f"{address} can't be reached by the proxy that the environment names: {why}",
            hint="give an http:// proxy in ALL_PROXY or HTTPS_PROXY, or NO_PROXY='*' to do without",
            field="ALL_PROXY",
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"the certificates to know {address} by can't be read: {error.strerror or error}",
            hint="look at SSL_CERT_FILE and SSL_CERT_DIR; unset, those of this machine count",
            field="SSL_CERT_FILE",
        ) from error


def _bearer(token: str) -> dict[str, str]:
    """What says who calls; nothing for a stranger."""
    return {"authorization": f"Bearer {token}"} if token else {}


def read(model: type[Model], content: bytes) -> Model:
    """A reply as its wire model; fields that a newer hub added are passed over."""
    try:
        return model.model_validate_json(content, extra="ignore")
    except ValueError as error:
        raise Failed(
            f"the hub's answer can't be read as {model.__name__}",
            hint="are hub and client of the same version?",
        ) from error


def body(model: BaseModel) -> dict[str, Any]:
    """A wire model as the body of a call; the same bytes however often it is sent."""
    try:
        content = model.model_dump_json().encode()
    except ValueError as error:
        raise InvalidInput(
            "the request holds text that is no Unicode", hint="look at names and variables"
        ) from error
    return {"content": content, "headers": {"content-type": "application/json"}}


def _worth_repeating(error: MeyrinError) -> bool:
    """Seconds may help a busy hub, not a full disk."""
    return error.retry and not isinstance(error, StorageFull)
