"""`meyrin fetch`: bring a job's results here, whole, and nowhere else than asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.progress import ProgressLine
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.terminal import amount, data, data_json, say
from meyrin.domain.errors import Failed
from meyrin.domain.states import ENDED
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.wire.jobs import JobDetail

_ENDED = frozenset(str(state) for state in ENDED)


@click.command(
    "fetch",
    epilog="""\b
Examples:
  meyrin submit --output-files 'model/*' train.sh    says what to keep
  meyrin fetch 17                    all of it, into the folder job-17
  meyrin fetch 17 metrics.json --into .
An interrupted fetch goes on where it stopped. The results of an array go into
one folder for each element: job-17/0, job-17/1, ...
""",
)
@click.argument("job")
@click.argument("names", nargs=-1)
@click.option("--into", metavar="DIR", help="Folder to write into.  [default: job-JOB]")
@asks_hub
def command(session: Session, job: str, names: tuple[str, ...], into: str | None) -> None:
    """Bring a job's results here, all of them or those named."""
    folder = Path(into or f"job-{job}")
    fetched: list[dict[str, object]] = []
    trouble: list[str] = []
    progress = ProgressLine(session.clock)
    try:
        with session.client() as hub:
            parts, waiting = _parts(hub, job, folder)
            if waiting:
                still = f"{show_count(waiting, 'element')} of job {job}"
                trouble.append(f"{still} not ended yet: results come when an element has")
            for part in parts:
                label, _, found = part
                if found.results not in {"none", "complete"}:
                    trouble.append(f"job {label}: {found.results}")
                fetched += _bring(hub, part, names, progress)
    finally:
        progress.close()
    _tell(session, job, fetched, whole=not trouble)
    if trouble:
        session.json = False  # that was the one object
        raise Failed("; ".join(trouble), hint="what could be brought is here")


def _parts(hub: Client, job: str, folder: Path) -> tuple[list[tuple[str, Path, JobDetail]], int]:
    """The job, or each element of the array that has ended, with the folder for it; and how many
    elements have not."""
    found = hub.results(job)
    if not found.array:
        if found.job.state not in _ENDED:
            raise Failed(
                f"job {job} is {found.job.shown}: its results come when it has ended",
                hint=f"`meyrin logs -f {job}` waits for that",
            )
        return [(job, folder, found)], 0
    elements = []
    waiting = 0
    for each in hub.each_job(mine=False, limit=500):
        if each.array_job == found.job.array_job:
            if each.state in _ENDED:
                elements.append((each.label, folder / str(each.task), hub.results(each.label)))
            else:
                waiting += 1
        if each.job < found.job.job:
            break
    return elements[::-1], waiting


def _bring(
    hub: Client,
    part: tuple[str, Path, JobDetail],
    names: tuple[str, ...],
    progress: ProgressLine,
) -> list[dict[str, object]]:
    label, place, found = part
    if not found.files and not names:
        return []
    sizes = {file.name: file.size for file in found.files}
    wanted = names or tuple(sizes)
    places = hub.fetch(label, place, wanted, progress)
    return [
        {"job": label, "name": name, "path": str(path), "size": sizes[name]}
        for name, path in zip(wanted, places, strict=True)
    ]


def _tell(session: Session, job: str, fetched: list[dict[str, object]], *, whole: bool) -> None:
    if session.json:
        data_json({"files": fetched, "next": ""})
        return
    for file in fetched:
        data(str(file["path"]))
    if fetched:
        size = sum(int(str(file["size"])) for file in fetched)
        say(f"{show_count(len(fetched), 'file')}, {amount(size)}")
    elif whole:
        say(f"job {job} kept no results; say what to keep with `meyrin submit --output-files`")
