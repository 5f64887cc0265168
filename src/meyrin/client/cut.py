"""What is said of output of which the hub keeps only the beginning."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meyrin.client.follow import Stream
    from meyrin.wire.jobs import JobDetail

MISSING = "what came after is missing here"
NOT_THE_LAST = "these are not the last lines that it printed"


def cut_words(label: str, stream: Stream, cut_bytes: int, what: str = MISSING) -> str:
    of = "it" if stream == "stdout" else "its standard error"
    return f"note: job {label} printed more than the hub keeps of {of} ({_size(cut_bytes)}): {what}"


def where_all_is(found: JobDetail, stream: Stream) -> str:
    """Where a cut stream is whole, as far as that is known; empty when it can't be said yet."""
    job = found.job
    kept = next((each for each in found.output if each.stream == stream), None)
    file = kept.file if kept else ""
    if kept and file.startswith("/"):
        if _bytes_at(file) > kept.size:
            return f"all of it is in {file}"
        return f"at {job.site} all of it is in {file}, if the site shares that folder"
    if any(each.name == file for each in found.files):
        return f"`meyrin fetch {job.label} {shlex.quote(file)}` brings all of it"
    if file and found.results == "pending":
        return ""
    option = "--output" if stream == "stdout" else "--error"
    return f"submit with {option} NAME --output-files NAME to bring all of it back"


def _bytes_at(path: str) -> int:
    """The size of a file on this machine; 0 where it is not."""
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _size(size: int) -> str:
    """Bytes as people set a limit: `64 MiB`, `1.5 KiB`, `10 bytes`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} bytes"
