"""`meyrin fetch`: bring a job's results here, whole, and nowhere else than asked."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.progress import ProgressLine
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.terminal import amount, clean, data, data_json, is_terminal, say
from meyrin.domain.errors import Failed
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.client.results import Brought


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
    from meyrin.client.results import bring  # noqa: PLC0415

    folder = Path(into or f"job-{job}")
    with session.client() as hub, closing(ProgressLine(session.clock)) as progress:
        brought, trouble = bring(hub, job, folder, names, progress)
    failed = Failed("; ".join(trouble), hint="what could be brought is here") if trouble else None
    _tell(session, job, brought, failed)
    if failed:
        session.json = False  # that was the one object
        raise failed


def _tell(session: Session, job: str, brought: list[Brought], failed: Failed | None) -> None:
    if session.json:
        from meyrin.client.errors import as_body  # noqa: PLC0415

        files = [{**asdict(each), "path": str(each.path)} for each in brought]
        data_json({"files": files, "next": "", **(as_body(failed) if failed else {})})
        return
    for each in brought:
        shown = str(each.path)  # a program needs the name as it is
        data(clean(shown) if is_terminal(sys.stdout) else shown)
    if brought:
        say(f"{show_count(len(brought), 'file')}, {amount(sum(each.size for each in brought))}")
    elif not failed:
        say(f"job {job} kept no results; say what to keep with `meyrin submit --output-files`")
