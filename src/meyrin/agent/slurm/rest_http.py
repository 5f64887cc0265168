"""One question to slurmrestd and its answer: the way there, the token, and what counts as a no.

slurmrestd says what went wrong in `errors`, inside HTTP 200 as well as 500, and says "nothing
found" as an error too. The token is read anew before every question and is never printed: not in
errors, not in logs, not on a command line.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from meyrin.domain.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 5.0
LARGEST_ANSWER = 512 * 2**20
NOTHING_FOUND = {9003}
_NOT_KNOWN = 1007  # alone says that a token was not taken; 1008, a cut answer, follows a deed too
_HINT = "a token of that user, which has not expired, belongs into rest_token_file"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One entry of `errors`. `number` is Slurm's own, None where it gives none."""

    number: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is {} where it was no JSON."""

    status: int
    body: dict[str, Any]
    troubles: tuple[Trouble, ...] = ()

    @property
    def words(self) -> str:
        return "; ".join(each.words for each in self.troubles) or f"HTTP {self.status}"

    @property
    def numbers(self) -> set[int | None]:
        return {each.number for each in self.troubles}

    @property
    def unauthenticated(self) -> bool:
        return self.status == 401 or _NOT_KNOWN in self.numbers

    def turned_away(self, *, token: bool) -> bool:
        """Whether nothing was surely done, for whoever asked is not known. Who asks by a token
        trusts each answer; else the same number may say that an answer was not trusted."""
        return self.unauthenticated and (token or self.status == 401)

    @property
    def empty(self) -> bool:
        """Whether all that it says is that there is nothing."""
        return bool(self.troubles) and self.numbers <= NOTHING_FOUND

    @property
    def good(self) -> bool:
        return self.empty or (self.status < 400 and not self.troubles)


class Token:
    """Where the token comes from: a file that somebody renews, or a command that prints one.

    What the command printed is kept in memory until a fifth of its life is left.
    """

    def __init__(
        self, file: Path | None, command: tuple[str, ...], clock_s: Callable[[], float]
    ) -> None:
        self._file = file
        self._command = command
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._kept = ""
        self._until_s = 0.0

    def __bool__(self) -> bool:
        """Whether any is configured."""
        return self._file is not None or bool(self._command)

    def now(self) -> str:
        """The token to send; empty where none is configured (a socket that knows its caller)."""
        if self._file is not None:
            return self._read(self._file)
        if not self._command:
            return ""
        with self._lock:
            if not self._kept or self._clock_s() >= self._until_s:
                self._kept = self._ask()
                self._until_s = self._life(self._kept)
            return self._kept

    def refused(self, token: str) -> bool:
        """The other side did not take `token`; whether there may be another one now."""
        with self._lock:
            if self._kept == token:
                self._kept = ""
        return bool(self._command) or (self._file is not None and self._read(self._file) != token)

    @staticmethod
    def _read(file: Path) -> str:
        try:
            mode = file.stat().st_mode
            token = _token(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(
                f"the token file {file} can't be read", hint=_HINT, sent=False
            ) from error
        if mode & 0o077:
            raise Unreachable(
                f"the token file {file} can be read by others (mode {mode & 0o777:o})",
                hint=f"run: chmod 600 {file}",
                sent=False,
            )
        if not token:
            raise Unreachable(f"the token file {file} holds no token", hint=_HINT, sent=False)
        return token

    def _ask(self) -> str:
        program = self._command[0]
        try:
            done = subprocess.run(self._command, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unreachable(f"{program} could not be run for a token", sent=False) from error
        token = _token(done.stdout.decode("utf-8", "replace"))
        if done.returncode or not token:
            words = f"{program} gave no token (exit code {done.returncode})"
            raise Unreachable(words, hint="look at rest_token_command", sent=False)
        return token

    def _life(self, token: str) -> float:
        """When to ask for the next one: the token itself says until when it is good."""
        now_s = self._clock_s()
        try:
            claims = token.split(".")[1]
            said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            left_s = float(said["exp"]) - now_s
        except (IndexError, ValueError, KeyError, TypeError):
            left_s = 60.0
        return now_s + max(left_s * 0.8, 1.0)


def _token(said: str) -> str:
    """The one word that a header can carry, or empty. Some editors begin a file with a mark."""
    token = said.removeprefix("\ufeff").strip().removeprefix("SLURM_JWT=")
    plain = token.isascii() and token.isprintable() and " " not in token
    return token if plain else ""


class Http:
    """The way to one slurmrestd, over TCP or a Unix socket. Every call answers or raises
    Unreachable, whose fact `sent` is False when the question surely never arrived."""

    def __init__(
        self,
        url: str,
        user: str,
        token: Token,
        timeout_s: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        import httpx2  # noqa: PLC0415 - `meyrin --help` must not pay for it

        base, way = _base(url, transport)
        self.url = url
        self._user = user
        self.token = token
        self._http = httpx2.Client(
            base_url=base,
            transport=way,
            headers={"accept": "application/json"},
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            verify=base.startswith("https"),
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, filters: dict[str, str] | None = None, body: Any = None
    ) -> Answer:
        """One question. A token that is not taken is read again and the question asked again,
        where nothing was surely done."""
        # commas have to be escaped: the other side refuses a query that has one
        query = f"?{urlencode(filters, quote_via=quote, safe='')}" if filters else ""
        token = self.token.now()
        answer = self._once(method, path + query, body, token)
        # Slurm 22.05 says of a bad token only that the question failed
        vague = method == "GET" and answer.numbers == {-1}
        away = answer.turned_away(token=bool(token))
        if (away or vague) and self.token.refused(token):
            answer = self._once(method, path + query, body, self.token.now())
        return answer

    def _once(self, method: str, path: str, body: Any, token: str) -> Answer:
        import httpx2  # noqa: PLC0415

        said = {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": token} if token else {}
        try:
            with self._http.stream(method, path, headers=said, json=body) as reply:
                return _answer(reply.status_code, _bounded(reply))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise Unreachable(
                f"slurmrestd at {self.url} can't be reached: {error}", sent=False
            ) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise Unreachable(
                f"slurmrestd at {self.url} did not answer: {type(error).__name__}", sent=True
            ) from error


def _base(url: str, transport: httpx2.BaseTransport | None) -> tuple[str, Any]:
    """The base address, and the transport that goes there where it is no plain TCP."""
    import httpx2  # noqa: PLC0415

    if url.startswith("unix:"):
        socket = url.removeprefix("unix:").removeprefix("//")
        if not Path(socket).is_absolute():
            raise InvalidInput(
                f"rest_url {url!r} names no socket",
                hint="write unix:/path/to/socket",
                field="rest_url",
            )
        return "http://slurmrestd", transport or httpx2.HTTPTransport(uds=socket)
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(
            f"rest_url {url!r} can't be read",
            hint="write http://HOST:PORT or unix:/path/to/socket",
            field="rest_url",
        )
    return url.rstrip("/"), transport


def _bounded(reply: httpx2.Response) -> bytes:
    """The body, unless it is larger than this process should hold."""
    parts, size = [], 0
    for part in reply.iter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise Unreachable(
                f"slurmrestd answers with more than {LARGEST_ANSWER // 2**20} MiB", sent=True
            )
        parts.append(part)
    return b"".join(parts)


def _answer(status: int, raw: bytes) -> Answer:
    said = raw.decode("utf-8", "replace")  # a job's name may hold any bytes
    try:
        body = json.loads(said)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        words = said[:200].strip() or f"HTTP {status}"
        return Answer(status, {}, (Trouble(None, words),))
    return Answer(status, body, tuple(_trouble(each) for each in body.get("errors") or ()))


def _trouble(entry: Any) -> Trouble:
    if not isinstance(entry, dict):
        return Trouble(None, str(entry))
    number = entry.get("error_number", entry.get("error_code"))
    words = [str(entry[name]) for name in ("error", "description") if entry.get(name)]
    return Trouble(number if isinstance(number, int) else None, ": ".join(words) or "an error")
