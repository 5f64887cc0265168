"""The results of a job, or of each element of an array, into a folder, and what is missing there.

Those of an array go into one folder for each element, named by its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.client import transfer
from meyrin.domain.errors import Failed, NotFound
from meyrin.domain.states import ENDED
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.wire.jobs import JobDetail

ENDED_WORDS = frozenset(str(state) for state in ENDED)
_Part = tuple[Path, "JobDetail"]


@dataclass(frozen=True, slots=True)
class Brought:
    """A result of a job, and where it is now."""

    job: str
    name: str
    path: Path
    size: int


def counted(array: Mapping[str, int]) -> str:
    """The states of an array's elements: `3 completed, 1 running`."""
    return ", ".join(f"{count} {state}" for state, count in sorted(array.items()))


def bring(
    hub: Client,
    label: str,
    into: Path,
    names: Sequence[str] = (),
    progress: transfer.OnProgress = transfer.ignore,
) -> tuple[list[Brought], list[str]]:
    """All results, or those in `names`; and in words, what of them could not be brought.

    Raises Failed for a job that has not ended, NotFound for a name that is not there.
    """
    parts, waiting = _parts(hub, label, into)
    brought: list[Brought] = []
    trouble: list[str] = []
    if waiting:
        still = f"{show_count(waiting, 'element')} of job {label}"
        trouble.append(f"{still} not ended yet: results come when an element has")
    for folder, found in parts:
        if not names and found.results not in {"none", "complete"}:
            trouble.append(f"job {found.job.label}: {found.results}")
        brought += _bring(hub, folder, found, names, progress)
    return brought, trouble


def _parts(hub: Client, label: str, into: Path) -> tuple[list[_Part], int]:
    """The job, or each element of the array that has ended, with the folder for it; and how many
    elements have not."""
    found = hub.results(label)
    if not found.array:
        if found.job.state not in ENDED_WORDS:
            raise Failed(
                f"job {label} is {found.job.shown}: its results come when it has ended",
                hint=f"`meyrin logs -f {label}` waits for that",
            )
        return [(into, found)], 0
    elements: list[_Part] = []
    waiting = 0
    for each in hub.each_job(mine=False, limit=500):
        if each.array_job == found.job.array_job:
            if each.state in ENDED_WORDS:
                elements.append((into / str(each.task), hub.results(each.label)))
            else:
                waiting += 1
        if each.job < found.job.job:
            break
    return elements[::-1], waiting


def _bring(
    hub: Client,
    folder: Path,
    found: JobDetail,
    names: Sequence[str],
    progress: transfer.OnProgress,
) -> list[Brought]:
    label = found.job.label
    there = {file.name: file for file in found.files}
    for name in names:
        if name not in there:
            raise NotFound(
                f"job {label} has no result {name!r}",
                hint=f"it has {', '.join(there) or 'none'}",
                file=name,
            )
    files = [there[name] for name in names] if names else list(there.values())
    if not files:
        return []
    places = transfer.fetch(hub.connection, label, files, folder, progress)
    return [
        Brought(label, file.name, path, file.size) for file, path in zip(files, places, strict=True)
    ]
