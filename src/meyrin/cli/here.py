"""What this machine has, for the local site of one-machine mode."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from meyrin.domain.site import Partition

ANSWER_S = 20.0


def partition(name: str = "main") -> Partition:
    """This machine as a partition of one node: its cores, most of its memory, its accelerators."""
    count, kind = accelerators()
    return Partition(
        name=name,
        nodes=1,
        cores_per_node=len(os.sched_getaffinity(0)),
        memory_mb_per_node=max(256, memory_mb() * 9 // 10),
        accelerators_per_node=count,
        accelerator_type=kind,
        max_walltime_s=30 * 86400,
        default_walltime_s=3600,
    )


def memory_mb() -> int:
    """Physical memory in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def accelerators() -> tuple[int, str | None]:
    """NVIDIA or AMD devices of this machine and their type; (0, None) when there are none."""
    nvidia = [p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    if nvidia:
        return len(nvidia), _nvidia_type()
    amd = list(Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id"))
    found = [p for p in amd if p.read_text().strip() not in ("", "0")]
    return (len(found), "amd-gpu") if found else (0, None)


def _nvidia_type() -> str:
    """The first device's name in a short form, such as `h100`."""
    if not shutil.which("nvidia-smi"):
        return "nvidia-gpu"
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:  # a driver that hangs
        return "nvidia-gpu"
    words = re.sub(r"[^a-z0-9 ]", " ", asked.stdout.split("\n")[0].lower()).split()
    short = [w for w in words if re.fullmatch(r"[a-z]+\d+[a-z]*", w)]
    return short[0] if short else "nvidia-gpu"
