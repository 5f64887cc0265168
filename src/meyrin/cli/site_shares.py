"""`meyrin site shares`: whose an offer is, and from when on."""

from __future__ import annotations

import click

from meyrin.cli.moments import parse_day
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.site import share_of
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import data, data_json, moment
from meyrin.domain.errors import InvalidInput


@click.command(
    "shares",
    epilog="""\b
Examples:
  meyrin site shares alps off_4k2m0000000000ab
  meyrin site shares alps off_4k2m0000000000ab --owner eu=1 --owner fi=1 --from 2027-01-01
The numbers are weights. A change never reaches into the past: what owners were entitled to
before it stays as it was.
""",
)
@click.argument("name")
@click.argument("offer_id", metavar="OFFER")
@click.option("--owner", "owners", multiple=True, metavar="NAME[=WEIGHT]", help="All of them.")
@click.option("--from", "start", metavar="DAY", help="YYYY-MM-DD, UTC: when the change begins.")
@asks_hub
def shares(
    session: Session, name: str, offer_id: str, owners: tuple[str, ...], start: str | None
) -> None:
    """Whose an offer is, from when on; with --owner and --from, a change from a day on."""
    if bool(owners) != (start is not None):
        raise InvalidInput(
            "a change needs owners and a day", hint="give --owner and --from", field="--from"
        )
    with session.client() as hub:
        if start is None:
            found = hub.sites.shares(name, offer_id)
        else:
            new = [share_of(word) for word in owners]
            found = hub.sites.change_shares(name, offer_id, new, parse_day(start, "--from"))
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    rows = [
        (
            moment(term.from_s * 1000) if term.from_s else "its beginning",
            one.owner,
            one.weight,
            f"{one.weight / sum(each.weight for each in term.owners):.2%}",
        )
        for term in found.terms
        for one in term.owners
    ]
    data(table(columns("FROM OWNER WEIGHT> PART>"), rows))
