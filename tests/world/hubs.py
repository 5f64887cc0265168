"""The hub's processes over one database: equal ones, killed and started again at any moment.

A killed hub loses its memory and the transaction it was in; what was committed stays. Requests
go through the real application, called in this thread: no server, no thread, no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
import sqlalchemy as sa
from tests.hub import facility
from tests.world.errors import LawBroken

from meyrin.domain.errors import MeyrinError, WorldMoved
from meyrin.hub.broker import service as broker
from meyrin.hub.jobs import keeping
from meyrin.hub.jobs.store import files, kept_files
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.reports import held
from meyrin.hub.worker import Worker

if TYPE_CHECKING:
    from tests.world.simulation import World

GRACE_MS = 600_000
_FULL, _ROOMY = 1, 2**30  # SQLite's limit on pages: below what it has means what it has


class _Engines:
    """One engine for all worlds on a database file: what it keeps is compiled statements."""

    def __init__(self) -> None:
        self.made: dict[str, sa.Engine] = {}
        self.world: World | None = None

    def of(self, database: Database) -> sa.Engine:
        engine = self.made.get(database.url)
        if engine is None:
            engine = self.made[database.url] = database.engine
            self._listen(engine)
        return engine

    def _listen(self, engine: sa.Engine) -> None:
        is_sqlite = engine.dialect.name == "sqlite"

        @sa.event.listens_for(engine, "connect")
        def quick(connection: Any, _record: Any) -> None:
            if is_sqlite:  # processes die here, no machines
                connection.execute("PRAGMA synchronous=OFF")

        @sa.event.listens_for(engine, "begin")
        def limit(conn: sa.Connection) -> None:
            if self.world is not None and is_sqlite:
                pages = _FULL if self.world.hub_disk_full else _ROOMY
                conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        @sa.event.listens_for(engine, "before_cursor_execute")
        def die(*_: Any) -> None:
            if self.world is not None:
                self.world.hub_statement()


ENGINES = _Engines()


class WorldDatabase(Database):
    """A hub's database in which other parties may act between two transactions."""

    def __init__(self, url: str, gap: Callable[[], None], **outside: Any) -> None:
        super().__init__(url, **outside)
        self.engine = ENGINES.of(self)
        self._gap = gap

    @contextmanager
    def read(self) -> Iterator[Step]:
        self._gap()
        with super().read() as step:
            yield step

    @contextmanager
    def write(self) -> Iterator[Step]:
        self._gap()
        with super().write() as step:
            yield step
        self._gap()  # committed, and nobody was told


class Replica:
    """One hub; `dead` is for ever, the next start is another one."""

    def __init__(self, world: World, name: str, blobs_url: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.database = WorldDatabase(
            world.url,
            lambda: world.between(self),
            clock_ms=world.clock_of(f"machine-{world.hub_starts % world.settings.hubs}"),
            entropy=world.entropy,
            bell=Bell(),
        )
        settings = HubSettings(dir=world.folder, db_url=world.url, blobs_url=blobs_url)
        self.app = facility._app(settings, self.database, Blobs(blobs_url))
        self.worker = _Worker(self.database, blobs=Blobs(blobs_url))
        self.worker.holder = name
        broker._asked.pop(self.database.engine, None)  # what a hub remembers dies with it

    def call(self, request: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of the answer. Raises Died, or the bug that it met."""
        self.world.hub_stack.append(self)
        try:
            return _drive(_asgi(self.app, request))
        finally:
            self.world.hub_stack.pop()

    def work_once(self) -> int:
        """What the periodic thread does, once; how many jobs it placed."""
        self.world.hub_stack.append(self)
        try:
            if not self.worker._my_turn():
                return 0
            placed = broker.step_once(self.database)
            self.worker._sweep()
        except WorldMoved:
            return 0
        finally:
            self.world.hub_stack.pop()
        return placed


class _Worker(Worker):
    """In a world nothing that a sweep may not do is awaited, so each such error is found."""

    def _tidy(self) -> None:
        """All of the store, with ten minutes of grace where there are thirty days, by the clock of
        the world; then what is referred to must be there."""
        assert self.blobs is not None
        with self.database.write() as step:
            step.change(sa.update(kept_files).values(look_ms=0))
            keeping.choose(step, held.HOLDERS, GRACE_MS)
        keeping.remove(self.database, self.blobs, lambda: False, GRACE_MS)
        with self.database.read() as step:
            named = keeping.inputs(step) | {row.sha256 for row in step.rows(sa.select(files))}
            sizes = {row.sha256: row.size for row in step.rows(sa.select(kept_files))}
        for sha256 in named:
            if not self.blobs.has(sha256, sizes.get(sha256, -1)):
                raise LawBroken("what is referred to is there", f"file {sha256} is gone")

    def _waits(self, part: str, error: MeyrinError) -> None:  # noqa: ARG002 - as its base
        raise error


def _drive(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nobody."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise AssertionError("the hub's application waits for something")


async def _asgi(app: Any, request: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    body = request.content
    path = request.url.raw_path.partition(b"?")[0]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "root_path": "",
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("hub.test", 80),
        "state": {},
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    status, headers, parts = 500, [], []

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, headers, b"".join(parts)


async def _in_this_thread(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    return work(*arguments)


@contextmanager
def no_threads() -> Iterator[None]:
    """Handlers run in this thread instead of a pool's."""
    before = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = _in_this_thread  # type: ignore[assignment]
    try:
        yield
    finally:
        anyio.to_thread.run_sync = before


def copy(template: Path, target: Path) -> None:
    """The migrated, empty database at `target`, nothing left of what was there."""
    for engine in ENGINES.made.values():
        engine.dispose()
    for extra in ("", "-wal", "-shm", "-journal"):
        target.with_name(target.name + extra).unlink(missing_ok=True)
    target.write_bytes(template.read_bytes())
