"""Reading the script itself: bytes to text, with a clear no for what can't be a script."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MAX_NAME, MAX_SCRIPT_BYTES

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be sent. `name` is the job's name unless an option says another."""

    text: str
    notes: tuple[str, ...] = ()
    name: str = "sbatch"


def find_script(name: str, cwd: str, search_path: str = "") -> Path:
    """Where the script called `name` is: below `cwd`, or else on the PATH, as sbatch looks."""
    if not name:
        raise InvalidInput("the script's name is empty", hint="name a script: train.sh")
    here = Path(cwd) / name
    if here.exists() or name.startswith((".", "/")):
        return here
    places = [Path(place) / name for place in search_path.split(os.pathsep) if place]
    return next((place for place in places if place.is_file()), here)


def read_script(source: str | Path | bytes | None, stdin: BinaryIO | None = None) -> Script:
    """The script at a path, in bytes, or (for None) on `stdin`; InvalidInput says what is wrong."""
    if isinstance(source, bytes):
        return _checked(source, "the script", "sbatch")
    if source is None:
        if stdin is None:
            raise InvalidInput("no script is given", hint="name a script, or use --wrap=COMMAND")
        return _checked(stdin.read(MAX_SCRIPT_BYTES + 1), "standard input", "sbatch")
    path = Path(source)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SCRIPT_BYTES + 1)
    except IsADirectoryError as error:
        raise InvalidInput(
            f"{path} is a directory", hint="name the script inside", path=str(path)
        ) from error
    except FileNotFoundError as error:
        raise InvalidInput(
            f"there is no script {path}", hint="look at the name with ls", path=str(path)
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"the script {path!s} can't be opened", hint=f"it says: {error}", path=str(path)
        ) from error
    return _checked(raw, str(path), path.name)


def _checked(raw: bytes, where: str, name: str) -> Script:
    notes: list[str] = []
    if len(raw) > MAX_SCRIPT_BYTES:
        raise InvalidInput(
            f"{where} has more than 4 MiB", hint="keep data beside the script: --input", path=where
        )
    if raw.startswith(_BOM):
        raw = raw.removeprefix(_BOM)
        notes.append(f"{where}: took away the byte order mark (UTF-8 BOM) before the first line")
    if not raw.strip():
        raise InvalidInput(f"{where} is empty", hint="write #!/bin/sh and commands", path=where)
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise InvalidInput(
            f"{where} has a NUL byte in line {line}; it is no script",
            hint="for a program: meyrin run -- PROGRAM; for UTF-16: iconv -f UTF-16 -t UTF-8",
            path=where,
            line=line,
        )
    if b"\r\n" in raw:
        raw = raw.replace(b"\r\n", b"\n")
        notes.append(f"{where}: took Windows line ends (CRLF) as line ends")
    if not raw.startswith(b"#!"):
        raise InvalidInput(
            f"{where} does not start with #! and an interpreter",
            hint="make the first line #!/bin/bash, or use --wrap=COMMAND",
            path=where,
            line=1,
        )
    return Script(_text(raw, where), tuple(notes), _name(name))


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{where} is not UTF-8 in line {line}",
            hint="convert it: iconv -f LATIN1 -t UTF-8 SCRIPT > NEW",
            path=where,
            line=line,
        ) from error


def _name(name: str) -> str:
    """A file's name as the job's: what can't be printed or sent becomes a question mark."""
    clean = "".join(char if char.isprintable() else "?" for char in name)
    return clean[:MAX_NAME] or "sbatch"
