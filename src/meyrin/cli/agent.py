"""`meyrin agent`: the program at a site."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import click


@click.command("agent")
@click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="The agent's settings (TOML).")  # fmt: skip
def command(config: Path) -> int:
    """Run the agent of a site: an ordinary user, no root, no open port.

    \b
    It calls the hub, asks the site's own rules, hands jobs to the batch system and
    reports what becomes of them. It may be stopped and started at any time: jobs go
    on, and what there is to report is kept in its journal.

    \b
    A settings file, with what it must hold:
      hub = "https://hub.example"
      credential_file = "credential"     # mode 600; printed by `meyrin site enrol`
      dir = "."                          # journal and job folders
      batch = "local"
      [[partition]]                      # what `local` has to give
      name = "main"
      nodes = 1
      cores_per_node = 8
      memory_mb_per_node = 32000
    """
    from meyrin.agent import config as settings  # noqa: PLC0415 - not for --help
    from meyrin.agent import loop  # noqa: PLC0415
    from meyrin.agent.lock import hold_lock  # noqa: PLC0415
    from meyrin.agent.main import batch_system  # noqa: PLC0415
    from meyrin.hub.plumbing import logs  # noqa: PLC0415

    logs.configure()
    chosen = settings.load(config)
    chosen.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = hold_lock(chosen.dir / "agent.lock", "an agent", chosen.dir)
    try:
        batch = batch_system(chosen)
        agent = loop.make(chosen, batch, uuid.uuid4().hex, config)
        signal.signal(signal.SIGTERM, lambda *_: agent.stop())
        signal.signal(signal.SIGINT, lambda *_: agent.stop())
        signal.signal(signal.SIGHUP, lambda *_: agent.read_settings())
        agent.run()
        batch.leave()
    finally:
        lock.close()
    return 0
