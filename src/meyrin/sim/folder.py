"""The folder of a replay: jobs as Parquet, summary, policy and cluster as used, pictures, a page.

Written beside its place and then moved there, so that nobody ever sees half of one; what was in
the place before is left alone unless the caller says otherwise.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from hashlib import file_digest
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meyrin.domain.errors import Conflict, Failed, InvalidInput
from meyrin.sim.outcome import Outcome, bounded_slowdown

if TYPE_CHECKING:
    from meyrin.sim.trace.model import Trace

SUMMARY = "summary.json"
NAMED = ("user", "group", "queue", "partition")  # columns with the log's own words


def check_free(folder: Path, *, force: bool) -> None:
    """Before a long replay: whether `folder` can be written when it is over.

    Conflict where it holds something and `force` is not set, InvalidInput where it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"--out {folder} is a file; it wants a folder", field="--out")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise Conflict(
            f"--out {folder} is not empty; nothing was replayed",
            hint="choose another folder, or overwrite an earlier replay there with --force",
            field="--out",
            value=str(folder),
        )
    beside = folder.absolute().parent
    if not beside.is_dir() or not os.access(beside, os.W_OK):
        raise InvalidInput(f"--out {folder}: no files can be made in {beside}", field="--out")


def check_writable(path: Path) -> None:
    """Before a long replay: whether a file can be put at `path`. InvalidInput where not."""
    beside = path.absolute().parent
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; a file is wanted", field=str(path))
    if not beside.is_dir() or not os.access(beside, os.W_OK):
        raise InvalidInput(f"{path}: no files can be made in {beside}", field=str(path))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """All of `files` into `folder`, or none. The summary comes last where the folder was there.

    Failed where the disk says no; then what was in `folder` before is as it was.
    """
    folder = folder.absolute()
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        beside.mkdir()
        for name, content in files.items():
            (beside / name).write_bytes(content)
        if not folder.exists() or not any(folder.iterdir()):
            beside.rename(folder)
            return
        (folder / SUMMARY).unlink(missing_ok=True)  # from here on it is no whole replay
        for name in sorted(files, key=lambda name: name == SUMMARY):
            (beside / name).replace(folder / name)
    except OSError as error:
        raise Failed(f"--out {folder} can't be written: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_file(path: Path, text: str) -> None:
    """`text` into `path`, whole or not at all; straight into what is no plain file (a pipe)."""
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"{path} can't be written: {error.strerror}", field=str(path)) from error


def jobs_parquet(trace: Trace, outcome: Outcome) -> bytes:
    """One row for each job that began, in the trace's order, times in seconds."""
    import pyarrow as pa  # noqa: PLC0415 - only here
    import pyarrow.parquet as pq  # noqa: PLC0415

    jobs = outcome.jobs
    order = np.argsort(jobs.row, kind="stable")
    order = order[outcome.begun[order]]
    submit, start, end = jobs.submit[order], outcome.start[order], outcome.end[order]
    columns: dict[str, Any] = {
        "job_id": jobs.job_id[order],
        "submit_s": submit,
        "start_s": start,
        "end_s": end,
        "wait_s": start - submit,
        "run_s": end - start,
        "limit_s": jobs.limit[order],
        "processors": jobs.processors[order],
        "bounded_slowdown": bounded_slowdown(start - submit, end - start),
    }
    for kind in NAMED:
        numbers = getattr(trace, kind)[jobs.row[order]]
        if (numbers >= 0).any():
            found, of = np.unique(numbers, return_inverse=True)
            labels = [None if n < 0 else trace.label(kind, n) for n in found.tolist()]
            columns[kind] = pa.DictionaryArray.from_arrays(
                pa.array(of.reshape(-1), pa.int32()), pa.array(labels, pa.string())
            )
    if "job" in trace.names:
        columns["job"] = [trace.label("job", number) for number in jobs.job_id[order].tolist()]
    into = BytesIO()
    pq.write_table(pa.table(columns), into, compression="zstd")
    return into.getvalue()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as it lies there; empty for a pipe, which can be read once only."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def as_json(value: Any) -> bytes:
    """The object as people and programs read it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { text-align: right; padding: .25rem .75rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
figure { margin: 1.5rem 0; overflow-x: auto } figure svg { max-width: 100%; height: auto }
.note { background: #fdf1e3; border-left: .3rem solid #c7621a; padding: .5rem 1rem }
footer { color: #666; font-size: .875rem; margin-top: 3rem; overflow-wrap: anywhere }
"""


def page(
    title: str,
    note: str,
    tables: list[tuple[str, list[list[str]]]],
    pictures: list[tuple[str, str]],
    foot: list[str],
) -> bytes:
    """index.html, whole in itself. `tables` are a heading and rows, the first row the heads;
    `pictures` what each shows, and its SVG."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if note:
        parts.append(f'<p class="note">{html.escape(note)}</p>')
    for heading, rows in tables:
        parts += [f"<h2>{html.escape(heading)}</h2>", _table(rows)] if heading else [_table(rows)]
    for words, svg in pictures:
        inline = svg[svg.index("<svg") :]
        shown = html.escape(words)
        parts.append(f'<figure role="img" aria-label="{shown}">{inline}</figure>')
    lines = "<br>".join(html.escape(line) for line in foot)
    parts.append(f"<footer>{lines}</footer>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode()


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f'<th scope="col">{html.escape(c)}</th>' for c in head) + "</tr>"]
    for first, *rest in body:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return "<table>\n" + "\n".join(lines) + "\n</table>"
