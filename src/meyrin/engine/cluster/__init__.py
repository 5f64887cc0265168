"""The model of a whole cluster: nodes, partitions, gangs, failures, classes, dependencies.

`facility` (or `pool`) and `jobs` make the arrays, `Rules` are numbers and switches, and `Cluster`
plays them through, event by event, in compiled code:

    place = facility(capacity, partitions)
    cluster = Cluster(Rules(backfill="slurm"), place, jobs(place, submit, asked, duration, limit))
    while not cluster.done:
        cluster.advance(10_000)

What the model does and leaves out, with its sources: docs/explanation/cluster-model.md. A pool
of processors under first come first served or plain backfill is faster in `engine.pool`.
"""

from meyrin.engine.cluster.kernel import Cluster
from meyrin.engine.cluster.model import NEVER, Facility, Jobs, facility, jobs, pool
from meyrin.engine.cluster.world import ENDED, LOST, PUT_OFF, RUNNING, STRANDED, WAITING

__all__ = [
    "ENDED",
    "LOST",
    "NEVER",
    "PUT_OFF",
    "RUNNING",
    "STRANDED",
    "WAITING",
    "Cluster",
    "Facility",
    "Jobs",
    "facility",
    "jobs",
    "pool",
]
