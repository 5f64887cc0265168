"""What a cluster has, read from what `scontrol` and `sacctmgr` print."""

from __future__ import annotations

import re

from meyrin.agent.slurm import words
from meyrin.agent.slurm.transport import (
    AssociationFacts,
    ClusterFacts,
    NodeFacts,
    PartitionFacts,
    QosFacts,
)

ASSOCIATION_FIELDS = (
    "Account,Partition,QOS,DefaultQOS,MaxJobs,MaxSubmitJobs,MaxWall,MaxTRES,MaxTRESMins"
)
QOS_FIELDS = "Name,Priority,MaxWall,MaxSubmitJobsPerUser,MaxTRESPerUser,MaxTRESPerJob,Flags"


def facts(user: str, config: str, partitions: str, nodes: str) -> ClusterFacts:
    """From `scontrol show config`, and `scontrol --oneliner show partition` and `node`."""
    table = {
        name.strip(): value.strip()
        for name, equals, value in (line.partition("=") for line in config.splitlines())
        if equals
    }
    storage = table.get("AccountingStorageType", "")
    enforced = set(table.get("AccountingStorageEnforce", "").lower().split(","))
    return ClusterFacts(
        version=table.get("SLURM_VERSION", ""),
        cluster=table.get("ClusterName", ""),
        user=user,
        partitions=tuple(partition(each) for each in _records(partitions, "PartitionName=")),
        nodes=tuple(node(each) for each in _records(nodes, "NodeName=")),
        accounting="slurmdbd" in storage or "mysql" in storage,
        enforces_qos=bool(enforced & {"qos", "all"}),
        message_timeout_s=_leading(table.get("MessageTimeout", ""), 10),
        kill_wait_s=_leading(table.get("KillWait", ""), 30),
        min_job_age_s=_leading(table.get("MinJobAge", ""), 300),
        max_job_count=words.number(table.get("MaxJobCount", "")),
    )


def _records(text: str, begins: str) -> list[str]:
    """What `scontrol --oneliner` prints, a record each. A line that begins otherwise goes on with
    the one before: an operator's comment on a node may hold line ends."""
    found: list[str] = []
    for line in text.split("\n"):
        if line.startswith(begins):
            found.append(line)
        elif found and line:
            found[-1] += f" {line}"
    return found


def partition(line: str) -> PartitionFacts:
    f = words.pairs(line)
    return PartitionFacts(
        name=f["PartitionName"],
        state=f.get("State", ""),
        default=f.get("Default") == "YES",
        nodes=words.number(f.get("TotalNodes", "")),
        max_walltime_s=words.duration_s(f.get("MaxTime", "")),
        default_walltime_s=words.duration_s(f.get("DefaultTime", "")),
        max_nodes_per_job=words.number(f.get("MaxNodes", "")),
        default_memory_mb_per_core=words.number(f.get("DefMemPerCPU", "")),
        whole_node=f.get("OverSubscribe", "").startswith("EXCLUSIVE")
        or f.get("Exclusive") == "NODE",  # since 26.05 a word of its own
        allow_accounts=words.listed(f.get("AllowAccounts", "")),
        deny_accounts=words.listed(f.get("DenyAccounts", "")),
        allow_qos=words.listed(f.get("AllowQos", "")),
        qos=words.text(f.get("QoS", "")),
        root_only=f.get("RootOnly") == "YES",
        needs_reservation=f.get("ReqResv") == "YES",
    )


def node(line: str) -> NodeFacts:
    f = words.pairs(line)
    total = words.number(f.get("CPUTot", "")) or 0
    usable = words.number(f.get("CPUEfctv", "")) or total
    memory = words.number(f.get("RealMemory", "")) or 0
    special = words.number(f.get("MemSpecLimit", "")) or 0
    return NodeFacts(
        name=f["NodeName"],
        state=f.get("State", "").partition(" ")[0],
        cores=usable,
        memory_mb=max(0, memory - special),
        gres=words.gres(f.get("Gres", "")),
        features=words.listed(f.get("AvailableFeatures", "")),
        partitions=words.listed(f.get("Partitions", "")),
        address=f.get("NodeAddr", ""),
        reason=words.text(f.get("Reason", "")) or "",
    )


def association(line: str) -> AssociationFacts:
    f = line.split("|")
    f += [""] * (9 - len(f))
    return AssociationFacts(
        account=f[0],
        partition=f[1],
        qos=words.listed(f[2]),
        default_qos=words.text(f[3]),
        max_jobs=words.number(f[4]),
        max_submit_jobs=words.number(f[5]),
        max_walltime_s=words.duration_s(f[6]),
        max_tres=f[7],
        max_tres_minutes=f[8],
    )


def qos(line: str) -> QosFacts:
    f = line.split("|")
    f += [""] * (7 - len(f))
    return QosFacts(
        name=f[0],
        priority=words.number(f[1]),
        max_walltime_s=words.duration_s(f[2]),
        max_submit_jobs_per_user=words.number(f[3]),
        max_tres_per_user=f[4],
        max_tres_per_job=f[5],
        flags=words.listed(f[6]),
    )


def _leading(word: str, otherwise: int) -> int:
    """The number that a setting such as `30 sec` begins with."""
    match = re.match(r"\d+", word)
    return int(match[0]) if match else otherwise
