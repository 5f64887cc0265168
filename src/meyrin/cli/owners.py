"""`meyrin ledger month` and its like: owners' statements, comments, return coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meyrin.cli.listing import show_list, show_one
from meyrin.cli.moments import check_month, month_of
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.units import show_hours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meyrin.wire.owners import OwnersStatement, ReturnView

STATES = {
    "draft": "a draft: numbers still change, owners may comment",
    "closed": "closed: nothing more counts in it; its document is being kept",
    "frozen": "frozen, not yet published",
}


@click.command("months", epilog="Example: meyrin ledger months. Next: meyrin ledger month 2026-10")
@lists
def months(session: Session, limit: int, after: str) -> None:
    """The months that have an owners' statement, newest first, and how far each is."""
    with session.client() as hub:
        page = hub.owners.months(after=after, limit=limit)
    rows = [
        (one.month, one.state, moment(one.frozen_ms), moment(one.published_ms), one.digest)
        for one in page.months
    ]
    empty = "No month to see yet: statements are shown to everybody once they are published."
    show_list(session, page, "MONTH STATE FROZEN PUBLISHED DIGEST~", rows, empty)


@click.command(
    "month",
    epilog="""\b
Examples:
  meyrin ledger month                    this month, as it stands
  meyrin ledger month 2026-10            frozen: as it was kept, with its digest
  meyrin ledger month 2026-10 --json     whole seconds, and every offer
ENTITLED is an owner's part of what could be used, DELIVERED its part of what was used, GAVE what
was used of hours that it gave out. RETURN is its part of GAVE over its part of ENTITLED: very
poor below 0.400, poor below 1.000, else balanced.
""",
)
@click.argument("month", metavar="[YYYY-MM]", required=False)
@asks_hub
def month(session: Session, month: str | None) -> None:
    """What every owner was entitled to in a month and what was delivered, in hours."""
    wanted = month_of(session.now_s) if month is None else check_month(month)
    with session.client() as hub:
        found = hub.owners.statement(wanted)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    data(_in_words(found))
    state = found.state
    if state.published_ms is not None:
        by = f"{moment(state.published_ms)} by {clean(state.published_by or '')}"
        say(f"{wanted} was published {by}; SHA-256 {state.digest}")
    else:
        say(f"{wanted} is {STATES.get(state.state, state.state)}")


def _in_words(found: OwnersStatement) -> str:
    returns = {(one.owner, one.charged_type): one for one in found.returns}
    rows = []
    for one in found.document.owners:
        back = returns[one.owner, one.charged_type]
        rows.append(
            (
                one.owner,
                one.charged_type,
                show_hours(one.entitled_s),
                show_hours(one.delivered_s),
                show_hours(one.paid_s),
                "unknown" if one.income_cents is None else f"{one.income_cents / 100:,.2f}",
                show_hours(one.returned_s),
                _said(back),
            )
        )
    if not rows:
        return f"nothing was lent or used in {found.document.month}"
    titles = "OWNER TYPE ENTITLED_H> DELIVERED_H> PAID_H> INCOME> GAVE_H> RETURN"
    lines = [table(columns(titles), rows)]
    fixes = [
        (one.corrects, one.owner, one.charged_type, show_hours(one.amount_s), one.entries)
        for one in found.document.corrections
    ]
    if fixes:
        lines += ["", table(columns("CORRECTS OWNER TYPE HOURS> ENTRIES>"), fixes)]
    missing = [(one.site, one.partition, show_hours(one.seconds)) for one in found.document.unknown]
    if missing:
        lines += ["", table(columns("CAPACITY_UNKNOWN_AT PARTITION FOR_H>"), missing)]
    return "\n".join(lines)


def _said(one: ReturnView) -> str:
    return "unknown" if one.numerator is None else f"{one.coefficient} {one.band}"


@click.command(
    "returns", epilog="Example: meyrin ledger returns 2026; --json has the exact fractions"
)
@click.argument("year", metavar="[YYYY]", required=False, type=click.IntRange(1970, 9998))
@asks_hub
def returns(session: Session, year: int | None) -> None:
    """The return coefficient of every owner over a year: what came back for what it lent."""
    wanted = int(month_of(session.now_s)[:4]) if year is None else year
    with session.client() as hub:
        found = hub.owners.year(wanted)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    if not found.returns:
        say(f"nothing to see of {wanted} yet; `meyrin ledger months` says what is published")
        return
    data(table(columns("OWNER TYPE ENTITLED_H> GAVE_H> RETURN"), _return_rows(found.returns)))
    drafts = f"; still open: {', '.join(found.drafts)}" if found.drafts else ""
    say(f"months counted: {', '.join(found.months)}{drafts}")


def _return_rows(found: Sequence[ReturnView]) -> list[tuple[object, ...]]:
    return [
        (
            one.owner,
            one.charged_type,
            show_hours(one.entitled_s),
            show_hours(one.returned_s),
            _said(one),
        )
        for one in found
    ]


@click.command("publish", epilog="Example: meyrin ledger publish 2026-10")
@click.argument("month", metavar="YYYY-MM")
@asks_hub
def publish(session: Session, month: str) -> None:
    """Show a frozen month to everybody; it never changes after. For programme officers."""
    with session.client() as hub:
        made = hub.owners.publish(check_month(month))
    show_one(session, made, f"{month} is published; SHA-256 {made.digest}")


@click.command("comments", epilog="Example: meyrin ledger comments 2026-10")
@click.argument("month", metavar="YYYY-MM")
@lists
def comments(session: Session, month: str, limit: int, after: str) -> None:
    """What owners said of a month, oldest first."""
    with session.client() as hub:
        page = hub.owners.comments(check_month(month), after=after, limit=limit)
    rows = [
        (moment(one.at_ms), one.owner, one.person, one.phase, " ".join(one.words.split()))
        for one in page.comments
    ]
    empty = f"Nobody said anything of {month}: `meyrin ledger comment {month} OWNER WORDS`"
    show_list(session, page, "WHEN OWNER PERSON WHILE WORDS~", rows, empty)


@click.command(
    "comment",
    epilog="""\b
Example:
  meyrin ledger comment 2026-10 uni 'alps was drained for a week'
While the month is a draft, until it is frozen; and again once it is published. Comments stay.
""",
)
@click.argument("month", metavar="YYYY-MM")
@click.argument("owner")
@click.argument("words")
@asks_hub
def comment(session: Session, month: str, owner: str, words: str) -> None:
    """Say something of a month for an owner that you speak for."""
    from meyrin.client.api import new_key  # noqa: PLC0415
    from meyrin.wire.owners import NewComment  # noqa: PLC0415

    said = NewComment(owner=owner, words=words, key=new_key())
    with session.client() as hub:
        made = hub.owners.comment(check_month(month), said)
    show_one(session, made, f"kept; `meyrin ledger comments {month}` shows all")


@click.command("speakers", epilog="Example: meyrin ledger speakers")
@lists
def speakers(session: Session, limit: int, after: str) -> None:
    """Who may comment for which owner. For programme officers, auditors and administrators."""
    with session.client() as hub:
        page = hub.owners.speakers(after=after, limit=limit)
    rows = [(one.owner, one.person, moment(one.since_ms)) for one in page.speakers]
    empty = "Nobody speaks for an owner yet: `meyrin ledger speak OWNER PERSON`"
    show_list(session, page, "OWNER PERSON SINCE", rows, empty)


@click.command("speak", epilog="Examples: meyrin ledger speak uni ada; ... --no-more")
@click.argument("owner")
@click.argument("person")
@click.option("--no-more", is_flag=True, help="From now on not; what was said stays.")
@asks_hub
def speak(session: Session, owner: str, person: str, no_more: bool) -> None:
    """Let a person see drafts and comment for an owner. For programme officers."""
    with session.client() as hub:
        if no_more:
            hub.owners.be_silent(owner, person)
            show_one(session, None, f"{person} no longer speaks for {owner}")
            return
        hub.owners.speak(owner, person)
    show_one(session, None, f"{person} speaks for {owner}")
