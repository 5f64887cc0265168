"""The settings file that `meyrin agent join` proposes: what was found, and what may be chosen.

Every key that an operator may want stands in it with a word on what it does, in force or as a
comment. It is text for people: read it again with `config.load`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meyrin.agent.slurm.transport import ClusterFacts
from meyrin.domain.site import Partition
from meyrin.domain.units import show_count, show_duration


@dataclass(frozen=True, slots=True)
class Found:
    """What this machine can give: `facts` of Slurm, or None where it lends itself.

    `nodes` are the names of each partition's nodes: those of several may be the same.
    """

    partitions: tuple[Partition, ...]
    facts: ClusterFacts | None = None
    conf: Path | None = None
    bin: Path | None = None
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)


def text(word: str) -> str:
    """A TOML string."""
    return json.dumps(word, ensure_ascii=False)


def listed(words: Sequence[str]) -> str:
    return f"[{', '.join(text(word) for word in words)}]"


def settings(found: Found, *, hub: str, site: str, time_zone: str) -> str:
    """The whole file."""
    parts = [
        _head(hub, site, found.facts is not None),
        _batch(found),
        _rules(found, time_zone),
        _offers(found, site),
    ]
    if found.facts is None:
        parts.append(_tables(found.partitions))
    return "\n".join(parts)


_QUEUE = """\
# queue_every_s = 60             # the hub is told Slurm's whole queue, in pseudonyms, to forecast
#                                # starts; 0: not at all
"""


def _head(hub: str, site: str, slurm: bool) -> str:
    return f"""\
# Settings of Meyrin's agent at {site}. Written by `meyrin agent join`; yours to edit.
# Check an edit with `meyrin agent --config FILE --check`. A running agent reads it again by
# itself and says in its log, and on the site's page, which keys wait for its next start.

hub = {text(hub)}
credential_file = "credential"   # mode 600; the agent renews it by itself
dir = "state"                    # journal and job folders, on a file system that all nodes see
share_files = false              # true: people submit from folders that jobs see too
{_QUEUE if slurm else ""}"""


def _batch(found: Found) -> str:
    facts = found.facts
    if facts is None:
        return 'batch = "local"                  # jobs run on this machine\n'
    lines = [
        'batch = "slurm"',
        f"grace_s = {facts.kill_wait_s}                     # between TERM and KILL",
        "",
        "[slurm]",
        f"# Found: Slurm {facts.version}, cluster {facts.cluster}, as log-in {facts.user};",
        f"# accounting: {'yes' if facts.accounting else 'no, so use is measured by our wrapper'}.",
        'transport = "command"            # or "rest": slurmrestd, with rest_url',
    ]
    if found.conf is not None:
        lines.append(f"conf = {text(str(found.conf))}")
    if found.bin is not None:
        lines.append(f"bin = {text(str(found.bin))}")
    lines += [*_accounts(facts), ""]
    return "\n".join(lines)


def _accounts(facts: ClusterFacts) -> list[str]:
    """Whose name jobs run under at the site."""
    names = list(dict.fromkeys(one.account for one in facts.associations))
    lines = [f"# {line}" for line in _limits(facts)]
    if names:
        lines.append(f"# default_account = {text(names[0])}    # absent: as Slurm chooses")
        lines.append(
            f"# accounts = {{ climate = {text(names[-1])} }}    # Meyrin's project = account"
        )
    if facts.qos:
        lines.append(f"# QoS known here: {', '.join(one.name for one in facts.qos)}")
    return lines


def _limits(facts: ClusterFacts) -> list[str]:
    lines = []
    for one in facts.associations:
        words = [f"account {one.account}"]
        words += [f"in {one.partition}"] if one.partition else []
        words += [f"QoS {', '.join(one.qos)}"] if one.qos else []
        words += [f"{show_count(one.max_jobs, 'job')} at once"] if one.max_jobs is not None else []
        words += [f"{one.max_submit_jobs} submitted"] if one.max_submit_jobs is not None else []
        words += [f"up to {show_duration(one.max_walltime_s)}"] if one.max_walltime_s else []
        words += [f"at most {one.max_tres}"] if one.max_tres else []
        lines.append("; ".join(words))
    return lines


def _rules(found: Found, time_zone: str) -> str:
    names = [one.name for one in found.partitions]
    lines = [
        "[rules]                          # the site's own: its no wins over the hub",
        *(f"# {_described(one)}" for one in found.partitions),
        f"partitions_shown = {listed(names)}",
        '# drained = "new cooling until Friday"      # no new jobs; what runs goes on',
        '# allowed_projects = ["climate", "genome"]  # absent: all',
        "# max_walltime_s = 86400                    # of a job",
        "# max_accelerators = 8                      # of a job",
        "# max_jobs_at_once = 20                     # waiting or running here",
        "# max_accelerators_at_once = 16             # of these jobs together",
        '# quiet_hours = ["Mon-Fri 08:00-18:00"]     # no new job starts',
        f"time_zone = {text(time_zone)}",
        '# veto = "veto"                             # a program that sees each job as JSON:',
        "#                                           # exit 0 is yes, exit 1 and a reason is no",
        "",
    ]
    return "\n".join(lines)


def _described(one: Partition) -> str:
    words = (
        f"{one.name}: {show_count(one.nodes, 'node')} of {show_count(one.cores_per_node, 'core')}"
    )
    words += f", {one.memory_mb_per_node} MiB"
    if one.accelerator_type:
        words += f", {one.accelerators_per_node} {one.accelerator_type}"
    return words + (f"; up to {show_duration(one.max_walltime_s)}" if one.max_walltime_s else "")


def _offers(found: Found, site: str) -> str:
    """Each node is offered once: a partition over nodes of another stands as a comment."""
    lines = [
        "# What you propose to lend; an administrator of the hub agrees to it. Owners are whoever",
        "# paid, with the weights of their parts. Days are UTC; leave `until` out to go on and on.",
    ]
    lent: dict[str, frozenset[str]] = {}
    for one in found.partitions:
        nodes = found.nodes.get(one.name, frozenset())
        other = next((name for name, taken in lent.items() if taken & nodes), None)
        if other is None:
            lent[one.name] = nodes
        else:
            lines.append(f"# {one.name} has nodes of {other}: lend one of the two, or count twice.")
        mark = "" if other is None else "# "
        lines += [
            f"{mark}[[offer]]",
            f"{mark}partition = {text(one.name)}",
            f"{mark}owners = {{ {site if site.isidentifier() else text(site)} = 1 }}",
            "# start = 2027-01-01",
            "# until = 2030-01-01",
            "",
        ]
    return "\n".join(lines)


def _tables(partitions: Sequence[Partition]) -> str:
    lines = []
    for one in partitions:
        lines += [
            "[[partition]]",
            f"name = {text(one.name)}",
            f"nodes = {one.nodes}",
            f"cores_per_node = {one.cores_per_node}",
            f"memory_mb_per_node = {one.memory_mb_per_node}",
        ]
        if one.accelerator_type:
            lines += [
                f"accelerators_per_node = {one.accelerators_per_node}",
                f"accelerator_type = {text(one.accelerator_type)}",
            ]
        for name in ("max_walltime_s", "default_walltime_s"):
            if getattr(one, name):
                lines.append(f"{name} = {getattr(one, name)}")
        lines.append("")
    return "\n".join(lines)
