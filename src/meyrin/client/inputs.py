"""Inputs as people type them (`PATH` or `PATH=NAME`, a file or a folder) as files with names.

A relative path keeps its folders, so that a script finds `data/a.csv` as it does here; from an
absolute path, or one that leads upwards, the last part is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import check_input_names


def input_files(typed: Sequence[str], cwd: Path) -> list[tuple[Path, str]]:
    """Every file to send with its name in the job, in the order typed.

    Raises InvalidInput for what isn't there, is no plain file, comes twice under one name, or
    under a name that no file can have.
    """
    found: dict[str, Path] = {}
    for word in typed:
        for path, name in _files(*_split(word, cwd)):
            if found.setdefault(name, path) != path:
                raise InvalidInput(
                    f"two inputs are called {name!r}: {found[name]} and {path}",
                    hint="name one of them anew: --input PATH=NAME",
                    field="input",
                )
    check_input_names(found)
    for name, path in found.items():
        _check_file(path, name)
    return [(path, name) for name, path in found.items()]


def _check_file(path: Path, name: str) -> None:
    """Refuse what could not be sent, before the first byte of anything is."""
    if not path.is_file():
        raise InvalidInput(
            f"{path} is no plain file, nor a link to one",
            hint="leave it out of the folder, or pack what it stands for with tar",
            field="input",
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the name {name!a} is not valid UTF-8",
            hint="rename it, or send it alone with --input PATH=NAME",
            field="input",
        ) from error


def _split(word: str, cwd: Path) -> tuple[Path, str]:
    """A path and its name in the job. `=` counts unless a file of the whole name exists."""
    if (cwd / word).exists() or "=" not in word:
        path, name = word, _own_name(word, cwd)
    else:
        path, _, name = word.rpartition("=")
        name = PurePosixPath(name).as_posix() if name else _own_name(path, cwd)
    place = cwd / path
    if not path or not place.exists():
        raise InvalidInput(
            f"there is no input {path or word!r}", hint="--input PATH or PATH=NAME", field="input"
        )
    return place, name


def _own_name(word: str, cwd: Path) -> str:
    pure = PurePosixPath(word)
    if pure.is_absolute() or ".." in pure.parts:
        return (cwd / word).resolve().name
    return pure.as_posix()


def _files(place: Path, name: str) -> Iterator[tuple[Path, str]]:
    if not place.is_dir():
        yield place, name
        return
    prefix = "" if name == "." else f"{name}/"
    found = sorted(_below(place, frozenset({_identity(place)})))
    if not found:
        raise InvalidInput(
            f"the input {name!r} is a folder without a file", hint="leave it out", field="input"
        )
    for path in found:
        yield path, prefix + path.relative_to(place).as_posix()


def _below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Every file in it, behind links too; InvalidInput for a link to a folder that holds it."""
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
            continue
        if _identity(path) in above:
            raise InvalidInput(
                f"{path} leads back to a folder that holds it", hint="leave it out", field="input"
            )
        yield from _below(path, above | {_identity(path)})


def _identity(folder: Path) -> tuple[int, int]:
    known = folder.stat()
    return known.st_dev, known.st_ino
