"""Which partitions take less than they have just now: closed by an operator, or nodes that are out.

What passes in seconds (a node that does not respond, one that is powered down until it is needed)
is no word here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from meyrin.agent.slurm import ask
from meyrin.agent.slurm.ask import Place, flags_of
from meyrin.agent.slurm.transport import ClusterFacts, NodeFacts, PartitionFacts
from meyrin.domain.units import show_count
from meyrin.wire.sites import Shortage

# what a node is in Slurm's words, and in ours: the first that is said counts
_OUT = {
    "DRAIN": "drained", "DRAINED": "drained", "DRAINING": "drained", "DOWN": "down",
    "FAIL": "failing", "FAILING": "failing", "ERROR": "failing", "INVALID_REG": "not as configured",
}  # fmt: skip
_BUSY = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})
_WHO = re.compile(r"\s*\[[^\]]*@[^\]]*\]$")  # `new cooling [root@2026-11-30T12:00:00]`
_LONGEST, _MOST = 300, 3


def shortages(places: Mapping[str, Place], facts: ClusterFacts) -> tuple[Shortage, ...]:
    """Of our partitions those that take less, in Slurm's own words."""
    parts = {part.name: part for part in facts.partitions}
    found = []
    for name, place in places.items():
        part = parts.get(place.slurm)
        why = "" if part is None else shut(part, place.reservation, facts.user)
        if why:
            found.append(Shortage(partition=name, usable_nodes=0, why=why))
            continue
        nodes = ask.nodes_of(place, facts)
        out = {node.name: word for node in nodes if (word := _out(node))}
        usable = min(place.partition.nodes, taking(nodes) if len(out) < len(nodes) else 0)
        if out and usable < place.partition.nodes:
            why = _in_words(nodes, out)
            found.append(Shortage(partition=name, usable_nodes=usable, why=why))
    return tuple(found)


def shut(part: PartitionFacts, reservation: str | None, user: str) -> str:
    """Why Slurm lets no job of ours in there, whatever its nodes are; empty: it does."""
    state = part.state.upper()
    if state not in ("", "UP"):
        return f"{part.name} is {state}"
    if part.root_only and user != "root":
        return f"{part.name} takes jobs of root alone (RootOnly)"
    if part.needs_reservation and not reservation:
        return f"{part.name} takes jobs in a reservation alone (ReqResv)"
    return ""


def taking(nodes: Sequence[NodeFacts]) -> int:
    """How many are not out. Of those that are, who still runs something is taken by it, and gives
    nothing to others."""
    return sum(not _out(node) or _runs(node) for node in nodes)


def _out(node: NodeFacts) -> str:
    said = flags_of(node)
    return next((word for flag, word in _OUT.items() if flag in said), "")


def _runs(node: NodeFacts) -> bool:
    said = flags_of(node)
    return "DOWN" not in said and not said.isdisjoint(_BUSY)


def _in_words(nodes: list[NodeFacts], out: Mapping[str, str]) -> str:
    counts = Counter(out.values())
    if len(out) == len(nodes) and len(counts) == 1:
        said = f"all its nodes are {next(iter(counts))}"
    else:
        kinds = ", ".join(f"{count} {word}" for word, count in counts.items())
        said = f"of its {show_count(len(nodes), 'node')} {kinds}"
    reasons = _reasons(node.reason for node in nodes if node.name in out)
    return f"{said}: {reasons}" if reasons else said


def _reasons(said: Iterable[str]) -> str:
    plain = (" ".join(_WHO.sub("", each).split()) for each in said)
    known = list(dict.fromkeys(each for each in plain if each))
    more = " and others" if len(known) > _MOST else ""
    return "; ".join(known[:_MOST])[:_LONGEST] + more
