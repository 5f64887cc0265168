"""Which kinds of nodes there are and were, as the adapter's file has it.

Besides the partitions of ours that were found last, it has the name of each kind ever found: nodes
that were away for one look are back under the name that jobs and offers know.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from meyrin.agent.slurm.ask import Mark, Place, mark_of
from meyrin.agent.slurm.store import FILE, Store, recall
from meyrin.domain.site import Partition

_PLACES, _NAMES = "places", "names"
_MOST_NAMES = 500  # those that were seen last


def keep(store: Store, found: Mapping[str, Place]) -> None:
    """What was found now. Should only the first be written, `names` has all the same."""
    now = {mark_of(place): name for name, place in found.items()}
    before = names(store.recall)
    gone = {mark: name for mark, name in before.items() if mark not in now}
    store.remember(_PLACES, json.dumps({name: asdict(place) for name, place in found.items()}))
    last = [[*mark, name] for mark, name in (gone | now).items()][-_MOST_NAMES:]
    store.remember(_NAMES, json.dumps(last))


def places(recalled: Callable[[str], str | None]) -> dict[str, Place] | None:
    """The partitions that were found last; None where none ever were."""
    text = recalled(_PLACES)
    return None if text is None else {name: _place(body) for name, body in json.loads(text).items()}


def names(recalled: Callable[[str], str | None]) -> dict[Mark, str]:
    """What each kind that was ever found was called last."""
    rows = json.loads(recalled(_NAMES) or "[]")
    ever = {(slurm, cores, number, its_type): name for slurm, cores, number, its_type, name in rows}
    last = places(recalled) or {}
    return ever | {mark_of(place): name for name, place in last.items()}


def names_at(folder: Path) -> dict[Mark, str]:
    """Those that the agent of this folder knows, also while it runs; nothing is changed."""
    path = folder / FILE
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return names(lambda name: recall(db, name))


def _place(body: dict[str, Any]) -> Place:
    ours = body.pop("partition")
    ours["features"] = tuple(ours["features"])
    return Place(Partition(**ours), **body)
