"""The folder of a study: the page, its tables, its figures, and the scenario with hashes.

Everything is written beside its place first and then moved there.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from meyrin.domain.errors import Failed, InvalidInput
from meyrin.plan import measures
from meyrin.plan.report import figures, words
from meyrin.plan.report.gather import Study
from meyrin.plan.report.plane import europe
from meyrin.plan.report.quiet import quiet
from meyrin.plan.report.tables import FULL, Tables, csv_bytes
from meyrin.plan.report.tables import tables as all_tables
from meyrin.sim.figure import as_png, as_svg

PAGE, SUMMARY = "report.html", "study.json"
ROWS = 60  # of a figure's table that the page itself shows
VERSION = 1


def report(study: Study, only: Sequence[str] = ()) -> dict[str, bytes]:
    """All files of a report by path; with `only`, the tables and pictures of these figures."""
    known = [each.name for each in figures.FIGURES]
    for name in only:
        if name not in known:
            raise InvalidInput(
                f"--figure {name!r} is no figure", hint=f"one of: {', '.join(known)}",
                field="--figure", value=name,
            )  # fmt: skip
    tables = all_tables(study)
    files: dict[str, bytes] = {}
    shown = []
    for figure, chart, narrow in figures.drawn(study, tables):
        if only and figure.name not in only:
            continue
        svg = renumbered(as_svg(chart))
        files[f"figures/{figure.name}.svg"] = svg.encode()
        files[f"figures/{figure.name}.png"] = as_png(chart)
        files[f"tables/{figure.name}.csv"] = csv_bytes(tables[figure.name])
        if not only:
            shown.append((figure, svg, renumbered(as_svg(narrow))))
    if only:
        return files
    for name in (*FULL, "unknowns"):
        files[f"tables/{name}.csv"] = csv_bytes(tables[name])
    files |= {name: text.encode() for name, text in study.files.items()}
    files[PAGE] = page(study, tables, shown).encode()
    files[SUMMARY] = _json(summary(study, tables))
    return files


def summary(study: Study, tables: Tables) -> dict[str, Any]:
    """The study as one object: what was asked, from what, and each option over all jobs."""
    rows = json.loads(tables["options"].to_json(orient="records", double_precision=10))
    return {
        "version": VERSION,
        "meyrin": study.version,
        "kind": "impact",
        "name": study.name,
        "facility": study.facility,
        "begin": study.begin,
        "hours": study.hours,
        "promise_s": study.promise_s,
        "seeds": list(study.seeds),
        "size_rules": list(study.rules),
        "focus": study.focus,
        "command": study.command,
        "inputs": dict(study.inputs),
        "answers": {a.question: list(a.sentences) for a in words.answers(study, tables)},
        "options": rows,
    }


def nobody_says(files: Mapping[str, bytes]) -> list[str]:
    """The unknown numbers of a report in words, the one that is most worth knowing first."""
    content = files.get("tables/unknowns.csv")
    if content is None:
        return []
    table = pd.read_csv(io.BytesIO(content))
    return [words.quantity_name(name) for name in table["quantity"][table["nobody_says"]]]


def page(study: Study, tables: Tables, shown: Sequence[tuple[figures.Figure, str, str]]) -> str:
    """The page, whole in itself."""
    environment = Environment(
        loader=PackageLoader("meyrin.plan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("meyrin.plan.report").joinpath("templates/report.css")
    return environment.get_template(
        "report.html"
    ).render(
        study=study,
        style=Markup(style.read_text("utf-8")),  # noqa: S704 - our own file
        answers=words.answers(study, tables),
        options=[(words.RULES[rule], words.option_rows(tables, rule)) for rule in study.rules],
        quiet=quiet(study),
        effort=words.effort_rows(study, tables),
        unknowns=words.unknown_rows(tables),
        swung="" if len(study.swings) else " (not in this run)",
        figures=[_figure(each, svgs, tables[each.name]) for each, *svgs in shown],
        table=_table,
        scenario=f"{study.scenario} ({study.inputs[study.scenario][:12]})",
        rule=words.RULES[study.rule],
        rules=" and ".join(words.RULES[rule] for rule in study.rules),
        seeds=", ".join(map(str, study.seeds)),
        inputs=list(study.inputs.items()),
        measures=list(measures.MEASURES.items()),
        outlines=europe()["source"],
    )


def _figure(figure: figures.Figure, svgs: Sequence[str], table: pd.DataFrame) -> dict[str, Any]:
    csv = base64.b64encode(csv_bytes(table)).decode()
    return {
        "name": figure.name,
        "heading": figure.heading,
        "says": figure.says,
        "desk": Markup(inline(svgs[0], figure.name)),  # noqa: S704 - drawn by us
        "phone": Markup(inline(svgs[1], f"{figure.name}-phone")),  # noqa: S704
        "csv": f"data:text/csv;charset=utf-8;base64,{csv}",
        "rows": [
            list(table.columns),
            *([_cell(v) for v in row] for row in table.head(ROWS).values),
        ],
        "more": max(0, len(table) - ROWS),
    }


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value != value else f"{value:,.6g}"  # noqa: PLR0124 - NaN


def renumbered(svg: str) -> str:
    """The SVG with names of its parts counted from one: the renderer counts through a process."""
    seen: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        return seen.setdefault(found[0], f"{found[1]}{len(seen) + 1}")

    return re.sub(r"\b(clip|gradient_)\d+\b", name, svg)


def inline(svg: str, name: str) -> str:
    """An SVG as part of a page: no prolog, names of its own, nothing said twice to who listens."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    return body.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


_NUMBERS = re.compile(
    r"^[\u2212+\-]?[\d.,]+(?:e[+-]?\d+)?( .{1,12})?$|^$|^unknown$|^[\u2212+\-\d].* to .*$"
)


def _table(label: str, rows: Sequence[Sequence[str]]) -> Markup:
    """A table that scrolls by itself, with words to the left and numbers to the right."""
    head, *body = rows
    text = [
        not all(_NUMBERS.match(row[at]) for row in body) if body else True
        for at in range(len(head))
    ]
    marks = [' class="text"' if each else "" for each in text]
    cells = "".join(
        f'<th scope="col"{mark}>{html.escape(name)}</th>'
        for name, mark in zip(head, marks, strict=True)
    )
    lines = []
    for first, *rest in body:
        row = "".join(
            f"<td{mark}>{html.escape(cell)}</td>"
            for cell, mark in zip(rest, marks[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row"{marks[0]}>{html.escape(first)}</th>{row}</tr>')
    return Markup(  # noqa: S704 - escaped above
        f'<div class="table" role="region" tabindex="0" aria-label="{html.escape(label)}: table">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """These files into `folder`; the summary comes last. Failed where the disk says no."""
    beside = folder / f".{secrets.token_hex(4)}.part"
    try:
        for name in sorted(files, key=lambda name: name == SUMMARY):
            part = beside / name
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(files[name])
        for name in sorted(files, key=lambda name: name == SUMMARY):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).replace(folder / name)
    except OSError as error:
        raise Failed(f"--out {folder} can't be written: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
