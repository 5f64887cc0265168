"""TOML files that people write, checked: every error names file, key, value and what is allowed."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.sim.toml_lines import Places

_AT = re.compile(r"at line (\d+)")
_WAY_OUT = "mend these lines; `meyrin plan schema` prints what lets editors check as you type"
LARGEST = 16 * 2**20  # bytes; more is no file that somebody wrote

Model = TypeVar("Model", bound="Table")


class Table(BaseModel):
    """A table of such a file: unknown keys are errors, `"5"` is no number, nothing changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def read_toml(path: Path, model: type[Model], *, lines: bool = False) -> tuple[Model, str]:
    """The file as `model`, and its text. NotFound or InvalidInput where that can't be.

    With `lines` each complaint begins with file and line, as compilers print them.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput(
                f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST:,} are read",
                hint="is it the right file?",
                field=str(path),
            )
        text = path.read_bytes().decode()
        written = tomllib.loads(text)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", field=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", field=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is no TOML file: byte {error.start} is no UTF-8 text", field=str(path)
        ) from None
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        where = f"{path}:{at[1]}:" if lines and at else f"{path}"
        raise InvalidInput(
            f"{where} is no TOML file: {error}",
            hint="a day that there is, as in 2026-11-02; words in quotes; numbers with a point",
            field=str(path),
        ) from None
    return check(written, model, str(path), text if lines else None), text


def check(
    written: dict[str, Any], model: type[Model], source: str, text: str | None = None
) -> Model:
    """`written` as `model`; InvalidInput that names `source` and each wrong key otherwise.

    With the `text` that it was read from each complaint also names its line.
    """
    try:
        return model.model_validate(written)
    except ValidationError as error:
        if text is not None:
            raise _with_lines(error, model, source, text) from None
        lines = [_line(found, model) for found in error.errors(include_url=False)]
        shown = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        first = error.errors(include_url=False)[0]
        raise InvalidInput(
            f"{source}: {shown}", field=key_in_words(first["loc"]), value=str(first["input"])
        ) from None


def _with_lines(
    error: ValidationError, model: type[BaseModel], source: str, text: str
) -> InvalidInput:
    places = Places(text)
    every = error.errors(include_url=False)
    found = [one for one in every if not any(_within(other["loc"], one["loc"]) for other in every)]
    complaints = [f"{source}:{places.line(one['loc'])}: {_line(one, model)}" for one in found]
    first = found[0]
    return InvalidInput(
        "\n".join(complaints),
        hint=_WAY_OUT,
        field=key_in_words(first["loc"]),
        value=str(first["input"])[:200],
        file=source,
        line=places.line(first["loc"]),
    )


def _within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Whether a complaint is about a part of what another one is about: it says more."""
    return len(inner) > len(outer) and inner[: len(outer)] == outer


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a file: its table (empty: the top), name, default, what is allowed and means."""

    table: str
    name: str
    default: str
    allowed: str
    words: str


def keys(model: type[BaseModel]) -> list[Key]:
    """Every key that a file of this kind may have, in the order in which people write them."""
    schema = model.model_json_schema()
    rows, below = [], []
    for name, node in schema["properties"].items():
        inner = _resolved(node.get("items", node), schema)
        if inner.get("type") == "object":
            below += [_key_of(name, key, one, schema) for key, one in inner["properties"].items()]
        else:
            rows.append(_key_of("", name, node, schema))
    return rows + below


def _key_of(table: str, name: str, node: dict[str, Any], schema: dict[str, Any]) -> Key:
    default = node.get("default", "")
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    if default is None or default in ([], ()):
        shown = ""
    if "x-unit" in node and shown:
        shown += f" {node['x-unit']}"
    return Key(table, name, shown, allowed(node, schema), str(node.get("description", "")))


def digest(text: str) -> str:
    """SHA-256 of a file's text, as it is written beside results."""
    return sha256(text.encode()).hexdigest()


def key_in_words(loc: Iterable[int | str]) -> str:
    """A place in a file as people count: the first of a list is [1]."""
    key = ""
    for part in loc:
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _line(found: Any, model: type[BaseModel]) -> str:
    key, value, kind = key_in_words(found["loc"]), found["input"], found["type"]
    if kind == "extra_forbidden":
        return _unknown(found["loc"], model)
    if kind == "missing":
        return f"{key} is missing; {_allowed(found['loc'], model)}"
    if kind in {"value_error", "assertion_error"}:
        words = str(found["ctx"]["error"])
        return f"{key} is {_shown(value)}: {words}" if key else words
    return f"{key} is {_shown(value)}; {_allowed(found['loc'], model)}"


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    names = list(_node(schema, loc[:-1]).get("properties", {}))
    word = str(loc[-1])
    near = {name.lower(): name for name in names}
    guess = difflib.get_close_matches(word.lower(), near, 1)
    meant = f"did you mean {near[guess[0]]}? " if guess else ""
    return f"{key_in_words(loc)} is no key of this file; {meant}allowed: {', '.join(names)}"


def _allowed(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    return f"allowed: {allowed(_node(schema, loc), schema)}"


def _node(schema: dict[str, Any], loc: Iterable[int | str]) -> dict[str, Any]:
    """The part of a JSON schema that describes the place `loc`; empty where there is none."""
    node = schema
    for part in loc:
        node = _resolved(node, schema)
        if isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        else:  # the branch of a union: pydantic adds its name
            continue
    return _resolved(node, schema)


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    kinds = node.get("anyOf", [])
    if len(kinds) == 2 and {"type": "null"} in kinds:
        return _resolved(next(one for one in kinds if one != {"type": "null"}), schema)
    return node


def allowed(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a key may be, in words, from its JSON schema."""
    node = _resolved(node, schema)
    if "x-words" in node:
        units = node.get("properties", {}).get("unit")
        more = f"; UNIT: {allowed(units, schema)}" if units else ""
        return f"{node['x-words']}{more}"
    if "anyOf" in node:
        return ", or ".join(allowed(one, schema) for one in node["anyOf"])
    if "const" in node or "enum" in node:
        return ", ".join(str(one) for one in node.get("enum", [node.get("const")]))
    kind = node.get("type")
    if kind in {"integer", "number"}:
        return _range("a whole number" if kind == "integer" else "a number", node)
    if kind == "array":
        return f"a list of {allowed(node.get('items', {}), schema)}"
    said = {
        "boolean": "true or false",
        "date": "a day without quotes, as in 2026-11-02",
        "string": "a text",
        "object": "a table",
    }
    return said.get(str(node.get("format", kind)), said.get(str(kind), "a value"))


def _range(words: str, node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    return f"{words}, {low} or more" if low is not None else words
