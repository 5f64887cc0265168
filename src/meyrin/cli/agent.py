"""`meyrin agent`: the program at a site."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.terminal import clean, moment, say
from meyrin.domain.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meyrin.agent.check import Finding
    from meyrin.agent.config import AgentConfig

ENTRIES = {
    "join": Entry("meyrin.cli.agent_join:command", "Let this site join a hub."),
    "compare": Entry("meyrin.cli.agent_compare:command", "The site's accounting, and Meyrin's."),
}


@click.group(
    "agent",
    cls=LazyGroup,
    entries=ENTRIES,
    invoke_without_command=True,
    subcommand_metavar="[join|compare ...]",
    epilog="A site joins with the line that `meyrin site enrol NAME` prints at the hub.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE",
              help="The agent's settings (TOML).")  # fmt: skip
@click.option("--check", is_flag=True, help="Only say whether it would work.")
@click.pass_context
def command(context: click.Context, config: Path | None, check: bool) -> int:
    """Run the agent of a site: an ordinary user, no root, no open port.

    \b
    It calls the hub, asks the site's own rules, hands jobs to the batch system and
    reports what becomes of them. It may be stopped and started at any time: jobs go
    on, and what there is to report is kept in its journal.

    \b
    Examples:
      meyrin agent --config FILE            until Ctrl-C or SIGTERM
      meyrin agent --config FILE --check    is it right, does all answer, is it in force?
      kill -HUP $(cat DIR/agent.lock)       read the settings, look at the site again, now

    \b
    A settings file by hand, with what it must hold:
      hub = "https://hub.example"
      credential_file = "credential"     # mode 600; `meyrin site enrol NAME --credential`
      dir = "."                          # journal and job folders
      batch = "local"
      [[partition]]                      # what `local` has to give
      name = "main"
      nodes = 1
      cores_per_node = 8
      memory_mb_per_node = 32000
    """
    if context.invoked_subcommand is not None:
        return 0
    if config is None:
        raise click.UsageError("Missing option '--config' (or: meyrin agent join).", context)
    if check:
        return _check(config)
    return _run(config)


def _run(path: Path) -> int:
    from meyrin.agent import config as settings  # noqa: PLC0415 - not for --help
    from meyrin.agent import start  # noqa: PLC0415
    from meyrin.agent.lock import hold_lock  # noqa: PLC0415
    from meyrin.agent.main import batch_system  # noqa: PLC0415
    from meyrin.agent.slurm.reconcile import keeper  # noqa: PLC0415
    from meyrin.hub.plumbing import logs  # noqa: PLC0415

    logs.configure()
    chosen = settings.load(path)
    chosen.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = hold_lock(chosen.dir / "agent.lock", "an agent", chosen.dir)
    try:
        batch = batch_system(chosen)
        agent = start.make(chosen, batch, uuid.uuid4().hex, keeper, path)
        signal.signal(signal.SIGTERM, lambda *_: agent.stop())
        signal.signal(signal.SIGINT, lambda *_: agent.stop())
        signal.signal(signal.SIGHUP, lambda *_: agent.read_settings())
        agent.run()
        batch.leave()
    finally:
        lock.close()
    return 0


def _check(path: Path) -> int:
    from meyrin.agent import config as settings  # noqa: PLC0415 - not for --help
    from meyrin.agent import join, start  # noqa: PLC0415
    from meyrin.agent.watched import in_force  # noqa: PLC0415

    try:
        chosen = settings.load(path)
    except InvalidInput:
        for folder in (path.parent, path.parent / "state"):  # which one, the file can't say
            before = in_force(folder / "settings.json")
            if before is not None and Path(before.path) == path.absolute():
                say(f"the agent goes by the settings of {moment(before.since_ms)}, if it runs")
        raise
    bad = show(join.findings(chosen, start.wall_clock_ms()))
    say(clean(_in_force(path, chosen)))
    say("the agent can't work so" if bad else f"{path} is good")
    return 1 if bad else 0


def _in_force(path: Path, chosen: AgentConfig) -> str:
    """Which settings the running agent goes by."""
    from meyrin.agent.lock import hold_lock  # noqa: PLC0415 - not for --help
    from meyrin.agent.start import noted  # noqa: PLC0415
    from meyrin.agent.watched import digest, in_force, need_a_new_start  # noqa: PLC0415

    lock = chosen.dir / "agent.lock"
    try:
        if lock.exists():
            hold_lock(lock, "an agent", chosen.dir).close()
        return "no agent runs with these settings now"
    except Conflict:
        now = in_force(noted(chosen))
    if now is None:
        return "an agent runs; which settings it goes by is not noted"
    since = moment(now.since_ms)
    if now.trouble:
        return f"the agent goes by the settings of {since}; it refused this file: {now.trouble}"
    if now.digest != digest(path):
        return f"the agent goes by the settings of {since} ({now.path}), not by this file yet"
    if now.waits:
        return f"in force since {since}, but for {need_a_new_start(now.waits, chosen.dir)}"
    return f"in force since {since}"


def show(findings: Iterable[Finding]) -> bool:
    """Say each; whether one keeps the agent from working."""
    bad = False
    for each in findings:
        bad = bad or each.bad
        say(clean(f"{'wrong' if each.bad else 'note'}: {each.words}"))
        if each.hint:
            say(clean(f"  {each.hint}"))
    return bad
