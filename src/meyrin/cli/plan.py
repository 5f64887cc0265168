"""`meyrin plan`: studies of what another facility, other rules or other demand would change."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.progress import Line
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.plan.sweep import Place, Standing

HERE = "meyrin.cli.plan"
ENTRIES = {
    "impact": Entry(f"{HERE}:impact", "What options would change, against as-is."),
    "fit": Entry("meyrin.cli.plan_fit:fit", "Fit a generator to a log, with the fit shown."),
    "schema": Entry("meyrin.cli.plan_schema:schema", "What such files may hold, for editors."),
}
PUBLISHING = {
    "publish": Entry("meyrin.cli.plan_publish:publish", "Put a study on the hub's pages."),
    "list": Entry("meyrin.cli.plan_publish:listed", "Studies that the hub shows you."),
    "withdraw": Entry("meyrin.cli.plan_publish:withdraw", "Take a study off the hub's pages."),
}
NEAR, FACILITY = "here", "facility"


@click.group("plan", cls=LazyGroup, entries=ENTRIES | PUBLISHING)
def group() -> None:
    """Studies: what one queue, pacing, upgrades or new sites would change in waits, work left
    undone, cost and carbon. No hub is needed to run one."""


@click.command(
    "impact",
    epilog="""\b
Examples:
  meyrin plan impact examples/small/scenario.toml --out out
  meyrin plan impact scenario.toml --out out --on tcp://10.0.0.5:8786
  meyrin plan impact scenario.toml --out out --on facility --per-job 20
  meyrin plan impact scenario.toml --out out --figure waterfall
Open out/report.html; out/tables holds every number as CSV.
""",
)
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Folder for the report; outcomes stay there and are used again.",
)  # fmt: skip
@click.option(
    "--on", default=NEAR, show_default=True, metavar="WHERE",
    help="here, facility (as jobs on your hub), or a Dask scheduler: tcp://HOST:PORT.",
)  # fmt: skip
@click.option("--cores", type=int, metavar="N", help="Cores of this machine.  [default: all]")
@click.option(
    "--per-job", type=click.IntRange(1), default=10, show_default=True, metavar="N",
    help="Points in one job, with --on facility.",
)  # fmt: skip
@click.option(
    "--job-options", default="", metavar="OPTIONS",
    help="Options of these jobs as sbatch has them: '--time=60 --mem=4G --account=lab'.",
)  # fmt: skip
@click.option(
    "--python", metavar="PROGRAM",
    help="Interpreter at the sites that has Meyrin, with --on facility."
    "  [default: this one for a hub on this machine, else python3]",
)  # fmt: skip
@click.option("--focus", default="", metavar="OPTION", help="Option that the page is about.")
@click.option("--no-ranges", is_flag=True, help="Don't move unknown numbers to their ends.")
@click.option("--figure", "figures", multiple=True, metavar="NAME", help="Only draw this one.")
@json_option
@pass_session
def impact(session: Session, /, scenario: Path, out: Path, **options: Any) -> None:
    """Play every option of SCENARIO against things as they are, and report the differences.

    \b
    Each option, size rule and seed is one point: a replay of the same demand, job by
    job. Points are kept below DIR/points, so Ctrl-C loses at most those that were
    running: the same command goes on where it stopped, and a changed number runs
    again only what it touches. Jobs on a facility go on after Ctrl-C; the same
    command comes back to them.
    """
    from meyrin.plan.impact import Asked, study  # noqa: PLC0415 - not for --help
    from meyrin.plan.report import write as report  # noqa: PLC0415
    from meyrin.plan.scenario import load_scenario  # noqa: PLC0415

    begun = time.perf_counter()
    loaded = load_scenario(scenario)
    _check_out(out)
    again = _command(scenario, out, options)
    asked = Asked(loaded, options["focus"], not options["no_ranges"], again)
    line = _Told(session)
    place = _place(session, options, out, line)
    try:
        found = study(
            asked, out, place, session.clock, carry=options["on"] != NEAR,
            told=line.points, gathering=line.gathering,
        )  # fmt: skip
        line.say("drawing")
        files = report.report(found, options["figures"])
    finally:
        line.close()
    report.write(out, files)
    if session.json:
        data_json(_as_data(found, files, out))
        return
    page = out / report.PAGE
    data(str(page) if report.PAGE in files else "\n".join(str(out / name) for name in files))
    say(
        f"{show_count(line.total, 'point')} ({line.kept} kept from before),"
        f" {show_count(len(files), 'file')}, {time.perf_counter() - begun:.0f} s,"
        f" at most {_peak_mib():,} MiB of memory a process"
    )
    missing = report.nobody_says(files)
    if missing:
        say(
            f"nobody says {show_count(len(missing), 'number')}; most worth knowing:"
            f" {'; '.join(missing[:3])}. Put them into {loaded.facility_path} with their source:"
            " the page lists all"
        )


def _peak_mib() -> int:
    """The most memory that this process or one that it started had at once, rounded up."""
    import resource  # noqa: PLC0415
    import sys  # noqa: PLC0415

    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return -(-peak // (2**20 if sys.platform == "darwin" else 2**10))


def _as_data(found: Any, files: dict[str, bytes], out: Path) -> dict[str, Any]:
    import json  # noqa: PLC0415

    from meyrin.plan.report.write import SUMMARY  # noqa: PLC0415

    told: dict[str, Any] = json.loads(files[SUMMARY]) if SUMMARY in files else {"name": found.name}
    return told | {"out": str(out), "files": sorted(files)}


def _command(scenario: Path, out: Path, options: dict[str, Any]) -> str:
    """The command that does it again; where it runs changes nothing, so that is left out."""
    words = ["meyrin", "plan", "impact", str(scenario), "--out", str(out)]
    words += ["--focus", options["focus"]] if options["focus"] else []
    words += ["--no-ranges"] if options["no_ranges"] else []
    return shlex.join(words)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out {out} is a file; it wants a folder", field="--out")
    if out.is_dir() and any(out.iterdir()) and not (out / "points").is_dir():
        raise InvalidInput(
            f"--out {out} holds other things than a study",
            hint="choose a new folder, or that of an earlier run of this study",
            field="--out",
        )


def _place(session: Session, options: dict[str, Any], out: Path, line: _Told) -> Place:
    from meyrin.plan.places import OnDask  # noqa: PLC0415
    from meyrin.plan.sweep import Here, check_cores, cores_here  # noqa: PLC0415

    on = options["on"]
    if on == NEAR:
        cores = options["cores"]
        return Here(cores_here() if cores is None else check_cores(cores))
    if on == FACILITY:
        return _facility(session, options, out, line)
    if "://" in on:
        return OnDask(on)
    raise InvalidInput(
        f"--on {on!r} is no place",
        hint=f"{NEAR}, {FACILITY}, or the address of a Dask scheduler such as tcp://10.0.0.5:8786",
        field="--on",
        value=on,
    )


def _facility(session: Session, options: dict[str, Any], out: Path, line: _Told) -> Place:
    import sys  # noqa: PLC0415

    from meyrin.cli.plan_jobs import HubJobs, like  # noqa: PLC0415
    from meyrin.client.place import is_here  # noqa: PLC0415
    from meyrin.plan.impact import POINTS  # noqa: PLC0415
    from meyrin.plan.on_facility import Notes, OnFacility  # noqa: PLC0415

    hub = session.client()
    # where the hub is on this machine, its site probably is, too
    python = options["python"] or (sys.executable if is_here(hub.url) else "python3")
    return OnFacility(
        HubJobs(hub, session.pause, like(options["job_options"], session.now_s)),
        options["per_job"],
        Notes(out / POINTS),
        python,
        say=line.aside,
        under_way=line.under_way,
    )


class _Told:
    """Progress in one line: points with time left, then gathering, then drawing."""

    def __init__(self, session: Session) -> None:
        self._clock = session.clock
        self._line = Line(session.clock, lines=True)
        self._standing: Standing | None = None
        self._more = 0
        self._jobs = ""
        self._from: tuple[float, int] | None = None
        self.total = self.kept = 0

    def points(self, standing: Standing) -> None:
        self.total, self.kept = standing.total, standing.kept
        self._standing = standing
        self._tell()

    def under_way(self, done: int, words: str) -> None:
        """How jobs are: how many of their points are done that have not come yet, and words."""
        self._more, self._jobs = done, words
        if self._from is None and self._standing is not None:  # what was there before is no pace
            self._from = self._clock(), self._standing.done + done
        self._tell()

    def _tell(self) -> None:
        standing = self._standing
        if standing is not None:
            shown = standing if self._from is None else self._ahead(standing, *self._from)
            self._line.tell(lambda: _words(shown, self._jobs))

    def _ahead(self, standing: Standing, since: float, had: int) -> Standing:
        """With the points that are done in jobs; time left by the pace since these were seen."""
        done = min(standing.done + self._more, standing.total)
        come = done - had
        left = (self._clock() - since) / come * (standing.total - done) if come > 0 else None
        return replace(standing, done=done, left_s=left)

    def gathering(self, done: int, total: int) -> None:
        self._line.tell(lambda: f"gathering {done} of {total}")

    def say(self, words: str) -> None:
        self._line.tell(lambda: words)

    def aside(self, words: str) -> None:
        """A line that stays."""
        self._line.close()
        say(words)

    def close(self) -> None:
        self._line.close()


def _words(standing: Standing, jobs: str = "") -> str:
    text = f"{standing.done} of {standing.total} points" + (f", {jobs}" if jobs else "")
    if standing.left_s is None:
        return text
    left = standing.left_s
    for most, each, word in ((90, 1, "s"), (5400, 60, "min"), (float("inf"), 3600, "h")):
        if left < most:
            return f"{text}, about {left / each:.0f} {word} left"
    return text
