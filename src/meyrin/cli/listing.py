"""What every listing does: one object with `--json`, else a table, or words when it is empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meyrin.cli.session import Session
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import data, data_json, say


def show_list(
    session: Session, page: Any, titles: str, rows: Sequence[Sequence[object]], empty: str
) -> None:
    """`page` is a wire model with a list and `next`; `empty` says what to do next."""
    if session.json:
        data_json(page.model_dump(mode="json"))
    elif not rows:
        say(empty)
    else:
        data(table(columns(titles), rows))
        if page.next:
            say(f"more: add --after {page.next}")


def show_one(session: Session, value: Any, words: str) -> None:
    """One thing: its wire model with `--json`, else words on standard error."""
    if session.json:
        data_json({} if value is None else value.model_dump(mode="json"))
    else:
        say(words)


def show_secret(session: Session, value: Any, secret: str, words: str) -> None:
    """A secret that is shown this once: alone on standard output, so that it can be kept."""
    if session.json:
        data_json(value.model_dump(mode="json"))
    else:
        say(words)
        data(secret)
