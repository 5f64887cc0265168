"""GPUs and memory: several options that say one thing, brought together or refused as a clash."""

from __future__ import annotations

import re

from meyrin.client.sbatch.values import Draft, Setting, misread, whole
from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MemoryPer
from meyrin.domain.units import parse_memory_mb

_TYPE = re.compile(r"[A-Za-z][\w.-]*")
_ONE_TYPE = "a job has one type of accelerator; submit one job for each type"


def parse_gpus(text: str) -> tuple[str | None, int]:
    """`[type][:]number` as sbatch's --gpus: the type and the count; a type alone means one."""
    if "," in text:
        raise InvalidInput("two types of GPU", hint=_ONE_TYPE)
    kind, colon, count = text.rpartition(":")
    if not colon and _TYPE.fullmatch(text):
        kind, count = text, "1"
    if kind.lower() == "gpu" or (kind and not _TYPE.fullmatch(kind)):
        raise InvalidInput(f"{kind!r} is no type of GPU", hint="write 2 or a100:2")
    if colon and not kind:
        raise InvalidInput(f"{text!r} is no number of GPUs", hint="write 2 or a100:2")
    return kind or None, whole(count, 0, "write a number of GPUs such as 2, or a type: a100:2")


def parse_gres(text: str) -> tuple[str | None, int]:
    """`gpu[:type][:n]`, also as `gres/gpu:…`; everything but GPUs is refused."""
    found: list[tuple[str | None, int]] = []
    for part in text.split(","):
        plain = re.sub(r"^gres[/:]", "", part.strip(), flags=re.IGNORECASE)
        name, colon, rest = plain.partition(":")
        if name != "gpu" or (colon and not rest):
            raise InvalidInput(
                f"the generic resource {part.strip()!r} can't be honoured",
                hint="of generic resources Meyrin places gpu only: gpu:2 or gpu:a100:2",
            )
        found.append(parse_gpus(rest) if rest else (None, 1))
    if len(found) > 1:
        raise InvalidInput("gpu stands twice", hint=_ONE_TYPE)
    return found[0]


def read_memory(draft: Draft, setting: Setting, per: MemoryPer) -> None:
    """One of --mem, --mem-per-cpu, --mem-per-gpu; two of them clash.

    What a variable said gives way to another of the three in the script or on the command line,
    as in sbatch; anything else is an error there too.
    """
    text = setting.value or ""
    if not text.isascii():
        raise InvalidInput(f"{text!r} is no memory size", hint="write 16G")
    size = parse_memory_mb(text)
    if size > 2**40:
        raise InvalidInput("that is more than 2^40 MiB", hint="write a size such as 16G")
    for name in ("mem", "mem-per-cpu", "mem-per-gpu"):
        other = draft.given.get(name)
        if other is None or name == setting.name:
            continue
        if other.from_environment and not setting.from_environment:
            del draft.given[name]
            continue
        if setting.from_environment and not other.from_environment:
            draft.notes.append(
                f"{setting.place}={setting.value} gives way to {other.shown} ({other.place}), "
                "as in sbatch"
            )
            return
        raise InvalidInput(f"clashes with {other.shown} ({other.place})", hint="give one of them")
    draft.resources["memory_mb"] = size
    draft.resources["memory_per"] = per


def settle_gpus(draft: Draft) -> None:
    """Turn the GPU options given into one count per job, node or task.

    Two options are fine where one follows from the other; then the tasks or nodes that they
    imply are filled in. Anything that doesn't work out names both.
    """
    kinds = {name: gpus for name, gpus in draft.gpus.items() if gpus[1]}
    if "gres" in kinds and "gpus-per-node" in kinds:
        _same(draft, "gres", "gpus-per-node")
        del kinds["gres"]
    per_node = next((name for name in ("gpus-per-node", "gres") if name in kinds), None)
    if per_node and "gpus" in kinds:
        _whole_nodes(draft, per_node)
        del kinds["gpus"]
    if "gpus-per-task" in kinds:
        _per_task(draft, per_node)
        kinds.pop("gpus", None)
        if per_node:
            del kinds[per_node]
    if "gpus" in kinds and "nodes_min" in draft.resources:
        nodes = draft.resources["nodes_min"]
        if kinds["gpus"][1] < min(nodes, draft.resources.get("tasks", nodes)):
            raise _clash(draft, "nodes", "gpus", "--gpus counts the whole job: one for each node")
    types = {kind.lower(): kind for kind, _ in draft.gpus.values() if kind}
    if len(types) > 1:
        first, second = list(draft.gpus)[:2]
        raise _clash(draft, first, second, _ONE_TYPE)
    for name, (_, count) in kinds.items():
        draft.resources["accelerators"] = count
        draft.resources["accelerators_per"] = {"gpus": "job", "gpus-per-task": "task"}.get(
            name, "node"
        )
        draft.resources["accelerator_type"] = next(iter(types.values()), None)
    if draft.resources.get("memory_per") == "accelerator" and not kinds:
        raise misread(
            draft.given["mem-per-gpu"], "the job asks for no GPU", "add --gpus, or use --mem"
        )


def _clash(draft: Draft, first: str, second: str, hint: str) -> Exception:
    one, other = draft.given[first], draft.given[second]
    return misread(other, f"does not fit {one.shown} ({one.place})", hint)


def _same(draft: Draft, first: str, second: str) -> None:
    if draft.gpus[first][1] != draft.gpus[second][1]:
        raise _clash(draft, first, second, "both count GPUs of a node; give one of them")


def _whole_nodes(draft: Draft, per_node: str) -> None:
    total, each = draft.gpus["gpus"][1], draft.gpus[per_node][1]
    nodes = total // each
    low = draft.resources.get("nodes_min", nodes)
    high = draft.resources.get("nodes_max", nodes)
    if nodes * each != total or not low <= nodes <= high:
        hint = f"--gpus counts the whole job; {each} on each node makes a multiple of {each}"
        raise _clash(draft, per_node, "gpus", hint)
    draft.resources["nodes_min"] = draft.resources["nodes_max"] = nodes


def _per_task(draft: Draft, per_node: str | None) -> None:
    each = draft.gpus["gpus-per-task"][1]
    wanted = draft.resources
    if "gpus" in draft.gpus:
        total = draft.gpus["gpus"][1]
        tasks = total // each
        if tasks * each != total or wanted.get("tasks", tasks) != tasks:
            raise _clash(draft, "gpus", "gpus-per-task", "tasks times GPUs per task is --gpus")
        wanted["tasks"] = tasks
    if per_node:
        tasks = draft.gpus[per_node][1] // each
        exact = tasks * each == draft.gpus[per_node][1]
        if not exact or wanted.get("tasks_per_node", tasks) != tasks:
            hint = "tasks on a node times GPUs per task are the GPUs of the node"
            raise _clash(draft, per_node, "gpus-per-task", hint)
        wanted["tasks_per_node"] = tasks
    nodes = wanted.get("nodes_min")
    if nodes and nodes == wanted["nodes_max"]:  # one task on each, says sbatch
        wanted.setdefault("tasks", nodes * wanted.get("tasks_per_node", 1))
    if not {"tasks", "tasks_per_node"} & wanted.keys():
        raise misread(
            draft.given["gpus-per-task"],
            "needs the number of tasks",
            "add --ntasks, --ntasks-per-node or --gpus",
        )
