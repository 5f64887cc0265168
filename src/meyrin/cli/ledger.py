"""`meyrin ledger`: entries, statements, and whether it all adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meyrin.cli.exits import FAILED
from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.moments import check_month, month_of
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.units import show_count, show_energy, show_hours

if TYPE_CHECKING:
    from meyrin.wire.ledger import BalanceView, EnergyView, TypeStatementView

HERE = "meyrin.cli.ledger"
OWNERS = "meyrin.cli.owners"
ENTRIES = {
    "entries": Entry(f"{HERE}:entries", "A project's entries, newest first."),
    "statement": Entry(f"{HERE}:statement", "What a project had, used and has."),
    "owners": Entry(f"{HERE}:owners", "What every owner gave in a month."),
    "months": Entry(f"{OWNERS}:months", "Owners' statements, by month."),
    "month": Entry(f"{OWNERS}:month", "What owners were entitled to, and got."),
    "returns": Entry(f"{OWNERS}:returns", "Return coefficients of a year."),
    "publish": Entry(f"{OWNERS}:publish", "Show a frozen month to everybody."),
    "comments": Entry(f"{OWNERS}:comments", "What owners said of a month."),
    "comment": Entry(f"{OWNERS}:comment", "Say something of a month for an owner."),
    "speakers": Entry(f"{OWNERS}:speakers", "Who speaks for which owner."),
    "speak": Entry(f"{OWNERS}:speak", "Let a person speak for an owner."),
    "close-month": Entry(f"{HERE}:close_month", "Let a month change no more."),
    "verify": Entry(f"{HERE}:verify", "Whether the ledger adds up."),
}


@click.group("ledger", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Who was charged what. Entries are only ever added; every amount is in whole seconds."""


@click.command(
    "entries", epilog="Examples: meyrin ledger entries climate; ... --json for exact seconds"
)
@click.argument("project")
@lists
def entries(session: Session, project: str, limit: int, after: str) -> None:
    """A project's entries, newest first."""
    with session.client() as hub:
        page = hub.ledger.entries(project, after=after, limit=limit)
    rows = [
        (
            one.id,
            moment(one.at_ms),
            one.kind,
            one.debit_account,
            one.credit_account,
            one.amount_s,
            one.charged_type,
            one.reason,
        )
        for one in page.entries
    ]
    empty = f"No entries yet. `meyrin project show {project}` shows its allocations."
    titles = "ID> WHEN KIND FROM~ TO~ SECONDS> TYPE REASON~"
    show_list(session, page, titles, rows, empty)


@click.command(
    "statement",
    epilog="""\b
Examples:
  meyrin ledger statement climate                    up to now
  meyrin ledger statement climate --month 2026-10    one month, UTC
""",
)
@click.argument("project")
@click.option("--month", metavar="YYYY-MM", help="One month instead of everything.")
@asks_hub
def statement(session: Session, project: str, month: str | None) -> None:
    """What a project had, what happened, what it has, in hours by type."""
    with session.client() as hub:
        found = hub.ledger.statement(project, None if month is None else check_month(month))
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    if not found.types:
        say(f"{project} has no hours yet: `meyrin project grant {project}`")
        return
    data("\n\n".join(_of_type(one) for one in found.types))


def _of_type(one: TypeStatementView) -> str:
    heads = columns("BALANCE GRANTED_H> FREE_H> HELD_H> USED_H> EXPIRED_H>")
    rows = [("opening", *_hours(one.opening)), ("closing", *_hours(one.closing))]
    kinds = [(each.kind, each.entries, show_hours(each.amount_s)) for each in one.kinds]
    lines = [clean(one.charged_type), table(heads, rows)]
    if kinds:
        lines += ["", table(columns("KIND ENTRIES> HOURS>"), kinds)]
    owners = [(each.owner, each.offer_id, show_hours(each.amount_s)) for each in one.delivered]
    if owners:
        lines += ["", table(columns("DELIVERED_BY OFFER~ HOURS>"), owners)]
    if one.energy is not None:
        lines.append(f"energy: {_energy(one.energy)}")
    lines.append("adds up: yes" if one.unbalanced_s == 0 else f"OFF BY {one.unbalanced_s} s")
    return "\n".join(lines)


def _energy(found: EnergyView) -> str:
    """Of how many runs it is known is said where it is not known of all."""
    if found.energy_j is None:
        return "unknown: no site recorded any"
    said = show_energy(found.energy_j)
    if found.unknown:
        said += f" of {show_count(found.known, 'run')}; of {found.unknown} more it is unknown"
    return said


def _hours(balance: BalanceView) -> tuple[str, ...]:
    amounts = (balance.granted_s, balance.free_s, balance.held_s, balance.used_s, balance.expired_s)
    return tuple(show_hours(amount) for amount in amounts)


@click.command(
    "owners",
    epilog="Examples: meyrin ledger owners; meyrin ledger owners --month 2026-10 --json",
)
@click.option("--month", metavar="YYYY-MM", help="UTC; this month, if left out.")
@asks_hub
def owners(session: Session, month: str | None) -> None:
    """What every owner's shares were granted for and delivered, in hours.

    For programme officers, auditors and administrators.
    """
    wanted = month_of(session.now_s) if month is None else check_month(month)
    with session.client() as hub:
        found = hub.ledger.owners(wanted)
    rows = [
        (
            one.owner,
            one.offer_id or "-",
            one.charged_type,
            show_hours(one.granted_s),
            show_hours(one.delivered_s),
        )
        for one in found.owners
    ]
    if session.json:
        data_json(found.model_dump(mode="json"))
    elif rows:
        data(table(columns("OWNER OFFER~ TYPE GRANTED_H> DELIVERED_H>"), rows))
    else:
        say(f"nothing was granted or delivered in {wanted}")


@click.command("close-month", epilog="Example: meyrin ledger close-month 2026-10")
@click.argument("month", metavar="YYYY-MM")
@asks_hub
def close_month(session: Session, month: str) -> None:
    """Let no further entry be dated in a month or before it. For programme officers."""
    with session.client() as hub:
        hub.ledger.close_month(check_month(month))
    show_one(session, None, f"{month} is closed; corrections are dated after it")


@click.command("verify", epilog="Example: meyrin ledger verify && echo all is well")
@asks_hub
@click.pass_context
def verify(context: click.Context, session: Session) -> None:
    """Whether the ledger adds up; reads all of it. Ends with 1 when it does not."""
    with session.client() as hub:
        found = hub.ledger.verify()
    if session.json:
        data_json(found.model_dump(mode="json"))
    elif found.findings:
        rows = [(one.code, one.subject, one.expected, one.found) for one in found.findings]
        data(table(columns("WHAT SUBJECT~ EXPECTED> FOUND>"), rows))
    else:
        say("the ledger adds up")
    context.exit(FAILED if found.findings else 0)
