"""`meyrin store`: what the content store holds, and by what."""

from __future__ import annotations

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.units import show_count

HERE = "meyrin.cli.store"
ENTRIES = {"show": Entry(f"{HERE}:show_store", "How much is held, and by what.")}


@click.group("store", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Files that people and sites brought, each kept once under its SHA-256."""


@click.command("show", epilog="Example: meyrin store show")
@asks_hub
def show_store(session: Session) -> None:
    """How many files and bytes the content store holds, and by what.

    Each file counts once, by the first line that holds it. What nothing refers to leaves the
    store by itself, some days after it was last brought (setting unused_days). For administrators.
    """
    with session.client() as hub:
        found = hub.store.held()
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    rows = [(x.words, f"{x.files:,}", f"{x.size:,}") for x in found.held if x.files]
    if rows:
        data(table(columns("HELD_BY~ FILES> BYTES>"), rows))
    say(
        f"{show_count(found.files, 'file')} of {found.size:,} bytes; what nothing refers to goes "
        f"{show_count(found.unused_days, 'day')} after it was last brought"
    )
