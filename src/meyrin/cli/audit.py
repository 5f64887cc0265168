"""`meyrin audit`: who did what, as rows that are bound to one another."""

from __future__ import annotations

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import data, data_json, moment, say
from meyrin.domain.units import show_count

HERE = "meyrin.cli.audit"
ENTRIES = {
    "list": Entry(f"{HERE}:list_rows", "Who did what, newest first."),
    "verify": Entry(f"{HERE}:verify", "Recompute the whole chain."),
}


@click.group("audit", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Who did what to what. Rows are only added, and each holds the hash of the one before."""


@click.command("list", epilog="Example: meyrin audit list --thing ada")
@click.option("--thing", default="", metavar="NAME", help="Only what was done to it.")
@lists
def list_rows(session: Session, thing: str, limit: int, after: str) -> None:
    """Who did what, newest first."""
    with session.client() as hub:
        page = hub.people.audit(thing, after=after, limit=limit)
    rows = [
        (
            row.id,
            moment(row.at_ms),
            row.actor,
            row.verb,
            row.thing,
            ", ".join(f"{name} {value}" for name, value in row.facts.items()),
        )
        for row in page.rows
    ]
    show_list(session, page, "ROW> WHEN WHO VERB THING~ FACTS~", rows, "Nothing was done yet.")


@click.command("verify", epilog="Example: meyrin audit verify --json >> kept-elsewhere.jsonl")
@asks_hub
def verify(session: Session) -> int:
    """Recompute every hash of the audit, from the first row on.

    Ends with exit code 1 at the first row that does not fit. Keep the last hash that is printed
    somewhere else: a chain that was cut off at its end shows only by that.
    """
    with session.client() as hub:
        found = hub.people.verify_audit()
    if session.json:
        data_json(found.model_dump(mode="json"))
    elif found.broken is None:
        rows = show_count(found.rows, "row")
        data(f"{rows}, each bound to the one before; the last hash is {found.last}")
    else:
        say(f"row {found.broken} does not fit; the {found.rows} before it do")
    return 0 if found.broken is None else 1
