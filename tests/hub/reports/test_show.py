"""How pages say things."""

from __future__ import annotations

from meyrin.domain.ledger import EntryKind
from meyrin.hub.reports import show


def test_every_kind_of_entry_has_words_of_its_own() -> None:
    words = [show.happened(kind) for kind in EntryKind]
    assert len(set(words)) == len(words)
    assert not {word.lower() for word in words} & {"promise", "release", "withdraw"}
