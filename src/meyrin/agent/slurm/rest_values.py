"""Reads the values of slurmrestd's replies, of every version: by their shape, not by its number.

The same field is a plain number in one version and `{"set", "infinite", "number"}` in the next, a
word here and a list of words there. What is unset, infinite or senseless is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from meyrin.agent.slurm import words

# what Slurm's C code says for "no value" and "no end", where it leaks out as a plain number
_NO_VALUE = {0xFFFE, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF}
# of several words of a state, the one that squeue prints
_SHOWN_FIRST = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING",
)  # fmt: skip


def at(body: Any, path: str) -> Any:
    """What stands at `max/jobs/total`; None where the path ends early."""
    for part in path.split("/"):
        body = body.get(part) if isinstance(body, dict) else None
    return body


def number(value: Any) -> int | None:
    """A whole number of any of the shapes."""
    if isinstance(value, dict):
        if value.get("infinite") or not value.get("set", True):
            return None
        value = value.get("number")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    whole = int(value)
    return None if whole < 0 or whole in _NO_VALUE else words.known(whole)


def moment(value: Any) -> int | None:
    """Seconds since 1970; 0 means that it has not happened."""
    return number(value) or None


def minutes_as_s(value: Any) -> int | None:
    found = number(value)
    return None if found is None else found * 60


def text(value: Any) -> str:
    """A word; nothing said is empty."""
    return "" if value is None else str(value)


def listed(value: Any) -> tuple[str, ...]:
    """A list, or words between commas."""
    if isinstance(value, list):
        return tuple(str(each) for each in value)
    return tuple(part for part in text(value).split(",") if part and part != "ALL")


def state(value: Any) -> str:
    """One word for a job's state, as squeue and sacct print it."""
    if isinstance(value, dict):
        value = value.get("current")
    if not isinstance(value, list):
        return text(value)
    said = [str(each) for each in value]
    return next((word for word in _SHOWN_FIRST if word in said), said[0] if said else "")


def flags(value: Any) -> str:
    """A node's or partition's state in one word: `IDLE+DRAIN`."""
    if isinstance(value, list):
        return "+".join(str(each) for each in value).upper()
    return text(value).upper()


def exit_code(value: Any) -> tuple[int | None, int | None]:
    """(exit code, signal), one of them or none; a plain number is a wait status."""
    if not isinstance(value, dict) or "set" in value:
        status = number(value)
        if status is None:
            return None, None
        return (None, status & 0x7F) if status & 0x7F else (status >> 8, None)
    signal = value.get("signal") or {}
    raised = number(signal.get("id", signal.get("signal_id")))
    if raised:
        return None, raised
    return number(value.get("return_code")), None


def tres(entries: Any) -> str:
    """`[{"type": "gres", "name": "gpu", "count": 2}]` as `gres/gpu=2`, as sacct prints it."""
    parts = []
    for each in entries if isinstance(entries, list) else ():
        count = number(at(each, "count"))
        if count is None or not each.get("type"):
            continue
        name = f"{each['type']}/{each['name']}" if each.get("name") else each["type"]
        parts.append(f"{name}={count}M" if name == "mem" else f"{name}={count}")
    return ",".join(parts)


def largest(steps: Sequence[Any], kind: str) -> int | None:
    """The largest use of one resource among the steps of a job."""
    found = [
        number(each.get("count"))
        for step in steps
        for each in at(step, "tres/requested/max") or ()
        if each.get("type") == kind
    ]
    return max((one for one in found if one is not None), default=None)


def cpu_ms(steps: Sequence[Any]) -> int | None:
    """The processor time of all steps; None without steps."""
    if not steps:
        return None
    spent = (at(step, "time/total") or {} for step in steps)
    return words.known(
        sum(
            (number(each.get("seconds")) or 0) * 1000
            + (number(each.get("microseconds")) or 0) // 1000
            for each in spent
        )
    )


def job_id(job: Any, array: Any, task: Any, tasks: str = "") -> str:
    """`17`, an array's element `17_3`, what waits of an array `17_[3-9]`."""
    family = number(array)
    if not family:
        return text(job)
    element = number(task)
    if element is not None:
        return f"{family}_{element}"
    return f"{family}_[{tasks}]" if tasks else text(job)
