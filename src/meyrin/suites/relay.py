"""What a served model is asked through from a jail: one socket that leads to one address.

The jail itself has no network. What runs in it may ask the model's server for a completion
through this socket, which a thread outside of the jail listens at; any other path, method or
host is refused, redirects are not followed, and all of it is counted.
"""

from __future__ import annotations

import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meyrin.domain.errors import InvalidInput

ASKING = "/chat/completions"
MOST_BYTES = 16 * 2**20  # of a question, and of an answer
MOST_AT_ONCE = 1100  # a run asks 1,024 at once at the most
PATIENCE_S = 120
LOOK_S = 0.05
_LONGEST = 70
HIDDEN = b"(the key)"


@dataclass(slots=True)
class Relay:
    """An open relay. `asked` were sent on, `refused` not; `folder` is what the jail must show."""

    folder: Path
    address: str  # of the server, without the model's name
    name: str  # of the model there
    asked: int = 0
    refused: int = 0
    failed: int = 0  # the last status of an answer that was no success
    keyed: bool = False  # whether questions went with a key; the key itself stands nowhere
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def count(self, *, sent: bool) -> None:
        with self._lock:
            self.asked += sent
            self.refused += not sent

    def told(self) -> dict[str, Any]:
        """For the evidence."""
        told = {"relay": self.address + ASKING, "asked": self.asked, "refused": self.refused}
        return told | ({"keyed": True} if self.keyed else {})


def split(where: str) -> tuple[str, str]:
    """The server of a served model and the model's name there; InvalidInput says what is wrong."""
    base, _, name = where.rstrip("/").rpartition("/")
    shown = where.rpartition("@")[2]
    try:
        parts = urlsplit(where)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        whole = bool(parts.hostname and parts.path.strip("/") and name) and parts.port != 0
        whole = whole and parts.username is None and not parts.query and not parts.fragment
    except ValueError:
        whole = False
    if not whole:
        raise InvalidInput(
            f"{shown} is no address of a served model",
            hint="such an address is http(s)://HOST[:PORT]/PATH/NAME, without a password, ? or #: "
            "it stands in the evidence; an archive's ends in .tar.gz, .tgz, .tar.xz, .tar or .zip",
            field="model",
        )
    return base, name


@contextmanager
def opened(where: str, key: str = "") -> Iterator[Relay]:
    """A relay to the model at this address, for as long as the block goes on.

    The `key` goes with each question as a bearer token. What comes back is searched for it: a
    server that repeats it tells it to nobody.
    """
    import httpx2  # noqa: PLC0415 - only where a model is served

    base, name = split(where)
    limits = httpx2.Limits(max_connections=None)
    # the name of a local socket may have 107 bytes
    short = None if len(tempfile.gettempdir()) < _LONGEST else "/tmp"  # noqa: S108 - mode 700
    with (
        tempfile.TemporaryDirectory(prefix="meyrin-relay-", dir=short) as folder,
        httpx2.Client(timeout=PATIENCE_S, trust_env=False, limits=limits) as client,
    ):
        made = Relay(Path(folder), base, name, keyed=bool(key))
        server = _Server(str(made.socket), _handler(made, client, key))
        listening = threading.Thread(target=server.serve_forever, args=(LOOK_S,), daemon=True)
        listening.start()
        try:
            yield made
        finally:
            server.shutdown()
            listening.join()
            server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False  # a server that never answers holds nobody up
    request_queue_size = 1024

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(path, handler)
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each question; whoever opens more than a run may ask at once is cut off."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone: the jail was ended, and that is said elsewhere."""


def _refused(command: str, path: str) -> bool:
    return (command, path) != ("POST", ASKING)


def _handler(relay: Relay, client: Any, key: str) -> type[BaseHTTPRequestHandler]:
    import httpx2  # noqa: PLC0415 - see above

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S

        def log_message(self, *_: object) -> None:
            pass

        def parse_request(self) -> bool:
            """Refused before anything else is looked at, by whatever method."""
            if not super().parse_request():
                relay.count(sent=False)
                return False
            if not _refused(self.command, self.path):
                return True
            relay.count(sent=False)
            self._answer(403, b"the jail's relay asks the tested model, and nothing else\n")
            return False

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            size = int(length) if length.isascii() and length.isdigit() else -1
            if not 0 <= size <= MOST_BYTES:
                relay.count(sent=False)
                self._answer(413, b"the jail's relay sends on what says its length, up to 16 MiB\n")
                return
            body = self.rfile.read(size)
            relay.count(sent=True)
            try:
                code, raw = _sent_on(client, relay.address + ASKING, body, key)
            except httpx2.HTTPError as error:
                code, raw = 502, f"the model's server: {error}\n".encode()
            relay.failed = relay.failed if code < 300 else code
            self._answer(code, raw.replace(key.encode(), HIDDEN) if key else raw)

        def _answer(self, code: int, raw: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json" if code < 300 else "text/plain")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler


def _sent_on(client: Any, address: str, body: bytes, key: str) -> tuple[int, bytes]:
    """Status and answer of the model's server; 502 for an answer beyond any bound."""
    kind = {"Content-Type": "application/json"}
    if key:
        kind["Authorization"] = f"Bearer {key}"
    raw = bytearray()
    with client.stream("POST", address, content=body, headers=kind) as answer:
        for piece in answer.iter_bytes():
            raw += piece
            if len(raw) > MOST_BYTES:
                return 502, b"the model's server answered with more than 16 MiB\n"
        return int(answer.status_code), bytes(raw)
