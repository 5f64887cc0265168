"""Tables of text or Parquet as pandas frames of bounded size, each row with its line.

Never interprets a cell. A row that is no row (wrong number of fields, NUL, no UTF-8) is a fault.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import faults as rules
from meyrin.sim.trace.faults import Faults
from meyrin.sim.trace.stream import BOM, Block, Progress, Source

if TYPE_CHECKING:
    import pandas as pd

BATCH = 100_000
EMPTY_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Frame:
    """Some rows: their cells by column, and the line (or row) of each in the file."""

    cells: pd.DataFrame
    lines: NDArray[np.int64]


def header_of(head: bytes, delimiter: str, *, quoted: bool = True) -> list[str]:
    """The column names in the first line of a table; none where it isn't text."""
    lines = head.removeprefix(BOM).lstrip(b"\r\n").split(b"\n", 1)
    try:
        text = lines[0].decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        return []
    return _split(text, delimiter, quoted=quoted) if text.isprintable() or "\t" in text else []


def _split(text: str, delimiter: str, *, quoted: bool) -> list[str]:
    try:
        found: list[str] = next(_reader([text], delimiter, quoted=quoted), [])
    except csv.Error:
        return []
    return [name.strip() for name in found]


def _reader(lines: Iterable[str], delimiter: str, *, quoted: bool) -> Any:
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=delimiter, quoting=quoting)


def text_frames(
    source: Source,
    delimiter: str,
    choose: Callable[[list[str]], Sequence[str]],
    faults: Faults,
    *,
    quoted: bool = True,
) -> Iterator[Frame]:
    """Frames of the columns that `choose` takes from the header's names."""
    names: list[str] = []
    wanted: Sequence[str] = ()
    empty = 0
    for block in source.blocks(b'"' if quoted else b""):
        if not names:
            found = _after_header(block, delimiter, quoted=quoted)
            if found is None:
                empty += len(block.data)
                if empty > EMPTY_MAX:
                    raise _no_header(source.path)
                continue
            names, block = found  # noqa: PLW2901 - the rest of the first block
            wanted = choose(names)
        frame = _frame(block, names, wanted, delimiter, faults, quoted=quoted)
        if len(frame.lines):
            yield frame
    if not names:
        raise _no_header(source.path)


def _no_header(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is empty", hint="Was the file cut short, or is it the wrong one?", file=str(path)
    )


def _after_header(block: Block, delimiter: str, *, quoted: bool) -> tuple[list[str], Block] | None:
    """The names of the columns, and the block behind them."""
    at, line = 0, block.first
    while (end := block.data.find(b"\n", at)) >= 0:
        text = block.data[at:end]
        at, line = end + 1, line + 1
        if text.strip():
            return header_of(text, delimiter, quoted=quoted), Block(
                line, block.data[at:], cut=block.cut
            )
    return None


def _frame(
    block: Block,
    names: list[str],
    wanted: Sequence[str],
    delimiter: str,
    faults: Faults,
    *,
    quoted: bool,
) -> Frame:
    lines = np.arange(block.first, block.first + block.data.count(b"\n"))
    if not _surely_plain(block.data, delimiter, len(names), quoted=quoted):
        return _slow(block, names, wanted, delimiter, faults, quoted=quoted)
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    if not len(lines):
        return Frame(pd.DataFrame(columns=list(wanted), dtype=str), lines)
    cells = pd.read_csv(
        io.BytesIO(block.data),
        sep=delimiter,
        header=None,
        names=list(range(len(names))),
        usecols=[names.index(name) for name in wanted],
        index_col=False,
        dtype=str,
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        low_memory=False,
        engine="c",
        encoding="utf-8",
        skip_blank_lines=False,
    )
    cells.columns = [names[place] for place in cells.columns]
    assert len(cells) == len(lines), "the parser left rows out"
    return Frame(cells, lines)


def _surely_plain(data: bytes, delimiter: str, fields: int, *, quoted: bool) -> bool:
    """Whether each line is one row of that many fields, in UTF-8, without quotes and NUL."""
    if b"\0" in data or (quoted and b'"' in data) or data.count(b"\r") != data.count(b"\r\n"):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    letters = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    marks = np.flatnonzero(letters == ord(delimiter))
    counts = np.diff(np.searchsorted(marks, ends), prepend=0)
    blank = fields == 1 and bool((np.diff(ends, prepend=-1) < 2).any())
    return bool((counts == fields - 1).all()) and not blank


def _slow(
    block: Block,
    names: list[str],
    wanted: Sequence[str],
    delimiter: str,
    faults: Faults,
    *,
    quoted: bool,
) -> Frame:
    """Row by row, with the line of each."""
    import pandas as pd  # noqa: PLC0415

    text = io.StringIO(block.data.decode("utf-8", "surrogateescape"), newline="")
    reader = _reader(text, delimiter, quoted=quoted)
    rows: list[list[str]] = []
    lines: list[int] = []
    last = block.first + block.data.count(b"\n") - 1
    while True:
        line = block.first + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            faults.bad(rules.FIELDS, line, f"the row can't be read: {error}")
            continue
        if fault := _fault(row, len(names)):
            end = (
                ", and the file ends there: was it cut short?"
                if block.cut and (line == last and fault[0] == rules.FIELDS)
                else ""
            )
            faults.bad(fault[0], line, fault[1] + end)
        elif row:
            rows.append(row)
            lines.append(line)
    cells = pd.DataFrame(rows, columns=list(range(len(names))), dtype=str)
    cells = cells[[names.index(name) for name in wanted]]
    cells.columns = pd.Index(list(wanted))
    return Frame(cells, np.array(lines, dtype=np.int64))


def _fault(row: list[str], fields: int) -> tuple[str, str] | None:
    if not row:  # an empty line
        return None
    if any("\0" in cell for cell in row):
        return rules.NUL, "the row has a NUL byte"
    if any("\udc80" <= letter <= "\udcff" for cell in row for letter in cell):
        return rules.LETTERS, "the row is not UTF-8 text"
    if len(row) != fields:
        return rules.FIELDS, f"{len(row)} fields instead of {fields}"
    return None


def parquet_names(path: Path) -> tuple[list[str], dict[bytes, bytes]]:
    """Column names and metadata of a Parquet file. Raises `InvalidInput` for a damaged one."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return list(schema.names), dict(schema.metadata or {})


def _damaged(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{path} is no whole Parquet file: {str(error).splitlines()[0]}",
        hint="Was it cut short? A Parquet file carries its schema at its end.",
        file=str(path),
    )


def parquet_frames(
    path: Path, wanted: Sequence[str], progress: Progress | None = None
) -> Iterator[Frame]:
    """Frames of these columns; rows are numbered from 1."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    total = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            rows, all_rows = 0, max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(BATCH, columns=list(wanted)):
                cells: Any = batch.to_pandas()
                yield Frame(cells, np.arange(rows + 1, rows + 1 + len(cells)))
                rows += len(cells)
                if progress is not None:
                    progress(total * rows // all_rows, total)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
