"""What `LocalBatch` and its keeper say to each other: frames of JSON on a Unix socket.

A frame is four bytes of length and a JSON object. JSON carries lone surrogates as escapes, so
file names in any bytes pass unchanged. A submit request names each script and each environment
that its starts share once; the keeper puts the request as it came into its journal.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from meyrin.agent.batch import BatchJob, Phase, Start, Usage
from meyrin.domain.job import WarnSignal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape

MAX_FRAME = 1 << 30
Body = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]

_LENGTH = struct.Struct(">I")
_PLAIN = (
    "attempt",
    "job",
    "name",
    "partition",
    "nodes",
    "tasks",
    "walltime_s",
    "arguments",
    "workdir",
    "create_workdir",
    "stdin",
    "stdout",
    "stderr",
    "append_output",
)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def dump(body: object) -> bytes:
    return _encode(body).encode("ascii")


def frame(body: Body) -> bytes:
    payload = dump(body)
    if len(payload) > MAX_FRAME:
        raise ValueError(f"a message of {len(payload)} bytes is longer than {MAX_FRAME}")
    return _LENGTH.pack(len(payload)) + payload


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes. Raises ValueError on an impossible length."""
        self._bytes += data
        found = []
        while len(self._bytes) >= 4:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._bytes) < 4 + length:
                break
            found.append(bytes(self._bytes[4 : 4 + length]))
            del self._bytes[: 4 + length]
        return found


def pack_starts(starts: Sequence[Start]) -> Body:
    """A batch of starts; environment entries that all starts of one script share travel once."""
    groups: dict[str, list[Start]] = {}
    for start in starts:
        groups.setdefault(start.script, []).append(start)
    index = {script: i for i, script in enumerate(groups)}
    shared = [_shared(group) for group in groups.values()]
    known = [set(pairs) for pairs in shared]
    packed = []
    for start in starts:
        i = index[start.script]
        one: Body = {name: getattr(start, name) for name in _PLAIN}
        one["asked"] = [start.asked.cores, start.asked.memory_mb, start.asked.accelerators]
        one["script"] = i
        own = [pair for pair in start.environment if pair not in known[i]]
        if own:
            one["environment"] = own
        if (warn := start.warn_signal) is not None:
            one["warn_signal"] = [warn.name, warn.before_s, warn.shell_only]
        packed.append(one)
    return {"scripts": list(groups), "environments": shared, "starts": packed}


def _shared(group: list[Start]) -> Pairs:
    """The entries that every environment of `group` has, in the order of the first."""
    common = set(group[0].environment)
    for start in group[1:]:
        common.intersection_update(start.environment)
    return tuple(pair for pair in group[0].environment if pair in common)


def unpack_starts(body: Body) -> list[Start]:
    """The reverse; scripts and shared entries stay one object. Raises on a malformed body."""
    scripts = body["scripts"]
    environments = [_pairs(pairs) for pairs in body["environments"]]
    starts = []
    for one in body["starts"]:
        own = _pairs(one.get("environment", ()))
        warn = one.get("warn_signal")
        plain = {name: one[name] for name in _PLAIN}
        plain["arguments"] = tuple(plain["arguments"])
        starts.append(
            Start(
                asked=NodeShape(*one["asked"]),
                script=scripts[one["script"]],
                environment=environments[one["script"]] + own,
                warn_signal=None if warn is None else WarnSignal(*warn),
                **plain,
            )
        )
    return starts


def _pairs(pairs: Iterable[Sequence[str]]) -> Pairs:
    return tuple((name, value) for name, value in pairs)


def pack_partition(partition: Partition) -> Body:
    """What the keeper needs of a partition: equal nodes and whether jobs share them."""
    return {
        "name": partition.name,
        "nodes": partition.nodes,
        "cores": partition.cores_per_node,
        "memory_mb": partition.memory_mb_per_node,
        "accelerators": partition.accelerators_per_node,
        "whole_node": partition.whole_node,
    }


def unpack_job(body: Body) -> BatchJob:
    """A BatchJob from the keeper's words."""
    usage = body.pop("usage", None)
    return BatchJob(
        phase=Phase(body.pop("phase")),
        usage=None if usage is None else Usage(**usage),
        **body,
    )
