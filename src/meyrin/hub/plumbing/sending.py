"""A file of the content store as an answer: whole, a part of it, or nothing where the caller has
it (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from meyrin.domain.errors import InvalidInput
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.http import error_body

FOREIGN = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_DIGITS = 18  # a number with more of them is beyond the end of any file


def file_response(
    request: Request,
    sha256: str,
    size: int,
    headers: Mapping[str, str] = FOREIGN,
    media_type: str = "application/octet-stream",
) -> Response:
    """The file, or the part that a Range header names. Several parts, other units and what is no
    range are passed over, as is allowed: the answer is the whole file then."""
    blobs: Blobs = request.app.state.blobs
    tag = f'"{sha256}"'
    known = {**headers, "ETag": tag, "Accept-Ranges": "bytes"}
    seen = request.headers.get("if-none-match")
    if seen is not None and _names(seen, tag):
        return Response(status_code=304, headers=known)
    wanted = request.headers.get("range", "")
    part = _part(wanted, size) if request.headers.get("if-range", tag) == tag else None
    if part is not None and part[0] >= part[1]:
        return _beyond(wanted, size)
    start, end = part or (0, size)
    known["Content-Length"] = str(end - start)
    if part is not None:
        known["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        blobs.read(sha256, start, end),
        status_code=200 if part is None else 206,
        media_type=media_type,
        headers=known,
    )


def _names(seen: str, tag: str) -> bool:
    tags = [each.strip().removeprefix("W/") for each in seen.split(",")]
    return tag in tags or tags == ["*"]


def _part(wanted: str, size: int) -> tuple[int, int] | None:
    """From which byte to before which; None where the whole file answers, and nothing between
    the two where none of its bytes does."""
    found = _RANGE.fullmatch(wanted)
    if found is None or not (found[1] or found[2]):
        return None
    first, last = (_number(each) for each in found.groups())
    if not found[1]:
        return max(0, size - last), size
    if not found[2]:
        return first, size
    return None if last < first else (first, min(last + 1, size))


def _number(digits: str) -> int:
    return int(digits or "0") if len(digits) <= _DIGITS else 10**_DIGITS


def _beyond(wanted: str, size: int) -> JSONResponse:
    error = InvalidInput(
        f"Range is {wanted[:80]!r}, and the file has {size} bytes",
        hint="bytes=N- with N below that, or no Range for all of it",
        field="range",
    )
    return JSONResponse(error_body(error), 416, headers={"Content-Range": f"bytes */{size}"})
