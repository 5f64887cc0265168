"""The site's queue without names: what the hub is told so that starts can be forecast.

A secret that is made here and never leaves this folder keys who is who. Off by one setting
(`queue_every_s = 0`); the hub then drops what it has.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.agent.batch import BatchSystem, QueueEntry, ShowsQueue
from meyrin.agent.config import AgentConfig
from meyrin.client.durable import sync_folder, write
from meyrin.wire.queue import MOST_JOBS, QueuedJob

if TYPE_CHECKING:
    from meyrin.agent.hub import Hub

_BYTES = 32


def tell_queue(
    hub: Hub, batch: BatchSystem, config: AgentConfig, clock_ms: Callable[[], int]
) -> None:
    """Tell the hub the site's whole queue, or that it is shared no longer."""
    if not isinstance(batch, ShowsQueue):
        return
    if not config.queue_every_s:
        hub.forget_queue()
        return
    secret = site_secret(config.dir / "queue.key", secrets.token_bytes)
    queue = batch.whole_queue()
    jobs, left_out = snapshot(queue.entries, secret)
    hub.queue(jobs, left_out, queue.others, clock_ms())


def site_secret(path: Path, random: Callable[[int], bytes]) -> bytes:
    """The secret in `path`, made at the first use, readable by this user only."""
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        kept = b""
    if len(kept) == _BYTES:
        return kept
    made = random(_BYTES)
    write(str(path), made, 0o600)
    sync_folder(path.parent)
    return made


def snapshot(
    entries: Iterable[QueueEntry], secret: bytes, most: int = MOST_JOBS
) -> tuple[list[QueuedJob], int]:
    """The entries in pseudonyms, running ones and high priorities first, and how many were left
    out to keep it small."""
    ranked = sorted(entries, key=_rank)
    return [_told(each, secret) for each in ranked[:most]], max(0, len(ranked) - most)


def _rank(entry: QueueEntry) -> tuple[bool, int, int, str]:
    return entry.waits, -(entry.priority or 0), entry.submit_s or 0, entry.batch_job


def _told(entry: QueueEntry, secret: bytes) -> QueuedJob:
    def pseudonym(kind: str, word: str) -> str:
        return hmac.new(secret, f"{kind}:{word}".encode(), hashlib.sha256).hexdigest()[:16]

    return QueuedJob(
        key=pseudonym("job", entry.batch_job),
        user=pseudonym("user", entry.user),
        account=pseudonym("account", entry.account) if entry.account else None,
        partition=entry.partition[:200],
        waits=entry.waits,
        state=_word(entry.state),
        reason=_word(entry.reason),
        count=entry.count,
        nodes=entry.nodes,
        cores=entry.cores,
        memory_mb=entry.memory_mb,
        accelerators=entry.accelerators,
        walltime_s=entry.walltime_s,
        submit_s=entry.submit_s,
        start_s=entry.start_s,
        priority=entry.priority,
    )


def _word(word: str) -> str:
    """Slurm's first word of a reason: what follows may name nodes, people or licences."""
    plain = re.match(r"[A-Za-z0-9_+-]{1,40}", word)
    return plain.group() if plain else ""
