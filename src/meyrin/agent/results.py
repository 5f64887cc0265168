"""Brings back the files that a job was asked to leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meyrin.agent.config import AgentConfig
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Item
from meyrin.agent.seal import seal
from meyrin.domain.errors import MeyrinError, Unreachable
from meyrin.wire.jobs import FileView

EVIDENCE = "evidence.zip"
Seal = Callable[[Path], Path]  # what a job left under that name → what is brought back


def matches(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files below `folder` that a pattern matches (`**` crosses folders); never a link that
    leads out of it."""
    root = folder.resolve()
    found: set[Path] = set()
    for pattern in patterns:
        for path in _glob(folder, pattern):
            inside = path.resolve().is_relative_to(root)
            if inside and path.is_dir() and not path.is_symlink():
                found |= {p for p in path.rglob("*") if p.is_file() and not p.is_symlink()}
            elif inside and path.is_file():
                found.add(path)
    return sorted(found)


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except (ValueError, NotImplementedError, OSError):  # as glob has it, of `a**b` say: nothing
        return []


def bring_back(hub: Hub, item: Item, folder: Path, sealed_by: Seal | None = None) -> None:
    """Upload the results of one ended attempt and say which there are. May be repeated.

    Where `sealed_by` is given, the evidence goes as what it makes of it, or not at all.
    """
    sealed: list[Path] = []
    views: list[FileView] = []
    patterns = item.request.output_files
    missing = [pattern for pattern in patterns if not matches(folder, (pattern,))]
    for path in matches(folder, patterns):
        name = path.relative_to(folder).as_posix()
        shown = name.encode("utf-8", "backslashreplace").decode()
        if shown != name:
            missing.append(f"{shown} (its name is no text)")
            continue
        try:
            if sealed_by is not None and name == EVIDENCE:
                sealed.append(sealed_by(path))
                sent = hub.upload(sealed[-1])
            else:
                sent = hub.upload(path)
        except Unreachable:
            raise
        except (OSError, MeyrinError) as error:
            missing.append(f"{name} ({error})")
            continue
        views.append(sent.model_copy(update={"name": name}))
    state = "complete" if not missing else "not found: " + ", ".join(missing)
    hub.results(item.work.attempt, item.work.epoch, state, views)
    for path in sealed:
        path.unlink(missing_ok=True)


def sealing(config: AgentConfig, site: str, item: Item) -> Seal | None:
    """How the evidence of this job is sealed; None where the job is no run of a suite."""
    from meyrin.suites import handed  # noqa: PLC0415 - only for jobs that leave results

    if not handed.is_run(item.request):
        return None
    return lambda path: seal(config, site, item, path)
