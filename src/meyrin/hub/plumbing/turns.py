"""Whose turn it is: of equal hubs, one at a time runs a periodic step.

A turn is a claim with a holder and an end; it saves work and is no lock. Two hubs that both
believe it is their turn (a clock jumped) still write correctly, because every write is guarded;
`alone` keeps them from waiting for each other.
"""

from __future__ import annotations

import zlib

import sqlalchemy as sa

from meyrin.hub.plumbing.database import Step, metadata

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)


_ALONE = 0x4D594E5455524E00  # beside the audit's and the migrations' locks


def alone(step: Step, name: str) -> None:
    """Wait until no other transaction, of any hub, is in a step of this name; for as long as this
    one lasts. Steps that take rows in an order of their own can't wait for each other so.
    SQLite has one writer at a time anyway."""
    if step.conn.dialect.name == "postgresql":
        key = _ALONE ^ zlib.crc32(name.encode())
        step.conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def take(step: Step, name: str, holder: str, length_ms: int) -> bool:
    """Take or keep the turn until `length_ms` from now; False while another holder has it."""
    step.add_new(turns, [{"name": name, "holder": "", "until_ms": 0}])
    free = sa.or_(turns.c.holder == holder, turns.c.until_ms < step.now_ms)
    # a claim further ahead than any claim can be was written by a clock that ran ahead
    free = sa.or_(free, turns.c.until_ms > step.now_ms + 10 * length_ms)
    changed = step.change(
        sa.update(turns)
        .where(turns.c.name == name, free)
        .values(holder=holder, until_ms=step.now_ms + length_ms)
    )
    return changed == 1
