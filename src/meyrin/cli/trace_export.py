"""`meyrin trace export`: a hub's jobs as a log that every command on traces reads."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.progress import Line
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.wire.plans import TraceJob

PAGE = 500


@click.command(
    "export",
    epilog="""\b
Examples:
  meyrin trace export jobs.parquet
  meyrin trace export jobs.parquet --site alps --key-file key
  meyrin replay jobs.parquet --processors 4096
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--site", default="", metavar="NAME", help="Only the jobs of this site, as its operator."
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Key of the pseudonyms, made there if it is missing.  [default: a new one, forgotten]",
)  # fmt: skip
@asks_hub
def export(session: Session, file: Path, site: str, key_file: Path | None) -> None:
    """Write the hub's jobs that were placed into FILE (Parquet), in pseudonyms.

    People and projects are keyed hashes: with a key that nobody keeps, nobody can tell names from
    them. Two exports with one key fit together. Names, scripts and output of jobs stay at the hub.
    Beside `meyrin facility export`, it is what a study of your own hub starts from.
    """
    from meyrin.plan.live_trace import trace_of  # noqa: PLC0415 - not for --help
    from meyrin.sim.trace.export import write_export  # noqa: PLC0415

    key = _key(key_file)
    found: list[TraceJob] = []
    line = Line(session.clock, lines=True)
    with session.client() as hub:
        following = ""
        try:
            while True:
                page = hub.plans.trace(key, site=site, after=following, limit=PAGE)
                found += page.jobs
                come = len(found)
                line.tell(lambda come=come: show_count(come, "job"))  # type: ignore[misc]
                following = page.next
                if not following:
                    break
        finally:
            line.close()
        partitions = {
            f"{name}/{partition.name}": partition
            for name in sorted({job.site for job in found})
            for partition in hub.sites.show(name).site.partitions
        }
        trace = trace_of(found, hub.url, partitions)
    write_export(trace, file)
    if session.json:
        data_json({"file": str(file), "jobs": len(trace), "left_out": dict(trace.skipped)})
        return
    data(str(file))
    say(f"{show_count(len(trace), 'job')} that ended; left out: {sum(trace.skipped.values()):,}")


def _key(key_file: Path | None) -> str:
    if key_file is None:
        return secrets.token_hex(32)
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    try:
        key = key_file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        key = ""
    if len(key) < 16:
        raise InvalidInput(
            f"{key_file} holds no key of at least 16 plain characters",
            hint="name a file that does not exist: a key is made and kept there",
            field="key_file",
        )
    return key
