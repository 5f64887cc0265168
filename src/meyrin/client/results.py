"""The results of a job, or of each element of an array, into a folder, and what is missing there.

Those of an array go into one folder for each element, named by its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.client import transfer
from meyrin.domain.errors import Failed, NotFound, StorageFull, Unreachable
from meyrin.domain.states import ENDED
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.wire.jobs import JobDetail, JobView

ENDED_WORDS = frozenset(str(state) for state in ENDED)


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

    Raises Failed for a job that has not ended, NotFound for a name that is not there. What one
    element of an array lacks keeps back no other's.
    """
    found = hub.job(label)
    if found.array:
        return _bring_array(hub, found, into, names, progress)
    if found.job.state not in ENDED_WORDS:
        raise Failed(
            f"job {label} is {found.job.shown}: its results come when it has ended",
            hint=f"`meyrin logs -f {label}` waits for that",
        )
    found = hub.results(label)
    return _bring(hub, into, found, names, progress), _lacks(found, names)


def _bring_array(
    hub: Client, array: JobDetail, into: Path, names: Sequence[str], progress: transfer.OnProgress
) -> tuple[list[Brought], list[str]]:
    ended, waiting = _elements(hub, array.job)
    brought: list[Brought] = []
    trouble: list[str] = []
    failed: list[NotFound | Failed] = []
    lacking: list[str] = []
    if waiting:
        still = f"{show_count(waiting, 'element')} of job {array.job.array_job}"
        trouble.append(f"{still} not ended yet: results come when an element has")
    patient = True
    for each in ended:
        found = _arrived(hub, each.label, patient)
        patient = patient and found.results != "pending"  # who has waited once waits no more
        if found.results == "pending":
            trouble.append(f"job {each.label}: its results have not come yet")
            continue
        trouble += _lacks(found, names)
        try:
            brought += _bring(hub, into / str(each.task), found, names, progress)
        except StorageFull:
            raise  # nor has the next one room
        except (NotFound, Failed) as error:
            failed.append(error)
            named = "" if isinstance(error, NotFound) else f"job {each.label}: "
            lacking.append(named + error.message)
    if failed and not (brought or trouble):
        raise failed[0]
    return brought, trouble + lacking


def _elements(hub: Client, array: JobView) -> tuple[list[JobView], int]:
    """The elements of the array that have ended, in order; and how many have not."""
    ended: list[JobView] = []
    waiting = 0
    for each in hub.each_job(mine=False, limit=500):
        if each.array_job == array.array_job:
            if each.state in ENDED_WORDS:
                ended.append(each)
            else:
                waiting += 1
        if each.job < array.job:
            break
    return ended[::-1], waiting


def _arrived(hub: Client, label: str, patient: bool) -> JobDetail:
    """An element whose results have arrived; as it is where they don't, or nobody waits."""
    if patient:
        try:
            return hub.results(label)
        except Unreachable:
            pass  # its site is silent; where it is the hub, the next look says so
    return hub.job(label)


def _lacks(found: JobDetail, names: Sequence[str]) -> list[str]:
    """In words, that a site could not keep everything."""
    if names or found.results in {"none", "complete"}:
        return []
    return [f"job {found.job.label}: {found.results}"]


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
