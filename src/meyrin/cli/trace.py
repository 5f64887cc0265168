"""`meyrin trace`: what a recorded workload holds, before it is replayed. No hub is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.progress import Line
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import amount, data, data_json, say

if TYPE_CHECKING:
    from meyrin.sim.trace.model import Trace

HERE = "meyrin.cli.trace"
ENTRIES = {"describe": Entry(f"{HERE}:describe", "What a person would ask of a log.")}
_FILE = click.Path(path_type=Path)


class TraceFile(click.Path):
    """A path; `-` is standard input, compressed or not."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return super().convert("/dev/stdin" if value == "-" else value, param, ctx)


@click.group("trace", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Recorded workloads: logs of jobs in the Standard Workload Format, dumps of sacct, logs of
    GPU clusters, and tables of your own by a mapping file."""


@click.command(
    "describe",
    epilog="""\b
Examples:
  meyrin trace describe kth.swf.gz
  meyrin trace describe jobs.csv --mapping our-columns.toml --picture jobs.svg
  meyrin trace describe sacct.txt.zst --on-error skip --json
""",
)
@click.argument("file", type=TraceFile())
@click.option("--picture", type=_FILE, metavar="OUT", help="Draw it too, as .svg or .png.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At a bad row: stop, or leave it out and count it.",
)
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="Format of the file.  [default: told by its content]",
)
@click.option(
    "--mapping",
    type=_FILE,
    metavar="FILE",
    help="TOML file that says what the columns of a CSV or Parquet file mean.",
)
@json_option
@pass_session
def describe(
    session: Session,
    file: Path,
    picture: Path | None,
    on_error: str,
    form: str | None,
    mapping: Path | None,
) -> None:
    """Span, jobs, sizes, run times, limits, waits, load by week, users and queues of a log.

    Load is size times run time, in the week of submission; it is compared with the machine where
    the log says how large that was.
    """
    from meyrin.cli.trace_words import words  # noqa: PLC0415 - not for --help
    from meyrin.sim.describe import describe as told_by  # noqa: PLC0415

    if picture is not None:
        from meyrin.sim.describe_picture import check_ending  # noqa: PLC0415

        check_ending(picture)
    trace = _read(session, file, on_error, form, mapping)
    told = told_by(trace)
    if picture is not None:
        from meyrin.sim.describe_picture import save_picture  # noqa: PLC0415

        save_picture(trace, told, picture)
        say(f"picture: {picture}")
    if session.json:
        data_json(told)
    else:
        data(words(told))


def _read(
    session: Session, file: Path, on_error: str, form: str | None, mapping: Path | None
) -> Trace:
    from meyrin.sim.trace.read import read  # noqa: PLC0415

    line = Line(session.clock)

    def progress(done: int, total: int | None) -> None:
        of = f" of {amount(total)}" if total else ""
        line.tell(lambda: f"reading {file.name}: {amount(done)}{of}")

    try:
        return read(file, form, mapping, "skip" if on_error == "skip" else "stop", progress)
    finally:
        line.close()
