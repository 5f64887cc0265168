"""The agent's settings: one TOML file that the site's operator owns, read once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import Partition


class Rules(BaseModel):
    """The site's own rules. They are asked here, at the site, whatever the hub decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drained: str = ""
    """Why no new job starts here; empty lets them start."""
    allowed_projects: tuple[str, ...] | None = None
    """Projects that may run here; absent means all."""
    max_walltime_s: int | None = None
    """The longest job, in seconds."""
    max_accelerators: int | None = None
    """The most accelerators that one job may have."""


class AgentConfig(BaseModel):
    """What an agent needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: str
    """The hub's address, such as https://hub.example."""
    credential_file: Path
    """A file, readable by this user only, with the credential that the enrolment printed."""
    dir: Path
    """Where the agent keeps its journal and the jobs' folders."""
    batch: str = "local"
    """The batch system: `local` runs jobs on this machine."""
    share_files: bool = False
    """Whether users and jobs see the same folders: a job then runs where it was submitted."""
    grace_s: int = Field(default=30, ge=0, le=3600)
    """Seconds between TERM and KILL."""
    rules: Rules = Rules()
    """The site's own rules."""
    partition: tuple[Partition, ...] = ()
    """What `local` has to give, as [[partition]] tables."""

    @property
    def credential(self) -> str:
        """The secret; InvalidInput when the file is missing or open to others."""
        path = self.credential_file
        try:
            mode = path.stat().st_mode
            if mode & 0o077:
                raise InvalidInput(
                    f"{path} can be read by others (mode {mode & 0o777:o})",
                    hint=f"run: chmod 600 {path}",
                    field="credential_file",
                )
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidInput(
                f"the credential file {path} can't be read: {error.strerror}",
                hint="`meyrin site token NAME` gives a new one",
                field="credential_file",
            ) from error
        if not secret:
            raise InvalidInput(
                f"the credential file {path} is empty",
                hint="`meyrin site token NAME` gives a new one",
                field="credential_file",
            )
        return secret


def load(path: Path) -> AgentConfig:
    """Read the file; paths in it are relative to it. Raises InvalidInput naming the field."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", field="config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}", field="config") from error
    try:
        config = AgentConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path}: {place}: {first['msg']}", field=place) from error
    base = path.resolve().parent
    return config.model_copy(
        update={"dir": base / config.dir, "credential_file": base / config.credential_file}
    )
