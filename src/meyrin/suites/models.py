"""Where a model comes from: a folder, an archive at an address, or a server that answers."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urlsplit

from meyrin.domain.errors import InvalidInput, Unreachable
from meyrin.suites.environment import file_digest

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")
_PIECE = 1 << 20
# what a file that is none, cut, damaged or locked by a password is met with
_NO_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError,
    RuntimeError, FileExistsError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip


def is_address(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def is_archive(where: str) -> bool:
    """Whether an address is that of a model's files; any other is that of a served model."""
    return is_address(where) and urlsplit(where).path.lower().endswith(ARCHIVES)


def bring(where: str, into: Path) -> Path:
    """The folder of a model: as it is, or fetched from `https://….tar.gz#sha256=…` and unpacked."""
    if not is_address(where):
        folder = Path(where)
        if not folder.is_dir():
            raise InvalidInput(
                f"{where} is no folder with a model",
                hint="give the folder with config.json and the weights, or an address",
                field="model",
                value=where,
            )
        return folder
    address, wanted = urldefrag(where)
    archive = into / Path(urlsplit(address).path).name
    _fetch(address, archive)
    if wanted and wanted != f"sha256={file_digest(archive)}":
        raise InvalidInput(
            f"{address} is not what #{wanted} names",
            hint="has the file been changed?",
            field="model",
        )
    folder = into / "model"
    folder.mkdir()
    _unpack(archive, folder)
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _fetch(address: str, target: Path) -> None:
    import httpx2  # noqa: PLC0415 - only for addresses

    try:
        with httpx2.stream("GET", address, follow_redirects=True, timeout=60) as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                for piece in answer.iter_bytes(_PIECE):
                    file.write(piece)
    except httpx2.HTTPError as error:
        raise Unreachable(f"the model can't be fetched from {address}: {error}") from error


def _unpack(archive: Path, folder: Path) -> None:
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)  # noqa: S202 - it refuses to leave the folder
        else:
            with tarfile.open(archive) as packed_tar:
                _unpack_tar(packed_tar, folder)
                assert packed_tar.fileobj is not None, "it is open"
                while packed_tar.fileobj.read(_PIECE):  # its checksum is asked for at its end
                    pass
    except _NO_ARCHIVE as error:
        raise InvalidInput(
            f"{archive.name} is no archive of a model: {error}", field="model"
        ) from error


def _unpack_tar(packed: tarfile.TarFile, folder: Path) -> None:
    """Its files, and nothing else that tar knows; by hand, as the Python of Debian 12 (3.11.2)
    has no `filter="data"` yet. Raises TarError at what is no file or would leave the folder."""
    for member in packed:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is no file inside it")
        target = folder / name
        (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
        if (source := packed.extractfile(member)) is not None:
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _PIECE)
