"""Integer units and exact conversion by partition.

Capacity and charges are integers of *accelerator-seconds* of a named accelerator type. A
partition without accelerators charges *core-seconds* of the type `core`. Core-, node- and
accelerator-hours convert exactly by the shape of a partition's node:

    40,000 core-h = 1,250 node-h = 5,000 accelerator-h   on a node of 32 cores and 4 accelerators
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction

from meyrin.domain.errors import InvalidInput

HOUR_S = 3600
# the end of the year 9998: a later moment, or the month after it, can be written nowhere
LAST_S = 253_370_764_799
CORE = "core"  # the charged type of a partition that has no accelerators


class Unit(StrEnum):
    """What an amount of time is counted in; `_s` and `_h` decide seconds or hours."""

    CORE = "core"
    NODE = "node"
    ACCELERATOR = "accelerator"


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What one node has, or what a job asks of one node. `memory_mb` in MiB, as Slurm's -m."""

    cores: int
    memory_mb: int
    accelerators: int = 0

    def fits_in(self, other: NodeShape) -> bool:
        return (
            self.cores <= other.cores
            and self.memory_mb <= other.memory_mb
            and self.accelerators <= other.accelerators
        )


def per_node(unit: Unit, node: NodeShape) -> int:
    """How many of `unit` one node counts for. A node without accelerators charges its cores."""
    if unit is Unit.NODE:
        return 1
    if unit is Unit.CORE:
        return node.cores
    return node.accelerators or node.cores


def convert(amount: int, source: Unit, target: Unit, node: NodeShape) -> int:
    """`amount` of `source` (seconds or hours alike) as `target`, exactly, for such nodes.

    Raises InvalidInput when the result is no whole number: nothing is rounded here.
    """
    exact = Fraction(amount * per_node(target, node), per_node(source, node))
    if exact.denominator != 1:
        raise InvalidInput(
            f"{amount} {source} time is no whole number of {target} time on nodes of "
            f"{node.cores} cores and {node.accelerators} accelerators",
            hint="convert seconds instead of hours, or choose a multiple",
            amount=amount,
        )
    return exact.numerator


def charged_per_second(asked: NodeShape, nodes: int, node: NodeShape, whole_node: bool) -> Fraction:
    """Accelerators (or cores) that a job of `nodes` nodes of shape `asked` occupies.

    The largest of its shares of a node in cores, memory and accelerators counts (Slurm's
    MAX_TRES rule, slurm.conf(5) PriorityFlags): who takes 16 of 32 cores beside 1 of 4
    accelerators leaves only half a node, so it is 2 accelerators. A whole-node partition
    counts whole nodes.
    """
    unit = per_node(Unit.ACCELERATOR, node)
    if whole_node:
        return Fraction(nodes * unit)
    share = max(
        Fraction(asked.cores, node.cores),
        Fraction(asked.memory_mb, node.memory_mb),
        Fraction(asked.accelerators, node.accelerators) if node.accelerators else Fraction(0),
    )
    return nodes * unit * share


def charge_s(rate: Fraction, elapsed_s: int) -> int:
    """Accelerator-seconds for `elapsed_s` at `rate`; a begun accelerator-second counts."""
    return -((-rate.numerator * elapsed_s) // rate.denominator)


_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_memory_mb(text: str) -> int:
    """Slurm's memory sizes in MiB: a bare number is MiB; K, M, G, T are powers of 1024; up."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InvalidInput(
            f"{text!r} is no memory size", hint="write a number with K, M, G or T, such as 16G"
        )
    factor = {
        "K": Fraction(1, 1024),
        "": Fraction(1),
        "M": Fraction(1),
        "G": Fraction(1024),
        "T": Fraction(1024**2),
    }[match[2].upper()]
    exact = Fraction(match[1]) * factor
    return -(-exact.numerator // exact.denominator)


_WALLTIME = re.compile(r"(?:([0-9]{1,10})-)?([0-9]{1,10})(?::([0-9]{1,10}))?(?::([0-9]{1,10}))?")


def parse_walltime_s(text: str) -> int | None:
    """Slurm's time formats (sbatch(1), --time) in seconds; None for UNLIMITED.

    `30` is minutes; `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.
    """
    word = text.strip()
    if word.lower() in {"unlimited", "infinite", "-1"}:
        return None
    match = _WALLTIME.fullmatch(word)
    if not match:
        raise InvalidInput(
            f"{text!r} is no wall time",
            hint="write minutes, MM:SS, HH:MM:SS or D-HH:MM:SS, such as 02:30:00",
        )
    days, first, second, third = match.groups()
    if days is not None:
        return int(days) * 86400 + int(first) * 3600 + int(second or 0) * 60 + int(third or 0)
    if third is not None:
        return int(first) * 3600 + int(second) * 60 + int(third)
    if second is not None:
        return int(first) * 60 + int(second)
    return int(first) * 60


def show_duration(seconds: int) -> str:
    """`90061` as `1-01:01:01`, the way that Slurm writes it."""
    sign = "-" if seconds < 0 else ""
    days, rest = divmod(abs(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{sign}{days}-{clock}" if days else sign + clock


def show_moment(at_s: int | None) -> str:
    """`2027-03-01 00:00:00 UTC`, `any time`; a number that no calendar has stays a number."""
    if at_s is None:
        return "any time"
    if 0 <= at_s <= LAST_S:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{at_s} s since 1970"


def show_count(count: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def show_energy(energy_j: int) -> str:
    """`5,400,000 J (1.500 kWh)`: joules as they were recorded, and what people are billed in."""
    return f"{energy_j:,} J ({energy_j / 3_600_000:,.3f} kWh)"


def show_hours(seconds: int) -> str:
    """Accelerator-seconds as hours with three decimals, or four where three show nothing; exact
    seconds stay in the data."""
    return f"{seconds / HOUR_S:,.{4 if abs(seconds) == 1 else 3}f}"
