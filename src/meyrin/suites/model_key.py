"""The key that the server of a served model asks for: read outside of the jail, held by the relay.

It lies in a file of whoever runs the suite: named by `--model-key` here, and at a site in a folder
that the site keeps, under the server's name. So it is on no command line, in no environment, in
nothing that travels to a hub, and in no place that the jail shows.
"""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from meyrin.domain.errors import InvalidInput, NotAllowed
from meyrin.suites import jail

PLACE = "MEYRIN_MODEL_KEYS"
LONGEST = 4096


def of_site(folder: str | None, where: str, shown: Sequence[Path] = ()) -> str:
    """What the site keeps for the server at this address: the file HOST or HOST:PORT in `folder`;
    "" where it keeps none."""
    if not folder:
        return ""
    parts = urlsplit(where)
    host = (parts.hostname or "").replace("/", "")
    names = (f"{host}:{parts.port}",) if parts.port else (host,)
    for path in (Path(folder) / name for name in names if name.strip(".")):
        if path.is_file():
            return read(path, where, shown)
    return ""


def read(path: Path, where: str, shown: Sequence[Path] = ()) -> str:
    """The key in a file, for the server at `where`; `shown` are folders that the jail shows.

    InvalidInput where it is no key or would go over an open line, NotAllowed where others, or the
    jail, could read the file. No message holds the key.
    """
    check_line(where)
    try:
        raw = path.read_bytes()[: LONGEST + 1]
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInput(
            f"the model's key can't be read from {path}: {error.strerror}", field="--model-key"
        ) from error
    if stat.S_IMODE(mode) & 0o007:
        raise NotAllowed(
            f"everybody on this machine may read the model's key in {path}",
            hint=f"chmod o= {path}",
        )
    inside = path.resolve()
    seen = [*map(Path, jail.SYSTEM), *jail.places(shown)]
    if any(inside.is_relative_to(folder.resolve()) for folder in seen):
        raise NotAllowed(
            f"the jail shows the folder of {path}, and the tested suite could read the key",
            hint="keep the key in a folder of its own",
        )
    key = raw.decode("ascii", "replace").strip()
    if not key or len(raw) > LONGEST or not key.isprintable() or not key.isascii() or " " in key:
        raise InvalidInput(
            f"{path} holds no key", hint="one line of printable ASCII, without spaces",
            field="--model-key",
        )  # fmt: skip
    return key


def check_line(where: str) -> None:
    """InvalidInput unless a key may go there: over https, or to this machine itself."""
    parts = urlsplit(where)
    if parts.scheme != "https" and not _here(parts.hostname or ""):
        raise InvalidInput(
            "a key goes to a served model over https only: anybody on the way could read it",
            hint="give the model's https address",
            field="model",
        )


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
