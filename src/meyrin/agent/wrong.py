"""What is wrong in a settings file, in words: the line, the key, and the way out."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from meyrin.domain.errors import InvalidInput

_TABLE = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")
_KINDS = {
    "bool_type": "truth value: write true or false",
    "dict_type": "table",
    "float_type": "number",
    "int_type": "whole number",
    "model_type": "table",
    "string_type": 'text: write it in quotes, "..."',
    "tuple_type": "list: write [...]",
}
_CHECK = "mend it; `meyrin agent --config FILE --check` says when it is right"


def explained(
    path: Path, text: str, error: ValidationError, model: type[BaseModel]
) -> InvalidInput:
    """The first thing that is wrong, as an error that says where and what to do."""
    found = error.errors()
    # a mistyped key is missing too: the one that stands there says more
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    loc = first["loc"]
    place = ".".join(str(part) for part in loc)
    line = line_of(text, loc)
    where = f"{path}, line {line}" if line else str(path)
    known = keys_at(model, loc[:-1])
    hint = _CHECK
    if first["type"] == "extra_forbidden" and known:
        near = difflib.get_close_matches(str(loc[-1]), known, 1)
        hint = f"perhaps {near[0]}; " if near else ""
        hint += f"known here: {', '.join(known)}"
    elif first["type"] == "missing":
        hint = f"add it; {_CHECK}"
    words = first["msg"].removeprefix("Value error, ")
    if first["type"] in _KINDS:
        value = json.dumps(first["input"], ensure_ascii=False, default=str)
        words = f"{value[:60]} is no {_KINDS[first['type']]}"
    return InvalidInput(f"{where}: {place}: {words}", hint=hint, field=place)


def line_of(text: str, loc: Sequence[Any]) -> int | None:
    """The line of a key, or of the table that it should be in; None where neither is found."""
    names = [part for part in loc if isinstance(part, str)]
    wanted = [part for part in loc if isinstance(part, int)]
    best, depth, table, count = None, 0, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.match(line)
        if header:
            table = header[1].replace('"', "").replace("'", "").replace(" ", "")
            count = count + 1 if table == ".".join(names[: len(table.split("."))]) else count
        if wanted and table == names[0] and count != wanted[0] + 1:
            continue  # another element of the same array of tables
        key = _KEY.match(line)
        said = [*filter(None, table.split(".")), *(_parts(key[1]) if key else ())]
        same = _common(said, names)
        if same > depth and (same == len(said) or same == len(names)):
            best, depth = number, same
    return best


def keys_at(model: type[BaseModel], loc: Sequence[Any]) -> list[str]:
    """The keys of the table at a place; empty where there is none of fixed keys."""
    named = False  # the next part is a name that the operator chose, or a number
    for part in loc:
        if named or isinstance(part, int):
            named = False
            continue
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        assert field is not None
        named, model = get_origin(field.annotation) is dict, inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for each in getattr(annotation, "__args__", ()):
        found = _model_in(each)
        if found is not None:
            return found
    return None


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in key.split(".")]


def _common(some: Sequence[str], others: Sequence[str]) -> int:
    count = 0
    for a, b in zip(some, others, strict=False):
        if a != b:
            break
        count += 1
    return count
