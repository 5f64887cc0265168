"""Files to and from the hub's content store: in pieces, resumable, checked by their SHA-256.

Uploading never sends what the hub has. Fetching writes below the target folder and nowhere
else, into `.meyrin-….part` until the whole file is there and its digest is right.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from meyrin.client.connection import read
from meyrin.domain.errors import (
    Conflict,
    Failed,
    InvalidInput,
    NotFound,
    StorageFull,
    Unreachable,
)
from meyrin.domain.job import InputFile

if TYPE_CHECKING:
    from meyrin.client.connection import Connection
    from meyrin.wire.jobs import FileView, UploadState

PIECE_BYTES = 8 * 2**20
READ_BYTES = 2**20
STALLED = 5  # tries in a row that move nothing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file is; `step` is `reading`, `sending`, `fetching`, or `waiting` for another
    fetch of it."""

    name: str
    step: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]
Told = Callable[[int], None]  # progress within one file


def ignore(_: Progress) -> None:
    """A progress callback for those who don't care."""


def _nothing() -> None:
    """For a wait that nobody is told of."""


# --- sending


def upload(
    connection: Connection,
    path: Path,
    name: str | None = None,
    progress: OnProgress = ignore,
    opener: Callable[[str, int], int] | None = None,
) -> InputFile:
    """Make sure that the hub has this file; returns it as an input called `name` in the job.

    It is opened once, by `opener` where one is given (as `open` has it). Goes on where an earlier
    upload stopped and sends nothing that is there already. Raises
    InvalidInput when the file can't be read or changes meanwhile.
    """
    shown = name or path.name
    with _reading(path):
        if not stat.S_ISREG(path.stat().st_mode):  # asked first: who opens a pipe waits for it
            raise InvalidInput(
                f"{path} is no plain file", hint="pack a folder with tar first", field="input"
            )
        with open(path, "rb", opener=opener) as source:
            before = os.fstat(source.fileno())

            def told(step: str) -> Told:
                return lambda done: progress(Progress(shown, step, done, before.st_size))

            digest = _digest(source, before.st_size, told("reading"))
            file = InputFile(shown, digest, before.st_size, os.access(path, os.X_OK))
            _send(connection, path, source, file, told("sending"))
            after = os.fstat(source.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise InvalidInput(f"{path} changed while it was sent", hint="run the same command again")
    return file


def _send(
    connection: Connection, path: Path, source: BinaryIO, file: InputFile, told: Told
) -> None:
    address = f"/uploads/{file.sha256}"
    state = _upload_state(connection, address, file)
    stalled = 0
    while not state.complete:
        told(state.offset)
        source.seek(state.offset)
        piece = source.read(min(PIECE_BYTES, max(file.size - state.offset, 0)))
        if not piece and file.size > state.offset:
            raise InvalidInput(f"{path} became shorter while it was sent")
        before = state.offset
        state = _put(connection, address, file, state.offset, piece)
        stalled = 0 if state.offset > before or state.complete else stalled + 1
        if stalled >= STALLED:
            raise Failed(
                f"the hub takes no more of {file.name} after byte {state.offset}",
                hint="is its store full? `meyrin submit` again goes on from there",
            )
    told(file.size)


def _put(
    connection: Connection, address: str, file: InputFile, offset: int, piece: bytes
) -> UploadState:
    """Send one piece; where hub and client disagree about the offset, the hub is asked."""
    from meyrin.wire.jobs import UploadState  # noqa: PLC0415

    try:
        answer = connection.call(
            "PUT",
            address,
            repeatable=True,
            params={"offset": offset, "size": file.size},
            content=piece,
            headers={"content-type": "application/octet-stream"},
        )
    except Conflict:
        return _upload_state(connection, address, file)
    return read(UploadState, answer.content)


def _upload_state(connection: Connection, address: str, file: InputFile) -> UploadState:
    from meyrin.wire.jobs import UploadState  # noqa: PLC0415

    try:
        answer = connection.call("GET", address, repeatable=True)
    except NotFound:
        return UploadState(sha256=file.sha256, offset=0, complete=False)
    return read(UploadState, answer.content)


# --- fetching


def fetch(
    connection: Connection,
    label: str,
    files: Sequence[FileView],
    into: Path,
    progress: OnProgress = ignore,
) -> list[Path]:
    """Bring result files of a job into the folder `into`; returns where each now is.

    Goes on where an earlier fetch stopped; a file that is there and right is left alone. All
    names are checked before the first byte is written.
    """
    with _writing(into):
        into.mkdir(parents=True, exist_ok=True)
        root = into.resolve()
        targets = [safe_target(root, file.name) for file in files]
        for file, target in zip(files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            safe_target(root, file.name)
            part = part_of(target, file.sha256)
            fetch_file(
                connection,
                f"/jobs/{label}/files/{quote(file.name)}",
                file,
                target,
                part,
                told=_teller(progress, file, "fetching"),
                awaits=partial(_teller(progress, file, "waiting"), 0),
            )
    return targets


def _teller(progress: OnProgress, file: FileView, step: str) -> Told:
    return lambda done: progress(Progress(file.name, step, done, file.size))


def safe_target(root: Path, name: str) -> Path:
    """Where `name` goes below `root`; Failed for a name that would lead outside."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name
    target = root.joinpath(*parts) if plain else root
    if not plain or target == root or not target.parent.resolve().is_relative_to(root):
        raise Failed(
            f"the result {name!r} would be written outside {root}; nothing was written for it",
            hint="is there a link in the target folder? choose an empty one with --into",
            file=name,
        )
    return target


def part_of(target: Path, sha256: str) -> Path:
    """Where a file grows until it is whole: a name of our own, short, and the same next time."""
    return target.with_name(f".meyrin-{sha256[:32]}.part")


def fetch_file(
    connection: Connection,
    address: str,
    file: FileView,
    target: Path,
    part: Path,
    *,
    told: Told,
    awaits: Callable[[], None] = _nothing,
) -> None:
    """Bring one file from `address` to `target` by way of `part`; Failed when it stays wrong."""
    if _is_whole(target, file):
        told(file.size)
        return
    for _ in range(2):
        with _alone(part, awaits) as sink:
            if _is_whole(target, file):  # brought meanwhile by whoever had the part
                part.unlink()
                told(file.size)
                return
            _fill(connection, address, file, sink, told)
            if _digest_at(part, file.size) == file.sha256:
                part.replace(target)
                return
            part.unlink()
    raise Failed(
        f"{file.name} arrived twice with another content than the hub recorded",
        hint="ask whoever runs the hub to look at its store",
        file=file.name,
    )


@contextmanager
def _alone(part: Path, awaits: Callable[[], None]) -> Iterator[BinaryIO]:
    """The part, open for one fetch at a time, where its file system has locks; `awaits` is called
    before another's end is waited for."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with os.fdopen(os.open(part, flags, 0o666), "r+b") as sink:
            try:
                fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    awaits()
                with suppress(OSError):
                    fcntl.flock(sink, fcntl.LOCK_EX)
            if _is_at(part, sink):
                yield sink
                return


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether the open file still has this name: another fetch may have given it its own."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _fill(connection: Connection, address: str, file: FileView, sink: BinaryIO, told: Told) -> None:
    """Append to `sink` until it has the file's size, over as many connections as it takes."""
    if sink.seek(0, os.SEEK_END) > file.size:
        sink.truncate(0)
    barren = 0
    while (have := sink.seek(0, os.SEEK_END)) < file.size:
        told(have)
        broken = _pour(connection, address, file.size, sink, told)
        barren = 0 if sink.tell() > have else barren + 1
        if barren >= STALLED:
            raise broken or Failed(f"the hub sends no more of {file.name} after byte {have}")
        if broken:
            connection.back_off(barren + 1)
    sink.flush()
    os.fsync(sink.fileno())  # before it has its name: what is there is whole
    told(file.size)


def _pour(
    connection: Connection, address: str, size: int, sink: BinaryIO, told: Told
) -> Unreachable | None:
    """What one connection brings of the file from the sink's end on; its break, if it broke."""
    have = sink.tell()
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={have}-"} if have else {})
    try:
        with connection.stream("GET", address, headers=headers) as answer:
            if have and answer.status_code != 206:  # it starts from zero, and so do we
                sink.seek(0)
                sink.truncate()
            for piece in connection.awaited(answer.iter_bytes()):
                sink.write(piece)
                told(min(sink.tell(), size))
                if sink.tell() > size:
                    break  # the digest will tell
    except Unreachable as error:
        return error
    return None


def _is_whole(target: Path, file: FileView) -> bool:
    if target.is_symlink() or not target.is_file() or target.stat().st_size != file.size:
        return False
    return _digest_at(target, file.size) == file.sha256


# --- both


def _nobody(_: int) -> None:
    """For digests that nobody waits for."""


def _digest(file: BinaryIO, size: int, told: Told) -> str:
    digest = hashlib.sha256()
    done = 0
    while piece := file.read(READ_BYTES):
        digest.update(piece)
        done += len(piece)
        told(min(done, size))
    return digest.hexdigest()


def _digest_at(path: Path, size: int) -> str:
    """The digest of a file that nobody waits for."""
    with path.open("rb") as file:
        return _digest(file, size, _nobody)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"{path} can't be read: {error.strerror or error}", field="input", value=str(path)
        ) from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"no room left for {place}",
                hint="free some and run the same command again: it goes on where it stopped",
            ) from error
        raise Failed(
            f"{place} can't be written: {error.strerror or error}",
            hint="choose another folder with --into",
        ) from error
