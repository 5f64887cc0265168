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
    try:
        return is_address(where) and urlsplit(where).path.lower().endswith(ARCHIVES)
    except ValueError:  # it is no address at all, as `relay.split` says
        return False


def bring(where: str, into: Path, *, named: bool = False) -> tuple[Path, str]:
    """The folder of a model and where it came from: as it is, from "", or fetched from
    `https://….tar.gz#sha256=…` and unpacked.

    Where it came from has the digest of what came, whether or not it was asked for; with `named`
    it must have been. It has neither a password nor a query: those may be secrets.
    """
    if not is_address(where):
        folder = Path(where)
        if not folder.is_dir():
            raise InvalidInput(
                f"{where} is no folder with a model",
                hint="give the folder with config.json and the weights, or an address",
                field="model",
                value=where,
            )
        return folder, ""
    address, wanted = urldefrag(where)
    parts = urlsplit(address)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    archive = into / Path(parts.path).name
    _fetch(address, plain, archive)
    came = f"sha256={file_digest(archive)}"
    trouble = _misnamed(plain, wanted, came, named=named)
    if trouble is not None:
        archive.unlink()
        raise trouble
    folder = into / "model"
    folder.mkdir()
    _unpack(archive, folder)
    inner = list(folder.iterdir())
    found = inner[0] if len(inner) == 1 and inner[0].is_dir() else folder
    return found, f"{plain}#{came}"


def _misnamed(address: str, wanted: str, came: str, *, named: bool) -> InvalidInput | None:
    """Why what came is not what was asked for, or nobody can say that it is."""
    if wanted and wanted != came:
        return InvalidInput(
            f"{address} is not what #{wanted} names",
            hint="has the file been changed?",
            field="model",
        )
    if named and not wanted:
        return InvalidInput(
            f"a run for a gate's plan is of one model, and {address} alone does not say which "
            "model it is: tomorrow another may lie there",
            hint=f"what lies there now is {address}#{came}; give that if it is the one you mean",
            field="model",
        )
    return None


def _fetch(address: str, plain: str, target: Path) -> None:
    import httpx2  # noqa: PLC0415 - only for addresses

    try:
        with httpx2.stream("GET", address, follow_redirects=True, timeout=60) as answer:
            if not answer.is_success:
                raise Unreachable(
                    f"the model can't be fetched from {plain}: it answers {answer.status_code} "
                    f"{answer.reason_phrase}".rstrip()
                )
            with target.open("wb") as file:
                for piece in answer.iter_bytes(_PIECE):
                    file.write(piece)
    except httpx2.HTTPError as error:
        raise Unreachable(f"the model can't be fetched from {plain}: {error}") from error


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
