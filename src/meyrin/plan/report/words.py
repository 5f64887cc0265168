"""The sentences of a report, from its tables: what a reader who draws no curves needs.

Every number in a sentence stands in a table under the same study; nothing here is a judgement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from meyrin.plan.report.gather import Study
from meyrin.plan.report.tables import Tables
from meyrin.plan.scenario import AS_IS

MINUS = "\N{MINUS SIGN}"
SAME_H = 0.5 / 3600  # waits that differ by less are the same to people
MOST_TIMES = 100
RULES = {
    "recorded": "job sizes as recorded",
    "grown": "job sizes grown with the machine",
}
_FIELDS = {
    "site": {
        "price": "electricity price",
        "carbon": "carbon of the grid",
        "accelerators": "number of accelerators",
        "power": "power",
        "link": "network link",
        "temperature": "outdoor temperature",
    },
    "accelerator": {
        "price": "price of an accelerator",
        "draw": "power of an accelerator",
        "speed": "speed of an accelerator",
    },
    "workload": {"load": "demand"},
}
_ALONE = {
    "failures.rate": "how often accelerators fail",
    "money.building": "price of the building for one MW",
    "money.life": "years an accelerator is used",
    "money.upkeep": "staff and maintenance",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the questions on the first page, and what is said to it."""

    question: str
    sentences: tuple[str, ...]


def hours(value: float) -> str:
    """`0.25` hours as people say it: `15 min`."""
    if value != value:  # noqa: PLR0124 - NaN
        return "unknown"
    size = abs(value)
    if size < SAME_H:
        return "0 s"
    for most, each, word in ((1 / 60, 3600, "s"), (1, 60, "min"), (240, 1, "h")):
        if size < most:
            return f"{_digits(value * each)} {word}"
    return f"{_digits(value / 24)} days"


def number(value: float, unit: str = "") -> str:
    """A number in three digits with its unit; `unknown` where there is none."""
    if value != value:  # noqa: PLR0124 - NaN
        return "unknown"
    return f"{_digits(value)} {unit}".strip()


def _digits(value: float) -> str:
    """Three digits, or all before the point, with a minus that is one."""
    size = abs(value)
    shown = f"{size:,.0f}" if size >= 1000 else f"{size:,.3g}"
    return f"{MINUS}{shown}" if value < 0 else shown


def money(eur: float) -> str:
    """`202,000` euros as people say it: `202 kEUR`."""
    for most, each, word in ((1e3, 1, "EUR"), (1e6, 1e3, "kEUR"), (1e9, 1e6, "MEUR")):
        if abs(eur) < most:
            return number(eur / each, word)
    return number(eur / 1e9, "GEUR")


def quantity_name(name: str) -> str:
    """`site.lumi.price` in words."""
    if name in _ALONE:
        return _ALONE[name]
    first, _, rest = name.partition(".")
    middle, _, field = rest.rpartition(".")
    words = _FIELDS.get(first, {}).get(field)
    return f"{words}, {middle}" if words else name.replace(".", " ").replace("_", " ")


def _row(table: pd.DataFrame, study: Study, option: str, rule: str = "") -> Any:
    mine = table[(table["option"] == option) & (table["size_rule"] == (rule or study.rule))]
    return mine.iloc[0]


def _interval(row: Any, name: str, shown: Any) -> str:
    low, high = row[f"{name}_change_low"], row[f"{name}_change_high"]
    if low != low:  # noqa: PLR0124 - NaN
        return "no interval: one draw only"
    return f"95 % interval {shown(low)} to {shown(high)}"


def _way(change: float, less: str, more: str) -> str:
    return less if change < 0 else more


def answers(study: Study, tables: Tables) -> list[Answer]:
    """The first page: six questions."""
    options = tables["options"]
    today, then = (_row(options, study, name) for name in (AS_IS, study.focus))
    return [
        Answer("What do you get?", _gets(study, today, then)),
        Answer("When?", _when(study)),
        Answer("For whom?", _whom(study, tables)),
        Answer("At what cost?", _cost(study, today, then)),
        Answer("How sure is it?", _sure(study, options)),
        Answer("What would change the answer?", _changes(tables)),
    ]


def _gets(study: Study, today: Any, then: Any) -> tuple[str, ...]:
    change = float(then["wait_mean_h_change"])
    steps = " → ".join(study.chain(study.focus)[1:])
    promise = hours(study.promise_s / 3600)
    return (
        (
            f"Today a job waits {hours(today['wait_mean_h'])} on average, and one in ten waits"
            f" longer than {hours(today['wait_p90_h'])}."
        ),
        (
            f"With “{study.focus}” ({steps}) it waits {hours(then['wait_mean_h'])} on average:"
            f" {_signed(change)}"
            f" ({_interval(then, 'wait_mean_h', hours)})."
        ),
        (
            f"{number(then['in_promise_pct'], '%')} of jobs start within the promised {promise},"
            f" after {number(today['in_promise_pct'], '%')} today;"
            f" work left undone at the end goes from {number(today['unserved_pct'], '%')} to"
            f" {number(then['unserved_pct'], '%')}."
        ),
    )


def _when(study: Study) -> tuple[str, ...]:
    days = study.hours / 24
    new = [
        f"{site['title']} opens {_day(study, int(site['opened_s']))}"
        for site in study.sites.get(study.focus, [])
        if site["new"]
    ]
    first = (
        "Nothing in it has to be built: it can begin when sites agree."
        if not new
        else "; ".join(new) + "."
    )
    return (
        first,
        (
            f"The study plays {days:,.0f} days from {study.begin} on; the first"
            f" {study.warm_up_s / 86400:,.3g} days only fill the queues."
        ),
    )


def _day(study: Study, after_s: int) -> str:
    day = pd.Timestamp(study.begin) + pd.Timedelta(seconds=after_s)
    return f"on {day.date().isoformat()}"


def _whom(study: Study, tables: Tables) -> tuple[str, ...]:
    found = []
    for dimension, word in (("countries", "country"), ("groups", "group"), ("sizes", "size")):
        table = tables[dimension]
        mine = table[(table["option"] == study.focus) & (table["size_rule"] == study.rule)]
        mine = mine[mine["wait_mean_h_change"].notna()]
        if len(mine) < 2:
            continue
        name = {"country": "country", "group": "group", "size": "size of job"}[word]
        if mine["wait_mean_h_change"].abs().max() < SAME_H:
            found.append(f"By {name}: nothing changes for anybody.")
            continue
        best = mine.loc[mine["wait_mean_h_change"].idxmin()]
        worst = mine.loc[mine["wait_mean_h_change"].idxmax()]
        found.append(
            f"By {name}: {best[word]} gains most ({_signed(best['wait_mean_h_change'])}),"
            f" {worst[word]} least ({_signed(worst['wait_mean_h_change'])})."
        )
    fair = tables["fairness"]
    a, b = (_row(fair, study, name) for name in (AS_IS, study.focus))
    found.append(
        f"Evenness among countries (Gini; 0 is what each gave, 1 is all for one):"
        f" {number(a['gini'])} today, {number(b['gini'])} then. For what they gave, the best served"
        f" country gets {_times(a['best_to_worst'])} the worst served today,"
        f" {_times(b['best_to_worst'])} then."
    )
    return tuple(found)


def _times(ratio: float) -> str:
    """How many times; where somebody gets next to nothing, the number says no more."""
    return f"more than {MOST_TIMES} times" if ratio > MOST_TIMES else f"{number(ratio)} times"


def _signed(change: float) -> str:
    if abs(change) < SAME_H:
        return "no change"
    return f"{hours(abs(change))} {_way(change, 'less', 'more')}"


def _cost(study: Study, today: Any, then: Any) -> tuple[str, ...]:
    change = float(then["cost_eur_change"])
    lines = [
        (
            f"Running it costs {money(float(then['cost_eur']))} over the"
            f" {study.hours / 24:,.0f} days (machines and buildings written off, upkeep, energy),"
            f" {_money(change)} today."
        ),
        (
            f"A useful accelerator-hour costs {number(today['cost_eur_per_acch'], 'EUR')} today and"
            f" {number(then['cost_eur_per_acch'], 'EUR')} then; it emits"
            f" {number(today['carbon_g_per_acch'], 'g')} of CO2 today and"
            f" {number(then['carbon_g_per_acch'], 'g')} then."
        ),
    ]
    return tuple(lines)


def _money(change: float) -> str:
    if abs(change) < 1:
        return "as much as"
    return f"{money(abs(change))} {_way(change, 'less', 'more')} than"


def _sure(study: Study, options: pd.DataFrame) -> tuple[str, ...]:
    draws = len(study.seeds)
    lines = [
        f"Each case was played {draws} times with other chance, the same chance for today and for"
        " each option; intervals are of the paired differences (Student's t, 95 %)."
        if draws > 1
        else "Each case was played once, so there is no interval; add seeds to the scenario."
    ]
    if len(study.rules) > 1:
        both = [
            f"{_signed(_row(options, study, study.focus, rule)['wait_mean_h_change'])} with"
            f" {RULES[rule]}"
            for rule in study.rules
        ]
        lines.append(f"The gain depends on how large jobs become: {', '.join(both)}.")
    lines.append(
        "What a replay can't see: people ask for more, or for other things, when queues get short."
    )
    return tuple(lines)


def _changes(tables: Tables) -> tuple[str, ...]:
    lines = []
    for name, what, shown in (
        ("tornado-wait", "wait", hours),
        ("tornado-cost", "cost of a useful hour", lambda v: number(v, "EUR")),
    ):
        table = tables[name]
        if table.empty or not (table["swing"] > 0).any():
            continue
        row = table.iloc[0]
        ends = row["change_at_low"], row["change_at_high"]
        lines.append(
            f"For the {what}, most: {quantity_name(row['quantity'])}"
            f" (from {number(row['low'])} to {number(row['high'], row['unit'])}):"
            f" the change would be between {shown(min(ends))} and {shown(max(ends))}."
        )
    unknown = int(tables["unknowns"]["nobody_says"].sum()) if len(tables["unknowns"]) else 0
    if unknown:
        lines.append(
            f"Numbers that nobody says: {unknown}. The table of unknowns lists them, with how far"
            " each of them moves the answer."
        )
    if not lines:
        lines.append("No number of this scenario was given a range, so nothing was varied.")
    return tuple(lines)


def option_rows(tables: Tables, rule: str) -> list[list[str]]:
    """The table of options under a size rule as a person reads it, heads first."""
    heads = ["option", "what it is", "mean wait", "change", "95 % interval", "90 % wait at most",
             "in promised time", "undone", "in use", "EUR per useful hour",
             "g CO2 per useful hour"]  # fmt: skip
    rows = [heads]
    table = tables["options"]
    for _, row in table[table["size_rule"] == rule].iterrows():
        same = row["option"] == AS_IS
        low, high = row["wait_mean_h_change_low"], row["wait_mean_h_change_high"]
        rows.append(
            [
                "today" if same else row["option"],
                row["title"],
                hours(row["wait_mean_h"]),
                "" if same else _plus(row["wait_mean_h_change"]),
                "" if same else "unknown" if low != low else f"{_plus(low)} to {_plus(high)}",  # noqa: PLR0124
                hours(row["wait_p90_h"]),
                number(row["in_promise_pct"], "%"),
                number(row["unserved_pct"], "%"),
                number(row["use_pct"], "%"),
                number(row["cost_eur_per_acch"]),
                number(row["carbon_g_per_acch"]),
            ]
        )
    return rows


def effort_rows(study: Study, tables: Tables) -> list[list[str]]:
    """What each option asks of machines, networks and grids, as a person reads it."""
    rows = [["option", "in use", "ran elsewhere", "data moved", "restarts", "lost to them",
             "energy", "moved on a signal", "of power"]]  # fmt: skip
    table = tables["effort"]
    for _, row in table[table["size_rule"] == study.rule].iterrows():
        rows.append(
            [
                "today" if row["option"] == AS_IS else row["option"],
                number(row["use_pct"], "%"),
                number(row["away_pct"], "%"),
                number(row["data_tb"], "TB"),
                number(row["restarts"]),
                number(row["lost_acch"], "acc-h"),
                number(row["energy_mwh"], "MWh"),
                number(row["moved_mwh"], "MWh"),
                number(row["moved_mw"], "MW"),
            ]
        )
    return rows


def _plus(change: float) -> str:
    if change != change:  # noqa: PLR0124 - NaN
        return "unknown"
    sign = "" if abs(change) < SAME_H else MINUS if change < 0 else "+"
    return f"{sign}{hours(abs(change))}"


def unknown_rows(tables: Tables) -> list[list[str]]:
    """The table of unknowns as a person reads it."""
    rows = [["number", "known?", "low", "taken", "high", "unit", "moves the wait by",
             "moves the cost by, EUR per useful hour", "source"]]  # fmt: skip
    for _, row in tables["unknowns"].iterrows():
        rows.append(
            [
                quantity_name(row["quantity"]),
                "nobody says" if row["nobody_says"] else "a range",
                number(row["low"]),
                number(row["taken"]),
                number(row["high"]),
                row["unit"],
                hours(row["wait_swing_h"]),
                number(row["cost_swing_eur_per_acch"]),
                "; ".join(part for part in (row["source"], row["note"]) if part),
            ]
        )
    return rows
