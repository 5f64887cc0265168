"""What differs between the versions of slurmrestd's data, as tables.

A version is a row; a row says how a submission is spelt and which filters it knows. Nothing else
of the transport asks for a version. Replies need no table: `rest_values` reads them by shape.

    v0.0.36  20.11         v0.0.39  23.02         v0.0.42  24.11
    v0.0.37  21.08         v0.0.40  23.11         v0.0.43  25.05
    v0.0.38  22.05         v0.0.41  24.05         v0.0.44  25.11
                                                  v0.0.45  26.05
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meyrin.agent.slurm.transport import Gres, NotAccepted, Submission
from meyrin.domain.job import WarnSignal

Say = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Version:
    """`settings`: per field of a `Submission` that is set, what to send; `always`: what else.

    `users`: the filter of slurmdbd's jobs by user, absent before v0.0.39. `start_is_eligible`:
    accounting says when a job might have started, in place of when it did (seen on real ones).
    `by_one`: accounting takes one id
    at a time; real ones from 23.11 to 26.05 refuse a list. `all_steps`: a real 23.11, asked to
    leave steps out, finds nothing; its neighbours could not be tried and are asked alike.
    """

    name: str
    always: Mapping[str, Any]
    settings: Mapping[str, Say]
    environment: Callable[[Mapping[str, str]], Any]
    script_in_job: bool
    users: str | None = None
    start_is_eligible: bool = False
    by_one: bool = False
    all_steps: bool = False


def key(name: str) -> Say:
    return lambda value: {name: value}


def tri(name: str) -> Say:
    return lambda value: {name: {"set": True, "infinite": False, "number": value}}


def _old_minutes(value: int) -> dict[str, Any]:
    return {"time_limit": math.ceil(value / 60)}


def _new_minutes(value: int) -> dict[str, Any]:
    return tri("time_limit")(math.ceil(value / 60))


def gres_word(wanted: tuple[Gres, ...], before: str = "", between: str = ":") -> str:
    """`gpu:h100:2`, with `gres/` or `gres:` before each where a version wants it."""
    parts = []
    for each in wanted:
        name = ":".join(word for word in (each.name, each.type) if word)
        parts.append(f"{before}{name}{between}{each.count}")
    return ",".join(parts)


def _old_signal(signal: WarnSignal) -> dict[str, Any]:
    if signal.shell_only:
        raise NotAccepted(
            "this site's slurmrestd (before v0.0.39) can't send a signal to the batch shell only: "
            "leave out B: of --signal"
        )
    return {"signal": f"{signal.name}@{signal.before_s}"}


def _new_signal(signal: WarnSignal) -> dict[str, Any]:
    only = {"kill_warning_flags": ["BATCH_JOB"]} if signal.shell_only else {}
    delay = {"set": True, "infinite": False, "number": signal.before_s}
    return {"kill_warning_signal": signal.name, "kill_warning_delay": delay, **only}


_ALIKE: dict[str, Say] = {
    "name": key("name"),
    "partition": key("partition"),
    "workdir": key("current_working_directory"),
    # names of files are patterns there, ours are none
    "stdout": lambda value: {"standard_output": value.replace("%", "%%")},
    "tasks": key("tasks"),
    "tasks_per_node": key("tasks_per_node"),
    "cores_per_task": key("cpus_per_task"),
    "cores_per_node": key("minimum_cpus_per_node"),
    "account": key("account"),
    "qos": key("qos"),
    "reservation": key("reservation"),
    "features": key("constraints"),
    "comment": key("comment"),
}
_OLD: dict[str, Say] = {
    **_ALIKE,
    "nodes": lambda value: {"nodes": [value, value]},
    "memory_mb": key("memory_per_node"),
    "gres": lambda value: {"gres": gres_word(value)},
    # the published words ("true") are refused by the real ones
    "exclusive": lambda value: {"exclusive": "exclusive"} if value else {},
    "walltime_s": _old_minutes,
    # "requeue": false is taken and does nothing
    "requeue": lambda value: {"requeue": True} if value else {"no_requeue": True},
    "signal": _old_signal,
}
_NEW: dict[str, Say] = {
    **_ALIKE,
    "nodes": lambda value: {"minimum_nodes": value, "maximum_nodes": value},
    "memory_mb": tri("memory_per_node"),
    "exclusive": lambda value: {"shared": ["none"]} if value else {},
    "walltime_s": _new_minutes,
    "requeue": key("requeue"),
    "signal": _new_signal,
}
# the prefix of generic resources changed with Slurm 23.11
_WITH_COLON: dict[str, Say] = {
    **_NEW,
    "gres": lambda value: {"tres_per_node": gres_word(value, "gres:")},
}
_WITH_SLASH: dict[str, Say] = {
    **_NEW,
    "gres": lambda value: {"tres_per_node": gres_word(value, "gres/")},
}


def _old(name: str, *, start_is_eligible: bool = False) -> Version:
    always = {"standard_input": "/dev/null", "open_mode": "append"}
    return Version(
        name, always, _OLD, dict, script_in_job=False, start_is_eligible=start_is_eligible
    )


def _new(
    name: str,
    settings: Mapping[str, Say] = _WITH_SLASH,
    *,
    script_in_job: bool = True,
    all_steps: bool = False,
) -> Version:
    always = {"standard_input": "/dev/null", "open_mode": ["APPEND"]}
    return Version(
        name,
        always,
        settings,
        _as_list,
        script_in_job=script_in_job,
        users="users",
        by_one=True,
        all_steps=all_steps,
    )


def _as_list(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


# newest first: the first that the other side knows is spoken
VERSIONS = (
    *(_new(f"v0.0.{number}") for number in (45, 44, 43, 42)),
    _new("v0.0.41", all_steps=True),
    _new("v0.0.40", script_in_job=False, all_steps=True),
    _new("v0.0.39", _WITH_COLON, script_in_job=False, all_steps=True),
    _old("v0.0.38"),
    *(_old(f"v0.0.{number}", start_is_eligible=True) for number in (37, 36)),
)


def spelt(version: Version, wanted: Submission) -> dict[str, Any]:
    """The body that hands a job over. Raises NotAccepted for what this version can't say."""
    job = dict(version.always)
    for name, say in version.settings.items():
        value = getattr(wanted, name)
        if value not in (None, "", ()):
            job |= say(value)
    # an empty environment is refused by every version
    job["environment"] = version.environment(dict(wanted.environment) or {"MEYRIN": "1"})
    if version.script_in_job:
        job["script"] = wanted.script
        return {"job": job}
    return {"job": job, "script": wanted.script}
