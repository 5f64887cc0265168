"""A trace as a file in the Standard Workload Format, for other simulators.

What the format has no field for (accelerators, nodes, names of users) is left out; the header says
so. Reading the file back gives the same columns for every trace that was read from SWF.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.trace.model import UNKNOWN, Trace
from meyrin.sim.trace.swf import NAMES

ROWS = 100_000


def write_swf(trace: Trace, path: Path) -> None:
    """Write the header and all rows. Raises OSError where the file can't be written."""
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    columns = _fields(trace)
    with path.open("wb") as file:
        for label, text in _header(trace).items():
            for line in text.split("\n"):
                file.write(f"; {label}: {line}\n".encode())
        for first in range(0, len(trace), ROWS):
            rows = {name: columns[name][first : first + ROWS] for name in NAMES}
            out = io.StringIO()
            pd.DataFrame(rows).to_csv(out, sep=" ", header=False, index=False, lineterminator="\n")
            file.write(out.getvalue().encode())


def _fields(trace: Trace) -> dict[str, NDArray[Any]]:
    unknown = np.full(len(trace), UNKNOWN)
    kb = np.where(
        trace.memory_mb < 0,
        UNKNOWN,
        np.ceil(trace.memory_mb * 1024.0 / np.maximum(trace.processors, 1)),
    ).astype(np.int64)
    instead = {
        "used_processors": trace.sizes(),
        "requested_processors": trace.sizes(),
        "requested_memory_kb": kb,
    }
    found = {}
    for name in NAMES:
        own = getattr(trace, name, None)
        found[name] = trace.more.get(name, instead.get(name, unknown)) if own is None else own
    return found


def _header(trace: Trace) -> dict[str, str]:
    header = dict(trace.header) or {"Version": "2.2"}
    if trace.epoch_s is not None:
        header["UnixStartTime"] = str(trace.epoch_s)
    if (total := trace.pool_total()) is not None and not {"MaxProcs", "MaxNodes"} & set(header):
        header["MaxProcs"] = str(total)
    if trace.format != "swf":
        header["Conversion"] = f"from {trace.format}; processors are {trace.pool_unit}"
    for kind, label in (("queue", "Queue"), ("partition", "Partition")):
        names = trace.names.get(kind)
        if names and label not in header:
            header[label] = "\n".join(f"{number} {name}" for number, name in names.items())
    return header
