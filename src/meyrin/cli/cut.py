"""Says of output that the hub kept only its beginning, and where all of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meyrin.cli.terminal import clean, say
from meyrin.domain.errors import MeyrinError

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.follow import Stream


def say_cut(
    hub: Client, label: str, stream: Stream, cut_bytes: int | None, *, last_lines: bool = False
) -> None:
    """Nothing where nothing was cut; no failure where the hub can't say where all of it is."""
    if cut_bytes is None:
        return
    from meyrin.client.cut import MISSING, NOT_THE_LAST, cut_words, where_all_is  # noqa: PLC0415

    say(cut_words(label, stream, cut_bytes, NOT_THE_LAST if last_lines else MISSING))
    try:
        hint = where_all_is(hub.job(label), stream)
    except MeyrinError:
        return
    if hint:
        say(clean(f"hint: {hint}"))
