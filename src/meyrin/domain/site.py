"""What a site has and lends: site ⊃ cluster ⊃ partition ⊃ node ⊃ accelerator, and the offer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import CORE, NodeShape, charged_per_second

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
# of what a partition's nodes have, in words of the site's own: more than any site has
MOST_FEATURES = 1000
LONGEST_FEATURE = 100
_FORBID = {"extra": "forbid"}
_LIMITS = (
    "max_walltime_s",
    "default_walltime_s",
    "max_nodes_per_job",
    "default_memory_mb_per_core",
)


def check_name(noun: str, name: str) -> None:
    """Sites, partitions, owners and projects have short lower-case names; else InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{noun} can't be called {name!r}",
            hint="lower-case letters, digits, '-', '_' and '.', at most 63, no sign at first",
            field=noun,
            value=name,
        )


@dataclass(frozen=True, slots=True)
class Partition:
    """Equal nodes under one set of limits, as the site's agent announces them."""

    __pydantic_config__: ClassVar = _FORBID

    name: str
    nodes: int
    cores_per_node: int
    memory_mb_per_node: int
    accelerators_per_node: int = 0
    accelerator_type: str | None = None
    max_walltime_s: int | None = None
    default_walltime_s: int | None = None
    max_nodes_per_job: int | None = None
    default_memory_mb_per_core: int | None = None
    whole_node: bool = False
    features: tuple[str, ...] = ()
    max_accelerators_per_job: int | None = None

    def __post_init__(self) -> None:
        check_name("partition", self.name)
        for name in ("nodes", "cores_per_node", "memory_mb_per_node"):
            if getattr(self, name) < 1:
                raise InvalidInput(
                    f"partition {self.name}: {name} is {getattr(self, name)}",
                    hint="write 1 or more",
                    field=name,
                )
        for name in _LIMITS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(
                    f"partition {self.name}: {name} is {value}",
                    hint="write 1 or more, or leave it out",
                    field=name,
                )
        most = self.max_accelerators_per_job
        if most is not None and most < 0:
            raise InvalidInput(
                f"partition {self.name}: max_accelerators_per_job is {most}",
                hint="write 0 or more, or leave it out",
                field="max_accelerators_per_job",
            )
        if self.accelerators_per_node < 0 or (self.accelerators_per_node > 0) != (
            self.accelerator_type is not None
        ):
            raise InvalidInput(
                f"partition {self.name}: accelerators_per_node is {self.accelerators_per_node} "
                f"but accelerator_type is {self.accelerator_type!r}",
                hint="give both or neither",
                field="accelerator_type",
            )

    @property
    def node(self) -> NodeShape:
        return NodeShape(self.cores_per_node, self.memory_mb_per_node, self.accelerators_per_node)

    @property
    def charged_type(self) -> str:
        """The type whose seconds are charged here: the accelerator's, or `core`."""
        return self.accelerator_type or CORE

    def charge_rate(self, asked: NodeShape, nodes: int) -> Fraction:
        """Accelerators (or cores) charged per second for `nodes` nodes of shape `asked`."""
        return charged_per_second(asked, nodes, self.node, self.whole_node)


@dataclass(frozen=True, slots=True)
class OwnerShare:
    """Who paid for which part of an offer; the weights of an offer are relative integers."""

    __pydantic_config__: ClassVar = _FORBID

    owner: str
    weight: int
