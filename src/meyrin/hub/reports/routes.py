"""Pages for people, and what monitors ask. Reads everyone's tables and writes nothing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin import __version__
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Access, Allow, Call

router = APIRouter(tags=["reports"])
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]


@router.get("/healthz")
def healthz(call: Anyone) -> dict[str, str | int]:
    """The database answers."""
    with call.read() as step:
        return {"status": "ok", "version": __version__, "world": world.version(step)}
