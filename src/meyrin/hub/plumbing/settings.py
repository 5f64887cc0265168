"""Settings of the hub's process: one frozen value, from `MEYRIN_` variables and one TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from meyrin.client.place import check_url
from meyrin.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What a hub needs to know. Each field is `MEYRIN_HUB_<NAME>` or a key in `hub.toml`."""

    dir: Path
    """Where this hub keeps its state; one hub at a time in one-machine mode."""
    db_url: str = ""
    """SQLAlchemy URL of the database; empty means SQLite in `dir`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8642
    """Port to listen on; 0 takes a free one."""
    public_url: str = ""
    """How browsers and agents reach this hub, when not by `host` and `port`."""
    blobs_url: str = ""
    """fsspec URL of the content store, or a folder; empty means one in `dir`."""
    lease_s: int = 30
    """An attempt that an agent took and never spoke of is offered to it again after this."""
    output_limit_bytes: int = 64 * 2**20
    """How much of a job's output the hub keeps for live reading, for each stream; where a job
    printed more, whoever reads it is told."""
    unused_days: int = 30
    """For how many days the content store keeps a file that nothing refers to, since it was last
    brought."""

    upload_gib: int = 500
    """How many GiB one person may bring to the content store in 30 days."""
    starter_hours: int = 100
    """Accelerator-hours (or core-hours) of the starter grant, for each type."""
    starter_days: int = 90
    """How long a starter grant lasts."""

    leaver_grace_s: int = 300
    """Seconds after which running jobs of somebody who left their project are ended; what waits is
    cancelled at once. More than the longest wall time lets them run to their end."""
    freeze_day: int = 8
    """Day of the next month (1 to 28, UTC) on which a month's owners' statement is frozen."""
    evidence_key_file: str = ""
    """The key that this hub countersigns evidence with, the same at all its replicas; empty:
    `hub.key` in `dir`, made when it is first needed."""
    modes_dir: str = ""
    """Folder of mode files, the ways to get hours; empty: a starter by rule, the rest by review."""
    openid_issuer: str = ""
    """Address of the OpenID provider that people log in with; empty: log-in links only."""
    openid_client_id: str = "meyrin-hub"
    """This hub's name at the provider, for log-in in pages (code flow with PKCE)."""
    openid_secret_file: str = ""
    """A file with this hub's secret at the provider; empty for a public client."""
    openid_cli_client_id: str = "meyrin-cli"
    """The command line's name at the provider, for log-in with a code (device flow)."""
    openid_session_hours: int = 12
    """How long a log-in by the provider counts before the provider is asked again."""

    @property
    def database_url(self) -> str:
        return self.db_url or f"sqlite:///{quote(str(self.dir / 'hub.sqlite'))}"

    @property
    def store_url(self) -> str:
        return self.blobs_url or str(self.dir / "blobs")


def load(directory: Path, environ: Mapping[str, str] = os.environ, **given: Any) -> HubSettings:
    """Settings in rising order: defaults, `hub.toml` in the folder, environment, `given`.

    Raises InvalidInput for a key that does not exist or a value of the wrong kind.
    """
    known = {f.name: f for f in fields(HubSettings) if f.name != "dir"}  # `--dir` alone says it
    values = _from_file(directory.absolute() / "hub.toml", known)
    for name in known:
        text = environ.get(f"MEYRIN_HUB_{name.upper()}")
        if text is not None:
            values[name] = _placed(name, text, None)
    said = {name: value for name, value in given.items() if value is not None}
    values |= {name: _placed(name, value, None) for name, value in said.items()}
    typed = {name: _typed(name, value, known) for name, value in values.items()}
    found = HubSettings(dir=directory.absolute(), **typed)
    _check(found)
    return found


def _from_file(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, if there is one; paths in it are relative to it."""
    if not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from error
    for key in table:
        if key not in known:
            raise InvalidInput(
                f"{path}: there is no setting {key!r}", hint=f"known: {', '.join(known)}"
            )
    return {key: _placed(key, value, path.parent) for key, value in table.items()}


# the least that each may be, and what it is
_LEAST = {
    "lease_s": (1, "after how many seconds an attempt is offered again"),
    "output_limit_bytes": (0, "how many bytes of each stream are kept"),
    "upload_gib": (1, "how many GiB one person may bring in 30 days"),
    "unused_days": (2, "for how many days a file stays that nothing refers to"),
    "starter_hours": (1, "how many hours a starter grant has"),
    "starter_days": (1, "for how many days it lasts"),
    "leaver_grace_s": (0, "after how many seconds jobs of who left are ended"),
    "openid_session_hours": (1, "for how many hours a log-in counts"),
}


def _check(found: HubSettings) -> None:
    if not found.host.strip():
        raise InvalidInput(
            "setting host is empty", hint="an address, or 0.0.0.0 for all", field="host"
        )
    if not 0 <= found.port <= 65_535:
        raise InvalidInput(
            f"setting port is {found.port}", hint="0 to 65535; 0 takes a free one", field="port"
        )
    if found.public_url:
        check_url(found.public_url, "public_url")
    for name, (least, meant) in _LEAST.items():
        if (value := getattr(found, name)) < least:
            raise InvalidInput(
                f"setting {name} is {value}", hint=f"write {meant}, {least} or more", field=name
            )
    if not 1 <= found.freeze_day <= 28:
        raise InvalidInput(
            f"setting freeze_day is {found.freeze_day}",
            hint="write a day that every month has, 1 to 28",
            field="freeze_day",
        )


_FILES = ("modes_dir", "evidence_key_file", "openid_secret_file", "blobs_url")
_SQLITE = "sqlite:///"


def _placed(name: str, value: Any, base: Path | None) -> Any:
    """A path as one from the root, so that the next start finds the same: from `base`, or from
    where one stands."""
    if not isinstance(value, str) or not value:
        return value
    place = value.removeprefix(_SQLITE)
    sqlite = name == "db_url" and place != value and not place.startswith((":", "file:"))
    if not (sqlite and place) and (name not in _FILES or "://" in value):
        return value
    path = Path(place if sqlite else value)
    whole = (path if base is None else base / path).absolute()
    return f"{_SQLITE}{whole}" if sqlite else str(whole)


def _typed(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if known[name].type != "int":
        if isinstance(value, str):
            return value
        raise InvalidInput(f"setting {name} is {value!r}", hint="write a text", field=name)
    try:
        if isinstance(value, str) or type(value) is int:  # true is no number
            return int(value)
    except ValueError:
        pass
    raise InvalidInput(f"setting {name} is {value!r}", hint="write a whole number", field=name)
