"""Where the hub is and with which token to knock: from the environment or one folder.

In rising order: the folder's `client.json` (written by `meyrin up` or `meyrin login`), then
`MEYRIN_HUB` with `MEYRIN_TOKEN` or `MEYRIN_TOKEN_FILE`, then what was given: a token file that
was named counts at the folder's hub too. The environment's token is for `MEYRIN_HUB`, where that is
set, and goes to no other hub. Never guesses.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meyrin.client.durable import sync_folder, write
from meyrin.domain.errors import InvalidInput, NotLoggedIn, Unreachable

CLIENT_FILE = "client.json"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Place:
    """A hub's address and a secret; `told_by` says where they were found."""

    url: str
    token: str
    told_by: str
    renewable: Path | None = None  # the file whose log-in can be renewed

    def __repr__(self) -> str:
        return f"Place({self.url!r}, token hidden, told by {self.told_by})"


@dataclass(frozen=True, slots=True)
class Kept:
    """What `client.json` holds. `openid` is how to get a new token, where a provider gave it."""

    url: str
    token: str
    openid: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Kept({self.url!r}, secrets hidden)"


def state_folder(environ: Mapping[str, str], given: str | Path | None = None) -> Path:
    """The folder of one-machine mode: `--dir`, else `MEYRIN_DIR`, else the user's data folder."""
    chosen = given or environ.get("MEYRIN_DIR")
    if chosen:
        return expanded(chosen)
    from platformdirs import user_data_path  # noqa: PLC0415 - only where nothing was said

    return user_data_path("meyrin")


def expanded(path: str | Path) -> Path:
    """With the home folder for `~`; InvalidInput for that of a user who is not known here."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidInput(
            f"{str(path)!r} names a home folder that is not known here",
            hint="write the whole path",
            value=str(path),
        ) from error


def find_hub(
    environ: Mapping[str, str] = os.environ,
    *,
    folder: str | Path | None = None,
    url: str | None = None,
    token_file: str | Path | None = None,
) -> Place:
    """The hub to talk to.

    Raises Unreachable when no hub is named anywhere, NotLoggedIn when one is named but no token,
    InvalidInput for an address or a file that can't be read.
    """
    named = url or (None if folder else environ.get("MEYRIN_HUB"))
    path = state_folder(environ, folder) / CLIENT_FILE
    if named is None:
        if path.exists():
            known = _read(path)
            if token_file is None:
                return known
            return Place(known.url, _token(environ, token_file) or "", str(token_file))
        raise Unreachable(
            f"no hub is known: MEYRIN_HUB is not set and there is no {path}",
            hint="start one with `meyrin up`, or log in: `meyrin login --code --hub URL`",
        )
    told_by = "--hub" if url else "MEYRIN_HUB"
    address = check_url(named, told_by)
    home = _plain(environ.get("MEYRIN_HUB", ""))
    theirs = bool(home) and not _same(home, address)
    secret = _token({} if theirs else environ, token_file)
    if secret is None and path.exists():
        known = _read(path)
        if _same(known.url, address):
            return Place(known.url, known.token, told_by, known.renewable)
    if secret is None:
        way = "set MEYRIN_TOKEN_FILE or MEYRIN_TOKEN"
        if theirs:
            way = "name a --token-file"
            if "MEYRIN_TOKEN" in environ or environ.get("MEYRIN_TOKEN_FILE"):
                way += f": the environment's token is for {home}"
        raise NotLoggedIn(
            f"{told_by} names {address}, but there is no token for it",
            hint=f"run `meyrin login --code --hub {address}` (--save with a token), or {way}",
        )
    return Place(address, secret, told_by)


def save(path: Path, url: str, token: str, openid: Mapping[str, Any] | None = None) -> None:
    """Write `client.json` so that only its owner can read it, whole or not at all, and so that it
    outlives a power cut. The caller has it `locked`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    more = {} if openid is None else {"openid": dict(openid)}
    write(str(path), json.dumps({"url": url, "token": token, **more}).encode(), 0o600)
    sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else renews the log-in of this file, or keeps another, meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_url(url: str, told_by: str) -> str:
    """An address of a hub without a slash at its end; else InvalidInput."""
    plain = _plain(url)
    if not plain.startswith(("http://", "https://")) or not _has_host(plain):
        raise InvalidInput(
            f"{told_by} is {url!r}, which is no address of a hub",
            hint="write it with its scheme, such as https://hub.example.org",
            field=told_by,
            value=url,
        )
    return plain


def is_here(url: str) -> bool:
    """Whether a hub is on this machine, by its address."""
    return urlsplit(url).hostname in _LOOPBACK


def _plain(url: str) -> str:
    return url.strip().rstrip("/")


def _same(one: str, other: str) -> bool:
    """Whether two addresses are one hub's, however host and port are written."""
    return one == other or (_has_host(one) and _has_host(other) and _parts(one) == _parts(other))


def _parts(url: str) -> tuple[object, ...]:
    found = urlsplit(url)
    port = found.port or {"http": 80, "https": 443}.get(found.scheme)
    who = found.netloc.rpartition("@")[0]
    return found.scheme, who, found.hostname, port, found.path, found.query


def _has_host(url: str) -> bool:
    """A host, and a port that is a number if there is one."""
    try:
        found = urlsplit(url)
        return bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        return False


def check_token(text: str, told_by: str) -> str:
    """A secret as one printable word, as it must be to travel in a header; else InvalidInput."""
    word = text.strip()
    if not word or not word.isascii() or not word.isprintable() or " " in word:
        raise InvalidInput(
            f"{told_by} holds no token",
            hint="a token is one word, such as `meyrin login` asks for",
            field=told_by,
        )
    return word


def _token(environ: Mapping[str, str], token_file: str | Path | None) -> str | None:
    if token_file is None and "MEYRIN_TOKEN" in environ:
        return check_token(environ["MEYRIN_TOKEN"], "MEYRIN_TOKEN")
    named = token_file or environ.get("MEYRIN_TOKEN_FILE")
    if not named:
        return None
    path = expanded(named)
    try:
        return check_token(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the token file {path} can't be read", hint="see MEYRIN_TOKEN_FILE or --token-file"
        ) from error


def read_kept(path: Path) -> Kept:
    """What a `client.json` holds; InvalidInput when it can't be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        url, token, openid = known["url"], known["token"], known.get("openid")
        if openid is not None:
            names = ("issuer", "client_id", "scopes", "refresh_token")
            openid = {name: str(openid[name]) for name in names} | {
                "expires_ms": int(openid["expires_ms"])
            }
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is not what `meyrin up` or `meyrin login` writes",
            hint="remove it and start `meyrin up` again, or log in again",
        ) from error
    return Kept(check_url(str(url), str(path)), check_token(str(token), str(path)), openid)


def _read(path: Path) -> Place:
    kept = read_kept(path)
    return Place(kept.url, kept.token, str(path), path if kept.openid else None)
