"""`meyrin plan fit`: a generator fitted to a log, and how well it stands for it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.progress import Line
from meyrin.cli.reading import TraceFile
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from meyrin.plan.workload import Log

FEWEST = 100  # jobs: fewer say nothing about quantiles


@click.command(
    "fit",
    epilog="""\b
Examples:
  meyrin plan fit kth.swf.gz --out kth-fit
  meyrin plan fit jobs.csv.zst --machine 512 --out fit --seeds 10
Look at kth-fit/fit.html. Then, in a scenario:
  [[workload]]
  name = "training"
  generator = "fitted"
  fit = "kth-fit/fit.json"
  load = { value = 0.8, unit = "1", source = "assumption: as busy as ours" }
""",
)
@click.argument("log", type=TraceFile())
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Folder for fit.json, fit.csv and fit.html.",
)  # fmt: skip
@click.option(
    "--machine", type=click.IntRange(1), metavar="N",
    help="Accelerators of the log's machine.  [default: what the log says]",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=5, show_default=True, metavar="N",
    help="Draws that are laid beside the log.",
)  # fmt: skip
@click.option("--format", "form", metavar="NAME", help="Format of the log.  [default: by content]")
@click.option("--force", is_flag=True, help="Write over files in DIR.")
@json_option
@pass_session
def fit(
    session: Session,
    /,
    log: Path,
    out: Path,
    machine: int | None,
    seeds: int,
    form: str | None,
    force: bool,
) -> None:
    """Fit a seeded generator to LOG, and show how well what it draws stands for it.

    \b
    The fit keeps counts and quantiles, no row and no name, so it can be handed on
    where the log can't. The page lays five draws beside the log: run times, sizes,
    work, limits, arrivals, and the waits of both under EASY on the log's machine.
    """
    from meyrin.plan import fit_page  # noqa: PLC0415 - not for --help
    from meyrin.plan.fit_check import check, rows  # noqa: PLC0415
    from meyrin.plan.fitted import fit as fitted  # noqa: PLC0415
    from meyrin.sim.folder import file_sha256, write_folder  # noqa: PLC0415

    if not force:
        _check_free(out, fit_page.NAMES)
    line = Line(session.clock)
    try:
        line.tell(lambda: f"reading {log.name}")
        jobs = _read(log, form or "", machine)
        made = fitted(
            jobs.submit, jobs.size, jobs.run, jobs.limit, jobs.user, jobs.span_s, jobs.machine,
            source=log.name, sha256=file_sha256(log),
        )  # fmt: skip
        found = check(
            made, jobs, tuple(range(1, seeds + 1)),
            lambda done, of: line.tell(lambda: f"played {done} of {of}"),
        )  # fmt: skip
        again = shlex.join(
            ["meyrin", "plan", "fit", str(log), "--out", str(out), "--seeds", str(seeds)]
            + (["--machine", str(machine)] if machine else [])
        )
        written = fit_page.files(found, again)
    finally:
        line.close()
    write_folder(out, written)
    if session.json:
        data_json({
            "folder": str(out),
            "files": sorted(written),
            "jobs": made.jobs,
            "machine": made.machine,
            "load": round(made.load, 3),
            "seeds": list(found.seeds),
            "rows": rows(found),
            "distances": {each.name: list(each.distance) for each in found.measures},
        })  # fmt: skip
        return
    data(str(out / fit_page.PAGE))
    say(fit_page.verdict(found))


def _check_free(out: Path, names: tuple[str, ...]) -> None:
    there = [name for name in names if (out / name).exists()]
    if there:
        raise Conflict(
            f"--out {out} has {' and '.join(there)} already; nothing was fitted",
            hint="choose another folder, or write over them with --force",
            field="--out",
            value=str(out),
        )


def _read(path: Path, form: str, machine: int | None) -> Log:
    from meyrin.plan.quantity import Accelerators, Ratio  # noqa: PLC0415 - not for --help
    from meyrin.plan.scenario import Part  # noqa: PLC0415
    from meyrin.plan.workload import read_log  # noqa: PLC0415

    size = None
    if machine is not None:
        size = Accelerators(value=machine, unit="accelerators", source="--machine")
    part = Part(
        name="log", trace=str(path), format=form, machine=size,
        load=Ratio(value=1, unit="1", source="the log's own"),
    )  # fmt: skip
    jobs = read_log(part, path, lambda number: number.at())
    if len(jobs.submit) < FEWEST:
        raise InvalidInput(
            f"{path} has {len(jobs.submit)} jobs that can be played; a fit needs {FEWEST}",
            hint="take a longer log",
            field="log",
        )
    return jobs
