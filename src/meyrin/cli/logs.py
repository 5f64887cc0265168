"""`meyrin logs`: what a job printed, once or as it comes."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import click

from meyrin.cli.cut import say_cut
from meyrin.cli.session import Session, hub_options, pass_session
from meyrin.cli.terminal import clean, say
from meyrin.domain.states import ENDED

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.follow import Stream


@click.command(
    "logs",
    epilog="""\b
Examples:
  meyrin logs 17              what it printed so far
  meyrin logs -f 17           and what it prints, until it has ended
  meyrin logs 17_3 --stderr --tail 20
Ctrl-C ends the looking, never the job.
""",
)
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stderr", is_flag=True, help="Standard error, where the job keeps it apart.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N lines.")
@hub_options(hidden=True)
@pass_session
def command(session: Session, job: str, follow: bool, stderr: bool, tail: int | None) -> None:
    """A job's output: what it printed, byte by byte."""
    stream: Stream = "stderr" if stderr else "stdout"
    with session.client() as hub:
        offset = 0
        cut_bytes = None
        if not follow or tail is not None:
            printed = hub.printed(job, stream)
            offset, cut_bytes = len(printed.data), printed.cut_bytes
            _write(printed.data if tail is None else last_lines(printed.data, tail))
        if follow:
            cut_bytes = _follow(hub, job, stream, offset)
        elif not offset and cut_bytes is None:
            _say_why_empty(hub, job, stderr)
        say_cut(hub, job, stream, cut_bytes, last_lines=tail is not None)


def last_lines(text: bytes, count: int) -> bytes:
    """The last `count` lines; a last line without its end counts as one."""
    lines = io.BytesIO(text).readlines()  # what ends with \r is drawn over: no line of its own
    return b"".join(lines[max(0, len(lines) - count) :])


def _follow(hub: Client, job: str, stream: Stream, offset: int) -> int | None:
    """Write what comes; at the end, how much of it the hub has kept if that is not all."""
    from meyrin.client.follow import Output  # noqa: PLC0415

    shown, cut_bytes = "", None
    for event in hub.follow(job, stream, offset):
        if isinstance(event, Output):
            _write(event.data)
        elif event.shown != shown or event.ended:
            if event.shown != shown or event.reason:
                because = f" ({event.reason})" if event.reason else ""
                say(clean(f"job {job}: {event.shown}{because}"))
            shown, cut_bytes = event.shown, event.cut_bytes
    return cut_bytes


def _say_why_empty(hub: Client, job: str, stderr: bool) -> None:
    found = hub.job(job).job
    words = f"job {job} is {found.shown} and has printed nothing"
    never = found.start_ms is None and found.state in ENDED
    if never:
        words = f"job {job} is {found.shown} and never ran{found.reason and ': '}{found.reason}"
    elif stderr:
        words += " apart on standard error; `meyrin logs` without --stderr may have it"
    elif found.start_ms is None:
        words += f" yet; `meyrin explain {job}` says why it waits"
    say(clean(words))


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
