"""`meyrin trace`: what a recorded workload holds, before it is replayed. No hub is needed."""

from __future__ import annotations

from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.reading import FILE, TraceFile, read_trace, reading_options
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import data, data_json, say

HERE = "meyrin.cli.trace"
ENTRIES = {
    "describe": Entry(f"{HERE}:describe", "What a person would ask of a log."),
    "export": Entry("meyrin.cli.trace_export:export", "A hub's jobs as a log, in pseudonyms."),
}


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
@click.option("--picture", type=FILE, metavar="OUT", help="Draw it too, as .svg or .png.")
@reading_options
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
    trace = read_trace(session, file, on_error, form, mapping)
    told = told_by(trace)
    if picture is not None:
        from meyrin.sim.describe_picture import save_picture  # noqa: PLC0415

        save_picture(trace, told, picture)
        say(f"picture: {picture}")
    if session.json:
        data_json(told)
    else:
        data(words(told))
