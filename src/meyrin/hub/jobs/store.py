"""Tables of requests, jobs, attempts and their events."""

from __future__ import annotations

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, Json, metadata

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("person_id", sa.String, sa.ForeignKey("people.id"), nullable=False),
    sa.Column("project_id", sa.String, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("idempotency_key", sa.String, nullable=False),
    sa.Column("body_sha256", sa.String, nullable=False),
    sa.Column("script_sha256", sa.String, sa.ForeignKey("scripts.sha256"), nullable=False),
    # what the request says other than by default, but for its script
    sa.Column("spec", Json, nullable=False),
    sa.Column("first_job", sa.BigInteger),
    sa.Column("elements", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("person_id", "idempotency_key"),
)

scripts = sa.Table(
    "scripts",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("request_id", BigId, sa.ForeignKey("requests.id"), nullable=False),
    sa.Column("project_id", sa.String, nullable=False),
    sa.Column("person_id", sa.String, nullable=False),
    # the number of the array's first job, or the job's own: what a dependency points at
    sa.Column("family", sa.BigInteger, nullable=False),
    sa.Column("task", sa.Integer),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("site_word", sa.String),
    sa.Column("reason", sa.String, nullable=False, server_default=""),
    sa.Column("nice", sa.Integer, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("begin_s", sa.BigInteger),
    sa.Column("deadline_s", sa.BigInteger),
    sa.Column("walltime_s", sa.BigInteger),
    sa.Column("submit_ms", sa.BigInteger, nullable=False),
    sa.Column("start_ms", sa.BigInteger),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("attempt", sa.String),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("site", sa.String),
    sa.Column("partition", sa.String),
    # sites whose own rule said no to this job, and under which rules (`sites/refusals.py`)
    sa.Column("refused_by", sa.String, nullable=False, server_default=""),
    sa.Column("exit_code", sa.Integer),
    sa.Column("signal", sa.Integer),
    sa.Index(
        "ix_jobs_waiting",
        "nice",
        "id",
        sqlite_where=sa.text("state IN ('submitted', 'admitted')"),
        postgresql_where=sa.text("state IN ('submitted', 'admitted')"),
    ),
    sa.Index("ix_jobs_project", "project_id", "id"),
    sa.Index("ix_jobs_family", "family", "task"),
)

dependencies = sa.Table(
    "dependencies",
    metadata,
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("on_family", sa.BigInteger),
    sa.Column("on_task", sa.Integer),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    # placed, leased, queued, running, preempted or ended; `refused` ends one that a site refused
    sa.Column("state", sa.String, nullable=False),
    sa.Column("site_id", sa.String, sa.ForeignKey("sites.id"), nullable=False),
    sa.Column("site", sa.String, nullable=False),
    sa.Column("partition", sa.String, nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("cores", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.BigInteger, nullable=False),
    sa.Column("accelerators", sa.Integer, nullable=False),
    sa.Column("tasks", sa.Integer, nullable=False),
    sa.Column("walltime_s", sa.BigInteger, nullable=False),
    sa.Column("charged_type", sa.String, nullable=False),
    sa.Column("allocation_id", sa.String, nullable=False),
    sa.Column("offer_id", sa.String, nullable=False),
    sa.Column("hold_s", sa.BigInteger, nullable=False),
    # accelerators charged per second, as an exact fraction
    sa.Column("rate_num", sa.BigInteger, nullable=False),
    sa.Column("rate_den", sa.BigInteger, nullable=False),
    sa.Column("expected_start_s", sa.BigInteger, nullable=False),
    sa.Column("others", Json, nullable=False),
    sa.Column("placed_ms", sa.BigInteger, nullable=False),
    sa.Column("leased_ms", sa.BigInteger),
    sa.Column("cancel_ms", sa.BigInteger),
    sa.Column("cancel_sent_ms", sa.BigInteger),
    sa.Column("start_ms", sa.BigInteger),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("batch_job", sa.String),
    # how often it went back to its site's queue after it had run
    sa.Column("run", sa.Integer, nullable=False, server_default="0"),
    sa.Column("end", sa.String),
    sa.Column("why", sa.String, nullable=False, server_default=""),
    # results of the job: none, pending, complete, or words that say why they are not
    sa.Column("results", sa.String, nullable=False, server_default="none"),
    sa.Index(
        "ix_attempts_live",
        "site_id",
        "state",
        sqlite_where=sa.text("state NOT IN ('ended', 'refused')"),
        postgresql_where=sa.text("state NOT IN ('ended', 'refused')"),
    ),
)

# only ever added to
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("job_id", BigId, nullable=False),
    sa.Column("attempt", sa.String),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.String, nullable=False, server_default=""),
    sa.Index("ix_events_job", "job_id", "id"),
)

streams = sa.Table(
    "streams",
    metadata,
    sa.Column("attempt", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    # more was printed than is kept
    sa.Column("cut", sa.Boolean, nullable=False, server_default=sa.false()),
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("attempt", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("attempt", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Index("ix_files_sha256", "sha256"),
)

# what the content store holds: see `jobs/keeping.py`
kept_files = sa.Table(
    "kept_files",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    # when somebody last brought it
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    # when to look whether anything refers to it
    sa.Column("look_ms", sa.BigInteger, nullable=False),
    # since when it is being taken away; null while it stays
    sa.Column("going_ms", sa.BigInteger),
    sa.Index("ix_kept_files_look_ms", "look_ms"),
    sa.Index(
        "ix_kept_files_going_ms",
        "going_ms",
        sqlite_where=sa.text("going_ms IS NOT NULL"),
        postgresql_where=sa.text("going_ms IS NOT NULL"),
    ),
)

# who has shown to have the bytes; a digest alone opens nothing
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("by", sa.String, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

# room that a person claimed with a file's first piece: see `jobs/brought.py`
upload_claims = sa.Table(
    "upload_claims",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("by", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_upload_claims_by", "by", "at_ms"),
)

# said in the words of the partial indexes, so that both databases use them
IS_WAITING = sa.text("jobs.state IN ('submitted', 'admitted')")
IS_LIVE = sa.text("attempts.state NOT IN ('ended', 'refused')")
