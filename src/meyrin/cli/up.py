"""`meyrin up`: the hub, and in one-machine mode a site on this machine."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click

from meyrin.cli.session import Session, pass_session
from meyrin.cli.terminal import say
from meyrin.domain.errors import Failed


@click.command("up")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Where state lives (else MEYRIN_DIR, else your data folder).")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), metavar="N",
              help="Port to listen on; 0 takes a free one.  [default: 8642]")  # fmt: skip
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--db", "db_url", metavar="URL",
              help="Database, such as postgresql+psycopg://user@host/name; else SQLite in DIR."
              " A password belongs into MEYRIN_HUB_DB_URL, not on the command line.")  # fmt: skip
@click.option("--no-local-site", is_flag=True, help="Only the hub; sites join by `meyrin agent`.")
@click.option("--quiet", is_flag=True, help="Print only the address.")
@pass_session
def command(
    session: Session,
    folder: Path | None,
    port: int | None,
    host: str | None,
    db_url: str | None,
    no_local_site: bool,
    quiet: bool,
) -> int:
    """Start the hub, and in one-machine mode a site on this machine.

    \b
    Everything it knows is in one folder; Ctrl-C stops it and running jobs go on,
    to be found again by the next `meyrin up`.

    \b
      meyrin up                        hub with a site on this machine
      meyrin up --port 0 --dir /tmp/x  another one beside it
      MEYRIN_HUB_DB_URL=postgresql+psycopg://… meyrin up --no-local-site
    """
    from meyrin.cli import here  # noqa: PLC0415 - `meyrin --help` must not pay for the hub
    from meyrin.cli.machine import LocalSite, Machine, private_folder  # noqa: PLC0415
    from meyrin.client.place import state_folder  # noqa: PLC0415
    from meyrin.domain.site import OwnerShare  # noqa: PLC0415
    from meyrin.hub.plumbing import logs, settings  # noqa: PLC0415

    where = state_folder(session.environ, folder or session.folder)
    private_folder(where)
    logs.configure(where / "hub.log")
    chosen = settings.load(where, session.environ, port=port, host=host, db_url=db_url)
    local = LocalSite("local", "This machine", here.partition(), (OwnerShare("you", 1),))
    machine = Machine(chosen, () if no_local_site else (local,))
    end_on_signals(machine.ended)  # from now on: what was started by then is stopped
    try:
        machine.start()
        if not machine.ended.is_set():
            _greet(machine.url, machine.login_link(), where, quiet, alone=no_local_site)
        wait_for_end(machine.ended)
    finally:
        say("stopping; jobs that run go on, `meyrin up` finds them again")
        machine.stop()
    if machine.broken:
        raise Failed(
            "the hub has met a bug of its own and stopped, rather than answer and place nothing",
            hint=f"what it was stands above; {where / 'hub.log'} has what came before",
        )
    return 0


def _greet(url: str, link: str, folder: Path, quiet: bool, *, alone: bool) -> None:
    click.echo(url)
    if quiet:
        return
    say(f"\n  pages   {link}  (works once, 10 minutes; `meyrin login` prints another)")
    say(f"  state   {folder}")
    if alone:
        say("  sites   meyrin site enrol NAME --lend  prints the line with which one joins")
    else:
        say("  try     meyrin run --time=5 -- python3 -c 'print(6 * 7)'")
    say("  stop    Ctrl-C\n")


def end_on_signals(ended: threading.Event) -> None:
    """SIGINT and SIGTERM set `ended`; a second signal ends the process at once."""
    asked = False

    def note(_number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            os._exit(130)
        asked = True
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)


def wait_for_end(ended: threading.Event) -> None:
    """Until it is set; in pieces, as a signal is heard between two."""
    while not ended.wait(3600):
        pass
