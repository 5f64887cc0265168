"""`meyrin project reclaim` and `answer`: hours that nobody used go back by a mode's rule."""

from __future__ import annotations

import click

from meyrin.cli.allocations import ALL, change_options, send_change
from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import data, data_json, moment, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_hours


@click.command(
    "reclaim",
    epilog="""\b
Examples:
  meyrin project reclaim --dry-run              what would go back, and when
  meyrin project reclaim climate --dry-run
  meyrin project reclaim                        do now what the hub does each minute
A mode file says the rule ([[reclaim]]); each step of each allocation is announced, and done once.
""",
)
@click.argument("project", required=False)
@click.option("--dry-run", is_flag=True, help="List what would go back; change nothing.")
@lists
def reclaim(
    session: Session, project: str | None, *, dry_run: bool, limit: int, after: str
) -> None:
    """Idle hours that go back by rule. Without --dry-run for officers."""
    if not dry_run:
        if project is not None:
            raise InvalidInput("it is done for all", hint="leave PROJECT out, or add --dry-run",
                               field="PROJECT")  # fmt: skip
        _run(session)
        return
    with session.client() as hub:
        page = hub.allocations.reclaims(project, after=after, limit=limit)
    rows = [
        (
            one.allocation_id,
            one.project,
            one.number,
            one.state,
            moment(one.due_s * 1000),
            show_hours(one.takes_s),
            one.charged_type,
            one.waits or one.reason or one.rule,
        )
        for one in page.reclaims
    ]
    titles = "ALLOCATION PROJECT~ STEP> STATE DUE TAKES_H> TYPE WHY~"
    show_list(session, page, titles, rows, "No running allocation is under such a rule.")


def _run(session: Session) -> None:
    with session.client() as hub:
        done = hub.allocations.run_reclaims()
    if session.json:
        data_json(done.model_dump(mode="json"))
    elif done.reclaims:
        rows = [
            (one.allocation_id, one.project, one.state, show_hours(one.takes_s), one.reason)
            for one in done.reclaims
        ]
        data(table(columns("ALLOCATION PROJECT~ STATE TAKEN_H> WHY~"), rows))
    else:
        say("nothing is due; `--dry-run` lists what comes")


@click.command(
    "answer",
    epilog=f"""\b
Example:
  meyrin project answer {ALL} --reason 'the data arrive in May'
While an officer has not answered, nothing goes back. An officer's own word counts at once.
""",
)
@click.argument("allocation")
@change_options
def answer(session: Session, allocation: str, key: str | None, reason: str) -> None:
    """Say why idle hours shall not go back this time. A lead asks, an officer decides."""
    send_change(session, allocation, key, kind="exempt", reason=reason)
