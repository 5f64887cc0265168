"""`meyrin project transfer`, `extend`, `pause` and so on: what becomes of an allocation."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meyrin.cli.bodies import hours_options, read_body, typed_s
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.moments import parse_day
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import moment
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_hours

if TYPE_CHECKING:
    from meyrin.wire.allocations import ChangeView

Command = TypeVar("Command", bound=Callable[..., Any])
UNIT_WORDS = ("accelerator", "node", "core")
STATE_WORDS = ("asked", "done", "refused")
ALL = "all_4k2m0000000000ab"


def change_options(command: Command) -> Command:
    """What every change takes: `--reason`, `--key`, and which hub."""
    command = click.option(
        "--key", metavar="TEXT", help="Names this change: sent twice, it is done once."
    )(command)
    command = click.option(
        "--reason", required=True, metavar="TEXT", help="Why; it is kept and shown."
    )(command)
    return asks_hub(command)  # type: ignore[return-value]


def send_change(session: Session, allocation: str, key: str | None, **said: object) -> None:
    from meyrin.wire.allocations import NewChange  # noqa: PLC0415 - not for --help

    body = read_body(NewChange, key=key or uuid.uuid4().hex, **said)
    with session.client() as hub:
        made = hub.allocations.change(allocation, body)
    show_one(session, made, _words(made))


@click.command(
    "transfer",
    epilog="""\b
Examples:
  meyrin project transfer all_1 all_2 --hours 100 --reason 'training first'
  meyrin project transfer all_1 all_2 --hours 10 --unit node --reason 'a swap'
Hours keep their type and their owner: they go back to the share that gave them and out of it
again. What jobs hold and what tranches promise is not moved.
""",
)
@click.argument("allocation", metavar="FROM")
@click.argument("to", metavar="TO")
@hours_options
@click.option("--unit", type=click.Choice(UNIT_WORDS), default="accelerator", show_default=True,
              help="What the hours are of; converted exactly by the nodes' shape.")  # fmt: skip
@change_options
def transfer(
    session: Session,
    /,
    allocation: str,
    to: str,
    hours: int | None,
    seconds: int | None,
    unit: str,
    key: str | None,
    reason: str,
) -> None:
    """Move free hours from one allocation to another.

    An officer does it at once; a lead asks for it, and an officer decides.
    """
    amount_s = typed_s(hours, seconds, needed=True)
    send_change(session, allocation, key, kind="transfer", to=to, amount_s=amount_s, unit=unit,
          reason=reason)  # fmt: skip


@click.command(
    "extend",
    epilog=f"""\b
Examples:
  meyrin project extend {ALL} --until 2027-07-01 --reason 'late machine'
  meyrin project extend {ALL} --hours 500 --reason 'second part'
`meyrin project show NAME` lists a project's allocations. One that is over is awarded anew.
""",
)
@click.argument("allocation")
@hours_options
@click.option("--until", metavar="DAY", help="YYYY-MM-DD, UTC: the new day it ends.")
@click.option("--owner", default="facility", show_default=True, help="Out of whose share.")
@click.option("--offer", "offer_id", default="", metavar="ID", help="Out of which offer.")
@change_options
def extend(
    session: Session,
    /,
    allocation: str,
    hours: int | None,
    seconds: int | None,
    until: str | None,
    key: str | None,
    **said: str,
) -> None:
    """Let an allocation last longer, add hours to it, or both.

    An officer does it at once; a lead asks for it, and an officer decides.
    """
    amount_s = typed_s(hours, seconds, needed=False)
    end_s = None if until is None else parse_day(until, "--until")
    send_change(session, allocation, key, kind="extend", amount_s=amount_s, end_s=end_s, **said)


@click.command(
    "pause",
    epilog=f"""\b
Example:
  meyrin project pause {ALL} --reason 'the data set is wrong'
Then: `meyrin project resume {ALL} --reason 'mended'`
""",
)
@click.argument("allocation")
@change_options
def pause(session: Session, allocation: str, key: str | None, reason: str) -> None:
    """Let no new job take from an allocation; what runs goes on. For leads and officers."""
    send_change(session, allocation, key, kind="pause", reason=reason)


@click.command("resume", epilog=f"Example: meyrin project resume {ALL} --reason mended")
@click.argument("allocation")
@change_options
def resume(session: Session, allocation: str, key: str | None, reason: str) -> None:
    """End a pause; what waited goes on by itself. An officer's pause is ended by an officer."""
    send_change(session, allocation, key, kind="resume", reason=reason)


@click.command(
    "changes",
    epilog="""\b
Examples:
  meyrin project changes climate
  meyrin project changes --state asked            what waits for an officer
""",
)
@click.argument("project", required=False)
@click.option("--state", type=click.Choice(STATE_WORDS), default=None, help="Only these.")
@lists
def changes(
    session: Session, project: str | None, state: str | None, limit: int, after: str
) -> None:
    """What was asked for and done with allocations: who, when and why."""
    with session.client() as hub:
        page = hub.allocations.changes(project, state or "", after=after, limit=limit)
    rows = [
        (
            one.id,
            one.project,
            one.kind,
            one.allocation_id,
            one.to_id or moment(None if one.end_s is None else one.end_s * 1000),
            show_hours(one.amount_s) if one.amount_s else "-",
            one.state,
            one.asked_by,
            one.reason,
        )
        for one in page.changes
    ]
    titles = "CHANGE PROJECT~ KIND ALLOCATION TO HOURS> STATE BY WHY~"
    show_list(session, page, titles, rows, "Nothing was changed.")


@click.command(
    "decide",
    epilog="""\b
Examples:
  meyrin project decide chg_4k2m0000000000ab --grant --reason 'a fair swap'
  meyrin project decide chg_4k2m0000000000ab --refuse --reason 'they are promised to others'
`meyrin project changes --state asked` lists what waits.
""",
)
@click.argument("change")
@click.option("--grant/--refuse", "grant", default=None, help="The answer.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept and shown.")
@asks_hub
def decide(session: Session, change: str, grant: bool | None, reason: str) -> None:
    """Do or refuse what a lead asked for, with a reason. For officers."""
    if grant is None:
        raise InvalidInput("what is the answer?", hint="add --grant or --refuse", field="--grant")
    with session.client() as hub:
        made = hub.allocations.decide(change, reason, grant=grant)
    show_one(session, made, _words(made))


def _words(made: ChangeView) -> str:
    """What a change did or asks for, in one line."""
    hours = f"{show_hours(made.amount_s)} hours"
    until = "" if made.end_s is None else f"until {moment(made.end_s * 1000)}"
    more = " and ".join(part for part in (until, f"{hours} more" if made.amount_s else "") if part)
    does = {
        "transfer": f"{hours} from {made.allocation_id} to {made.to_id}",
        "extend": f"{made.allocation_id}: {more}",
        "pause": f"{made.allocation_id} is paused: what runs goes on",
        "resume": f"{made.allocation_id} goes on",
        "exempt": f"{made.allocation_id} keeps its idle hours this time",
    }[made.kind]
    if made.state == "asked":
        return f"asked as {made.id}, an officer decides: {does}"
    return f"{does} ({made.id}, {made.state})"
