"""How pages write times, amounts, names and states. Pure; what it returns is text, not HTML."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from meyrin.domain.ledger import AccountKind, EntryKind
from meyrin.domain.states import MEANING, JobState
from meyrin.domain.units import CORE, show_count, show_duration, show_energy, show_hours

_STATES = frozenset(str(state) for state in JobState)

# a tone is a colour in the style sheet; the symbol and the word say the same without it
_TONE = {
    JobState.SUBMITTED: "wait",
    JobState.ADMITTED: "wait",
    JobState.PLACED: "sent",
    JobState.LEASED: "sent",
    JobState.QUEUED: "sent",
    JobState.RUNNING: "run",
    JobState.PREEMPTED: "wait",
    JobState.COMPLETED: "good",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "off",
    JobState.EXPIRED: "off",
}
_SYMBOL = {
    JobState.SUBMITTED: "waiting",
    JobState.ADMITTED: "waiting",
    JobState.PLACED: "sent",
    JobState.LEASED: "sent",
    JobState.QUEUED: "sent",
}


def of_page(count: int, noun: str, after: str, following: str) -> str:
    """How many there are, of which this page has `count`: `3 asks`, `50 asks and more`."""
    return show_count(count, noun) + (" and more" if after or following else "")


def tone(state: str) -> str:
    return _TONE[JobState(state)] if state in _STATES else "off"


def symbol(state: str) -> str:
    """The name of a symbol in static/icons.svg."""
    if state not in _STATES:
        return "unknown"
    return _SYMBOL.get(JobState(state), state)


def meaning(state: str) -> str:
    """What a state means, as a sentence."""
    words = MEANING[JobState(state)] if state in _STATES else "a state that Meyrin does not know"
    return f"{words[0].upper()}{words[1:]}."


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def iso(ms: int) -> str:
    """For machines: `2026-11-23T12:30:05Z`."""
    return _moment(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(ms: int) -> str:
    """For people, to the second: `23 Nov 2026, 12:30:05 UTC`."""
    moment = _moment(ms)
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"


def clock(ms: int) -> str:
    return f"{_moment(ms):%H:%M:%S}"


def day(ms: int) -> str:
    moment = _moment(ms)
    return f"{moment.day} {moment:%b %Y}"


def span(ms: int) -> str:
    """A duration in two units: `0.4 s`, `12 s`, `5 min 12 s`, `3 h 4 min`, `2 d 3 h`."""
    if ms < 0:
        return "0 s"
    if ms < 1000:
        return f"{ms / 1000:.1f} s"
    seconds = ms // 1000
    for size, unit, small, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{seconds} s"


def bytes_(size: int) -> str:
    """A size in binary units: `17 bytes`, `1.5 KiB`."""
    if size < 1024:
        return show_count(size, "byte")
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def hours(seconds: int) -> str:
    return show_hours(seconds)


def energy(energy_j: int) -> str:
    return show_energy(energy_j)


def unit(charged_type: str) -> str:
    """What an amount of this type is counted in."""
    return "core-hours" if charged_type == CORE else f"{charged_type}-hours"


def typed(text: str) -> str:
    """What somebody typed, as a message quotes it; the field itself keeps all of it."""
    if not text:
        return "empty"
    return repr(text) if len(text) <= 60 else f"{text[:59]!r}… ({len(text):,} characters)"


def part(text: str) -> str:
    """A name as one part of an address."""
    return quote(text, safe="")


def path(text: str) -> str:
    """A relative file name as the end of an address."""
    return quote(text, safe="/")


_HAPPENED: dict[EntryKind, str] = {
    EntryKind.GRANT: "Granted",
    EntryKind.PROMISE: "Promised for later, not free yet",
    EntryKind.RELEASE: "Released of what was promised",
    EntryKind.WITHDRAW: "Promised, and given back",
    EntryKind.HOLD: "Put on hold for jobs",
    EntryKind.SETTLE: "Charged for use",
    EntryKind.VOID: "Given back from hold",
    EntryKind.CORRECT: "Corrected",
    EntryKind.EXPIRE: "Expired",
    EntryKind.TRANSFER: "Moved between allocations",
    EntryKind.RECLAIM: "Given back unused",
}


def happened(kind: str) -> str:
    """What entries of this kind tell, as a line of a statement."""
    return _HAPPENED[EntryKind(kind)]


_ACCOUNTS: dict[str, str] = {
    AccountKind.SHARE: "share",
    AccountKind.TRANCHE: "promised",
    AccountKind.ALLOCATION: "free",
    AccountKind.HOLD: "held",
    AccountKind.DELIVERED: "used",
    AccountKind.EXPIRED: "expired",
}


def account(name: str, places: Mapping[str, str]) -> str:
    """An account in words: `free`, `held`, `used of cern at alpha/gpu`, `share of cern`."""
    kind, _, rest = name.partition(":")
    word = _ACCOUNTS.get(kind, kind)
    if kind not in (AccountKind.SHARE, AccountKind.DELIVERED):
        return word
    _, offer, owner = rest.rsplit(":", 2)
    place = places.get(offer, "")
    return f"{word} of {owner}" + (f" at {place}" if place else "")


def offers_named(accounts: list[str]) -> set[str]:
    """The offers that occur in accounts' names."""
    kinds = (f"{AccountKind.SHARE}:", f"{AccountKind.DELIVERED}:")
    found = {name.rsplit(":", 2)[1] for name in accounts if name.startswith(kinds)}
    return found - {""}


def options(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a request said, option by option; what it left out is left out."""
    asks = spec["resources"]
    nodes = [str(asks[name]) for name in ("nodes_min", "nodes_max") if asks[name]]
    gpus = f"{asks['accelerators']} per {asks['accelerators_per']}"
    if asks["accelerator_type"]:
        gpus += f", {asks['accelerator_type']}"
    found = [
        ("Accelerators", gpus if asks["accelerators"] else ""),
        ("Nodes", " to ".join(dict.fromkeys(nodes))),
        ("Tasks", _text(asks["tasks"])),
        ("Tasks per node", _text(asks["tasks_per_node"])),
        ("Cores per task", _text(asks["cores_per_task"])),
        ("Memory", _memory(asks["memory_mb"], asks["memory_per"])),
        ("Whole nodes", "yes" if asks["exclusive"] else ""),
        ("Wall time", show_duration(spec["walltime_s"]) if spec["walltime_s"] else ""),
        ("Sites", ", ".join(spec["sites"])),
        ("Partitions", ", ".join(spec["partitions"])),
        ("Features", ", ".join(spec["features"])),
        ("Array", _array(spec["array"])),
        ("Depends on", _dependencies(spec)),
        ("Not before", utc(spec["begin_s"] * 1000) if spec["begin_s"] else ""),
        ("Deadline", utc(spec["deadline_s"] * 1000) if spec["deadline_s"] else ""),
        ("Nice", _text(spec["nice"] or None)),
        ("Requeue", "yes" if spec["requeue"] else ""),
        ("Arguments", " ".join(spec["arguments"])),
        ("Folder", spec["chdir"] or ""),
        ("Input", spec["stdin"] or ""),
        ("Output", spec["stdout"] or ""),
        ("Errors", spec["stderr"] or ""),
        ("Input files", ", ".join(file["name"] for file in spec["inputs"])),
        ("Results", ", ".join(spec["output_files"])),
        ("Environment", _environment(len(spec["environment"]))),
    ]
    return [(name, value) for name, value in found if value]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _memory(memory_mb: int | None, per: str) -> str:
    if memory_mb is None:
        return ""
    return f"{bytes_(memory_mb * 2**20)} per {per}" if memory_mb else "all of a node"


def _array(array: Mapping[str, Any] | None) -> str:
    if array is None:
        return ""
    most = array["max_running"]
    return show_count(len(array["indices"]), "element") + (f", {most:,} at once" if most else "")


def _dependencies(spec: Mapping[str, Any]) -> str:
    words = []
    for each in spec["dependencies"]:
        on = "" if each["job"] is None else f":{each['job']}"
        words.append(each["kind"] + on + ("" if each["element"] is None else f"_{each['element']}"))
    return (" or " if spec["any_dependency"] else ", ").join(words)


def _environment(count: int) -> str:
    """How many variables; their values may be secrets and stay out of pages."""
    return f"{show_count(count, 'variable')} sent along" if count else ""
