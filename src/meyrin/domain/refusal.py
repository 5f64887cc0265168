"""A refusal: a reasoned no, as a value. `meyrin.engine.explain` gives each reason its words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a job can't be, or isn't yet, placed. The order is the order of the checks."""

    # at this partition, never with this request
    SITE_NOT_ASKED = "site_not_asked"
    PARTITION_NOT_ASKED = "partition_not_asked"
    SITE_SAID_NO = "site_said_no"
    PROJECT_NOT_ALLOWED = "project_not_allowed"
    ACCELERATOR_TYPE = "accelerator_type"
    ACCELERATORS_PER_NODE = "accelerators_per_node"
    CORES_PER_NODE = "cores_per_node"
    MEMORY_PER_NODE = "memory_per_node"
    NODE_COUNT = "node_count"
    ACCELERATOR_COUNT = "accelerator_count"
    FEATURE = "feature"
    WALLTIME = "walltime"
    NO_WALLTIME = "no_walltime"
    NO_OFFER = "no_offer"
    NO_ALLOCATION = "no_allocation"
    ALLOCATION_ENDED = "allocation_ended"
    ALLOCATION_PAUSED = "allocation_paused"
    TRANCHE_WAITS = "tranche_waits"
    BALANCE = "balance"
    # at this partition, not now
    SITE_SILENT = "site_silent"
    SITE_DRAINED = "site_drained"
    BALANCE_HELD = "balance_held"
    BUSY = "busy"
    OTHERS = "others"
    PAID_BEHIND = "paid_behind"
    ARRAY_LIMIT = "array_limit"
    # before any partition is looked at
    HELD = "held"
    BEGIN = "begin"
    DEPENDENCY = "dependency"


# these can pass without the request being changed
PASSING = frozenset(
    {
        Reason.SITE_SILENT,
        Reason.SITE_DRAINED,
        Reason.BALANCE_HELD,
        Reason.BUSY,
        Reason.OTHERS,
        Reason.PAID_BEHIND,
        Reason.ARRAY_LIMIT,
        Reason.HELD,
        Reason.BEGIN,
        Reason.DEPENDENCY,
    }
)


NEVER_MET = "can never be met"  # the `limit` of a dependency on a job that ended otherwise


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason, where it applies, and the two numbers or words that clash.

    `site` and `partition` are empty where the reason is not about a place. `asked` and `limit`
    are what was wanted and what there is, in the unit that the reason implies.
    """

    reason: Reason
    site: str = ""
    partition: str = ""
    asked: int | str | None = None
    limit: int | str | None = None

    @property
    def passing(self) -> bool:
        """Whether waiting may help."""
        return self.reason in PASSING
