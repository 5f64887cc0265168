"""`meyrin plan publish`, `list`, `withdraw`: studies on the hub's pages."""

from __future__ import annotations

import json
from pathlib import Path

import click

from meyrin.cli.listing import show_list, show_one
from meyrin.cli.progress import ProgressLine
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import amount, moment
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count

SUMMARY, LEFT = "study.json", "points"  # what the replays left stays here: it may be gigabytes


@click.command(
    "publish",
    epilog="""\b
Examples:
  meyrin plan publish out --project lab
  meyrin plan publish out --everybody --title "What pooling would change"
""",
)
@click.argument("study", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--project", metavar="NAME", help="Show it to the members of this project.")
@click.option("--everybody", is_flag=True, help="Show it to all who can log in (administrators).")
@click.option("--title", metavar="WORDS", help="What the list calls it.  [default: the study's]")
@asks_hub
def publish(
    session: Session, study: Path, project: str | None, everybody: bool, title: str | None
) -> None:
    """Put the study in DIR, which `meyrin plan impact` wrote, on the hub's pages.

    Its page, tables and figures travel, not the outcomes of its replays. The same study again
    is the same entry.
    """
    from meyrin.wire.jobs import FileView  # noqa: PLC0415 - not for --help
    from meyrin.wire.plans import NewPlan  # noqa: PLC0415

    if (project is None) == (not everybody):
        raise InvalidInput(
            "say who may read it",
            hint="either --project NAME or --everybody",
            field="--project",
        )
    told = _summary(study)
    paths = [
        path
        for path in sorted(study.rglob("*"))
        if path.is_file() and LEFT not in path.relative_to(study).parts
    ]
    progress = ProgressLine(session.clock)
    with session.client() as hub:
        try:
            sent = [
                hub.upload(path, path.relative_to(study).as_posix(), progress) for path in paths
            ]
        finally:
            progress.close()
        files = [FileView(name=one.name, sha256=one.sha256, size=one.size) for one in sent]
        shown = title or told["name"]
        made = hub.plans.publish(
            NewPlan(title=shown, kind=told["kind"], project=project, files=files)
        )
        address = f"{hub.url}/plans/{made.id}/files/report.html"
    count = show_count(made.files, "file")
    words = f"{address}\n{count}, {amount(made.size)}; for {project or 'everybody'}"
    show_one(session, made, words)


def _summary(folder: Path) -> dict[str, str]:
    """What the study calls itself, and its kind."""
    try:
        told: dict[str, object] = json.loads((folder / SUMMARY).read_bytes())
        return {key: str(told[key]) for key in ("name", "kind")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{folder} holds no whole study",
            hint="give the folder that `meyrin plan impact --out` wrote",
            field="DIR",
            value=str(folder),
        ) from error


@click.command("list", epilog="Example: meyrin plan list --json")
@lists
def listed(session: Session, limit: int, after: str) -> None:
    """Studies that you may read on the hub's pages, newest first."""
    with session.client() as hub:
        page = hub.plans.list(after=after, limit=limit)
    rows = [
        (one.id, one.title, one.project or "everybody", one.person, moment(one.created_ms))
        for one in page.plans
    ]
    empty = "No study here yet. Put one there: `meyrin plan publish DIR --project NAME`."
    show_list(session, page, "STUDY TITLE~ FOR BY PUBLISHED", rows, empty)


@click.command("withdraw", epilog="Example: meyrin plan withdraw 3")
@click.argument("study")
@asks_hub
def withdraw(session: Session, study: str) -> None:
    """Show a study to nobody any more."""
    with session.client() as hub:
        hub.plans.withdraw(study)
    show_one(session, None, f"study {study} is withdrawn")
