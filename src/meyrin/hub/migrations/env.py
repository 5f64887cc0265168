"""Run by Alembic for every command; works on the connection that `migrate` hands over."""

from alembic import context

import meyrin.hub.broker.store
import meyrin.hub.calls.store
import meyrin.hub.evaluations.store
import meyrin.hub.identity.store
import meyrin.hub.jobs.store
import meyrin.hub.ledger.store
import meyrin.hub.plumbing.turns
import meyrin.hub.plumbing.world
import meyrin.hub.sites.store
import meyrin.hub.usage.store  # noqa: F401 - each declares its tables
from meyrin.hub.plumbing.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
