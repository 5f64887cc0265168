"""Files of awards: CSV or JSON, in and out, exactly.

A row has these columns; a column that a file calls otherwise is named by a mapping:

- `award`: its name where it comes from; `project`; `charged_type`: an accelerator's type or `core`
- `amount_s`, whole seconds of the type, or `amount_h`, hours of it, such as 1250 or 0.25: what is
  no whole number of seconds is refused
- `start`, `end`: a day (`2027-01-31`, its first second in UTC) or a moment (`2027-01-31T10:00:00Z`)
- `reason`; and, where there is something to say, `owner`, `offer_id`, `mode`, `title`, `lead`,
  `promised_s`
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import HOUR_S
from meyrin.wire.allocations import AwardRow, LinedAward

COLUMNS = (
    "award", "project", "charged_type", "amount_s", "start", "end", "reason", "owner",
    "offer_id", "mode", "title", "lead", "promised_s",
)  # fmt: skip
NEEDED = ("award", "project", "charged_type", "start", "end", "reason")
_KNOWN = {*COLUMNS, "amount_h"}
_SHOWN = 30
_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
_HOURS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d)(?:Z|\+00:00))?")


def read_awards(
    text: str, name: str, mapping: Mapping[str, str], fixed: Mapping[str, str]
) -> list[LinedAward]:
    """All rows of a file, CSV or JSON as its first letter tells.

    `mapping` says which column of the file holds one of ours; `fixed` values count for every row.
    Raises InvalidInput that names the line, the column and the way out of every row that is wrong.
    """
    for ours in (*mapping, *fixed):
        if ours not in _KNOWN:
            raise InvalidInput(
                f"{ours!r} is no column of an award", hint=f"columns: {', '.join(COLUMNS)}"
            )
    as_json = text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
    rows = _from_json(text, name) if as_json else _from_csv(text, name)
    found, wrong = [], []
    for line, row in rows:
        try:
            found.append(LinedAward(line=line, row=_row(row, mapping, fixed)))
        except InvalidInput as error:
            hint = f" ({error.hint})" if error.hint else ""
            wrong.append(f"{name}:{line}: {error.message}{hint}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise InvalidInput(
            "\n".join(wrong[:_SHOWN] + more),
            hint="nothing was sent: mend these rows and try again",
            rows=len(wrong),
        )
    if not found:
        raise InvalidInput(f"{name} has no rows", hint=f"a head with {', '.join(COLUMNS)}")
    return found


def write_csv(rows: Iterable[AwardRow]) -> str:
    """The rows as CSV that `read_awards` reads back as they were, and a spreadsheet harmlessly."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = as_columns(row)
        writer.writerow([_harmless(str(values[name])) for name in COLUMNS])
    return out.getvalue()


def as_columns(row: AwardRow) -> dict[str, Any]:
    """A row by the names that files have."""
    values = row.model_dump()
    moments = {name: _shown(values.pop(f"{name}_s")) for name in ("start", "end")}
    return {name: (values | moments)[name] for name in COLUMNS}


# --- inside


def _from_csv(text: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        head = [each.strip() for each in next(reader, [])]
        if len(set(head)) != len(head):
            raise InvalidInput(f"{name}:1: a column is there twice", hint="name each once")
        rows = []
        for values in reader:
            if not values:
                continue
            if len(values) != len(head):
                raise InvalidInput(
                    f"{name}:{reader.line_num}: {len(values)} values under {len(head)} columns",
                    hint="put a value with a comma in double quotes",
                )
            told = {key: _plain(value) for key, value in zip(head, values, strict=True)}
            rows.append((reader.line_num, told))
    except csv.Error as error:
        raise InvalidInput(f"{name}:{reader.line_num}: {error}", hint="write CSV") from error
    return rows


def _from_json(text: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise InvalidInput(f"{name} is no JSON: {error}", hint="see `award export`") from error
    listed = found.get("awards") if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise InvalidInput(f"{name} has no list of awards", hint='write {"awards": [{...}]}')
    return list(enumerate(listed, start=1))


def _row(row: dict[str, Any], mapping: Mapping[str, str], fixed: Mapping[str, str]) -> AwardRow:
    told: dict[str, Any] = {}
    theirs = {column: ours for ours, column in mapping.items()}
    for column in mapping.values():
        if column not in row:
            raise InvalidInput(f"there is no column {column!r}", hint="see --map")
    for column, value in row.items():
        ours = theirs.get(column, column if column not in mapping else None)
        if ours in _KNOWN and value not in ("", None):
            told[str(ours)] = value
        elif ours not in _KNOWN and not mapping:
            raise InvalidInput(
                f"{column!r} is no column of an award",
                hint=f"name it with --map, or drop it; columns: {', '.join(COLUMNS)}",
            )
    told |= fixed
    lacking = [each for each in NEEDED if each not in told]
    if lacking:
        raise InvalidInput(
            f"{lacking[0]} is missing", hint=f"fill it in, or give --set {lacking[0]}=VALUE"
        )
    told |= {
        "amount_s": _seconds(told),
        **{f"{n}_s": _at(n, told.pop(n)) for n in ("start", "end")},
    }
    told.pop("amount_h", None)
    if "promised_s" in told:
        told["promised_s"] = _whole("promised_s", told["promised_s"])
    try:
        return AwardRow.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{field} is {str(first['input'])[:60]!r}: {first['msg']}") from None


def _seconds(told: Mapping[str, Any]) -> int:
    if ("amount_s" in told) == ("amount_h" in told):
        raise InvalidInput("how much?", hint="give amount_s or amount_h, one of the two")
    if "amount_s" in told:
        return _whole("amount_s", told["amount_s"])
    text = str(told["amount_h"]).strip()
    if not _HOURS.fullmatch(text) or isinstance(told["amount_h"], bool):
        raise InvalidInput(f"amount_h is {text[:60]!r}", hint="write hours, such as 1250 or 0.25")
    exact = Fraction(text) * HOUR_S
    if exact.denominator != 1:
        raise InvalidInput(
            f"amount_h is {text}, which is no whole number of seconds",
            hint="give amount_s instead",
        )
    return exact.numerator


def _whole(column: str, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidInput(f"{column} is {text[:60]!r}", hint="write a whole number of seconds")
    return int(text)


def _at(column: str, value: Any) -> int:
    match = _MOMENT.fullmatch(str(value).strip())
    try:
        if match is None:
            raise ValueError
        moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00:00'}+00:00")
    except ValueError:
        raise InvalidInput(
            f"{column} is {str(value)[:60]!r}", hint="write 2027-01-31 or 2027-01-31T10:00:00Z"
        ) from None
    return int(moment.timestamp())


def _shown(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _harmless(text: str) -> str:
    """A spreadsheet takes a cell that begins like this for a formula; `_plain` takes it back."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    bare = text.removeprefix("'")
    return bare if bare.startswith(_FORMULA) else text  # an apostrophe of its own stays
