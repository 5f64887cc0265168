"""Where worlds are lived: a folder in memory, one migrated database to copy, one world after
another, and what came of each.
"""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import structlog
from tests.world import hubs
from tests.world.errors import LawBroken
from tests.world.settings import FAULTS, Settings, draw
from tests.world.simulation import World

from meyrin.hub.migrations import run

MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a world: `law` and `words` are empty when every law held to its end."""

    seed: int
    law: str
    words: str
    trace: tuple[str, ...]
    checks: int

    @property
    def good(self) -> bool:
        return not self.law

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


class Place:
    """Where worlds are lived, one after another; close it when done."""

    def __init__(self, url: str = "") -> None:
        """`url` is a migrated and empty database for one world; else SQLite, for any number."""
        within = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="meyrin-world-", dir=within))
        self._given = url
        self._template = self.folder / "template.sqlite"
        self._lived = 0
        if not url:
            engine = sa.create_engine(f"sqlite:///{self._template}")
            run.upgrade(engine)
            engine.dispose()

    def live(self, settings: Settings) -> Outcome:
        """Live one world to its end, or to the first law that is broken in it."""
        self._lived += 1
        folder = self.folder / f"world-{self._lived}"
        folder.mkdir()
        url = self._given
        if not url:
            hubs.copy(self._template, self.folder / "hub.sqlite")
            url = f"sqlite:///{self.folder / 'hub.sqlite'}"
        world = World(settings, url, folder)
        law = words = ""
        try:
            with _quiet():
                world.run()
        except LawBroken as broken:
            law, words = broken.law, str(broken)
        except Exception as bug:  # noqa: BLE001 - whatever it is, it is what this world found
            law, words = type(bug).__name__, "".join(traceback.format_exception(bug)[-4:])
        finally:
            world.close()
            shutil.rmtree(folder)
        return Outcome(settings.seed, law, words, tuple(world.trace), world.laws.checks)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The house's own log says nothing meanwhile."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def shrink(place: Place, failed: Settings, tries: int = 40) -> tuple[Settings, Outcome]:
    """A smaller world that still breaks a law: fewer kinds of fault, fewer requests and steps."""
    best, outcome = failed, place.live(failed)
    if outcome.good:
        return best, outcome
    smaller = [replace(best, requests=1), replace(best, requests=max(1, best.requests // 2))]
    smaller += [replace(best, steps=best.steps // 4), replace(best, steps=best.steps // 2)]
    changes = [{"requests": s.requests, "steps": s.steps} for s in smaller]
    changes += [{"hubs": 1}, *({"without": name} for name in FAULTS if best.odds(name))]
    random.Random(0).shuffle(changes)
    for change in changes[:tries]:
        tried = _changed(best, change)
        if tried == best:
            continue
        now = place.live(tried)
        if not now.good:
            best, outcome = tried, now
    return best, outcome


def _changed(settings: Settings, change: dict[str, object]) -> Settings:
    if "without" in change:
        return replace(settings, faults=settings.faults | {str(change["without"]): 0.0})
    if "hubs" in change:
        return replace(settings, hubs=1)
    return replace(
        settings,
        requests=min(settings.requests, int(str(change["requests"]))),
        steps=min(settings.steps, int(str(change["steps"]))),
    )


def replay_command(settings: Settings) -> str:
    """How to live this world again."""
    drawn = draw(settings.seed)
    parts = [f"make world SEED={settings.seed}"]
    without = [n for n in FAULTS if drawn.odds(n) and not settings.odds(n)]
    without += ["replicas"] if settings.hubs < drawn.hubs else []
    parts += [f"WITHOUT={','.join(without)}"] if without else []
    parts += [f"REQUESTS={settings.requests}"] if settings.requests < drawn.requests else []
    parts += [f"STEPS={settings.steps}"] if settings.steps < drawn.steps else []
    return " ".join(parts)
