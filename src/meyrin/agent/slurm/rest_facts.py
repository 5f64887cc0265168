"""What slurmrestd says of a cluster, as facts: partitions, nodes, accounts, QoS, who answers.

Old versions spell a field flat (`max_time_limit`), new ones nested (`maximums/time`): each field
here names every place where it has stood.
"""

from __future__ import annotations

from typing import Any

from meyrin.agent.slurm import rest_values as v
from meyrin.agent.slurm import words
from meyrin.agent.slurm.transport import (
    AssociationFacts,
    ClusterFacts,
    NodeFacts,
    PartitionFacts,
    QosFacts,
)

_STATES: dict[int | None, str] = {0: "INACTIVE", 1: "DOWN", 2: "DRAIN", 3: "UP"}


def cluster(
    user: str,
    ping: dict[str, Any],
    partitions: dict[str, Any],
    nodes: dict[str, Any],
    associations: dict[str, Any] | None = None,
    qos: dict[str, Any] | None = None,
) -> ClusterFacts:
    """All of it. Without `associations` the site has no accounting."""
    found = nodes.get("nodes") or []
    members = _members(partitions.get("partitions") or [])
    named = {str(each.get("id")): str(each.get("name")) for each in _qos(qos)}
    return ClusterFacts(
        version=v.text(_first(ping, "meta/slurm/release", "meta/Slurm/release")),
        cluster=_cluster_name(ping, associations),
        user=user,
        partitions=tuple(_partition(each) for each in partitions.get("partitions") or []),
        nodes=tuple(_node(each, members) for each in found),
        associations=tuple(
            _association(each, named)
            for each in (associations or {}).get("associations") or []
            if each.get("user") == user
        ),
        qos=tuple(_one_qos(each) for each in _qos(qos)),
        accounting=associations is not None,
    )


def answers(ping: dict[str, Any]) -> bool:
    """Whether any controller is up; from v0.0.45 on that is no word any more."""
    return any(
        each.get("responding") is True
        or v.text(each.get("ping", each.get("pinged"))).upper() == "UP"
        for each in ping.get("pings") or ()
        if isinstance(each, dict)
    )


def _first(body: Any, *paths: str) -> Any:
    return next((found for path in paths if (found := v.at(body, path)) is not None), None)


def _cluster_name(ping: dict[str, Any], associations: dict[str, Any] | None) -> str:
    """New versions say it with every answer; old ones only of associations."""
    said = v.text(_first(ping, "meta/slurm/cluster", "meta/Slurm/cluster"))
    if said:
        return said
    every = (associations or {}).get("associations") or [{}]
    return v.text(every[0].get("cluster"))


def _partition(one: dict[str, Any]) -> PartitionFacts:
    flags = [str(each).upper() for each in one.get("flags") or ()]
    exclusive = v.text(v.at(one, "partition/exclusive"))  # from v0.0.45 on
    shared = v.number(v.at(one, "maximums/shares"))
    walltime_s, memory_mb = _defaults(one)
    return PartitionFacts(
        name=v.text(one.get("name")),
        state=_state(one),
        default="DEFAULT" in flags,
        nodes=v.number(_first(one, "nodes/total", "total_nodes")),
        max_walltime_s=v.minutes_as_s(_first(one, "maximums/time", "max_time_limit")),
        default_walltime_s=walltime_s,
        max_nodes_per_job=v.number(_first(one, "maximums/nodes", "maximum_nodes_per_job")),
        default_memory_mb_per_core=memory_mb or None,
        whole_node=exclusive == "NODE" if exclusive else shared == 0,
        allow_accounts=v.listed(_first(one, "accounts/allowed", "allowed_accounts")),
        deny_accounts=v.listed(_first(one, "accounts/deny", "denied_accounts")),
        allow_qos=v.listed(_first(one, "qos/allowed", "allowed_qos")),
        qos=_qos_of_partition(one),
        root_only="ROOT_ONLY" in flags,  # versions without flags do not say it
        needs_reservation="RESERVATION_REQUIRED" in flags,
    )


def _state(one: dict[str, Any]) -> str:
    """v0.0.36 gives the bits of the state, under a name that is not theirs; v0.0.39 nothing."""
    said = v.flags(_first(one, "partition/state", "state"))
    bits = v.number(one.get("nodes_online"))
    return said or _STATES.get(bits, "")


def _defaults(one: dict[str, Any]) -> tuple[int | None, int | None]:
    """(wall time in s, MB for each core). v0.0.36 and v0.0.37 say the memory in place of the time.
    They and v0.0.39 give Slurm's own number of it: with its topmost bit it is for each core, else
    for each node."""
    walltime_s = v.minutes_as_s(_first(one, "defaults/time", "default_time_limit"))
    if "default_memory_per_node" in one:  # v0.0.38
        return walltime_s, v.number(one.get("default_memory_per_cpu"))
    plain = v.at(one, "defaults/partition_memory_per_cpu")
    own = _first(one, "defaults/memory_per_cpu", "default_memory_per_cpu")
    if plain is None and isinstance(own, int):
        plain = own % 2**64 - 2**63
    return walltime_s if "defaults" in one else None, v.number(plain)


def _qos_of_partition(one: dict[str, Any]) -> str | None:
    assigned = one.get("qos")
    return v.text(assigned.get("assigned") if isinstance(assigned, dict) else assigned) or None


def _members(partitions: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Per node its partitions, for v0.0.36 and v0.0.37, whose nodes do not say them."""
    found: dict[str, list[str]] = {}
    for one in partitions:
        names = one.get("nodes")
        for node in words.expand(v.text(names if isinstance(names, str) else "")):
            found.setdefault(node, []).append(v.text(one.get("name")))
    return found


def _node(one: dict[str, Any], members: dict[str, list[str]]) -> NodeFacts:
    state = v.flags(one.get("state"))
    more = v.flags(one.get("state_flags"))
    # without what Slurm keeps for itself; v0.0.36 to v0.0.39 say so of the cores in `tres` alone,
    # v0.0.36 to v0.0.38 not at all of the memory
    kept_mb = v.number(one.get("specialized_memory")) or 0
    usable = v.number(one.get("effective_cpus"))
    usable = usable or words.number(words.tres(v.text(one.get("tres"))).get("cpu", ""))
    return NodeFacts(
        name=v.text(one.get("name")),
        state=f"{state}+{more}" if more else state,
        cores=usable or v.number(one.get("cpus")) or 0,
        memory_mb=max(0, (v.number(one.get("real_memory")) or 0) - kept_mb),
        gres=words.gres(v.text(one.get("gres"))),
        features=v.listed(one.get("features")),
        partitions=v.listed(one.get("partitions")) or tuple(members.get(str(one.get("name")), ())),
        address=v.text(one.get("address")),
        reason=v.text(one.get("reason")),
    )


def _association(one: dict[str, Any], qos: dict[str, str]) -> AssociationFacts:
    default = v.text(v.at(one, "default/qos"))
    return AssociationFacts(
        account=v.text(one.get("account")),
        partition=v.text(one.get("partition")),
        # v0.0.36 gives numbers of QoS
        qos=tuple(qos.get(each, each) for each in v.listed(one.get("qos"))),
        default_qos=qos.get(default, default) or None,
        max_jobs=v.number(v.at(one, "max/jobs/active")),
        max_submit_jobs=v.number(v.at(one, "max/jobs/total")),
        max_walltime_s=v.minutes_as_s(v.at(one, "max/jobs/per/wall_clock")),
        max_tres=v.tres(v.at(one, "max/tres/per/job")),
        max_tres_minutes=v.tres(v.at(one, "max/tres/minutes/per/job")),
    )


def _qos(body: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Old versions write the key in capitals."""
    found = (body or {}).get("qos") or (body or {}).get("QOS") or []
    return [each for each in found if isinstance(each, dict)]


def _one_qos(one: dict[str, Any]) -> QosFacts:
    return QosFacts(
        name=v.text(one.get("name")),
        priority=v.number(one.get("priority")),
        max_walltime_s=v.minutes_as_s(v.at(one, "limits/max/wall_clock/per/job")),
        max_submit_jobs_per_user=v.number(v.at(one, "limits/max/jobs/per/user")),
        max_tres_per_user=v.tres(v.at(one, "limits/max/tres/per/user")),
        max_tres_per_job=v.tres(v.at(one, "limits/max/tres/per/job")),
        flags=tuple(str(each) for each in one.get("flags") or ()),
    )
