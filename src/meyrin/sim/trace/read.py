"""The way in: a file becomes a trace, its format known by content and name.

Formats: `swf`, `sacct`, `export` (Meyrin's own), `csv` and `parquet` with a mapping, and every
log that ships a mapping (`formats()` lists them all).
"""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.sim.trace import mapping as maps
from meyrin.sim.trace.export import KEY, read_export
from meyrin.sim.trace.faults import Faults, OnError
from meyrin.sim.trace.frames import header_of, parquet_frames, parquet_names, text_frames
from meyrin.sim.trace.mapping import Mapping
from meyrin.sim.trace.model import Trace
from meyrin.sim.trace.sacct import is_sacct, read_sacct
from meyrin.sim.trace.stream import BOM, Progress, Source
from meyrin.sim.trace.swf import read_swf
from meyrin.sim.trace.table import read_table

PARQUET = b"PAR1"
_SWF_ROW = re.compile(rb"[ \t]*-?\d+([ \t]+-?[\d.]+){3,}")
_HOW = "Say its format with --format, or which column is what with --mapping FILE.toml."


def formats() -> tuple[str, ...]:
    """Every word that `format` may be."""
    return ("swf", "sacct", "export", "csv", "parquet", *maps.shipped())


def read(
    path: str | Path,
    format: str | None = None,  # noqa: A002 - the word that users write
    mapping: str | Path | Mapping | None = None,
    on_error: OnError = "stop",
    progress: Progress | None = None,
) -> Trace:
    """The trace in a file, compressed or not.

    `format` overrides what the content says; `mapping` (a file, or its content) says which column
    is what. `on_error="skip"` leaves bad rows out and counts them in `Trace.skipped`. `progress`
    is called with bytes read and the file's size (None for a pipe).

    Raises `NotFound` without the file, `InvalidInput` with file and line for everything that
    can't be read.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder", hint="Name one file in it.", file=str(path))
    if format is not None and format not in formats():
        raise InvalidInput(
            f"{format!r} is no format of a trace",
            hint=f"Formats: {', '.join(formats())}",
            format=format,
        )
    if isinstance(mapping, str | Path):
        mapping = maps.load(Path(mapping))
    if mapping is None and format in maps.shipped():
        mapping = maps.shipped()[format]
    faults = Faults(str(path), on_error)
    with Source(path, progress) as source:
        head = source.head()
        if head.startswith(PARQUET):
            return _parquet(source, mapping, faults, progress)
        kind = format or _kind(source, head, mapping)
        if kind == "swf":
            return read_swf(source, faults)
        if kind == "sacct":
            return read_sacct(source, faults)
        if kind in {"parquet", "export"}:
            raise InvalidInput(
                f"{path} is no Parquet file", hint="Leave --format out.", file=str(path)
            )
        return _csv(source, head, mapping, faults)


def _kind(source: Source, head: bytes, mapping: Mapping | None) -> str:
    """The format of a text, by its first bytes and then its name."""
    if mapping is not None:
        return "csv"
    path = str(source.path)
    if not head:
        raise InvalidInput(
            f"{path} is empty", hint="Was the file cut short, or is it the wrong one?", file=path
        )
    first = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if first.startswith(b";") or _SWF_ROW.match(first):
        return "swf"
    if head[257:262] == b"ustar":
        raise _archive(source, head)
    if _binary(head):
        raise InvalidInput(
            f"{path} is a binary file, no trace",
            hint="Traces are text, Parquet, or either compressed by zstd, gzip, bzip2, xz or lz4.",
            file=path,
        )
    if not first or source.plain_name.endswith(".swf"):
        return "swf"
    return "sacct" if is_sacct(header_of(head, "|", quoted=False)) else "csv"


def _binary(head: bytes) -> bool:
    """NUL or other control characters in text, or UTF-16."""
    sample = head[:4096]
    return bool(sample.translate(None, bytes(set(range(256)) - _CONTROL)))


_CONTROL = frozenset(range(32)) - set(b"\t\n\r\f\v\x1b")


def _archive(source: Source, head: bytes) -> InvalidInput:
    """What to say of a tar archive; its first file is looked at."""
    path, inside = str(source.path), ""
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r|") as archive:
            for member in archive:
                if member.isfile() and not Path(member.name).name.startswith("."):
                    inside = member.name
                    file = archive.extractfile(member)
                    assert file is not None
                    maps.refuse_series(f"{path} ({inside})", header_of(file.read(4096), ","))
                    break
    except (tarfile.TarError, EOFError):
        pass  # cut off behind the first 64 KiB
    holds = f" (its first file is {inside})" if inside else ""
    return InvalidInput(
        f"{path} is a tar archive{holds}", hint="Unpack it and name one file.", file=path
    )


def _csv(source: Source, head: bytes, mapping: Mapping | None, faults: Faults) -> Trace:
    path = str(source.path)
    delimiter, quoted = (mapping.delimiter, mapping.quoted) if mapping else (",", True)
    columns = header_of(head, delimiter, quoted=quoted)
    chosen = mapping or maps.known(columns)
    if chosen is None:
        maps.refuse_series(path, columns)
        raise _unknown(path, columns)
    frames = text_frames(
        source, delimiter, lambda names: _needed(chosen, names, path), faults, quoted=quoted
    )
    return read_table(frames, chosen, faults)


def _needed(mapping: Mapping, columns: list[str], path: str) -> list[str]:
    double = {name for name in columns if columns.count(name) > 1}
    try:
        needed = mapping.needs(columns)
    except KeyError as missing:
        raise InvalidInput(
            f"{path} has no column {missing.args[0]!r}, which {mapping.name} needs",
            hint=f"Its columns: {', '.join(columns)[:400]}",
            file=path,
            column=missing.args[0],
        ) from None
    if double & set(needed):
        raise InvalidInput(
            f"{path} has two columns {min(double & set(needed))!r}",
            hint="Rename one of them in the file's first line.",
            file=path,
        )
    return needed


def _unknown(path: str, columns: list[str]) -> InvalidInput:
    shown = ", ".join(columns[:20])[:400]
    what = f"its columns are {shown}" if len(columns) > 1 else "its first line is no header"
    return InvalidInput(f"{path} is no log that Meyrin knows: {what}", hint=_HOW, file=path)


def _parquet(
    source: Source, mapping: Mapping | None, faults: Faults, progress: Progress | None
) -> Trace:
    path = source.path
    if source.compression:
        raise InvalidInput(
            f"{path} is a Parquet file compressed once more",
            hint="Unpack it first: Parquet is compressed inside.",
            file=str(path),
        )
    if not path.is_file():
        raise NotFound(f"{path} is no file on a disk, and Parquet needs one", file=str(path))
    columns, metadata = parquet_names(path)
    if mapping is None and KEY in metadata:
        return read_export(path, metadata[KEY], faults, progress)
    chosen = mapping or maps.known(columns)
    if chosen is None:
        maps.refuse_series(str(path), columns)
        raise _unknown(str(path), columns)
    faults.unit = "row"
    needed = _needed(chosen, columns, str(path))
    return read_table(parquet_frames(path, needed, progress), chosen, faults)
