"""Writes the generated parts of docs/reference from the code. A test says when one is out of date.

    .venv/bin/python -m tests.docs.generate

What stands above the mark in a page is written by hand and kept.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from meyrin.agent import config as agent_config
from meyrin.cli.exits import EXIT
from meyrin.cli.lazy import LazyGroup
from meyrin.cli.main import cli
from meyrin.domain import errors, site
from meyrin.domain.refusal import PASSING, Reason
from meyrin.domain.states import ENDED, LEGAL, MEANING
from meyrin.engine import explain
from meyrin.engine.model import Policy
from meyrin.hub import app
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.plumbing import settings
from meyrin.hub.plumbing.authz import Allow
from meyrin.hub.plumbing.http import STATUS
from meyrin.plan.facility import FacilityFile
from meyrin.plan.scenario import ScenarioFile
from meyrin.sim import toml_file
from meyrin.sim.cluster_file import ClusterFile
from meyrin.sim.policy import PolicyFile
from meyrin.suites.gate.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"
MARK = "<!-- generated from here on: python -m tests.docs.generate -->"


def table(heads: str, rows: list[tuple[str, ...]]) -> str:
    names = heads.split(" | ")
    lines = [f"| {heads} |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def sentence(text: str) -> str:
    return " ".join(text.split())


# --- settings


def documented(module: Any, name: str) -> Iterator[tuple[str, str, str]]:
    """Each field of a class with its type and the docstring under it, in order."""
    tree = ast.parse(inspect.getsource(module))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = sentence(str(after.value.value))
            yield node.target.id, ast.unparse(node.annotation), said


def settings_page() -> str:
    defaults = {f.name: f.default for f in fields(settings.HubSettings)}
    hub = [
        (f"`{name}`", f"`MEYRIN_HUB_{name.upper()}`", default(defaults[name]), said)
        for name, _, said in documented(settings, "HubSettings")
    ]
    parts = [
        "## The hub\n",
        "In `hub.toml`, or as a variable.\n",
        table("key | variable | default | what it is", hub),
        "## The agent\n",
        "In the file that `meyrin agent --config FILE` names.\n",
        table("key | default | what it is", list(agent_keys("AgentConfig"))),
        "### [rules]\n",
        table("key | default | what it is", list(agent_keys("Rules"))),
        "### [[offer]]\n",
        table("key | default | what it is", list(agent_keys("Offer"))),
        "### [[partition]]\n",
        table("key | default", list(partition_keys())),
        "### [slurm]\n",
        table("key | default | what it is", list(agent_keys("SlurmConfig"))),
        "### [slurm.partitions.NAME]\n",
        table("key | default | what it is", list(agent_keys("SlurmPartition"))),
        "### [limits]\n",
        table("key | default | what it is", list(agent_keys("LimitsConfig"))),
    ]
    return "\n".join(parts)


def default(value: object) -> str:
    """A default as a reader sees it."""
    if value in ("", (), {}):
        return "empty"
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value}`" if isinstance(value, str | int | float) else "none: say it"


_TABLES = {("AgentConfig", "offer"), ("AgentConfig", "partition"), ("SlurmConfig", "partitions")}


def agent_keys(name: str) -> Iterator[tuple[str, str, str]]:
    model = getattr(agent_config, name)
    for key, _, said in documented(agent_config, name):
        value = model.model_fields[key].default
        nested = isinstance(value, BaseModel) or (name, key) in _TABLES
        yield f"`{key}`", "see below" if nested else default(value), said


def partition_keys() -> Iterator[tuple[str, str]]:
    for field in fields(site.Partition):
        yield f"`{field.name}`", default(field.default)


# --- commands


def commands_page() -> str:
    return "\n".join(commands(cli, None, "meyrin"))


def in_context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """As click makes it before it runs a command, for looking at it only."""
    wide = {"max_content_width": 96, "terminal_width": 96}
    return command.make_context(name, [], parent=parent, resilient_parsing=True, **wide)  # type: ignore[arg-type]


def commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = in_context(command, name, parent)
    path = context.command_path
    yield f"{'#' * (2 + path.count(' '))} {path}\n"
    yield f"```text\n{context.get_help().rstrip()}\n```\n"
    if isinstance(command, LazyGroup):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from commands(found, context, each)


# --- states, reasons, errors


def states_page() -> str:
    rows = [
        (
            f"`{state}`",
            MEANING[state],
            ", ".join(f"`{after}`" for after in LEGAL if after in LEGAL[state]) or "nothing",
        )
        for state in LEGAL
    ]
    ended = ", ".join(f"`{state}`" for state in LEGAL if state in ENDED)
    return table("state | means | may be followed by", rows) + f"\nEnds: {ended}.\n"


def reasons_page() -> str:
    rows = []
    for reason in Reason:
        words, way = explain._WORDS[reason]
        passing = "may pass" if reason in PASSING else "lasts"
        rows.append((f"`{reason}`", passing, plain(words), plain(way)))
    return table("reason | waiting | words | way out", rows)


def plain(words: str) -> str:
    shown = {"place": "the place", "asked": "A", "limit_mb": "L", "limit": "L"}
    shown |= {noun: f"A {noun}" for noun in ("accelerators", "cores", "nodes")}
    shown["elements"] = "L elements"
    for name, stands in shown.items():
        words = words.replace(f"{{{name}}}", stands)
    return words


def errors_page() -> str:
    meanings = dict(re.findall(r"[├└]── (\w+) +(.+?)(?: +\((?:exit|HTTP) .*)?\n", errors.__doc__))
    rows = []
    for kind, status in STATUS.items():
        retry = "yes" if kind.retry else "no"
        rows.append(
            (f"`{kind.code}`", str(status), str(EXIT[kind]), retry, meanings[kind.__name__])
        )
    return table("code | HTTP | exit | same call may succeed later | what it is", rows)


# --- HTTP and policy


def http_page() -> str:
    made = app.create(settings.HubSettings(dir=Path()), None, None)  # type: ignore[arg-type]
    groups: dict[str, list[tuple[str, ...]]] = {"API": [], "Pages and monitors": []}
    for route in routes_of(made):
        kind = "API" if route.path.startswith("/api/") else "Pages and monitors"
        methods = " ".join(sorted(route.methods - {"HEAD"}))
        said = sentence(str(route.endpoint.__doc__ or "").split("\n\n")[0])
        said = said or route.name.replace("_", " ").capitalize() + "."
        groups[kind].append((methods, f"`{route.path}`", access(route), said))
    return "\n".join(
        f"## {kind}\n\n" + table("method | address | who | what", rows)
        for kind, rows in groups.items()
    )


def routes_of(made: Any) -> Iterator[Any]:
    """The routes in their order; routers may be nested as they are, or already laid flat."""
    for route in made.routes:
        if hasattr(route, "dependant"):
            yield route
        elif hasattr(route, "effective_route_contexts"):
            yield from (each for each in route.effective_route_contexts())


def access(route: Any) -> str:
    found = [
        one.call.access.value for one in route.dependant.dependencies if isinstance(one.call, Allow)
    ]
    assert len(found) == 1, f"{route.path} names no access, or two"
    return str(found[0])


def policy_page() -> str:
    rows = [(f"`{f.name}`", f"`{f.default}`") for f in fields(Policy)]
    said = sentence(str(Policy.__doc__).split("\n\n", 1)[1])
    return table("number | default", rows) + "\n" + said + "\n"


def replay_page() -> str:
    return file_keys({"Policy file": PolicyFile, "Cluster file": ClusterFile})


def modes_page() -> str:
    return file_keys({"Mode file": Mode})


def gates_page() -> str:
    return file_keys({"Plan of a gate": Plan})


def file_keys(models: dict[str, type[toml_file.Table]]) -> str:
    """Tables of all keys that such files may have."""
    parts = []
    for title, model in models.items():
        parts.append(f"## {title}\n")
        rows: dict[str, list[tuple[str, ...]]] = {}
        for key in toml_file.keys(model):
            shown = f"`{key.default}`" if key.default else ""
            rows.setdefault(key.table, []).append((f"`{key.name}`", shown, key.allowed, key.words))
        for name, lines in rows.items():
            if name:
                parts.append(f"### {name}\n")
            parts.append(table("key | default | allowed | what it is", lines))
    return "\n".join(parts)


SCHEMAS: dict[str, type[toml_file.Table]] = {
    "examples/policies/policy.schema.json": PolicyFile,
    "examples/clusters/cluster.schema.json": ClusterFile,
    "examples/modes/mode.schema.json": Mode,
    "examples/facility.schema.json": FacilityFile,
    "examples/scenario.schema.json": ScenarioFile,
}


def schema(name: str) -> str:
    """The JSON schema by which editors check such a file as it is written."""
    return json.dumps(SCHEMAS[name].model_json_schema(), indent=2) + "\n"


MAKE: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "states.md": states_page,
    "reasons.md": reasons_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "policy.md": policy_page,
    "replay.md": replay_page,
    "modes.md": modes_page,
    "gates.md": gates_page,
}


def page(name: str) -> str:
    """The whole page as it should be."""
    head, mark, _ = (PAGES / name).read_text(encoding="utf-8").partition(MARK)
    assert mark, f"{name} has no line that says {MARK}"
    return f"{head}{MARK}\n\n{MAKE[name]()}"


def main() -> int:
    for name in MAKE:
        (PAGES / name).write_text(page(name), encoding="utf-8")
        print(f"docs/reference/{name}")
    for name in SCHEMAS:
        (ROOT / name).write_text(schema(name), encoding="utf-8")
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
