"""What an agent logs in with: drawn here, kept in a file of mode 600, renewed by itself.

The order makes a crash harmless at any point. The next secret is on the disk (`NAME.next`) before
the hub hears its SHA-256; the hub takes the same digest again without a word; the file is replaced
in one step after that. Whoever starts and finds a `.next` goes on where it was: the one that the
hub knows is there in either file. The one before stays beside it (`NAME.before`): the hub refuses
it soon, but a hub that came back from yesterday's backup knows no other.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from meyrin.agent.config import AgentConfig
from meyrin.client.connection import Connection
from meyrin.client.durable import sync_folder, write
from meyrin.domain.errors import NotAllowed

log = structlog.get_logger("meyrin.agent")


def draw() -> str:
    """A new secret, in the form that the hub's own have."""
    return "myr_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def read_secret(path: Path) -> str:
    """Empty when there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def keep(path: Path, text: str) -> None:
    """Write a file of mode 600 that outlives a power cut, whole or not at all."""
    write(str(path), text.encode(), 0o600)
    sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename, and have the folder know it on disk."""
    source.replace(target)
    sync_folder(target.parent)


def next_of(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def before_of(path: Path) -> Path:
    return path.with_name(path.name + ".before")


def own_files(config: AgentConfig) -> tuple[Path, ...]:
    """What is for the agent's eyes: files, and folders for the files right in them (journals,
    keys)."""
    secret, token = config.credential_file, config.slurm.rest_token_file
    secret_files = (secret, next_of(secret), before_of(secret), config.evidence_key_file)
    more = () if token is None else (token,)
    return (config.dir, config.dir / "slurm", *secret_files, *more)


class Credential:
    """The file and the connection that uses it. `follow` tells the hub a digest, `who` asks it
    who the holder of a secret is."""

    def __init__(
        self,
        path: Path,
        connection: Connection,
        follow: Callable[[str], None],
        who: Callable[[str], object],
    ) -> None:
        self.path = path
        self._next = next_of(path)
        self._connection = connection
        self._follow = follow
        self._who = who
        self._lock = threading.Lock()

    def renew_if_due(self, now_ms: int, every_h: int) -> bool:
        """Renew when the file is `every_h` hours old, or a renewal was begun. Whether it did.

        OSError, Unreachable: nothing is lost, the next call goes on."""
        begun = bool(read_secret(self._next))
        age_ms = now_ms - self.path.stat().st_mtime_ns // 1_000_000
        if not begun and (every_h == 0 or age_ms < every_h * 3_600_000):
            return False
        with self._lock:
            self._renew()
        return True

    def _renew(self) -> None:
        following = read_secret(self._next)
        if not following:
            following = draw()
            keep(self._next, following + "\n")
        try:
            self._follow(digest_of(following))
        except NotAllowed:
            if not self._counts(following):
                raise
        self._take(following)

    def _take(self, following: str) -> None:
        keep(before_of(self.path), read_secret(self.path) + "\n")
        replace(self._next, self.path)
        self._connection.use(following)
        log.info("agent.credential_renewed")

    def _counts(self, secret: str) -> bool:
        """Whether the hub knows this one; the connection keeps its own."""
        try:
            self._who(secret)
        except NotAllowed:
            return False
        return True

    def look_again(self) -> bool:
        """Our secret was refused: is there another, begun here or put here by the operator?"""
        with self._lock:
            there = read_secret(self.path)
            if there and not self._connection.uses(there):
                self._connection.use(there)
                log.info("agent.credential_read")
                return True
            following = read_secret(self._next)
            if following and self._counts(following):
                self._take(following)
                return True
            return self._take_before()

    def _take_before(self) -> bool:
        """The hub may have come back from a backup that is older than our last renewal."""
        before = read_secret(before_of(self.path))
        if not before or self._connection.uses(before) or not self._counts(before):
            return False
        replace(before_of(self.path), self.path)
        self._connection.use(before)
        log.warning("agent.credential_before", why="the hub knows the one before only")
        return True
