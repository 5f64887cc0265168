"""Usage records: what was measured, each once. Only ever added to."""

from __future__ import annotations

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, metadata

usage_records = sa.Table(
    "usage_records",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("site_id", sa.String, nullable=False),
    sa.Column("batch_job", sa.String, nullable=False),
    sa.Column("attempt", sa.String, nullable=False),
    # 0 for the first record of an attempt, then 1, 2, … for later, corrected ones
    sa.Column("version", sa.Integer, nullable=False),
    # which of its own words on this attempt the site meant: a later one has a higher number
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("elapsed_s", sa.BigInteger, nullable=False),
    sa.Column("used_s", sa.BigInteger, nullable=False),
    sa.Column("charged_type", sa.String, nullable=False),
    sa.Column("cpu_ms", sa.BigInteger),
    sa.Column("max_rss_kb", sa.BigInteger),
    # as the site's accounting has it; null where it keeps none
    sa.Column("energy_j", sa.BigInteger),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("site_id", "batch_job", "attempt", "version"),
    sa.Index("ix_usage_records_attempt", "attempt"),
)
