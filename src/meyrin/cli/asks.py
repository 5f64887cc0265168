"""`meyrin call ask`, `list`, `decide` and so on: asks for hours at a hub."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.call import KIND_WORDS, PURPOSE_WORDS, UNIT_WORDS
from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import HOUR_S, show_duration

if TYPE_CHECKING:
    from meyrin.wire.calls import ProposalView, SpreadView

STATE_WORDS = ("waiting", "granted", "refused", "withdrawn")


@click.command(
    "ask",
    epilog="""\b
Examples:
  meyrin call ask my-idea --hours 100 --type core
  meyrin call ask my-idea --hours 5000 --type h100 --kind startup --months 3
A small ask is granted at once; a larger one waits for an officer, by the day that is printed.
""",
)
@click.argument("project")
@click.option("--hours", type=click.IntRange(1, 10**10), required=True, help="How many hours.")
@click.option("--type", "charged_type", required=True, metavar="TYPE",
              help="Accelerator type, or core.")  # fmt: skip
@click.option("--title", default="", metavar="TEXT", help="What it is about.")
@click.option("--kind", type=click.Choice(KIND_WORDS), default="academic", show_default=True)
@click.option("--purpose", type=click.Choice(PURPOSE_WORDS), default="try", show_default=True)
@click.option("--months", type=click.IntRange(1, 60), default=3, show_default=True)
@click.option("--unit", type=click.Choice(UNIT_WORDS), default="accelerator", show_default=True,
              help="What the hours are of.")  # fmt: skip
@click.option("--mode", metavar="NAME", help="One mode only; left out, the first that fits.")
@click.option("--key", metavar="TEXT", help="Names this ask: sent twice, it is one ask.")
@asks_hub
def ask(
    session: Session,
    project: str,
    hours: int,
    charged_type: str,
    title: str,
    kind: Any,
    purpose: Any,
    months: int,
    unit: str,
    mode: str | None,
    key: str | None,
) -> None:
    """Ask for hours for a project that you lead, or for a new one of this name."""
    from meyrin.domain.units import Unit  # noqa: PLC0415 - not for --help
    from meyrin.wire.calls import NewAsk  # noqa: PLC0415

    wanted = NewAsk(
        key=key or uuid.uuid4().hex,
        project=project,
        title=title or project,
        kind=kind,
        purpose=purpose,
        amount_h=hours,
        unit=Unit(unit),
        months=months,
        charged_type=charged_type,
        mode=mode,
    )
    with session.client() as hub:
        made = hub.calls.ask(wanted)
    _show(session, made)


@click.command("list", epilog="Example: meyrin call list --state waiting --everybody")
@click.option("--state", type=click.Choice(STATE_WORDS), default=None, help="Only these.")
@click.option("--everybody", is_flag=True, help="Everybody's, for officers.")
@lists
def list_asks(session: Session, state: str | None, everybody: bool, limit: int, after: str) -> None:
    """Your asks and where they stand."""
    with session.client() as hub:
        page = hub.calls.list(state or "", everybody=everybody, after=after, limit=limit)
    rows = [
        (
            one.id,
            one.project,
            one.person,
            f"{one.amount_h:,}",
            f"{one.unit}-h",
            one.mode,
            one.state,
            moment(None if one.due_s is None else one.due_s * 1000),
        )
        for one in page.proposals
    ]
    titles = "ASK PROJECT~ BY HOURS> UNIT MODE STATE DUE"
    show_list(session, page, titles, rows, "No asks. Make one: `meyrin call ask PROJECT`.")


@click.command("show", epilog="Example: meyrin call show prp_4k2m0000000000ab")
@click.argument("ask_id", metavar="ASK")
@asks_hub
def show(session: Session, ask_id: str) -> None:
    """One ask with its clock: submitted, eligible, reviewed, decided, usable, first job."""
    with session.client() as hub:
        _show(session, hub.calls.show(ask_id))


@click.command("withdraw", epilog="Example: meyrin call withdraw prp_4k2m0000000000ab")
@click.argument("ask_id", metavar="ASK")
@asks_hub
def withdraw(session: Session, ask_id: str) -> None:
    """Take your ask back while it waits."""
    with session.client() as hub:
        _show(session, hub.calls.withdraw(ask_id))


@click.command(
    "decide",
    epilog="""\b
Examples:
  meyrin call decide prp_4k2m0000000000ab --grant --reason 'a clear plan'
  meyrin call decide prp_4k2m0000000000ab --refuse --reason 'say which data you use'
  meyrin call decide prp_4k2m0000000000ab --grant --reason 'a clear plan' --reviewer PUBLIC-KEY
The last is for modes with gates: whoever has this key signs the plans (`meyrin gate key FILE`).
""",
)
@click.argument("ask_id", metavar="ASK")
@click.option("--grant/--refuse", "grant", default=None, help="The answer.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept and shown.")
@click.option("--hours", type=click.IntRange(min=1), help="Grant so many accelerator-hours.")
@click.option("--reviewer", default="", metavar="KEY",
              help="Public key of who signs the plans of the mode's gates.")  # fmt: skip
@asks_hub
def decide(
    session: Session, ask_id: str, grant: bool | None, reason: str, hours: int | None, reviewer: str
) -> None:
    """Grant or refuse an ask, with a reason. For officers; by the order of its mode."""
    if grant is None:
        raise InvalidInput("what is the answer?", hint="add --grant or --refuse", field="--grant")
    amount_s = None if hours is None else hours * HOUR_S
    with session.client() as hub:
        made = hub.calls.decide(ask_id, reason, grant=grant, amount_s=amount_s, reviewer=reviewer)
    _show(session, made)


@click.command(
    "clock",
    epilog="""\b
Examples:
  meyrin call clock prp_4k2m0000000000ab --stop 'asked for the data plan'
  meyrin call clock prp_4k2m0000000000ab --start
""",
)
@click.argument("ask_id", metavar="ASK")
@click.option("--stop", metavar="REASON", help="The applicant has to do something first.")
@click.option("--start", is_flag=True, help="Go on.")
@asks_hub
def clock(session: Session, ask_id: str, stop: str | None, start: bool) -> None:
    """Stop the clock of an ask, with a reason that is kept, or start it again. For officers."""
    if (stop is None) != start:
        raise InvalidInput("stop it or start it?", hint="--stop REASON, or --start", field="--stop")
    with session.client() as hub:
        if stop is None:
            _show(session, hub.calls.start_clock(ask_id))
        else:
            _show(session, hub.calls.stop_clock(ask_id, stop))


@click.command("clocks", epilog="Example: meyrin call clocks --json")
@asks_hub
def clocks(session: Session) -> None:
    """How long asks really took, by mode: half, nine tenths and 99 of a hundred.

    Groups of fewer than five are not shown.
    """
    with session.client() as hub:
        found = hub.calls.clocks()
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    if not found.modes:
        say("Nobody has asked yet.")
        return
    rows = [
        (
            one.mode,
            "few" if one.asked is None else one.asked,
            _spread(one.decided),
            _spread(one.provisioned),
            _spread(one.first_job),
        )
        for one in found.modes
    ]
    data(table(columns("MODE ASKED> DECIDED USABLE FIRST_JOB"), rows))


def _spread(spread: SpreadView) -> str:
    if spread.p50_s is None or spread.p90_s is None or spread.p99_s is None:
        return "none yet" if spread.count == 0 else "too few"
    return " / ".join(map(show_duration, (spread.p50_s, spread.p90_s, spread.p99_s)))


def _show(session: Session, made: ProposalView) -> None:
    if session.json:
        data_json(made.model_dump(mode="json"))
        return
    asked = f"{made.amount_h:,} {made.unit}-h of {made.charged_type}"
    data(clean(f"{made.id}  {made.project}: {asked}, {made.mode}, {made.state}"))
    for words, at_ms in (
        ("submitted", made.submit_ms),
        ("decided", made.decided_ms),
        ("usable", made.provisioned_ms),
        ("first job", made.first_job_ms),
    ):
        if at_ms is not None:
            data(f"  {words:10} {moment(at_ms)}")
    if made.reason:
        data(clean(f"  {made.decided_by}: {made.reason}"))
    if made.state == "waiting" and made.due_s is not None:
        say(f"An officer answers by {moment(made.due_s * 1000)}.")
    elif made.state == "waiting":
        say(clean(f"The clock stands: {made.stops[-1].reason}" if made.stops else "It stands."))
    elif made.state == "granted":
        say(clean(f"Use it: meyrin run --account={made.project} --time=10 -- COMMAND"))
