"""`meyrin agent compare`: the site's own accounting beside Meyrin's, job by job."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.exits import FAILED
from meyrin.cli.moments import check_month, month_of
from meyrin.cli.session import Session, pass_session
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count, show_energy

if TYPE_CHECKING:
    from meyrin.agent.compare import Compared, Line


@click.command(
    "compare",
    epilog="""\b
Examples:
  meyrin agent compare --config agent.toml                     this month, UTC
  meyrin agent compare --config agent.toml --month 2026-10 --json
Ends with 1 when the two differ. Differences of the last day are often on their way.
""",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", required=True,
              help="The agent's settings (TOML).")  # fmt: skip
@click.option("--month", metavar="YYYY-MM", help="UTC; this month, if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")
@pass_session
@click.pass_context
def command(
    context: click.Context, session: Session, /, config: Path, month: str | None, *, as_json: bool
) -> None:
    """Compare the site's own accounting with what Meyrin counted, for what ended in a month.

    \b
    Wall seconds and, where the site records it, energy: job by job, every run of each.
    Run it where the agent runs, under the same log-in. It changes nothing.
    """
    from meyrin.agent import config as settings  # noqa: PLC0415 - not for --help
    from meyrin.agent.compare import compare  # noqa: PLC0415
    from meyrin.agent.hub import Hub  # noqa: PLC0415
    from meyrin.agent.main import transport  # noqa: PLC0415
    from meyrin.agent.start import not_told  # noqa: PLC0415
    from meyrin.client.connection import Connection  # noqa: PLC0415
    from meyrin.domain.ledger import month_bounds_ms  # noqa: PLC0415

    wanted = month_of(session.now_s) if month is None else check_month(month)
    chosen = settings.load(config)
    if chosen.batch != "slurm":
        raise InvalidInput(
            f"the batch system {chosen.batch} keeps no accounting beside Meyrin's",
            hint="there is nothing to compare; `meyrin ledger verify` checks Meyrin's own",
            field="batch",
        )
    by = transport(chosen)
    connection = Connection(chosen.hub, chosen.credential)
    try:
        live = not_told(chosen)  # first: what ends meanwhile is in the hub's list then
        found = compare(Hub(connection, "").counted, by, *month_bounds_ms(wanted), say, live)
    finally:
        connection.close()
        by.close()
    if as_json or session.json:
        data_json({"month": wanted, "differ": found.differ} | asdict(found))
    else:
        _show(found, wanted)
    if found.differ:
        context.exit(FAILED)


def _show(found: Compared, month: str) -> None:
    if found.lines:
        heads = columns("JOB> BATCH_JOB> SITE_S> MEYRIN_S> MORE_AT_SITE_S> WHAT~")
        data(table(heads, [_row(line) for line in found.lines]))
    attempts = show_count(found.attempts, "attempt")
    both = f"{attempts}, {found.site_s} s at the site, {found.meyrin_s} s at Meyrin"
    same = "they agree" if not found.differ else f"they differ in {found.differ}"
    say(clean(f"{month}: {both}; {same}"))
    say(_energy(found))


def _energy(found: Compared) -> str:
    """Energy of both sides; unknown stays unknown."""
    if found.site_j is None and found.meyrin_j is None:
        return "energy: unknown, the site records none"
    both = (found.site_j, found.meyrin_j)
    site, meyrin = ("unknown" if each is None else show_energy(each) for each in both)
    rest = (
        f"; unknown of {show_count(found.energy_unknown, 'attempt')}"
        if found.energy_unknown
        else ""
    )
    return f"energy: {site} at the site, {meyrin} at Meyrin{rest}"


def _row(line: Line) -> tuple[object, ...]:
    more = (line.site_s or 0) - (line.meyrin_s or 0) if line.bad else 0
    return line.job, line.batch_job, line.site_s, line.meyrin_s, f"{more:+d}", _what(line)


def _what(line: Line) -> str:
    if line.what != "energy differs":
        return line.what
    meyrin = "unknown" if line.meyrin_j is None else f"{line.meyrin_j} J"
    return f"energy differs: {line.site_j} J at the site, {meyrin} at Meyrin"
