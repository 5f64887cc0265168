"""What the content store holds, and by what: the one list of all that may refer to a file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from meyrin.hub.evaluations.store import is_evidence
from meyrin.hub.jobs import keeping
from meyrin.hub.plans.store import is_shown
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.wire.jobs import HeldFiles, StoreView

router = APIRouter(prefix="/api/v1", tags=["store"])
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]
# whoever keeps a digest of the store in a table of their own is listed here, or loses the file
HOLDERS: keeping.Holders = {
    "evidence": is_evidence,
    "results": keeping.is_result,
    "studies": is_shown,
}
WORDS = {
    "evidence": "evidence and runs of models, for ever",
    "results": "results of jobs, for ever",
    "studies": "published studies",
    "inputs": "inputs of jobs that have not ended",
    "brought": "brought lately, and nothing refers to it now",
    "unused": "unused for long: goes next",
    "going": "going now",
    "unfinished": "not whole yet, as claimed",
}


@router.get("/store")
def store(request: Request, call: Admin) -> StoreView:
    """How many files and bytes the content store holds, and by what; each file once."""
    unused_ms = request.app.state.blobs.unused_ms
    with call.read() as step:
        found = keeping.held(step, HOLDERS, unused_ms)
    lines = [
        HeldFiles(by=name, words=words, files=found[name][0], size=found[name][1])
        for name, words in WORDS.items()
        if name in found
    ]
    whole = [line for line in lines if line.by != "unfinished"]
    return StoreView(
        held=lines,
        files=sum(line.files for line in whole),
        size=sum(line.size for line in whole),
        unused_days=unused_ms // 86_400_000,
    )
