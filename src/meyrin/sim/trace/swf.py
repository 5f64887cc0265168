"""The Standard Workload Format, version 2.2: its header and its 18 fields.

Definition: S. J. Chapin, W. Cirne, D. G. Feitelson and others, "Benchmarks and standards for the
evaluation of parallel job schedulers", JSSPP 1999, and the page "The Standard Workload Format" of
the Parallel Workloads Archive. Some logs add three columns after field 18: the nodes that the job
had in braces, its queue, and its request in the site's words; there field 10 is bytes for the job.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import faults as rules
from meyrin.sim.trace.faults import Faults, Lines
from meyrin.sim.trace.model import UNKNOWN, Trace, from_columns
from meyrin.sim.trace.stream import Block, Source

if TYPE_CHECKING:
    import pandas as pd

FIELDS = (
    ("job_id", "job number"),
    ("submit_s", "submit time"),
    ("wait_s", "wait time"),
    ("run_s", "run time"),
    ("used_processors", "allocated processors"),
    ("cpu_s", "average CPU time used"),
    ("used_memory_kb", "used memory"),
    ("requested_processors", "requested processors"),
    ("limit_s", "requested time"),
    ("requested_memory_kb", "requested memory"),
    ("status", "status"),
    ("user", "user"),
    ("group", "group"),
    ("application", "executable"),
    ("queue", "queue"),
    ("partition", "partition"),
    ("after", "preceding job"),
    ("think_s", "think time"),
)
NAMES = tuple(name for name, _ in FIELDS)
TYPES = {name: "float64" if name == "cpu_s" else "int64" for name in NAMES}

HEADER_MAX = 16 * 2**20
"""Comments and empty lines before a job (and between two) take at most 16 MiB; published headers
take 20 KiB. A short line counts as `LINE_COSTS` bytes, so that they are at most 262,144 lines."""
LINE_COSTS = 64

_PLAIN = b"0123456789+-. \t\r\n"
_WHOLE = re.compile(rb"[+-]?\d+(\.0*)?\Z", re.ASCII)
_DECIMAL = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)
_LABEL = re.compile(r"([A-Za-z]\w*):(?:\s+(.*))?\Z", re.ASCII)
_NAMED = re.compile(r"(\d+)\s+(.*\S)")

Columns = dict[str, NDArray[Any]]


def read_swf(source: Source, faults: Faults) -> Trace:
    """The trace in an open file. Raises `InvalidInput` as the how-to "Read a trace" lists."""
    header, lines, wide = Header(source.path), Lines(), _Wide()
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in NAMES}
    rows = 0
    for block in source.blocks():
        data, numbers = header.take(block)
        if not len(numbers):
            continue
        rows += len(numbers)
        plain, labels = wide.split(data)
        columns, good = _parse(plain, numbers, faults, cut=block.cut)
        for name, column in columns.items():
            parts[name].append(column)
        wide.keep(labels, good)
        lines.add_each(numbers[good])
    if not rows:
        what = "has a header and no jobs" if header.text else "is empty"
        raise InvalidInput(
            f"{source.path} {what}",
            hint="Was the file cut short, or is it the wrong one?",
            file=str(source.path),
        )
    columns = {name: np.concatenate(parts.pop(name)) for name in NAMES}
    wide.add_to(columns)
    rules.mend(columns, faults)
    columns = _once(columns, lines, faults)
    return _trace(columns, header, wide, faults, rows)


class Header:
    """The comments of a file: labels with their text, and the limit on all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text: dict[str, list[str]] = defaultdict(list)
        self._label = "Comment"
        self._size = self._kept = 0

    def take(self, block: Block) -> tuple[bytes, NDArray[np.int64]]:
        """The block without comments and empty lines, and the line number of each row left."""
        data, first = block.data, block.first
        if b";" not in data and b"\n\n" not in data and not data.startswith((b"\n", b"\r", b" ")):
            return data, np.arange(first, first + data.count(b"\n"))
        kept, numbers = [], []
        for number, line in enumerate(data[:-1].split(b"\n"), first):
            bare = line.strip()
            if bare and not bare.startswith(b";"):
                kept.append(line)
                numbers.append(number)
                self._size = 0
                continue
            self._size += max(len(line) + 1, LINE_COSTS)
            if self._size > HEADER_MAX:
                raise InvalidInput(
                    f"{self.path}, line {number}: no job after {HEADER_MAX // 2**20} MiB of"
                    " comments and empty lines, so this is no trace",
                    hint="Is it the right file? Published logs have headers of some 20 KiB.",
                    file=str(self.path),
                    line=number,
                )
            if bare and self._kept < HEADER_MAX:
                self._kept += len(bare)
                self._comment(bare[1:])
        return b"\n".join([*kept, b""]) if kept else b"", np.array(numbers, dtype=np.int64)

    def _comment(self, raw: bytes) -> None:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")  # some old logs; every byte is a letter there
        found = _LABEL.match(text.strip())
        if found:
            self._label = found[1]
            self.text[self._label].append((found[2] or "").strip())
        elif text.strip():
            self.text[self._label].append(text.strip())

    def number(self, label: str) -> int | None:
        """The whole number that a label's text begins with."""
        for text in self.text.get(label, ()):
            if found := re.match(r"-?\d{1,15}\b", text):
                return int(found[0])
        return None

    def names(self) -> dict[str, dict[int, str]]:
        """Labels of queues and partitions (`Queue: 3 normal`), and of users and groups alike."""
        kinds = {"Queue": "queue", "Partition": "partition", "User": "user", "Group": "group"}
        return {
            kind: {int(m[1]): m[2] for text in self.text[label] if (m := _NAMED.match(text))}
            for label, kind in kinds.items()
            if label in self.text
        }

    def total(self) -> int | None:
        found = self.number("MaxProcs") or self.number("MaxNodes")
        return found if found and found > 0 else None


def _parse(
    data: bytes, numbers: NDArray[np.int64], faults: Faults, *, cut: bool
) -> tuple[Columns, NDArray[np.bool_]]:
    """The columns of the good lines, and which of these lines are good."""
    good = np.ones(len(numbers), dtype=np.bool_)
    fast = _fast(data, len(numbers))
    if fast is not None:
        return fast, good
    rows: list[list[float]] = []
    for place, text in enumerate(data[:-1].split(b"\n")):
        try:
            rows.append(_row(text, cut=cut and place == len(numbers) - 1))
        except _BadRow as bad:
            good[place] = False
            faults.bad(bad.reason, int(numbers[place]), bad.what, **bad.facts)
    columns = zip(*rows, strict=True) if rows else ((),) * len(NAMES)
    return {
        name: np.array(column, dtype=TYPES[name])
        for name, column in zip(NAMES, columns, strict=True)
    }, good


def _fast(data: bytes, rows: int) -> Columns | None:
    """All lines at once by pandas' C parser; None where any of them is not beyond doubt."""
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    if data.translate(None, _PLAIN):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # all rows too long
            frame: pd.DataFrame = pd.read_csv(
                io.BytesIO(data),
                sep=r"\s+",
                header=None,
                names=list(NAMES),
                index_col=False,
                dtype=TYPES,
                na_filter=False,
                quoting=3,
                low_memory=False,  # the block is small already
                engine="c",
            )
    except (ValueError, OverflowError, pd.errors.ParserWarning):
        return None
    columns = {name: frame[name].to_numpy() for name in NAMES}
    return None if len(frame) != rows or rules.out_of_bounds(columns) else columns


class _BadRow(Exception):
    def __init__(self, reason: str, what: str, **facts: int) -> None:
        super().__init__(what)
        self.reason, self.what, self.facts = reason, what, facts


def _row(text: bytes, *, cut: bool) -> list[Any]:
    """One line, read slowly. Raises `_BadRow` naming the field."""
    if b"\0" in text:
        raise _BadRow(rules.NUL, "the line has a NUL byte")
    tokens = text.split()
    if len(tokens) != len(FIELDS):
        end = ", and the file ends there: was it cut short?" if cut else ""
        raise _BadRow(rules.FIELDS, f"{len(tokens)} fields instead of {len(FIELDS)}{end}")
    return [
        _value(token, place, name, words)
        for place, (token, (name, words)) in enumerate(zip(tokens, FIELDS, strict=True), 1)
    ]


def _value(token: bytes, place: int, name: str, words: str) -> float:
    least, most = rules.LIMITS.get(name, rules.OTHERS)
    shown = token[:40].decode("utf-8", "replace")
    said = f"field {place} ({words}) is {shown!r}"
    if not (_DECIMAL if name == "cpu_s" else _WHOLE).match(token):
        kind = "a number" if name == "cpu_s" else "a whole number"
        raise _BadRow(rules.NUMBER, f"{said}, not {kind}", field=place)
    digits = token.partition(b".")[0]
    value = float(token) if name == "cpu_s" else int(digits[:40])
    if value < least:
        reason = rules.LARGE if least < -1 else rules.NEGATIVE
        raise _BadRow(reason, f"{said}, less than {least}", field=place)
    if value > most:
        raise _BadRow(rules.LARGE, f"{said}, more than {most}", field=place)
    return value


class _Wide:
    """The three columns that some logs add after field 18, cut off and kept as labels."""

    KINDS = ("allocation", "queue", "request")

    def __init__(self) -> None:
        self.numbers: dict[str, dict[bytes, int]] = {kind: {} for kind in self.KINDS}
        self._kept: list[tuple[int, NDArray[np.int64] | None]] = []

    @property
    def found(self) -> bool:
        return bool(self.numbers["request"])

    def split(self, data: bytes) -> tuple[bytes, NDArray[np.int64] | None]:
        """The lines with their 18 fields only, and a row of label numbers for each line."""
        if b"{" not in data:
            return data, None
        heads, rows = [], []
        for line in data[:-1].split(b"\n"):
            head, _, tail = line.partition(b"{")
            nodes, closed, rest = tail.partition(b"}")
            words = rest.split()
            if closed and len(words) == 2:
                heads.append(head)
                rows.append([*map(self._number, self.KINDS, (nodes, *words))])
            else:  # has 18 fields only, or is found bad by their number
                heads.append(line)
                rows.append([UNKNOWN] * len(self.KINDS))
        return b"\n".join([*heads, b""]), np.array(rows, dtype=np.int64)

    def _number(self, kind: str, label: bytes) -> int:
        known = self.numbers[kind]
        return known.setdefault(label, len(known) + 1)

    def keep(self, labels: NDArray[np.int64] | None, good: NDArray[np.bool_]) -> None:
        """Of the last lines, the labels of the good ones."""
        self._kept.append((int(good.sum()), None if labels is None else labels[good]))

    def add_to(self, columns: Columns) -> None:
        """Columns `allocation`, `queue`, `request` and `nodes`, where the log has them at all."""
        if not self.found:
            return
        rows = np.concatenate(
            [np.full((n, 3), UNKNOWN) if part is None else part for n, part in self._kept]
        )
        columns |= dict(zip(self.KINDS, rows.T.copy(), strict=True))
        different = [UNKNOWN, *(len(set(text.split(b","))) for text in self.numbers["allocation"])]
        columns["nodes"] = np.array(different)[np.maximum(columns["allocation"], 0)]

    def names(self) -> dict[str, dict[int, str]]:
        return {
            kind: {number: text.decode("utf-8", "replace") for text, number in known.items()}
            for kind, known in self.numbers.items()
            if known
        }


def _once(columns: Columns, lines: Lines, faults: Faults) -> Columns:
    """The rows without parts of jobs and without second rows of one id."""
    part = (columns["status"] >= 2) & (columns["status"] <= 4)
    if part.any():
        part &= np.isin(columns["job_id"], columns["job_id"][~part])
        faults.skipped[rules.PART] += int(part.sum())
    again = rules.doubles(columns["job_id"], lines, faults, leave_out=part)
    drop = part | again
    return {name: column[~drop] for name, column in columns.items()} if drop.any() else columns


def _trace(columns: Columns, header: Header, wide: _Wide, faults: Faults, rows: int) -> Trace:
    used, requested = columns["used_processors"], columns["requested_processors"]
    processors = np.where(used == UNKNOWN, requested, used)
    memory = columns["requested_memory_kb"]
    scale = np.maximum(processors, 1) / 1024.0
    if wide.found:  # bytes for the whole job; and fields 16 to 18 are fillers there
        scale = np.full(len(memory), 2.0**-20)
        columns["requested_memory_kb"] = np.where(memory > 0, -(-memory // 1024), memory)
        for filler in ("partition", "after", "think_s"):
            columns[filler] = np.full(len(memory), UNKNOWN)
    columns["processors"] = processors
    needed = np.where(memory < 0, UNKNOWN, np.ceil(memory * scale))
    columns["memory_mb"] = needed.astype(np.int64)
    start = header.number("UnixStartTime")  # 0 stands for "not known": no log is from 1970
    return from_columns(
        columns,
        names=header.names() | wide.names(),
        header={label: "\n".join(text) for label, text in header.text.items()},
        processors_total=header.total(),
        epoch_s=0 if wide.found else start if start and start > 0 else None,
        format="swf",
        source=str(header.path),
        rows=rows,
        skipped=dict(faults.skipped),
        mended=dict(faults.mended),
    )
