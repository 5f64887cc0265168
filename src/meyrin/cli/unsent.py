"""`meyrin call unsent`: asks that were begun in the pages and not sent yet."""

from __future__ import annotations

import click

from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, lists
from meyrin.cli.terminal import data_json, moment, say


@click.command(
    "unsent",
    epilog="""\b
Examples:
  meyrin call unsent
  meyrin call unsent --discard 5f0c2a9e41d84f2b9a3c6d7e8f901234
The page Apply keeps what you write; open it there to go on.
""",
)
@click.option("--discard", metavar="KEY", help="Forget this one.")
@lists
def unsent(session: Session, discard: str | None, limit: int, after: str) -> None:
    """Asks that you began to write and have not sent yet; nobody else sees them."""
    with session.client() as hub:
        if discard is not None:
            hub.calls.discard(discard)
            if session.json:
                data_json({"discarded": discard})
            else:
                say("It is discarded.")
            return
        page = hub.calls.unsent(after=after, limit=limit)
    rows = [
        (one.key, one.said.get("project") or "-", one.said.get("amount_h") or "-",
         one.said.get("charged_type") or "-", one.said.get("title") or "-", moment(one.saved_ms))
        for one in page.unsent
    ]  # fmt: skip
    show_list(session, page, "KEY PROJECT~ HOURS> TYPE TITLE~ SAVED", rows,
              "Nothing is unsent. The page Apply keeps what you write there.")  # fmt: skip
