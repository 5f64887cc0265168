"""What `meyrin trace describe` prints for people, from the data that `--json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meyrin.cli.table import Column, columns, table
from meyrin.cli.terminal import clean
from meyrin.domain.units import show_count

KINDS = ("user", "group", "queue", "partition")
TOP = 5
MARKS = "▁▂▃▄▅▆▇█"
MARKS_WIDE = 80
STEPS = ((86400, "d"), (3600, "h"), (60, "min"))

Told = Mapping[str, Any]


def words(told: Told) -> str:
    """The whole description."""
    facts = list(_facts(told))
    width = max(len(name) for name, _ in facts)
    parts = ["\n".join(f"{name:{width}}  {clean(text)}" for name, text in facts)]
    if told["usable"]:
        parts.append(_quantiles(told))
        parts.append(_classes(told))
    parts += [_top(told, kind) for kind in KINDS if told[f"{kind}s"]["top"]]
    return "\n\n".join(parts)


def _facts(told: Told) -> Iterator[tuple[str, str]]:
    yield "trace", f"{told['trace']} ({told['format']})"
    where = [_one_line(told[key]) for key in ("computer", "installation") if told[key]]
    if where:
        yield "of", ", ".join(where)
    if told["acknowledge"]:
        yield "thanks to", _one_line(told["acknowledge"])
    announced = told["announced"]
    more = f"; its header announces {announced:,}" if announced not in {None, told["rows"]} else ""
    yield "rows", f"{told['rows']:,}{more}"
    if told["skipped"]:
        yield "skipped", _counts(told["skipped"])
    yield "jobs", f"{told['jobs']:,}, of them usable {told['usable']:,}"
    unusable = {reason: count for reason, count in told["unusable"].items() if count}
    if unusable:
        yield "unusable", _counts(unusable)
    if told["mended"]:
        yield "unknown", f"{_counts(told['mended'])}: read as not known"
    if told["backwards"]:
        yield "order", f"{show_count(told['backwards'], 'row')} submitted before the row above"
    if told["span"]:
        yield "span", _span(told["span"])
    if told["machine"]:
        yield "machine", f"{told['machine']:,} {told['unit']}"
    yield from _load(told)
    yield from _habits(told)
    for note in told["notes"]:
        yield "note", note


def _load(told: Told) -> Iterator[tuple[str, str]]:
    load, unit = told["load"], told["unit"].removesuffix("s")
    if load is None:
        return
    offered = f", {_percent(load['offered'])} of the machine" if load["offered"] else ""
    yield "load", f"{load['load_h']:,.0f} {unit}-hours{offered}"
    weeks = [week for week in load["weeks"] if week["mean_busy"] is not None]
    if len(weeks) < 2:
        return
    marks, each = _marks([week["mean_busy"] for week in weeks])
    yield "by week", f"{marks}  (a mark is {show_count(each, 'week')})"
    peak = max(weeks, key=lambda week: week["mean_busy"])
    how = _percent(peak["offered"]) if peak["offered"] else f"{peak['mean_busy']:,.0f} {unit}s"
    when = f" from {peak['start'][:10]}" if peak["start"] else ""
    yield "busiest", f"week {peak['week']}{when}: {how}, {show_count(peak['jobs'], 'job')}"


def _habits(told: Told) -> Iterator[tuple[str, str]]:
    limits, waits = told["limits"], told["waits"]
    if limits["known"]:
        half, over = limits["over_estimation_p50"], limits["over_limit"]
        ran = f"{over:,} ({_percent(limits['over_limit_share'])}) ran past"
        yield "limits", f"half ask for {half:,.1f} times their run time or more; {ran}"
    if waits["known"]:
        slowdown = f"mean bounded slowdown {waits['mean_bounded_slowdown']:,.1f}"
        yield "waits", f"{_percent(waits['at_once_share'])} started within 10 s; {slowdown}"
    else:
        yield "waits", "not recorded"
    if told["arrivals"] is not None:
        by_hour = told["arrivals"]["by_hour"]
        marks, _ = _marks([float(count) for count in by_hour])
        yield "by hour", f"{marks}  (0 to 23 h, {told['arrivals']['time_zone']})"


def _marks(values: list[float]) -> tuple[str, int]:
    """A line of marks from 0 to the largest, and how many values stand behind each."""
    each = -(-len(values) // MARKS_WIDE)
    means = [
        sum(values[at : at + each]) / len(values[at : at + each])
        for at in range(0, len(values), each)
    ]
    most = max(means) or 1.0
    return "".join(MARKS[min(int(mean / most * len(MARKS)), 7)] for mean in means), each


def _quantiles(told: Told) -> str:
    rows = []
    for name, values, show in (
        (told["unit"], told["sizes"], _number),
        ("run time", told["run_s"], duration),
        ("limit", told["limits"].get("limit_s", {"known": 0}), duration),
        ("wait", told["waits"].get("wait_s", {"known": 0}), duration),
    ):
        if values["known"]:
            cuts = [show(values[cut]) for cut in ("min", "p10", "p50", "p90", "p99", "max", "mean")]
            rows.append([name, *cuts])
    heads = [Column(""), *columns("LEAST> 10%> HALF> 90%> 99%> MOST> MEAN>")]
    return table(heads, rows)


def _classes(told: Told) -> str:
    rows = [
        (each["size"], f"{each['jobs']:,}", _percent(each["load_share"]))
        for each in told["sizes"]["classes"]
    ]
    return table([Column("SIZE"), *columns("JOBS> LOAD>")], rows)


def _top(told: Told, kind: str) -> str:
    known = told[f"{kind}s"]
    rows = [
        (each["name"], f"{each['jobs']:,}", _percent(each["load_share"]))
        for each in known["top"][:TOP]
    ]
    count = known["count"]
    more = f"\n(the largest of {count:,})" if count > len(rows) else ""
    return table([Column(kind.upper(), flexible=True), *columns("JOBS> LOAD>")], rows) + more


def _span(span: Told) -> str:
    days = f"{span['days']:,.1f} days"
    if span["days"] < 2:
        days = duration(span["last_submit_s"] - span["first_submit_s"])
    if span["first_submit"] is None:
        return f"{days} (submissions at {span['first_submit_s']:,} to {span['last_submit_s']:,} s)"
    first, last = (span[key][:16].replace("T", " ") for key in ("first_submit", "last_submit"))
    return f"{days}, {first} to {last}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3.5 h, 2.1 d."""
    for step, unit in STEPS:
        if seconds >= step:
            return f"{seconds / step:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:,.1f} %"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items())


def _one_line(text: str) -> str:
    return " ".join(text.split())
