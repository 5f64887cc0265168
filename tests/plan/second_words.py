"""The second program on words: every number in a sentence of a report, worked out again.

    python -m tests.plan.second_words OUT

Each sentence of the first page must be one of the forms below, and each number in it must be what
the outcome files say, to the digits that are shown. A sentence of another form, or a digit that no
form accounts for, is told. Shares no line with `meyrin.plan`; keep it so.
"""

from __future__ import annotations

import datetime as dt
import html
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tests.plan.second import AS_IS, Again

MINUS = "\N{MINUS SIGN}"
HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "days": 24.0}
EUR = {"EUR": 1.0, "kEUR": 1e3, "MEUR": 1e6, "GEUR": 1e9}
SAME_H = 0.5 / 3600
N = r"(?:[-\N{MINUS SIGN}]?[\d.,]*\d(?:e[+-]?\d+)?|unknown)"
SPAN = rf"{N}(?: (?:s|min|h|days))?"
CHANGE = rf"no change|{SPAN} (?:less|more)"
SIZES = {"recorded": "job sizes as recorded", "grown": "job sizes grown with the machine"}
KINDS = {"country": "country", "group": "group", "size of job": "size"}
FIXED = (  # digits that are no findings, as they stand
    "Gini; 0 is what each gave, 1 is all for one", "Student's t, 95 %", "95 % interval", "CO2",
    "wait that 90 % of jobs stay below", "5th edition, section 10.2", "90 % of the jobs",
    "99 % of the jobs", "at least 10 s", "10^12 bytes",
)  # fmt: skip


def shown_as(told: str, value: float, units: dict[str, float]) -> bool:
    """Whether `told`, such as `17.1 h`, is `value` (of the unit that is 1) in three digits."""
    if told == "unknown":
        return math.isnan(value)
    digits, _, unit = told.partition(" ")
    each = units[unit] if unit else 1.0
    number = float(digits.replace(MINUS, "-").replace(",", ""))
    if number == 0:
        return abs(value) < max(SAME_H * 1.000001 if units is HOURS else 0, 1e-12)
    step = 10.0 ** min(math.floor(math.log10(abs(number))) - 2, 0 if "e" not in digits else 99)
    return abs(value / each - number) <= 0.5 * step * (1 + 1e-6) + 1e-9 * abs(number)


def plain(told: str, value: float) -> bool:
    return shown_as(told, value, {})


def spanned(told: str, value: float) -> bool:
    return shown_as(told, value, HOURS)


def changed(told: str, value: float) -> bool:
    """`17.1 h less`, `no change`."""
    if told == "no change":
        return abs(value) < SAME_H
    words, _, way = told.rpartition(" ")
    return way == ("less" if value < 0 else "more") and spanned(words, abs(value))


class Words:
    """The sentences of the study in `folder` against its points."""

    def __init__(self, folder: Path, again: Again | None = None) -> None:
        self.again = again or Again(folder)
        self.summary = json.loads((folder / "study.json").read_text())
        self.page = (folder / "report.html").read_text()
        texts = [(folder / name).read_text() for name in ("scenario.toml", "facility.toml")]
        self.files = [tomllib.loads(text) for text in texts]
        rows = self.again.options()
        self.rows = {(row.option, row.size_rule): row for row in rows.itertuples()}
        self.focus, self.rule = self.again.focus, self.again.rule
        self.today, self.then = self.row(AS_IS), self.row(self.focus)
        self.about = self.again.about[self.focus]

    def row(self, option: str, rule: str = "") -> Any:
        return self.rows[option, rule or self.rule]

    def wrong(self) -> list[str]:
        """What in words is not what the points say; empty is good."""
        found = []
        said = [one for answer in self.summary["answers"].values() for one in answer]
        for sentence in said:
            if f"<p>{html.escape(sentence, quote=False)}</p>" not in self.page.replace(
                "&#39;", "'"
            ).replace("&#34;", '"'):
                found.append(f"not on the page: {sentence}")
            found += self.sentence(sentence)
        return found + list(self.table()) + list(self.rest(said))

    def sentence(self, sentence: str) -> Iterator[str]:
        for form, check in FORMS:
            hit = re.fullmatch(form, sentence)
            if hit:
                if not check(self, hit):
                    yield f"not so: {sentence}"
                return
        yield f"cannot be accounted for: {sentence}"

    def rest(self, said: list[str]) -> Iterator[str]:
        """Paragraphs beside the first page's: no digit but those that are known."""
        text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", self.page, flags=re.DOTALL)
        text = re.sub(r'<div class="table".*?</div>', "", text, flags=re.DOTALL)
        for tag, body in re.findall(r"<(p|h1|h2|h3|dd|summary)\b[^>]*>(.*?)</\1>", text, re.DOTALL):
            words = html.unescape(re.sub(r"<code>.*?</code>|<[^>]+>", "", body))
            words = " ".join(words.split())
            if words in said or " · scenario " in words:
                continue
            for known in (*FIXED, self.summary["name"], self.summary["facility"], self.focus):
                words = words.replace(known, "")
            more = re.fullmatch(r"(\d+) more rows are in the file\.", words)
            if re.search(r"\d", words) and not more:
                yield f"cannot be accounted for: <{tag}> {words}"

    def table(self) -> Iterator[str]:
        """The tables of options as they are shown, one for each size rule."""
        for rule in sorted({rule for _, rule in self.rows}):
            head = f'aria-label="Options with {SIZES[rule]}: table"'
            body = self.page.partition(head)[2].partition("</table>")[0]
            lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)[1:]
            mine = [row for row in self.rows.values() if row.size_rule == rule]
            if len(lines) != len(mine):
                yield f"{len(lines)} options are shown, {len(mine)} are right"
            for line in lines:
                cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)
                cells = [html.unescape(one) for one in cells]
                row = self.row(AS_IS if cells[0] == "today" else cells[0], rule)
                if not all(self.cells(cells, row)):
                    yield f"not so: {cells}"

    def cells(self, cells: list[str], row: Any) -> Iterator[bool]:
        yield spanned(cells[2], row.wait_mean_h)
        if cells[0] == "today":
            yield cells[3] == cells[4] == ""
        else:
            yield signed(cells[3], row.wait_mean_h_change)
            low, high = row.wait_mean_h_change_low, row.wait_mean_h_change_high
            if cells[4] == "unknown":
                yield math.isnan(low)
            else:
                first, _, last = cells[4].partition(" to ")
                yield signed(first, low)
                yield signed(last, high)
        yield spanned(cells[5], row.wait_p90_h)
        names = ("in_promise_pct", "unserved_pct", "use_pct")
        for cell, name in zip(cells[6:9], names, strict=True):
            yield plain(cell.removesuffix(" %"), getattr(row, name))
        yield plain(cells[9], row.cost_eur_per_acch)
        yield plain(cells[10], row.carbon_g_per_acch)

    # --- the sentences

    def waits_today(self, hit: re.Match[str]) -> bool:
        return spanned(hit[1], self.today.wait_mean_h) and spanned(hit[2], self.today.wait_p90_h)

    def waits_then(self, hit: re.Match[str]) -> bool:
        low, high = self.then.wait_mean_h_change_low, self.then.wait_mean_h_change_high
        good = hit["focus"] == self.focus and hit["steps"] == " → ".join(self.again.chain()[1:])
        good &= spanned(hit["wait"], self.then.wait_mean_h)
        good &= changed(hit["change"], self.then.wait_mean_h_change)
        if hit["low"] is None:
            return good and math.isnan(low)
        return good and spanned(hit["low"], low) and spanned(hit["high"], high)

    def promised(self, hit: re.Match[str]) -> bool:
        return (
            plain(hit[1], self.then.in_promise_pct)
            and spanned(hit[2], self.about["promise_s"] / 3600)
            and plain(hit[3], self.today.in_promise_pct)
            and plain(hit[4], self.today.unserved_pct)
            and plain(hit[5], self.then.unserved_pct)
        )

    def new(self) -> list[dict[str, Any]]:
        """Sites of the focus that are not there today."""
        today = {site["name"] for site in self.again.about[AS_IS]["sites"]}
        return [site for site in self.about["sites"] if site["name"] not in today]

    def nothing_built(self, _hit: re.Match[str]) -> bool:
        return not self.new()

    def opens(self, hit: re.Match[str]) -> bool:
        begin = dt.datetime.fromisoformat(self.about["begin"])
        lines = [
            f"{site['title']} opens on {(begin + dt.timedelta(seconds=site['opened_s'])).date()}"
            for site in self.new()
        ]
        return hit[0] == "; ".join(lines) + "."

    def length(self, hit: re.Match[str]) -> bool:
        return (
            plain(hit[1], self.about["hours"] / 24)
            and hit[2] == self.about["begin"]
            and plain(hit[3], self.about["warm_up_s"] / 86400)
        )

    def slices(self, word: str) -> pd.Series:
        table = self.again.slices(KINDS[word])
        mine = table[(table["option"] == self.focus) & (table["size_rule"] == self.rule)]
        return mine.set_index(KINDS[word])["wait_mean_h_change"].dropna()

    def whom(self, hit: re.Match[str]) -> bool:
        waits = self.slices(hit[1])
        return (
            len(waits) > 1
            and {hit[2], hit[4]} <= set(waits.index)
            and math.isclose(waits[hit[2]], waits.min(), abs_tol=1e-12)
            and changed(hit[3], waits.min())
            and math.isclose(waits[hit[4]], waits.max(), abs_tol=1e-12)
            and changed(hit[5], waits.max())
        )

    def nobody(self, hit: re.Match[str]) -> bool:
        waits = self.slices(hit[1])
        return len(waits) > 1 and bool((waits.abs() < SAME_H).all())

    def even(self, hit: re.Match[str]) -> bool:
        fair = self.again.fairness().set_index(["option", "size_rule"])
        a, b = fair.loc[(AS_IS, self.rule)], fair.loc[(self.focus, self.rule)]
        numbers = (a["gini"], b["gini"], a["best_to_worst"], b["best_to_worst"])
        return all(
            value > 100 if told == "more than 100" else value <= 100 and plain(told, value)
            for told, value in zip(hit.groups(), numbers, strict=True)
        )

    def costs(self, hit: re.Match[str]) -> bool:
        change = self.then.cost_eur_change
        good = shown_as(hit["cost"], self.then.cost_eur, EUR)
        good &= plain(hit["days"], self.about["hours"] / 24)
        if hit["more"] is None:
            return good and abs(change) < 1
        return (
            good
            and shown_as(hit["more"], abs(change), EUR)
            and (hit["way"] == "less") == (change < 0)
        )

    def each_hour(self, hit: re.Match[str]) -> bool:
        names = ("cost_eur_per_acch", "cost_eur_per_acch", "carbon_g_per_acch", "carbon_g_per_acch")
        rows = (self.today, self.then) * 2
        pairs = zip(hit.groups(), rows, names, strict=True)
        return all(plain(told, getattr(row, name)) for told, row, name in pairs)

    def draws(self, hit: re.Match[str]) -> bool:
        return int(hit[1]) == self.again.seeds["seed"].nunique() > 1

    def once(self, _hit: re.Match[str]) -> bool:
        return bool(self.again.seeds["seed"].nunique() == 1)

    def rules(self, hit: re.Match[str]) -> bool:
        said = {"as recorded": "recorded", "grown with the machine": "grown"}
        parts = re.findall(
            rf"({CHANGE}) with job sizes (as recorded|grown with the machine)", hit[1]
        )
        there = {rule for _, rule in self.rows}
        return {said[rule] for _, rule in parts} == there and all(
            changed(told, self.row(self.focus, said[rule]).wait_mean_h_change)
            for told, rule in parts
        )

    def most(self, hit: re.Match[str]) -> bool:
        by_wait = hit["what"] == "wait"
        table = self.again.tornado("wait_mean_h" if by_wait else "cost_eur_per_acch")
        widest = table[table["swing"] >= table["swing"].max() * (1 - 1e-9)]
        ends = [self.range(name) for name in widest["quantity"]]
        good = any(plain(hit["low"], low) and plain(hit["high"], high) for low, high in ends)
        row = widest.iloc[0]
        low, high = sorted((row["change_at_low"], row["change_at_high"]))
        units = HOURS if by_wait else EUR
        return good and shown_as(hit["from"], low, units) and shown_as(hit["to"], high, units)

    def range(self, name: str) -> tuple[float, float]:
        """Ends of a number with a range, in its own unit, from the files as text."""
        first, *rest = name.split(".")
        for file in self.files:
            here = file.get(first)
            words = list(rest)
            if isinstance(here, list):
                here = next((one for one in here if one["name"] == words[0]), None)
                words = words[1:]
            for word in words:
                here = here.get(word) if isinstance(here, dict) else None
            if isinstance(here, dict) and "unit" in here:
                value = here.get("value")
                return here.get("low", value), here.get("high", value)
        raise KeyError(name)

    def unknown(self, hit: re.Match[str]) -> bool:
        return int(hit[1]) == sum(count_unknown(file) for file in self.files)

    def always(self, _hit: re.Match[str]) -> bool:
        return True

    def none_ranged(self, _hit: re.Match[str]) -> bool:
        swings = [self.again.tornado(name)["swing"] for name in ("wait_mean_h", "cost_eur")]
        return all(not (swing > 0).any() for swing in swings)


def signed(told: str, value: float) -> bool:
    """A sign and a span, such as `+48 min`; `0 s` has none."""
    if told == "unknown":
        return math.isnan(value)
    if told[0] in f"+{MINUS}" and (told[0] == "+") != (value > 0):
        return False
    return spanned(told.lstrip("+" + MINUS), abs(value))


def count_unknown(value: Any) -> int:
    if isinstance(value, dict):
        mine = int(value.get("unknown") is True)
        return mine + sum(count_unknown(one) for one in value.values())
    return sum(count_unknown(one) for one in value) if isinstance(value, list) else 0


Check = Callable[[Words, re.Match[str]], bool]
FORMS: list[tuple[str, Check]] = [
    (rf"Today a job waits ({SPAN}) on average, and one in ten waits longer than ({SPAN})\.",
     Words.waits_today),
    ((rf"With “(?P<focus>.+)” \((?P<steps>.+?)\) it waits (?P<wait>{SPAN}) on average:"
     rf" (?P<change>{CHANGE}) \((?:95 % interval (?P<low>{SPAN}) to (?P<high>{SPAN})"
     r"|no interval: one draw only)\)\."), Words.waits_then),
    ((rf"({N}) % of jobs start within the promised ({SPAN}), after ({N}) % today;"
     rf" work left undone at the end goes from ({N}) % to ({N}) %\."), Words.promised),
    (r"Nothing in it has to be built: it can begin when sites agree\.", Words.nothing_built),
    (r"(?:.+ opens on \d{4}-\d\d-\d\d(?:; |\.))+", Words.opens),
    ((rf"The study plays ({N}) days from (\d{{4}}-\d\d-\d\d) on; the first ({N}) days only fill the"
     r" queues\."), Words.length),
    (r"By (country|group|size of job): nothing changes for anybody\.", Words.nobody),
    ((rf"By (country|group|size of job): (.+) gains most \(({CHANGE})\),"
      rf" (.+) least \(({CHANGE})\)\."),
     Words.whom),
    ((r"Evenness among countries \(Gini; 0 is what each gave, 1 is all for one\):"
     rf" ({N}) today, ({N}) then\. For what they gave, the best served country gets"
      rf" ({N}|more than 100) times the worst served today, ({N}|more than 100) times then\."),
     Words.even),
    ((rf"Running it costs (?P<cost>{N} [kMG]?EUR) over the (?P<days>{N}) days \(machines and"
     r" buildings written off, upkeep, energy\), (?:as much as|"
     rf"(?P<more>{N} [kMG]?EUR) (?P<way>less|more) than) today\."), Words.costs),
    ((rf"A useful accelerator-hour costs ({N}) EUR today and ({N}) EUR then; it emits ({N}) g of"
     rf" CO2 today and ({N}) g then\."), Words.each_hour),
    ((r"Each case was played (\d+) times with other chance, the same chance for today and for each"
     r" option; intervals are of the paired differences \(Student's t, 95 %\)\."), Words.draws),
    (r"Each case was played once, so there is no interval; add seeds to the scenario\.",
     Words.once),
    (r"The gain depends on how large jobs become: (.+)\.", Words.rules),
    (r"What a replay can't see: people ask for more, or for other things, when queues get short\.",
     Words.always),
    ((rf"For the (?P<what>wait|cost of a useful hour), most: .+ \(from (?P<low>{N}) to"
     rf" (?P<high>{N})(?: [^()]+)?\): the change would be between (?P<from>{N}(?: \w+)?) and"
     rf" (?P<to>{N}(?: \w+)?)\."), Words.most),
    ((r"Numbers that nobody says: (\d+)\. The table of unknowns lists them, with how far each of"
     r" them moves the answer\."), Words.unknown),
    (r"No number of this scenario was given a range, so nothing was varied\.", Words.none_ranged),
]  # fmt: skip


if __name__ == "__main__":
    wrong = Words(Path(sys.argv[1])).wrong()
    print("\n".join(wrong) or "every number in words agrees")
    sys.exit(bool(wrong))
