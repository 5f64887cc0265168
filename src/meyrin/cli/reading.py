"""What every command that reads a trace shares: its argument, its options, and the reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meyrin.cli.progress import Line
from meyrin.cli.terminal import amount

if TYPE_CHECKING:
    from meyrin.cli.session import Session
    from meyrin.sim.trace.model import Trace

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)


class TraceFile(click.Path):
    """A path; `-` is standard input, compressed or not."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return super().convert("/dev/stdin" if value == "-" else value, param, ctx)


def reading_options(command: F) -> F:
    """`--on-error`, `--format` (as `form`) and `--mapping`, which `read_trace` takes."""
    for option in (
        click.option(
            "--mapping",
            type=FILE,
            metavar="FILE",
            help="TOML file that says what the columns of a CSV or Parquet file mean.",
        ),
        click.option(
            "--format",
            "form",
            metavar="NAME",
            help="Format of the trace.  [default: told by its content]",
        ),
        click.option(
            "--on-error",
            type=click.Choice(["stop", "skip"]),
            default="stop",
            show_default=True,
            help="At a bad row: stop, or leave it out and count it.",
        ),
    ):
        command = option(command)
    return command


def read_trace(
    session: Session, file: Path, on_error: str, form: str | None, mapping: Path | None
) -> Trace:
    """The trace in `file`, with progress on standard error where it takes long."""
    from meyrin.sim.trace.read import read  # noqa: PLC0415 - not for --help

    line = Line(session.clock, lines=True)

    def progress(done: int, total: int | None) -> None:
        if done != total:  # the rest of the work on what was read is short
            of = f" of {amount(total)}" if total else ""
            line.tell(lambda: f"reading {file.name}: {amount(done)}{of}")

    try:
        return read(file, form, mapping, "skip" if on_error == "skip" else "stop", progress)
    finally:
        line.close()
