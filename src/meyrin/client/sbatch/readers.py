"""One reader for each option that Meyrin honours: from a setting into the draft.

A reader raises InvalidInput with a way out when the value can't be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from os import devnull

from meyrin.client.sbatch.environment import exported, split_quoted
from meyrin.client.sbatch.lists import parse_array, parse_dependencies, parse_signal
from meyrin.client.sbatch.moments import parse_moment
from meyrin.client.sbatch.resources import parse_gpus, parse_gres, read_memory
from meyrin.client.sbatch.values import COMMAND_LINE, Draft, Setting, listed, whole
from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MAX_NAME, MemoryPer, checked_key
from meyrin.domain.units import parse_walltime_s

Reader = Callable[[Draft, Setting], None]
_TEN_MILLION = 10_000_000


def _text(setting: Setting) -> str:
    assert setting.value is not None
    return setting.value


def text(field: str, what: str) -> Reader:
    """A reader that keeps a non-empty text as it is."""

    def read(draft: Draft, setting: Setting) -> None:
        value = _text(setting)
        if not value.strip():
            raise InvalidInput("nothing is given", hint=f"write {what}")
        draft.request[field] = value

    return read


def file_name(field: str) -> Reader:
    """A reader of a file's name; `none` in any case is nowhere, as in sbatch."""
    named = text(field, "a file name")

    def read(draft: Draft, setting: Setting) -> None:
        named(draft, setting)
        if _text(setting).lower() == "none":
            draft.request[field] = devnull

    return read


def count(field: str, what: str) -> Reader:
    """A reader of a whole number of 1 or more."""

    def read(draft: Draft, setting: Setting) -> None:
        number = whole(_text(setting), 1, f"write {what}, 1 or more")
        if number > _TEN_MILLION:
            raise InvalidInput(f"{number} is too many", hint=f"at most {_TEN_MILLION}")
        draft.resources[field] = number

    return read


def memory(per: MemoryPer) -> Reader:
    return lambda draft, setting: read_memory(draft, setting, per)


def gpus(draft: Draft, setting: Setting) -> None:
    draft.gpus[setting.name] = parse_gpus(_text(setting))


def gres(draft: Draft, setting: Setting) -> None:
    if _text(setting).lower() == "none":
        draft.gpus.pop("gres", None)
    else:
        draft.gpus["gres"] = parse_gres(_text(setting))


def client_flag(field: str) -> Reader:
    """A reader of an option that concerns the command, not the job."""

    def read(draft: Draft, setting: Setting) -> None:
        draft.client[field] = True if setting.value is None else setting.value

    return read


def client_list(field: str) -> Reader:
    """A reader that collects each occurrence."""

    def read(draft: Draft, setting: Setting) -> None:
        if not _text(setting):
            raise InvalidInput("nothing is given", hint="write a path")
        draft.client[field] = (*draft.client.get(field, ()), _text(setting))

    return read


def request_flag(field: str, value: bool) -> Reader:
    def read(draft: Draft, setting: Setting) -> None:
        if setting.value is not None:
            raise InvalidInput("only the plain option can be honoured", hint="leave the value out")
        draft.request[field] = value

    return read


def idempotency_key(draft: Draft, setting: Setting) -> None:
    draft.client["idempotency_key"] = checked_key(_text(setting))


def output_files(draft: Draft, setting: Setting) -> None:
    pattern = _text(setting)
    if not pattern:
        raise InvalidInput("nothing is given", hint="write a pattern such as results/*.json")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise InvalidInput(
            "the pattern leaves the job's folder", hint="write a pattern such as results/*.json"
        )
    draft.request["output_files"] = (*draft.request.get("output_files", ()), pattern)


def job_name(draft: Draft, setting: Setting) -> None:
    name = _text(setting)
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(
            "that can't be a job's name", hint=f"1 to {MAX_NAME} printable characters"
        )
    draft.request["name"] = name


def comment(draft: Draft, setting: Setting) -> None:
    draft.request["comment"] = _text(setting)


def nodes(draft: Draft, setting: Setting) -> None:
    hint = "write N or MIN-MAX, each 1 or more, such as 4 or 2-8"
    match = re.fullmatch(r"([0-9]{1,8})([km]?)(?:-([0-9]{1,8})([km]?))?", _text(setting).lower())
    if not match:
        raise InvalidInput(f"{_text(setting)!r} is no number of nodes", hint=hint)
    factor = {"": 1, "k": 1024, "m": 1024**2}
    low = int(match[1]) * factor[match[2]]
    high = int(match[3]) * factor[match[4]] if match[3] else low
    if not 1 <= low <= high <= _TEN_MILLION:
        raise InvalidInput(f"{_text(setting)!r} is no number of nodes", hint=hint)
    draft.resources["nodes_min"], draft.resources["nodes_max"] = low, high


def walltime(draft: Draft, setting: Setting) -> None:
    word = _text(setting)
    if not word.isascii() or word != word.strip():
        raise InvalidInput(f"{word!r} is no wall time", hint="write minutes or D-HH:MM:SS")
    seconds = parse_walltime_s(word)
    if not seconds:
        raise InvalidInput(
            "Meyrin holds hours for the wall time, so it has an end",
            hint="write the longest that the job may take, such as 1-00:00:00",
        )
    if seconds > 10**9:
        raise InvalidInput("that is over 30 years", hint="write D-HH:MM:SS, such as 2-00:00:00")
    draft.request["walltime_s"] = seconds


def exclusive(draft: Draft, setting: Setting) -> None:
    if setting.value is not None and setting.value.lower() != "exclusive":
        raise InvalidInput(
            f"exclusive for {setting.value!r} can't be honoured",
            hint="plain --exclusive takes whole nodes for this job alone",
        )
    draft.resources["exclusive"] = True


def constraint(draft: Draft, setting: Setting) -> None:
    features = _text(setting).split("&")
    if not all(re.fullmatch(r"[\w.=+-]+", feature) for feature in features):
        raise InvalidInput(
            f"the constraint {_text(setting)!r} can't be honoured",
            hint="features that every node must have: a or a&b; counts, | and [] are not known",
        )
    draft.request["features"] = tuple(dict.fromkeys(features))


def array(draft: Draft, setting: Setting) -> None:
    draft.request["array"] = parse_array(_text(setting))


def dependency(draft: Draft, setting: Setting) -> None:
    found, any_one = parse_dependencies(_text(setting))
    draft.request["dependencies"], draft.request["any_dependency"] = found, any_one


def partition(draft: Draft, setting: Setting) -> None:
    draft.request["partitions"] = listed(_text(setting), "partitions")


def sites(draft: Draft, setting: Setting) -> None:
    names = listed(_text(setting), "sites")
    draft.request["sites"] = () if names == ("all",) else names


def export(draft: Draft, setting: Setting) -> None:
    exported(_text(setting), {})  # says now what is wrong; what travels is settled at the end
    draft.export = _text(setting)


def begin(draft: Draft, setting: Setting) -> None:
    draft.request["begin_s"] = parse_moment(_text(setting), draft.around.now_s)


def deadline(draft: Draft, setting: Setting) -> None:
    moment = parse_moment(_text(setting), draft.around.now_s)
    if moment <= draft.around.now_s:
        raise InvalidInput("the deadline has passed", hint="write a later one: now+2hours")
    draft.request["deadline_s"] = moment


def nice(draft: Draft, setting: Setting) -> None:
    value = "100" if setting.value is None else setting.value.removeprefix("+")
    hint = "write 0 to 2147483645; only operators can raise a job's priority"
    number = whole(value, 0, hint)
    if number > 2147483645:
        raise InvalidInput(f"{number} is too large", hint=hint)
    draft.request["nice"] = number


def open_mode(draft: Draft, setting: Setting) -> None:
    word = _text(setting).lower()
    if not word or not ("append".startswith(word) or "truncate".startswith(word)):
        raise InvalidInput(f"{word!r} is no mode", hint="write append or truncate")
    draft.request["append_output"] = word.startswith("a")


def kill_on_invalid_dep(draft: Draft, setting: Setting) -> None:
    word = _text(setting).lower()
    if word not in {"yes", "no"}:
        raise InvalidInput(f"{setting.value!r} is no answer", hint="write yes or no")
    draft.request["kill_on_invalid_dependency"] = word == "yes"


def signal(draft: Draft, setting: Setting) -> None:
    draft.request["warn_signal"] = parse_signal(_text(setting))


def wrap(draft: Draft, setting: Setting) -> None:
    if setting.source != COMMAND_LINE:
        raise InvalidInput("stands on the command line only", hint="write the command below")
    if not _text(setting).strip():
        raise InvalidInput("no command is given", hint="write --wrap='python train.py'")
    draft.wrap = _text(setting)


def mail_type(_: Draft, setting: Setting) -> None:
    if any(word.upper() != "NONE" for word in split_quoted(_text(setting))):
        raise InvalidInput(
            "the hub sends no mail", hint="remove it; `meyrin submit --wait` or the job's page tell"
        )
