"""Receiving evidence: the hub checks what a site signed, and countersigns it.

It signs only what it can answer for: the site's key is one that an administrator named, the
attempt is its own, of a job that ran a suite and nothing else, at that site, on the model that
came with it. An attempt has one evidence: what came first. The same again is the same; anything
else is refused, and the audit keeps that it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, NotAllowed, Refused
from meyrin.domain.job import JobRequest
from meyrin.domain.units import show_moment
from meyrin.hub.evaluations import store, trust
from meyrin.hub.jobs import attempts, files
from meyrin.hub.jobs import service as jobs
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.wire.jobs import FileView

if TYPE_CHECKING:
    from meyrin.suites.verify import Verified

FILE = "evidence.zip"
CLOCKS_APART_MS = 300_000  # a site's clock may be this far from ours


def is_of_a_run(
    database: Database, site_id: str, attempt: str, evidence: Sequence[FileView]
) -> bool:
    """Whether an attempt of this site ran a suite and nothing else, so that its evidence, which
    the site has brought, is received."""
    from meyrin.suites import handed  # noqa: PLC0415 - jobs' results come often, evidence seldom

    with database.read() as step:
        row = attempts.one_of_site(step, site_id, attempt)
        files.check_brought(step, site_id, evidence)
        mine = attempts.by_id(step, row.id)
        return mine is not None and handed.is_run(_request(step, mine))


def countersigned(
    database: Database,
    blobs: Blobs,
    settings: HubSettings,
    by: str,
    raw: bytes,
    attempt: str = "",
) -> tuple[FileView, bytes]:
    """The attempt's evidence with a hub's receipt, kept; this hub's where it has none.

    Raises MeyrinError, naming what can't be answered for, and Conflict where the attempt has
    other evidence already.
    """
    from meyrin.suites import receipt  # noqa: PLC0415
    from meyrin.suites.verify import verify  # noqa: PLC0415

    secret = trust.hub_key(settings)
    with database.write() as step:
        known = trust.known(step)
        me = trust.publish(step, secret)
        now_ms = step.now_ms
    found = verify(raw, [*known, me], hub=False)
    if attempt and found.word.attempt != attempt:
        raise NotAllowed("it was signed for another attempt", hint="the site's agent signs anew")
    with database.read() as step:
        check(step, found, now_ms)
    if found.receipt is not None:  # by a hub that counts, or else it is no receipt
        found = verify(raw, [*known, me], hub=True)
    else:
        said = receipt.Receipt(
            me.name, now_ms, found.word.attempt, (receipt.SITE_KNOWN, receipt.JOB_KNOWN)
        )
        raw = receipt.countersign(raw, secret, said)
    kept = keep(database, blobs, by, raw)  # before it is noted: what is noted can be had
    first = _first(database, by, found.word.attempt, raw)
    if first != kept.sha256:
        raw = content(blobs, first)
        kept = keep(database, blobs, by, raw)
    return kept, raw


def _first(database: Database, by: str, attempt: str, raw: bytes) -> str:
    """Note this as the attempt's evidence; the bundle that is noted, which may be an earlier one
    of the same.

    Raises Conflict, and tells the audit, where what was noted is something else.
    """
    from meyrin.suites import bundle  # noqa: PLC0415

    draft = bundle.word_of(bundle.unzipped(raw)).handed_in
    digest = hashlib.sha256(raw).hexdigest()
    with database.write() as step:
        before = store.evidence_of(step, attempt)
        if before is None:
            row = {"attempt": attempt, "draft": draft, "bundle": digest, "by": by}
            if not step.add_new(store.evidence, [{**row, "received_ms": step.now_ms}]):
                raise Conflict("another hub receives it just now", hint="send it again")
            return digest
        if before.draft == draft:
            return str(before.bundle)
        audit.note(step, by, "evidence.conflict", attempt, kept=before.bundle, refused=digest)
    raise Conflict(
        f"attempt {attempt} has other evidence already, received at "
        f"{show_moment(before.received_ms // 1000)}",
        hint="what came first stays; run the suite again for a new attempt",
    )


def check(step: Step, found: Verified, now_ms: int) -> sa.Row[Any]:
    """The attempt that evidence names; NotAllowed unless it is ours and ran just this."""
    from meyrin.suites import handed  # noqa: PLC0415

    row = attempts.by_id(step, found.word.attempt) if found.word.attempt else None
    if row is None:
        raise NotAllowed(
            "no job of this hub is behind it",
            hint="run the suite as a job: `meyrin suite run` without --local",
        )
    handed.check(_request(step, row), found.facts, row.site)
    run = found.facts.run
    if run.started_ms < row.placed_ms - CLOCKS_APART_MS:
        raise NotAllowed("its facts say that it began before its job was placed")
    if run.ended_ms > now_ms + CLOCKS_APART_MS:
        raise NotAllowed("its facts say that it ends in the future", hint="mind the site's clock")
    return row


def refuse_own_suites(step: Step, contents: Sequence[bytes]) -> None:
    """Refused where a suite came with its job: it may say that it is any suite, and score as its
    bringer likes. A plan names suites that sites have installed."""
    from meyrin.suites import handed  # noqa: PLC0415
    from meyrin.suites.verify import verify  # noqa: PLC0415

    for raw in contents:
        found = verify(raw)
        row = attempts.by_id(step, found.word.attempt)
        if row is None or handed.brings_suite(_request(step, row)):
            raise Refused(
                f"suite {found.facts.run.suite} came with its job, so no gate decides on this run",
                hint="a site installs the suites that gates decide on",
            )


def _request(step: Step, row: sa.Row[Any]) -> JobRequest:
    return jobs.load_requests(step, [row.request_id])[row.request_id]


def keep(database: Database, blobs: Blobs, by: str, raw: bytes) -> FileView:
    """The bundle in the content store."""
    digest = hashlib.sha256(raw).hexdigest()
    files.upload(database, blobs, by, digest, 0, len(raw), raw)
    return FileView(name=FILE, sha256=digest, size=len(raw))


def content(blobs: Blobs, digest: str) -> bytes:
    """The bytes of a bundle; InvalidInput where they are too many."""
    from meyrin.suites.bundle import check_size  # noqa: PLC0415

    check_size(blobs.size(digest))
    return b"".join(blobs.read(digest))
