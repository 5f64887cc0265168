"""Tables and queries of gates. Plans, runs and decisions are only ever added.

What was spent of a gate's level follows from the decisions and is kept nowhere else. Two
decisions at the same moment would take the same `turn`, and one of them is refused.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, Json, Step, metadata
from meyrin.hub.plumbing.only_added import guard
from meyrin.hub.plumbing.paging import page

_ONLY_ADDED = {
    "gate_plans": "id = NEW.id OR (project_id = NEW.project_id AND digest = NEW.digest)",
    "gate_runs": "id = NEW.id OR (project_id = NEW.project_id AND digest = NEW.digest)",
    "gate_decisions": "id = NEW.id OR (project_id = NEW.project_id AND asked = NEW.asked)",
}

_EVIDENCE = {"evidence": "attempt = NEW.attempt"}

# whose signatures of evidence count, as which site's or hub's
gate_keys = sa.Table(
    "gate_keys",
    metadata,
    sa.Column("public", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    # replaced: what came before still counts
    sa.Column("ended_ms", sa.BigInteger),
    # in wrong hands: nothing that it signed counts
    sa.Column("revoked_ms", sa.BigInteger),
)

# what was received of an attempt: the first, and no other
evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("attempt", sa.String(64), primary_key=True),
    # of all that the job handed in, whoever signed it when
    sa.Column("draft", sa.String(64), nullable=False),
    # as it was countersigned
    sa.Column("bundle", sa.String(64), nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Index("ix_evidence_bundle", "bundle"),
)

gate_plans = sa.Table(
    "gate_plans",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("gate", sa.String(100), nullable=False),
    sa.Column("family", sa.String(100), nullable=False),
    sa.Column("registered_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    # plan and signatures, as they were sent
    sa.Column("signed", Json, nullable=False),
    sa.Index("uq_gate_plans_project_id", "project_id", "digest", unique=True),
)

gate_runs = sa.Table(
    "gate_runs",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    # of what the run says of itself and of its samples' root
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("bundle", sa.String(64), nullable=False),
    sa.Column("family", sa.String(100), nullable=False),
    sa.Column("root", sa.String(64), nullable=False),
    sa.Column("weights", sa.String(200), nullable=False),
    sa.Column("suite", sa.String(200), nullable=False),
    sa.Column("plan", sa.String(64)),
    sa.Column("registered_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Column("run", Json, nullable=False),
    # a row for each score, with its interval
    sa.Column("scores", Json, nullable=False),
    sa.Column("signers", Json, nullable=False),
    sa.Index("uq_gate_runs_project_id", "project_id", "digest", unique=True),
    sa.Index("ix_gate_runs_family", "project_id", "family", "id"),
    sa.Index("ix_gate_runs_bundle", "bundle"),
)

gate_decisions = sa.Table(
    "gate_decisions",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    # what was asked, plan and runs: the same question has one answer
    sa.Column("asked", sa.String(64), nullable=False),
    sa.Column("gate", sa.String(100), nullable=False),
    sa.Column("family", sa.String(100), nullable=False),
    sa.Column("plan", sa.String(64), nullable=False),
    # the try's number where it spends, null where it spends nothing
    sa.Column("turn", sa.Integer),
    sa.Column("spent_ppm", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(32), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("decided_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Column("runs", Json, nullable=False),
    sa.Column("decision", Json, nullable=False),
    sa.Index("uq_gate_decisions_asked", "project_id", "asked", unique=True),
    sa.Index("uq_gate_decisions_turn", "project_id", "gate", "family", "turn", unique=True),
    sa.Index("ix_gate_decisions_family", "project_id", "family", "id"),
)


def install_guards(connection: sa.Connection) -> None:
    """Make the database refuse to change what was decided, and on what. Safe to run again."""
    guard(connection, _ONLY_ADDED)


@sa.event.listens_for(metadata, "after_create")
def _guard_new_tables(_target: Any, connection: sa.Connection, **options: Any) -> None:
    created = {table.name for table in options.get("tables") or ()}
    if created.issuperset(_ONLY_ADDED):
        install_guards(connection)
    if created.issuperset(_EVIDENCE):
        guard(connection, _EVIDENCE)


def is_evidence(digest: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether this bundle was received, or a run stands on it."""
    return sa.or_(
        sa.exists(sa.select(evidence.c.bundle).where(evidence.c.bundle == digest)),
        sa.exists(sa.select(gate_runs.c.bundle).where(gate_runs.c.bundle == digest)),
    )


def evidence_of(step: Step, attempt: str) -> sa.Row[Any] | None:
    return step.one(sa.select(evidence).where(evidence.c.attempt == attempt))


def keys_known(step: Step) -> list[sa.Row[Any]]:
    return step.rows(sa.select(gate_keys).order_by(gate_keys.c.public))


def keys_page(step: Step, after: str, limit: int) -> list[sa.Row[Any]]:
    return step.rows(page(sa.select(gate_keys), gate_keys.c.public, after, limit, newest=False))


def found(
    step: Step, table: sa.Table, project_id: str, digest: str, key: str = "digest"
) -> sa.Row[Any] | None:
    return step.one(
        sa.select(table).where(table.c.project_id == project_id, table.c[key] == digest)
    )


def beginning(step: Step, table: sa.Table, project_id: str, digest: str) -> list[sa.Row[Any]]:
    """Up to two whose digest begins so."""
    begins = table.c.digest.startswith(digest)
    return step.rows(sa.select(table).where(table.c.project_id == project_id, begins).limit(2))


def runs_of(step: Step, project_id: str, digests: list[str]) -> list[sa.Row[Any]]:
    r = gate_runs.c
    wanted = sa.select(gate_runs).where(r.project_id == project_id)
    return step.rows(wanted.where(step.among(r.digest, digests)).order_by(r.id))


def listed(
    step: Step,
    table: sa.Table,
    project_ids: list[str] | None,
    family: str,
    after: int | None,
    limit: int,
) -> list[sa.Row[Any]]:
    """One page and one row, newest first; None lists every project's."""
    wanted = sa.select(table)
    if project_ids is not None:
        wanted = wanted.where(table.c.project_id.in_(project_ids))
    if family:
        wanted = wanted.where(table.c.family == family)
    return step.rows(page(wanted, table.c.id, after, limit, newest=True))


def spent(step: Step, project_id: str, gate: str, family: str) -> tuple[int, int]:
    """How many tries have spent how much of the level, in millionths."""
    d = gate_decisions.c
    row = step.one(
        sa.select(
            sa.func.count().label("tries"),
            sa.func.coalesce(sa.func.sum(d.spent_ppm), 0).label("ppm"),
        ).where(d.project_id == project_id, d.gate == gate, d.family == family)
        .where(d.turn.is_not(None))
    )  # fmt: skip
    assert row is not None, "an aggregate has one row"
    return int(row.tries), int(row.ppm)
