"""Whose signatures of evidence count: keys of sites that an administrator named, and this hub's.

A key ends in one of two ways. It is *replaced*: what came before still counts. Or it is *revoked*,
because somebody else may have it: then nothing that it signed counts, whenever that was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, Refused
from meyrin.hub.evaluations import store
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.suites.keys import Trusted

HUB = "hub"


def trust(step: Step, actor: Actor, name: str, role: str, public: str) -> None:
    """Let evidence count that is signed with this key. Again: nothing changes."""
    if role not in {"site", "hub"}:
        raise InvalidInput(f"{role!r} signs no evidence", hint="site or hub", field="role")
    row = {"public": public, "name": name, "role": role, "since_ms": step.now_ms}
    if step.add_new(store.gate_keys, [{**row, "ended_ms": None, "revoked_ms": None}]):
        audit.note(step, actor.name, "gate.trust", f"{role} {name}", key=public)


def distrust(step: Step, actor: Actor, public: str, *, revoked: bool = False) -> None:
    """Let what this key signs from now on count no more; `revoked`: nor what it has signed."""
    k = store.gate_keys.c
    column = k.revoked_ms if revoked else k.ended_ms
    changing = sa.update(store.gate_keys).where(k.public == public, column.is_(None))
    if step.change(changing.values({column: step.now_ms})):
        audit.note(step, actor.name, "gate.revoke" if revoked else "gate.distrust", public)


def keys(step: Step, after: str, limit: int) -> tuple[list[sa.Row[Any]], str]:
    return cut(store.keys_page(step, after, limit), limit, "public")


def known(step: Step) -> list[Trusted]:
    """Every key that ever counted, with how it ended."""
    return [
        Trusted(row.name, row.role, row.public, row.ended_ms, row.revoked_ms)
        for row in store.keys_known(step)
    ]


def hub_key(settings: HubSettings) -> bytes:
    """This hub's own secret; made at the first call."""
    from meyrin.suites import keys as files  # noqa: PLC0415 - only who signs needs it

    path = Path(settings.evidence_key_file or settings.dir / "hub.key")
    files.make(path)
    return files.read(path)


def publish(step: Step, secret: bytes) -> Trusted:
    """This hub's key among those that it publishes. Refused where somebody ended it."""
    from meyrin.suites.keys import public_of  # noqa: PLC0415

    public = public_of(secret)
    trust(step, Actor(name=HUB), HUB, "hub", public)
    found = next(each for each in known(step) if each.public == public)
    if found.ended_ms is not None or found.revoked_ms is not None or found.role != "hub":
        raise Refused(
            "this hub's key was ended, so it countersigns nothing",
            hint="remove the hub's key file (hub.key): the hub makes itself another one",
        )
    return found
