"""`meyrin replay`: a recorded workload through a cluster that may be another one, under a policy
that may be another one. No hub is needed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import meyrin
from meyrin.cli.exits import DONE, INTERRUPTED
from meyrin.cli.progress import Line
from meyrin.cli.reading import FILE, TraceFile, read_trace, reading_options
from meyrin.cli.replay_words import EPILOG, show_comparison, show_policy, show_replay
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import data_json, say
from meyrin.cli.until import Interruption
from meyrin.domain.errors import InvalidInput

if TYPE_CHECKING:
    from meyrin.sim.cluster_file import ClusterFile
    from meyrin.sim.outcome import Outcome
    from meyrin.sim.policy import Policy
    from meyrin.sim.run import Prepared, Standing
    from meyrin.sim.trace.model import Trace


@click.command("replay", epilog=EPILOG)
@click.argument("trace", type=TraceFile(), required=False)
@click.option(
    "--policy",
    default="easy",
    show_default=True,
    metavar="NAME|FILE",
    help="A policy of the list below, or a TOML file.",
)
@click.option(
    "--processors",
    type=click.IntRange(1, 2**31 - 1),
    metavar="N",
    help="Size of the machine.  [default: what the trace's header says]",
)
@click.option(
    "--cluster",
    type=FILE,
    metavar="FILE",
    help="TOML file with nodes and partitions, instead of a plain pool.",
)
@click.option(
    "--no-kill",
    is_flag=True,
    help="Jobs run to their end even past their limit, as some logs have them.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Replay under two policies, names or files, and say who gains and loses.",
)
@click.option(
    "--starts",
    type=FILE,
    metavar="FILE",
    help="Write job_id,submit_s,start_s,end_s as CSV, one row a job.",
)
@click.option(
    "--out",
    type=FILE,
    metavar="DIR",
    help="Write jobs as Parquet, summary, policy, pictures and a page into DIR.",
)
@click.option("--force", is_flag=True, help="Write into DIR even if it holds something.")
@reading_options
@click.option(
    "--explain-policy",
    metavar="NAME|FILE",
    help="Print what a policy means and every number in it; replay nothing.",
)
@json_option
@pass_session
def command(session: Session, /, explain_policy: str | None, **options: Any) -> int:
    """Replay a recorded workload through a cluster, and say how long jobs would have waited.

    \b
    TRACE is a log in the Standard Workload Format or another that `meyrin trace`
    knows, compressed or not; `-` is standard input. The machine is a pool of
    equal processors (accelerators in most logs of GPU clusters), or what
    --cluster describes.

    \b
    The rule for instants: at a time t first all completions, then all arrivals
    in log order, then one scheduling pass. Backfill believes the limit that the
    log has; a job ends at the earlier of its run time and its limit; a missing
    limit is the run time. Jobs without size or run time, or larger than the
    machine, are skipped and counted by reason.

    \b
    Ctrl-C keeps what is done: what had started is printed and written, marked
    "complete": false, and the exit code is 130.
    """
    if explain_policy is not None:
        show_policy(session, explain_policy)
        return DONE
    asked = _Asked(**options)
    asked.check()
    return _Replays(session, asked).run()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options of one call."""

    trace: Path | None
    policy: str
    processors: int | None
    cluster: Path | None
    no_kill: bool
    compare: tuple[str, str] | None
    starts: Path | None
    out: Path | None
    force: bool
    on_error: str
    form: str | None
    mapping: Path | None

    def check(self) -> None:
        """Refuse what can't go together, before anything is read."""
        context = click.get_current_context()
        if self.trace is None:
            raise click.UsageError("Missing argument 'TRACE'.", context)
        if self.processors is not None and self.cluster is not None:
            raise InvalidInput(
                "--processors and --cluster both say how large the machine is",
                hint="leave one out",
            )
        given = context.get_parameter_source("policy") == click.core.ParameterSource.COMMANDLINE
        if self.compare and given:
            raise InvalidInput("--compare names its two policies itself", hint="drop --policy")
        if self.compare and self.starts:
            raise InvalidInput(
                "--starts goes with one policy",
                hint="--out DIR writes the jobs of both replays as Parquet",
            )
        if self.force and self.out is None:
            raise InvalidInput("--force goes with --out DIR")


class _Replays:
    """One call from the trace to what is printed and written."""

    def __init__(self, session: Session, asked: _Asked) -> None:
        self._session = session
        self._asked = asked
        assert asked.trace is not None
        self._path = asked.trace
        self._cluster: tuple[ClusterFile, str] | None = None

    def run(self) -> int:
        from meyrin.sim.folder import check_free, check_writable  # noqa: PLC0415
        from meyrin.sim.policy import load  # noqa: PLC0415

        asked = self._asked
        policies = [load(name) for name in asked.compare or (asked.policy,)]
        if asked.out is not None:
            check_free(asked.out, force=asked.force)
        if asked.starts is not None:
            check_writable(asked.starts)
            if asked.starts.exists() and asked.starts.samefile(self._path):
                raise InvalidInput(
                    f"--starts {asked.starts} is the log that is replayed",
                    hint="choose another file: it would be written over",
                    field="starts",
                )
        if asked.cluster is not None:
            from meyrin.sim.cluster_file import load_cluster  # noqa: PLC0415

            self._cluster = load_cluster(asked.cluster)
        trace = read_trace(self._session, self._path, asked.on_error, asked.form, asked.mapping)
        prepared = [self._prepare(trace, policy) for policy in policies]
        with Interruption() as interruption:
            outcomes = [
                self._replay(*each, interruption) for each in zip(prepared, policies, strict=True)
            ]
        if len(outcomes) == 2:
            self._compare(trace, outcomes, policies)
        else:
            self._tell(trace, outcomes[0], policies[0])
        if all(outcome.complete for outcome in outcomes):
            return DONE
        say("interrupted: what had started is kept, the rest was not replayed")
        return INTERRUPTED

    def _prepare(self, trace: Trace, policy: Policy) -> Prepared:
        prepared = self._placed(trace, policy)
        if not len(prepared.jobs):
            counts = ", ".join(f"{n:,} {reason}" for reason, n in prepared.jobs.skipped.items())
            raise InvalidInput(
                f"{self._path} has no job that can be replayed"
                + (f"; skipped: {counts}" if counts else ""),
                hint="`meyrin trace describe` says what is in it",
                skipped=dict(prepared.jobs.skipped),
            )
        return prepared

    def _placed(self, trace: Trace, policy: Policy) -> Prepared:
        kill = not self._asked.no_kill
        if self._cluster is None and policy.plain:
            from meyrin.sim.run import on_pool  # noqa: PLC0415

            return on_pool(trace, policy, self._machine(trace), kill=kill)
        from meyrin.sim.on_cluster import on_nodes, on_one_node  # noqa: PLC0415

        if self._cluster is None:
            return on_one_node(trace, policy, self._machine(trace), kill=kill)
        return on_nodes(trace, policy, self._cluster[0], kill=kill)

    def _machine(self, trace: Trace) -> int:
        if self._asked.processors is not None:
            return self._asked.processors
        total = trace.pool_total()
        if total is None or total < 1:
            raise InvalidInput(
                f"{self._path} doesn't say how many {trace.pool_unit} its machine had",
                hint="say it: --processors N",
                field="--processors",
            )
        return total

    def _replay(self, prepared: Prepared, policy: Policy, interruption: Interruption) -> Outcome:
        from meyrin.sim.run import replay  # noqa: PLC0415

        prepared.load()  # not part of what progress is told of
        clock = self._session.clock
        line = Line(clock, lines=True)
        begun: list[tuple[float, int]] = []  # when the first stretch was over, and its jobs

        def go_on(standing: Standing) -> bool:
            if not begun:
                begun.append((clock(), standing.started))
            line.tell(lambda: _standing(policy.label, standing, clock(), *begun[0]))
            return not interruption.came

        try:
            return replay(prepared, str(self._path), policy, time.process_time, go_on)
        finally:
            line.close()

    def _tell(self, trace: Trace, outcome: Outcome, policy: Policy) -> None:
        from meyrin.sim.folder import write_file, write_folder  # noqa: PLC0415
        from meyrin.sim.outcome import starts_csv, summary  # noqa: PLC0415

        found = summary(outcome, peak_rss_mb())
        if self._asked.starts is not None:
            write_file(self._asked.starts, starts_csv(trace, outcome))
        if self._asked.out is not None:
            from meyrin.sim import report  # noqa: PLC0415
            from meyrin.sim.classes import by_size  # noqa: PLC0415

            made_from = self._inputs([policy])
            files = report.files_of_replay(
                trace, outcome, by_size(outcome.jobs), found, made_from, policy
            )
            if self._cluster is not None:
                files["cluster.toml"] = self._cluster[1].encode()
            write_folder(self._asked.out, files)
        if self._session.json:
            data_json(found)
        else:
            show_replay(found, self._asked.out)

    def _compare(self, trace: Trace, outcomes: list[Outcome], policies: list[Policy]) -> None:
        from meyrin.sim.classes import all_classes  # noqa: PLC0415
        from meyrin.sim.compare import Comparison, compared  # noqa: PLC0415

        first, second = outcomes
        comparison = Comparison((first, second), tuple(all_classes(trace, first.jobs)))
        found = compared(comparison, peak_rss_mb())
        if self._asked.out is not None:
            from meyrin.sim import report  # noqa: PLC0415
            from meyrin.sim.folder import write_folder  # noqa: PLC0415

            one, other = policies
            files = report.files_of_comparison(
                trace, comparison, found, self._inputs(policies), (one, other)
            )
            if self._cluster is not None:
                files["cluster.toml"] = self._cluster[1].encode()
            write_folder(self._asked.out, files)
        if self._session.json:
            data_json(found)
        else:
            show_comparison(comparison, found, self._asked.out)

    def _inputs(self, policies: list[Policy]) -> dict[str, Any]:
        from meyrin.sim.report import inputs  # noqa: PLC0415
        from meyrin.sim.toml_file import digest  # noqa: PLC0415

        kill = not self._asked.no_kill
        found = inputs(self._path, policies, meyrin.__version__, kill)
        if self._cluster is not None:
            found["cluster"] = {
                "path": str(self._asked.cluster),
                "sha256": digest(self._cluster[1]),
            }
        return found


def _standing(policy: str, standing: Standing, now_s: float, begun_s: float, before: int) -> str:
    rate = standing.started / standing.engine_s if standing.engine_s else 0.0
    text = f"{policy}: {standing.started:,} of {standing.jobs:,} jobs started, {rate:,.0f} jobs/s"
    if standing.started > before:
        each_s = (now_s - begun_s) / (standing.started - before)
        text += f", {_left(each_s * (standing.jobs - standing.started))} left"
    return text


def _left(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def peak_rss_mb() -> int:
    """The most memory that this process had at once, in MiB, rounded up."""
    import resource  # noqa: PLC0415
    import sys  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return -(-peak // unit)
