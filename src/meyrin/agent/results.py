"""Brings back the files that a job was asked to leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from meyrin.agent.config import AgentConfig
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Item
from meyrin.agent.left import matches
from meyrin.agent.seal import seal
from meyrin.agent.within import Opener, only_in
from meyrin.domain.errors import InvalidInput, MeyrinError, NotFound, NotLoggedIn
from meyrin.wire.jobs import FileView

log = structlog.get_logger("meyrin.agent")
EVIDENCE = "evidence.zip"
# what a job left under that name, and how to open it → what is brought back
Seal = Callable[[Path, Opener], Path]


def bring_back(hub: Hub, item: Item, folder: Path, sealed_by: Seal | None = None) -> None:
    """Upload the results of one ended attempt and say which there are. May be repeated.

    `folder` is the job's, named without links: one in it is the job's own, and leads nowhere else.
    Where `sealed_by` is given, the evidence goes as what it makes of it, or not at all. Raises
    what may pass (a hub that is away, has no room or knows this agent no longer) before anything
    is told, so that nothing is given up for it.
    """
    sealed: list[Path] = []
    opener = only_in(folder)
    views: list[FileView] = []
    patterns = item.request.output_files
    each = {pattern: matches(folder, (pattern,)) for pattern in patterns}
    missing = [pattern for pattern, left in each.items() if not left.files and not left.closed]
    closed = dict(pair for left in each.values() for pair in left.closed)
    missing += [f"{_shown(path, folder)} ({why})" for path, why in sorted(closed.items())]
    for path in sorted({path for left in each.values() for path in left.files}):
        name = path.relative_to(folder).as_posix()
        shown = _shown(path, folder)
        if shown != name:
            missing.append(f"{shown} (its name is no text)")
            continue
        try:
            if sealed_by is not None and name == EVIDENCE:
                sealed.append(sealed_by(path, opener))
                sent = hub.upload(sealed[-1], only_in(sealed[-1].parent))
            else:
                sent = hub.upload(path, opener)
        except (OSError, MeyrinError) as error:
            if isinstance(error, MeyrinError) and (error.retry or isinstance(error, NotLoggedIn)):
                raise
            missing.append(f"{name} ({error})")
            continue
        views.append(sent.model_copy(update={"name": name}))
    state = "complete" if not missing else "not found: " + ", ".join(missing)
    _tell(hub, item, state, views)
    for path in sealed:
        path.unlink(missing_ok=True)


def _tell(hub: Hub, item: Item, state: str, views: list[FileView]) -> None:
    """Say it, or that the hub does not take it; to a hub that knows no such attempt, nothing."""
    attempt = item.work.attempt
    try:
        no = _said_no(hub, item, state, views)
        if no is not None:  # and would be said each time
            log.warning("agent.results_not_taken", attempt=attempt, error=no.message)
            asked = ", ".join(item.request.output_files)
            words = f"not found: {asked} (the hub does not take it: {no.message})"
            no = _said_no(hub, item, words, [])
        if no is not None:  # nor that: nobody is told, and others' are
            log.warning("agent.results_given_up", attempt=attempt, error=no.message)
    except NotFound as error:
        hub.who()  # raises where no hub said it, such as a proxy before one that is away
        log.warning("agent.results_unknown", attempt=attempt, error=error.message)


def _said_no(hub: Hub, item: Item, state: str, views: list[FileView]) -> InvalidInput | None:
    """Why the hub does not take it; None: it has."""
    try:
        hub.results(item.work.attempt, item.work.epoch, state, views)
    except InvalidInput as error:
        return error
    return None


def _shown(path: Path, folder: Path) -> str:
    """Its name below the folder, as text also where it is none."""
    name = path.relative_to(folder).as_posix()
    return name.encode("utf-8", "backslashreplace").decode()


def sealing(config: AgentConfig, site: str, item: Item) -> Seal | None:
    """How the evidence of this job is sealed; None where the job is no run of a suite."""
    from meyrin.suites import handed  # noqa: PLC0415 - only for jobs that leave results

    if not handed.is_run(item.request):
        return None
    return lambda path, opener: seal(config, site, item, path, opener)
